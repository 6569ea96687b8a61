"""AgentGym's servers as they really are: what they pay, refuse and reorder, and their restarts.

The toys in `gyms.py` behave as the real servers were seen to.
"""

import random
import signal
import subprocess
import sys
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from doubles import ScriptedActor
from gyms import TIMEOUT, played_in, serving, take

from agent_r import Episode, Start, figures, play
from critique import CritiqueSettings, execute, good_examples, pair_leaves
from engine.anew import BEGINNINGS
from engine.dialogues import Sampling
from envs import EpisodeLostError, UserError
from mcts import SearchSettings, search
from worlds.agentgym import Gate, Server, make_world
from worlds.servers import ALFWORLD, ALFWORLD_SHARED, BABYAI, KINDS, numbers

ROOT = Path(__file__).parent.parent
WAY = ["right", "right", "right"]


@pytest.fixture
def serve(monkeypatch):
    monkeypatch.setattr(Server, "timeout", TIMEOUT)
    monkeypatch.setattr(Server, "waits", (0.01, 0.02, 0.03, 0.05, 0.1))
    with serving() as start:
        yield start


def maker(gym):
    return make_world(f"{gym.kind}@{gym.url}")


def walker(turns, copy, luck):
    """Right, mostly; sometimes left or another word."""
    choices = ["right", "right", "right", "left", "wait"]
    return f"Action: {choices[int(luck * 997) % len(choices)]}" if luck else "Action: right"


def sampling():
    return Sampling(1.0)


# --- what is paid


def test_babyai_pays_less_than_1_for_a_win_and_the_server_says_that_it_is_one(serve):
    world = maker(serve("babyai"))()
    world.reset(options={"task": "0"})
    infos = [world.step(action)[-1] for action in WAY]
    assert [info["won"] for info in infos] == [False, False, True]
    assert infos[-1]["score"] == 0.97
    episode = Episode(world, "0")
    for action in WAY:
        episode.act(f"Action: {action}")
    assert episode.trajectory.won
    assert figures([episode.trajectory])["success"] == 1.0
    assert figures([episode.trajectory])["loops_failed"] is None


def test_what_babyai_pays_for_every_step_after_a_win_is_not_added_up(serve, monkeypatch):
    gym = serve("babyai")
    monkeypatch.setattr("gyms.Environment.done", property(lambda env: False))  # it goes on
    world = maker(gym)()
    scores = [score for _, score in take(world, "0", [*WAY, "wait", "wait", "left"])[1:]]
    assert scores == [0, 0, 0.97, 0.97, 0.97, 0.97]
    assert gym.environments[world._env].total > 2
    assert not world.won, "the server did not say that it was over"


@pytest.mark.parametrize("kind", ["textcraft", "sciworld", "webshop", "alfworld"])
def test_where_a_success_pays_all_the_score_says_it(serve, kind):
    world = maker(serve(kind))()
    episode = Episode(world, "0")
    for action in WAY:
        assert not episode.trajectory.won
        episode.act(f"Action: {action}")
    assert episode.trajectory.steps[-1].won is None
    assert episode.trajectory.won


def test_a_win_that_pays_less_is_good_at_any_alpha_and_its_revision_is_kept(serve):
    make = maker(serve("babyai"))
    settings = SearchSettings(simulations=8, branch=3, max_depth=8)
    trees = search(ScriptedActor(walker), make, ["1", "2"], settings, sampling())
    strict = CritiqueSettings(alpha=1.0, beta=0.2)
    rng = random.Random(0)
    goods = good_examples(trees, strict, rng)
    assert goods
    assert all(example.trajectory.won for example in goods)
    assert all(example.trajectory.score < 1 for example in goods)
    pairs = [pair for tree in trees for pair in pair_leaves(tree, strict, rng)]
    assert pairs
    good = pairs[0].tree.trajectory(pairs[0].goods[0])
    longer = Episode(make(), good.task)
    for reply in ["Action: wait", *(step.reply for step in good.steps)]:
        longer.act(reply)
    claimed = longer.trajectory
    claimed.steps[-1].score = good.score  # what a splice copies from a shorter way
    executed = execute(make(), claimed)
    assert executed is not None
    assert executed.score < good.score


# --- what is said to the agent, and what to the server


def test_alfworld_s_available_actions_reach_the_agent_at_every_turn(serve):
    world = maker(serve("alfworld"))()
    episode = Episode(world, "7")
    episode.act("Action: right")
    listed = "\nAVAILABLE ACTIONS: left,right"
    assert episode.trajectory.observation == f"task 7, place 0.{listed}"
    assert episode.observation == f"place 1.{listed}"


def test_babyai_s_instruction_has_the_verbs_that_its_server_knows():
    for verb in ("pickup OBJECT NUMBER", "drop", "go to goal", "toggle and go through"):
        assert verb in BABYAI.instruction
    assert "pick up" not in BABYAI.instruction


@pytest.mark.parametrize(
    ("action", "sent"),
    [
        ("get 2 oak log", "get 2 oak log"),
        ("craft 1 a using 1 b, 2 c", "craft 1 a using 1 b, 2 c"),
        ("<go to> [red ball] 1!", "go to red ball 1"),
        ("pickup  red-key 1;", "pickup redkey 1"),
        ("...", ""),
    ],
)
@pytest.mark.parametrize("kind", ["textcraft", "babyai"])
def test_two_servers_are_sent_letters_digits_and_commas_alone(serve, kind, action, sent):
    gym = serve(kind)
    world = maker(gym)()
    take(world, "0", [action])
    assert played_in(gym, world) == [sent]


# --- splits


def test_lists_of_numbers_are_read_with_their_spans():
    assert numbers("3 5-7 9") == [3, 5, 6, 7, 9]
    assert numbers("") == []


def test_no_game_of_alfworld_s_folders_is_on_both_sides():
    assert len(ALFWORLD_SHARED) == 209
    assert not set(ALFWORLD.training()) & set(ALFWORLD_SHARED)
    assert len(ALFWORLD.training()) == 2620 - 200 - 209


def test_training_tasks_of_babyai_that_begin_like_held_out_ones_are_in_no_split():
    assert len(BABYAI.unused) == len(set(BABYAI.unused)) == 288
    assert min(BABYAI.unused) >= 400
    by_level = Counter(number % 40 for number in BABYAI.unused)
    assert by_level.most_common(3) == [(32, 54), (2, 40), (3, 36)]
    assert not set(BABYAI.training()) & set(BABYAI.unused)


# --- what is refused


@pytest.mark.parametrize("kind", KINDS)
def test_an_action_that_is_refused_twice_is_a_step_with_the_server_s_words(serve, kind):
    gym = serve(kind)
    world = maker(gym)()
    world.reset(options={"task": "4"})
    world.step("right")
    observation, gain, done, truncated, _ = world.step("break")
    words = "Internal Server Error" if kind == "webshop" else "the wall broke"
    assert words in observation
    assert (gain, done, truncated) == (0, False, False)
    assert len(gym.environments) == 1
    assert played_in(gym, world) == ["right", "break"], "it counted once"
    assert world.step("right")[0].startswith("place 3.")
    assert played_in(gym, world) == ["right", "break", "right"]


def test_what_was_refused_is_refused_again_when_it_is_played_again(serve):
    gym = serve("sciworld")
    world = maker(gym)()
    take(world, "4", ["break", "right"])
    gym.faults["step"] = ["drop"]
    assert world.step("right")[0] == "place 3."
    assert played_in(gym, world) == ["break", "right", "right"]
    assert world.begun_anew == 0


def test_a_refusal_while_the_past_is_played_again_is_the_environment_s_fault(serve):
    gym = serve("sciworld")
    world = maker(gym)()
    take(world, "4", ["right"])
    gym.faults["step"] = ["drop", (200, b'{"error": "no such id"}')]
    assert world.step("right")[0] == "place 2."
    assert world.begun_anew == 0


def test_nobody_passes_the_gate_while_an_environment_is_made():
    gate = Gate()
    inside = threading.Event()
    order = []

    def make():
        inside.wait()
        with gate.alone():
            order.append("made")

    thread = threading.Thread(target=make)
    thread.start()
    with gate.together():
        inside.set()
        thread.join(0.05)
        order.append("passed")
    thread.join()
    assert order == ["passed", "made"]


def test_an_agent_that_says_what_is_refused_plays_on(serve):
    make = maker(serve("webshop"))
    (played,) = play(
        ScriptedActor(lambda turns, copy, luck: f"Action: {('break', 'right')[len(turns) > 2]}"),
        make,
        [Start("3")],
        batch_size=1,
    )
    assert [step.action for step in played.steps] == ["break", "right", "right"]
    assert played.score == 1.0


# --- what goes another way the second time


def check_true(gym, trajectory):
    """One environment of the server saw exactly this episode since one reset."""
    sent = [step.action for step in trajectory.steps]
    place = 0
    for step in trajectory.steps:
        place = min(place + {"left": -1, "right": 1}.get(step.action, 0), 3)
        assert step.observation.split("\n")[0] == f"place {place}."
    opening = trajectory.observation.split("\n")[0]
    assert any(first == opening and log[: len(sent)] == sent for first, log in gym.lives)


def test_webshop_s_other_price_begins_the_episode_anew_and_ends_nothing(serve):
    gym = serve("webshop")
    gym.faults["step"] = [None, "drop"]
    make = maker(gym)
    played = play(ScriptedActor(walker), make, [Start("1"), Start("2")], batch_size=1)
    assert [t.observation for t in played] == [
        "task 1, place 0. price below 1.",
        "task 2, place 0. price below 1.",
    ]
    assert [t.actions for t in played] == [WAY, WAY]
    assert make().begun_anew == 1


def test_a_task_of_webshop_keeps_its_environment_through_the_search(serve):
    gym = serve("webshop")
    settings = SearchSettings(simulations=5, branch=3, max_depth=6, rollouts=2)
    tasks = ["1", "22", "333", "4444", "5"]
    trees = search(ScriptedActor(walker), maker(gym), tasks, settings, sampling())
    assert [tree.task for tree in trees] == tasks
    assert [tree.beginnings for tree in trees] == [1] * 5, "none met another price"
    assert all(tree.root.visits == 5 or tree.root.finished for tree in trees)
    assert gym.most == 2
    for tree in trees:
        for leaf in tree.leaves():
            check_true(gym, tree.trajectory(leaf))


def test_textcraft_s_other_order_after_a_restart_begins_episodes_anew(serve):
    gym = serve("textcraft", orders=True)
    make = maker(gym)

    def speak(turns, copy, luck):
        if len(turns) == 5 and gym.life == 0:
            gym.restart()
        return "Action: right"

    starts = [Start(str(task)) for task in range(5)]
    played = play(ScriptedActor(speak), make, starts, batch_size=3)
    assert [t.task for t in played] == ["0", "1", "2", "3", "4"]
    assert [t.actions for t in played] == [WAY] * 5
    assert {t.observation.split(". ", 1)[1] for t in played} == {"order 1."}
    assert make().begun_anew == 3


def test_a_tree_whose_opening_is_gone_is_begun_anew(serve):
    gym = serve("textcraft", orders=True)
    said = Counter()

    def speak(turns, copy, luck):
        said["turns"] += 1
        if said["turns"] == 20:
            gym.restart()
        return walker(turns, copy, luck)

    settings = SearchSettings(simulations=6, branch=3, max_depth=6)
    trees = search(ScriptedActor(speak), maker(gym), ["3", "4"], settings, sampling())
    assert gym.life == 1
    for tree in trees:
        assert not tree.lost
        assert tree.root.visits == 6 or tree.root.finished
        assert tree.observation == f"task {tree.task}, place 0. order 1."


def test_scienceworld_s_other_order_is_asked_away_by_the_search(serve):
    gym = serve("sciworld", orders=True)
    settings = SearchSettings(simulations=6, branch=3, max_depth=6)
    trees = search(ScriptedActor(walker), maker(gym), ["3", "4", "5"], settings, sampling())
    for tree in trees:
        assert tree.root.visits == 6 or tree.root.finished or tree.lost
    assert sum(tree.lost for tree in trees) == 0, "a coin falls the same way within eight tries"


def test_an_episode_that_is_always_lost_ends_at_some_time(serve):
    gym = serve("textcraft", orders=True)

    def speak(turns, copy, luck):
        if len(turns) == 3:
            gym.restart()
        return "Action: right"

    (played,) = play(ScriptedActor(speak), maker(gym), [Start("7")], batch_size=1)
    assert played.actions == ["right"], "it stands as far as it came"
    assert gym.life == BEGINNINGS


def test_a_lost_episode_is_told_to_who_plays_by_hand(serve):
    gym = serve("textcraft", orders=True)
    world = maker(gym)()
    take(world, "7", ["right"])
    gym.restart()
    with pytest.raises(EpisodeLostError, match="task 7 did not go as before"):
        world.step("right")
    assert take(world, "7", WAY)[-1] == ("place 3.", 1.0)


# --- restarts


@pytest.mark.parametrize("kind", KINDS)
def test_several_copies_recover_after_a_restart_and_never_share_an_environment(serve, kind):
    gym = serve(kind)
    make = maker(gym)
    worlds = [make() for _ in range(6)]
    for world in worlds:
        take(world, "9", ["right"])
    gym.restart()

    def go_on(world):
        try:
            return world.step("right")[0].split("\n")[0]
        except EpisodeLostError:  # another price
            return take(world, "9", ["right", "right"])[-1][0]

    with ThreadPoolExecutor(6) as pool:
        assert set(pool.map(go_on, worlds)) == {"place 2."}
    assert len({world._env for world in worlds}) == 6
    assert all(played_in(gym, world) == ["right", "right"] for world in worlds)
    assert sum(not env.closed for env in gym.environments.values()) == 6


def test_numbers_from_before_a_restart_are_void_at_once(serve):
    """The first copy gets a number that the third still believes to be its own."""
    gym = serve("babyai")
    gym.first = 0
    make = maker(gym)
    worlds = [make() for _ in range(3)]
    for world in worlds:
        take(world, "9", ["right"])
    gym.restart()
    assert worlds[2].step("wait")[0] == "place 1."
    assert worlds[2]._env == 0
    assert worlds[0].step("right")[0] == "place 2."
    assert played_in(gym, worlds[2]) == ["right", "wait"]
    assert played_in(gym, worlds[0]) == ["right", "right"]


def test_a_server_that_is_away_for_a_while_is_waited_for(serve):
    gym = serve("textcraft")
    world = maker(gym)()
    take(world, "9", ["right"])
    gym.down = True
    gym.restart()
    threading.Timer(0.05, setattr, (gym, "down", False)).start()
    assert world.step("right")[0] == "place 2."


def test_a_server_that_never_answered_is_waited_for_less_long(monkeypatch):
    monkeypatch.setattr(Server, "waits", (0.01,) * 9)
    with pytest.raises(UserError, match=r"refused.*tried 4 times"):
        make_world("babyai@http://127.0.0.1:1")().reset(options={"task": "0"})


def test_an_answer_is_waited_for_as_long_as_agentgym_s_own_clients_do():
    assert Server.timeout == 300
    assert sum(Server.waits) > 180, "a server takes minutes to start"


def test_in_the_middle_of_a_run_none_is_lost_and_none_counted_twice(serve):
    gym = serve("sciworld", orders=True)
    make = maker(gym)
    said = Counter()

    def speak(turns, copy, luck):
        said["turns"] += 1
        if said["turns"] in (30, 31, 90):
            gym.restart()
        return walker(turns, copy, luck)

    starts = [Start(str(task)) for task in range(40)]
    played = play(ScriptedActor(speak), make, starts, batch_size=8, sampling=sampling())
    assert [t.task for t in played] == [str(task) for task in range(40)]
    for trajectory in played:
        assert trajectory.score in (0.0, 1.0) or len(trajectory.steps) == 30
        check_true(gym, trajectory)


# --- environments: how many, and their end


def test_no_more_environments_are_held_than_play_at_once(serve):
    gym = serve("textcraft")
    make = maker(gym)
    starts = [Start(str(task)) for task in range(11)]
    play(ScriptedActor(walker), make, starts, batch_size=3)
    settings = SearchSettings(simulations=3, branch=2, max_depth=5, rollouts=3)
    search(ScriptedActor(walker), make, [str(n) for n in range(7)], settings, sampling())
    play(ScriptedActor(walker), make, starts, batch_size=3)
    assert gym.most == 3
    assert len(gym.every) == 3
    del make
    assert all(env.closed for env in gym.every)


def test_webshop_s_old_environments_are_not_given_to_two_copies(serve):
    gym = serve("webshop", room=4)
    make = maker(gym)
    mine = [make() for _ in range(2)]
    for world in mine:
        world.reset(options={"task": "1"})
    for _ in range(2):  # somebody else's
        gym.act("create", {})
    more = [make() for _ in range(2)]
    for world in more:
        world.reset(options={"task": "2"})
    assert len({world._env for world in mine + more}) == 4
    with pytest.raises(
        UserError, match="no environment left beside the 4 in use; lower --rollouts"
    ):
        make().reset(options={"task": "3"})


@pytest.mark.parametrize("name", ["SIGTERM", "SIGHUP", "SIGINT"])
def test_environments_are_closed_when_a_signal_ends_the_process(serve, name):
    gym = serve("textcraft")
    usual = "default_int_handler" if name == "SIGINT" else "SIG_DFL"
    lines = [
        "import signal, time",
        # Whoever begins the tests in the background, or by nohup, ignores it for all below.
        f"signal.signal(signal.{name}, signal.{usual})",
        "from worlds.agentgym import make_world",
        f"make = make_world('textcraft@{gym.url}')",
        "worlds = [make(), make()]",
        "for world in worlds: world.reset(options={'task': '0'})",
        "print('ready', flush=True)",
        "time.sleep(60)",
    ]
    command = [sys.executable, "-c", "\n".join(lines)]
    options = {"stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
    with subprocess.Popen(command, cwd=ROOT, **options) as process:
        assert process.stdout.readline() == b"ready\n"
        number = getattr(signal, name)
        process.send_signal(number)
        status = process.wait(timeout=30)
    assert status in (128 + number, -number)
    assert all(env.closed for env in gym.every)
    assert len(gym.every) == 2


def test_an_exception_closes_all_environments_too(serve):
    gym = serve("babyai")
    lines = [
        "from worlds.agentgym import make_world",
        f"world = make_world('babyai@{gym.url}')()",
        "world.reset(options={'task': '0'})",
        "raise SystemError('a fault of our own')",
    ]
    command = [sys.executable, "-c", "\n".join(lines)]
    subprocess.run(command, cwd=ROOT, check=False, timeout=60, stderr=subprocess.DEVNULL)
    assert [env.closed for env in gym.every] == [True]


def test_a_handler_that_somebody_set_stays(serve):
    def own(*_):
        pass

    before = signal.signal(signal.SIGTERM, own)
    try:
        maker(serve("textcraft"))
        assert signal.getsignal(signal.SIGTERM) is own
    finally:
        signal.signal(signal.SIGTERM, before)


def test_one_close_that_breaks_off_does_not_keep_the_others_open(serve):
    gym = serve("textcraft")
    make = maker(gym)
    worlds = [make() for _ in range(3)]
    for world in worlds:
        world.reset(options={"task": "0"})
    gym.faults["close"] = [(500, b"no"), "drop"]
    del world, worlds, make
    assert [path for path, _ in gym.requests].count("close") == 3
