"""AgentGym's servers: requests, answers of no use, lost answers and the option.

What the servers do of their own accord, and what a restart does, is in `test_servers.py`.
"""

import json
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import pytest
from doubles import ScriptedActor, tiny_actor
from gyms import TIMEOUT, played_in, serving, take

import train
from agent_r import Episode, Start, play
from engine.dialogues import Sampling
from envs import SPLITS, UserError
from mcts import SearchSettings, search
from worlds import agentgym
from worlds.agentgym import KINDS, Server, make_world

ROOT = Path(__file__).parent.parent
WAY = ["right", "right", "right"]


@pytest.fixture
def serve(monkeypatch):
    """Start servers; whatever is asked of them has to be answered within moments.

    On a busy machine an answer can come too late and is asked for again, so a fault that is there
    to be told stands in `faults` more than once.
    """
    monkeypatch.setattr(Server, "timeout", TIMEOUT)
    monkeypatch.setattr(Server, "waits", (0.01, 0.02, 0.03))
    with serving() as start:
        yield start


@pytest.fixture
def gym(serve):
    return serve("textcraft")


def world_of(gym):
    return make_world(f"{gym.kind}@{gym.url}")()


# --- the five kinds


@pytest.mark.parametrize("kind", KINDS)
def test_an_episode_is_played_and_scored(serve, kind):
    gym = serve(kind)
    world = world_of(gym)
    partial = {"sciworld": [0.33, 0.66]}.get(kind, [0.0, 0.0])
    won = 0.97 if kind == "babyai" else 1.0
    more = "\nAVAILABLE ACTIONS: left,right" if kind == "alfworld" else ""
    price = " price below 0." if kind == "webshop" else ""
    expected = [
        f"task 44, place 0.{price}{more}",
        (f"place 1.{more}", partial[0]),
        (f"place 2.{more}", partial[1]),
        (f"place 3.{more}", won),
    ]
    assert take(world, "44", WAY) == expected
    assert world.done
    assert played_in(gym, world) == WAY
    assert [path for path, _ in gym.requests] == ["create", "reset", "step", "step", "step"]
    assert type(world.score) is float


@pytest.mark.parametrize("kind", KINDS)
def test_a_score_below_0_counts_0(serve, kind):
    world = world_of(serve(kind))
    observation, score = take(world, "3", ["right", "left", "left"])[-1]
    assert observation.startswith("place -1.")
    assert score == 0.0
    assert world.done == (kind != "babyai")


def test_the_instruction_tells_the_actions_and_what_only_the_reset_describes(serve):
    for kind in KINDS:
        _, info = world_of(serve(kind)).reset(options={"task": "0"})
        *description, actions = info["instruction"].split("\n")
        assert description == (["walk."] if kind == "sciworld" else [])
        assert actions.startswith("You can: ")
        assert len(info["instruction"]) < 500


@pytest.mark.parametrize("kind", ["sciworld", "webshop", "alfworld"])
def test_actions_arrive_untouched(serve, kind):
    gym = serve(kind)
    world = world_of(gym)
    actions = ["put X in/on Y; [é] \"'\\n\U0001f600 Action: </s>", "craft 1 a using 1 b, 2 c"]
    take(world, "0", actions)
    assert played_in(gym, world) == actions


def test_splits_are_disjoint_numbers_and_as_large_as_the_paper_s():
    sizes = {"textcraft": 100, "sciworld": 200, "webshop": 200, "alfworld": 200, "babyai": 200}
    for kind, held_out in sizes.items():
        world = make_world(f"{kind}@http://localhost:1")()
        splits = [list(world.tasks(split)) for split in SPLITS]
        names = [name for split in splits for name in split]
        unused = set(KINDS[kind].unused)
        assert len(set(names)) == len(names) == KINDS[kind].size - len(unused)
        assert {int(name) for name in names} | unused == set(range(KINDS[kind].size))
        assert len(splits[2]) == held_out
        assert 40 < len(splits[1]) < len(splits[0])
        assert splits[0] == sorted(splits[0], key=int)


def test_babyai_s_splits_share_no_layout():
    world = make_world("babyai@http://localhost:1")()
    layouts = [{int(name) // 40 for name in world.tasks(split)} for split in SPLITS]
    assert not any(layouts[a] & layouts[b] for a, b in ((0, 1), (0, 2), (1, 2)))


@pytest.mark.parametrize("task", ["544", "-1", "01", "x", "", "1e2", "٣", "9999999999"])
def test_a_task_that_is_none_is_told_without_asking(gym, task):
    with pytest.raises(UserError, match=r"agentgym:textcraft has no task .* 0 to 543"):
        world_of(gym).reset(options={"task": task})
    assert gym.requests == []


def test_there_is_no_expert_and_copies_may_act_at_once():
    world = make_world("alfworld@http://localhost:1")()
    assert not world.has_expert
    assert world.parallel == 8
    assert (world.name, world.step_limit) == ("agentgym:alfworld", 30)


def test_a_step_after_the_end_is_refused_here(gym):
    world = world_of(gym)
    take(world, "0", WAY)
    with pytest.raises(RuntimeError, match="over"):
        world.step("right")
    assert played_in(gym, world) == WAY


def test_the_step_limit_ends_an_episode(gym):
    world = world_of(gym)
    world.reset(options={"task": "0"})
    truncated = [world.step("wait")[3] for _ in range(world.step_limit)]
    assert truncated == [False] * 19 + [True]


# --- environments on the server


def test_the_next_episode_begins_in_the_same_environment(gym):
    world = world_of(gym)
    for task in ("5", "6"):
        take(world, task, ["right"])
    assert len(gym.environments) == 1
    assert gym.environments[world._env].task == 6
    assert played_in(gym, world) == ["right"]


def test_a_free_environment_is_used_again_and_at_the_end_all_are_closed(gym):
    make = make_world(f"textcraft@{gym.url}")
    worlds = [make(), make()]
    for world in worlds:
        take(world, "1", ["right"])
    assert len({world._env for world in worlds}) == 2
    del worlds, world
    another = make()
    take(another, "2", ["right"])
    assert len(gym.environments) == 2
    assert not any(env.closed for env in gym.environments.values())
    del another, make
    assert all(env.closed for env in gym.environments.values())


def test_environments_are_closed_when_python_ends(gym):
    lines = [
        "from worlds.agentgym import make_world",
        f"world = make_world('textcraft@{gym.url}')()",
        "world.reset(options={'task': '0'})",
    ]
    subprocess.run([sys.executable, "-c", "\n".join(lines)], cwd=ROOT, check=True, timeout=60)
    assert [path for path, _ in gym.requests] == ["create", "reset", "close"]


@pytest.mark.parametrize("kind", ["webshop", "alfworld"])
def test_of_a_server_that_cannot_close_it_is_said_once(serve, kind, capfd):
    gym = serve(kind)
    make = make_world(f"{kind}@{gym.url}")
    worlds = [make() for _ in range(3)]
    for world in worlds:
        take(world, "0", ["right"])
    del world, worlds, make
    assert [path for path, _ in gym.requests].count("close") == 1
    told = capfd.readouterr().err
    assert told.startswith(f"{gym.url} cannot close environments")
    assert told.count("\n") == 1


@pytest.mark.parametrize("fault", ["late", "drop", (500, b"no"), (200, b"<html>")])
def test_a_close_that_fails_is_no_matter(gym, fault, capfd):
    gym.faults["close"] = [fault]
    world = world_of(gym)
    take(world, "0", ["right"])
    del world
    assert capfd.readouterr().err == ""


def test_closing_gives_up_on_a_server_that_does_not_answer(gym):
    make = make_world(f"textcraft@{gym.url}")
    worlds = [make() for _ in range(6)]
    for world in worlds:
        world.reset(options={"task": "0"})
    gym.faults["close"] = ["slow"] * 6
    del worlds, world, make
    assert [path for path, _ in gym.requests].count("close") == 1


def test_a_world_that_is_not_played_asks_nothing(gym):
    world = world_of(gym)
    world.tasks("test")
    del world
    assert gym.requests == []


def test_resets_of_many_threads_come_one_at_a_time(gym):
    def one(number):  # a maker each, as if several runs used one server
        world = world_of(gym)
        seen = [take(world, str(number + k), WAY) for k in range(3)]
        return seen, number

    with ThreadPoolExecutor(8) as pool:
        for seen, number in pool.map(one, range(8)):
            for k, (first, *steps) in enumerate(seen):
                assert first == f"task {number + k}, place 0."
                assert [score for _, score in steps] == [0, 0, 1]
    assert gym.overlaps == 0
    assert gym.busy == 0


# --- lost answers: each action counts once in the environment that is scored


@pytest.mark.parametrize(
    ("kind", "fault"),
    [
        *(("textcraft", fault) for fault in ("slow", "late", "reset", "short", (502, b"<html>"))),
        *((kind, "drop") for kind in ("textcraft", "sciworld", "alfworld", "babyai")),
    ],
)
def test_a_lost_step_is_played_again_from_a_new_environment(serve, kind, fault):
    gym = serve(kind)
    gym.faults["step"] = [None, fault]
    world = world_of(gym)
    observation, score = take(world, "2", ["right", "left", "right", "right", "right"])[-1]
    assert observation.startswith("place 3.")
    assert score == (0.95 if kind == "babyai" else 1.0)
    if fault == "late":
        time.sleep(2.5 * TIMEOUT)  # by now it has acted
    assert played_in(gym, world) == ["right", "left", "right", "right", "right"]
    assert gym.environments[world._env].task == 2
    abandoned, scored = gym.environments.values()
    assert gym.environments[world._env] is scored
    carried_out = isinstance(fault, str) and fault != "late"
    assert abandoned.log == (["right", "left"] if carried_out else ["right"])
    assert abandoned.closed == (kind != "alfworld")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("fault", [(500, b""), "500 after", (200, b'{"error": "for once"}')])
def test_a_step_that_is_refused_once_is_played_again_in_the_same_environment(serve, kind, fault):
    gym = serve(kind)
    gym.faults["step"] = [None, fault]
    world = world_of(gym)
    observation, _ = take(world, "2", ["right", "left", "right", "right", "right"])[-1]
    assert observation.startswith("place 3.")
    assert played_in(gym, world) == ["right", "left", "right", "right", "right"]
    assert len(gym.environments) == 1, "another environment is another task on WebShop"


def test_an_error_that_is_null_is_none(gym):
    gym.faults.update(reset=["null"], step=["null", "null", "null"])
    world = world_of(gym)
    assert take(world, "2", WAY)[-1] == ("place 3.", 1.0)
    assert len(gym.requests) == 5


@pytest.mark.parametrize("path", ["create", "reset"])
@pytest.mark.parametrize("fault", ["slow", "drop", (503, b"busy"), "short"])
def test_a_lost_beginning_is_begun_again(gym, path, fault):
    gym.faults[path] = [fault, fault]
    world = world_of(gym)
    assert take(world, "9", WAY)[0] == "task 9, place 0."
    assert played_in(gym, world) == WAY
    assert gym.environments[world._env].task == 9


def test_a_fault_while_playing_again_is_one_more_try(gym):
    gym.faults["step"] = [None, None, (503, b"1"), None, "drop", None, None, "slow"]
    world = world_of(gym)
    assert take(world, "2", WAY)[-1] == ("place 3.", 1.0)
    assert played_in(gym, world) == WAY
    assert len(gym.environments) == 4


def test_a_step_that_is_always_lost_ends_in_a_sentence(gym):
    world = world_of(gym)
    take(world, "2", ["right"])
    gym.faults["step"] = [*[(503, b"busy"), None] * 4, "drop"]
    with pytest.raises(UserError) as told:
        world.step("right")
    assert str(told.value) == f"{gym.url} answered /step with status 503: busy (tried 4 times)"
    assert len(gym.faults["step"]) == 2, "it was tried four times"
    live = [env for env in gym.environments.values() if not env.closed]
    assert live == []


def test_each_loss_has_its_own_tries(gym):
    gym.faults["step"] = [(500, b""), None, (500, b""), None, None, (500, b""), None, None]
    world = world_of(gym)
    assert take(world, "2", WAY)[-1] == ("place 3.", 1.0)


def test_waits_grow_and_are_bounded(gym, monkeypatch):
    slept = []
    monkeypatch.setattr(agentgym, "time", SimpleNamespace(sleep=slept.append))
    gym.faults["create"] = [(503, b"busy")] * 9
    with pytest.raises(UserError, match=r"503: busy \(tried 4 times\)"):
        world_of(gym).reset(options={"task": "0"})
    assert slept == [0.01, 0.02, 0.03]


def test_a_reset_that_is_refused_is_tried_once_more(gym):
    gym.faults["reset"] = [(200, b'{"error": "it is\\nbroken"}')] * 9
    with pytest.raises(UserError, match=r"with the error: .*it is\\nbroken.*tried 2 times"):
        take(world_of(gym), "2", WAY)
    assert len(gym.faults["reset"]) == 7


def test_an_error_after_losses_still_ends(gym):
    gym.faults["reset"] = [(500, b""), (500, b""), *[(200, b'{"error": "no"}')] * 9]
    with pytest.raises(UserError, match="tried 3 times"):
        world_of(gym).reset(options={"task": "0"})


def test_a_server_that_forgot_its_environments_gets_a_new_one(gym):
    world = world_of(gym)
    take(world, "4", ["right"])
    gym.environments.clear()
    assert world.step("right")[0] == "place 2."
    assert played_in(gym, world) == ["right", "right"]


def test_an_abandoned_environment_is_closed_once_and_never_used_again(gym):
    make = make_world(f"textcraft@{gym.url}")
    gym.faults["step"] = [None, "drop"]
    world = make()
    take(world, "2", WAY)
    del world
    worlds = [make(), make()]
    for world in worlds:
        take(world, "3", WAY)
    del worlds, world, make
    asked = Counter(path for path, _ in gym.requests)
    assert (asked["create"], asked["reset"]) == (3, 4)
    closed = [body["id"] for path, body in gym.requests if path == "close"]
    assert sorted(closed) == sorted(gym.environments)


def test_free_environments_that_are_gone_are_not_tried_in_turn(gym):
    make = make_world(f"textcraft@{gym.url}")
    worlds = [make() for _ in range(4)]
    for world in worlds:
        world.reset(options={"task": "0"})
    del worlds, world
    gym.environments.clear()
    assert take(make(), "4", WAY)[-1] == ("place 3.", 1.0)


def test_a_task_that_goes_another_way_the_second_time_is_told(gym):
    gym.faults["step"] = [None, "drop", "other"]
    world = world_of(gym)
    take(world, "4", ["right"])
    with pytest.raises(UserError, match=rf"{gym.url}: played again, task 4 did not go as before"):
        world.step("right")
    assert world.begun_anew == 1


# --- answers that nobody can use


GOOD = {"observation": "here.", "reward": 0, "done": False}


@pytest.mark.parametrize(
    ("path", "text", "told"),
    [
        ("create", b"{}", "field 'id'"),
        ("create", b'{"id": "7"}', "field 'id'"),
        ("create", b'{"id": true}', "field 'id'"),
        ("create", b"[]", "field 'id'"),
        ("create", b"7", "field 'id'"),
        ("create", b"null", "field 'id'"),
        ("reset", b"{}", "field 'observation'"),
        ("reset", b'"observation"', "field 'observation'"),
        ("reset", b'{"observation": null}', "field 'observation'"),
        ("reset", b'["observation"]', "field 'observation'"),
        *(
            (
                "step",
                json.dumps({k: v for k, v in GOOD.items() if k != field}).encode(),
                f"field '{field}'",
            )
            for field in GOOD
        ),
        *(
            ("step", json.dumps(GOOD | {field: value}).encode(), f"field '{field}'")
            for field, value in [
                ("observation", 3),
                ("observation", None),
                ("reward", "1"),
                ("reward", None),
                ("reward", True),
                ("reward", float("nan")),
                ("reward", float("inf")),
                ("reward", float("-inf")),
                ("reward", [1]),
                ("done", 1),
                ("done", "false"),
                ("done", None),
            ]
        ),
        ("step", b'{"observation": "here.", "reward": 1e999, "done": true}', "field 'reward'"),
        ("step", b"[" * 100_000, "without JSON"),
        ("step", b"9" * 5_000, "field 'reward'|without JSON"),
        ("step", b"\xff\xfe", "without JSON"),
        ("step", b"", "without JSON"),
        ("step", b'{"observation": "he', "without JSON"),
        ("create", b"<html><body>Welcome</body></html>", "no AgentGym server.*<html><body>Welcome"),
    ],
)
def test_an_answer_of_no_use_is_told_at_once(gym, path, text, told):
    gym.faults[path] = [(200, text)] * 9
    with pytest.raises(UserError, match=told) as error:
        take(world_of(gym), "0", WAY)
    assert gym.url in str(error.value)
    assert len(str(error.value)) < 350
    assert "\n" not in str(error.value)
    assert Counter(asked for asked, _ in gym.requests)[path] == 1, "it was asked again"


@pytest.mark.parametrize(
    ("kind", "path", "text", "told"),
    [
        ("webshop", "create", b'{"id": 3}', "usable number"),
        ("webshop", "create", b"true", "usable number"),
        ("webshop", "create", b"1.5", "usable number"),
        ("webshop", "reset", b'"task"', "field 0"),
        ("webshop", "reset", b"[]", "field 0"),
        ("webshop", "reset", b"[null, null]", "field 0"),
        ("webshop", "reset", b'{"observation": "x"}', "field 0"),
        ("webshop", "step", json.dumps(GOOD).encode(), "field 'state'"),
        ("sciworld", "reset", b'{"observation": "x"}', "field 'task_description'"),
        ("sciworld", "step", json.dumps(GOOD).encode(), "field 'score'"),
        ("alfworld", "step", json.dumps(GOOD | {"available_actions": 1}).encode(), "actions"),
    ],
)
def test_every_kind_has_fields_that_must_be_there(serve, kind, path, text, told):
    gym = serve(kind)
    gym.faults[path] = [(200, text)] * 9
    with pytest.raises(UserError, match=told):
        take(world_of(gym), "0", WAY)


@pytest.mark.parametrize(
    ("value", "score"), [(10**400, 1.0), (-(10**400), 0.0), (0.25, 0.25), (7, 1.0)]
)
def test_a_score_lies_between_0_and_1(gym, value, score):
    gym.faults["step"] = [(200, json.dumps(GOOD | {"reward": value}).encode())] * 9
    assert take(world_of(gym), "0", ["right"])[-1] == ("here.", score)


@pytest.mark.parametrize("status", [400, 404, 405, 422, 429])
def test_a_refusal_is_told_at_once_in_the_server_s_words(gym, status):
    gym.faults["step"] = [(status, b'{"detail":\n "a field is missing"}')] * 9
    with pytest.raises(UserError) as told:
        take(world_of(gym), "0", WAY)
    words = '{"detail": "a field is missing"}'
    assert str(told.value) == f"{gym.url} answered /step with status {status}: {words}"
    assert len(gym.environments) == 1


def test_a_request_of_the_wrong_form_is_refused_by_this_server(gym):
    status, _ = gym.act("reset", {"id": 0, "session_id": 1})
    assert status == 422  # so the tests above show that our requests are of the right form


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_redirects_are_not_followed(serve, status):
    elsewhere, gym = serve("textcraft"), serve("textcraft")
    gym.faults["create"] = [(status, f"{elsewhere.url}/create".encode())] * 9
    with pytest.raises(UserError, match=f"{gym.url} answered /create with status {status}"):
        world_of(gym).reset(options={"task": "0"})
    assert elsewhere.requests == []


def test_an_answer_that_is_too_large_is_told(gym, monkeypatch):
    monkeypatch.setattr(Server, "largest", 5_000)
    gym.faults["step"] = [(200, json.dumps(GOOD | {"observation": "x" * 5_000}).encode())] * 9
    with pytest.raises(UserError, match=f"{gym.url} answered /step with more than 5000 bytes"):
        take(world_of(gym), "0", WAY)


def test_of_a_large_answer_no_more_is_read_than_needed(gym):
    gym.faults["create"] = [(200, b"x" * 5_000)]
    assert agentgym.post(f"{gym.url}/create", {}, TIMEOUT, largest=100) == (200, b"x" * 101)


def test_nothing_that_listens_is_told(monkeypatch):
    monkeypatch.setattr(Server, "waits", (0.01,))
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}"
    sentence = rf"{url} gave no answer to /create: .*refused.*tried 2 times"
    with pytest.raises(UserError, match=sentence):
        make_world(f"textcraft@{url}")().reset(options={"task": "0"})


def test_a_server_that_never_answers_does_not_hang(serve):
    gym = serve("sciworld")
    gym.faults["create"] = ["slow"] * 9
    began = time.monotonic()
    with pytest.raises(UserError, match=r"/create: .*timed out.*tried 4 times"):
        world_of(gym).reset(options={"task": "0"})
    assert time.monotonic() - began < 6 * TIMEOUT


@pytest.mark.parametrize(
    ("greeting", "told"),
    [
        (b"SSH-2.0-Server\r\n" + b"x" * 999, "SSH-2.0-Server"),
        (b"y" * 9_000 + b"\n", "y" * 150),
        (b"", "closed"),
    ],
)
def test_what_is_no_web_server_is_told_on_one_line(monkeypatch, greeting, told):
    monkeypatch.setattr(Server, "waits", (0.01,))
    listener = socket.create_server(("127.0.0.1", 0))

    def greet():
        for _ in range(2):
            connection = listener.accept()[0]
            with connection:
                asked = b""
                # All of it is read: to close before that would be another fault.
                while not asked.endswith(b"{}"):
                    asked += connection.recv(10_000)
                connection.sendall(greeting)

    with listener:
        threading.Thread(target=greet, daemon=True).start()
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        with pytest.raises(UserError, match=rf"{url} gave no answer to /create: .*{told}") as error:
            make_world(f"textcraft@{url}")().reset(options={"task": "0"})
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 350


def test_proxies_are_not_used(gym, monkeypatch):
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    assert take(world_of(gym), "0", WAY)[-1] == ("place 3.", 1.0)


# --- the option


@pytest.mark.parametrize(
    "option", ["", "webshop2@http://localhost:1", "@http://localhost:1", "http://localhost:1"]
)
def test_another_kind_is_told_which_there_are(option):
    sentence = "agentgym:KIND@URL with KIND one of textcraft, sciworld, webshop, alfworld"
    with pytest.raises(UserError, match=sentence):
        make_world(option)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "localhost:1",
        "file:///etc/passwd",
        "ftp://localhost/",
        "http://",
        "http://:80",
        "http://user:secret@localhost:1",
        "http://user@localhost",
        "http://localhost:1/?a=b",
        "http://localhost:1#x",
        "http://localhost:port",
        "http://localhost:65536",
        "http://local host",
        "http://localhost\r\nX: y",
        "http://lócalhost",
    ],
)
def test_a_url_that_is_not_plain_is_told_the_form_and_not_repeated(url):
    with pytest.raises(UserError, match="http://HOST:PORT or https://HOST:PORT") as told:
        make_world(f"textcraft@{url}")
    assert "secret" not in str(told.value)


@pytest.mark.parametrize(
    "url",
    ["http://localhost", "HTTPS://a-b.example:8443", "http://[::1]:80/v1/x_y/", "http://h/~a"],
)
def test_a_plain_url_is_taken(url):
    assert make_world(f"textcraft@{url}")().server.url == url.rstrip("/")


def test_a_host_that_cannot_be_one_is_told(monkeypatch):
    monkeypatch.setattr(Server, "waits", (0.01,))
    with pytest.raises(UserError, match=r"http://a\.\.b gave no answer to /create"):
        make_world("textcraft@http://a..b")().reset(options={"task": "0"})


def test_a_slash_at_the_end_of_the_url_does_not_matter(gym):
    world = make_world(f"textcraft@{gym.url}/")()
    assert take(world, "0", WAY)[-1] == ("place 3.", 1.0)
    assert gym.requests[0][0] == "create"


# --- with the rest of the house


def walker(turns, copy, luck):
    """Right, mostly; sometimes left, a change of mind, or no action at all."""
    choices = ["right", "right", "left", "revise", "wait", ""]
    return f"Action: {choices[int(luck * 997) % len(choices)]}" if luck else "Action: right"


@pytest.mark.parametrize("kind", KINDS)
def test_an_agent_plays_searches_and_the_server_saw_every_action_once(serve, kind):
    gym = serve(kind)
    gym.faults["step"] = [None, None, "drop", None, None, None, "500 after", None, None, (503, b"")]
    make, actor = make_world(f"{kind}@{gym.url}"), ScriptedActor(walker)
    played = play(actor, make, [Start("1"), Start("2"), Start("3")], batch_size=2)
    assert [t.won for t in played] == [True] * 3
    settings = SearchSettings(simulations=4, branch=3, max_depth=6)
    sampling = Sampling(1.0)
    trees = search(actor, make, ["4", "5"], settings, sampling)
    nodes = [node for tree in trees for node in tree.root.walk() if node.step and node.done]
    assert any(node.step.score > 0.9 for node in nodes)
    for tree in trees:
        assert tree.observation.startswith(f"task {tree.task}, place 0.")
    for node in nodes:  # the tree's steps hold together: no action counted twice
        place = 0
        for step in (above.step for above in node.path()):
            place += {"left": -1, "right": 1}.get(step.action, 0)
            if step.action not in ("", "revise"):
                assert step.observation.split("\n")[0] == f"place {place}."


def test_an_episode_ends_in_the_environment_that_holds_its_actions(gym):
    gym.faults["step"] = [None, "late", None, "reset"]
    episode = Episode(world_of(gym), "44")
    for action in ("right", "wait", "revise", "right", "right"):
        episode.act(f"Thought: on.\nAction: {action}")
    assert episode.done
    assert episode.trajectory.score == 1.0
    assert played_in(gym, episode.world) == ["right", "wait", "right", "right"]


# --- the command line


def told_by(capsys, tmp_path, *arguments):
    """The sentence with which the command refuses, having written nothing."""
    settings = (
        "--iterations 0 --warmup-steps 1 --warmup-tasks 2 --eval-tasks 2 --width 8 --layers 1"
        " --device cpu"
    )
    out = tmp_path / "out"
    status = train.main([*settings.split(), *arguments, "--out", str(out)])
    told = capsys.readouterr().err.strip()
    assert status == 2
    assert not out.exists()
    assert "\n" not in told
    return told


def test_training_from_nothing_is_refused_as_there_is_no_expert(gym, capsys, tmp_path):
    told = told_by(capsys, tmp_path, "--tiny", "--env", f"agentgym:textcraft@{gym.url}")
    assert told.startswith(f"train.py: agentgym:textcraft@{gym.url} has no expert")
    assert "--model" in told
    assert gym.requests == []


@pytest.mark.parametrize(
    "env", ["agentgym:", "agentgym:webarena@http://localhost:1", "agentgym:webshop"]
)
def test_an_option_of_the_wrong_form_is_told(capsys, tmp_path, env):
    assert "agentgym" in (told := told_by(capsys, tmp_path, "--tiny", "--env", env))
    assert "KIND@URL" in told or "http://HOST:PORT" in told


def test_a_server_that_is_not_there_is_told_by_its_url(capsys, tmp_path, monkeypatch):
    monkeypatch.setattr(Server, "waits", (0.01,))
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}"
    monkeypatch.setattr(train.Actor, "load", lambda *_: tiny_actor())
    settings = ["--iterations", "0", "--eval-tasks", "2", "--model", "there"]
    out = str(tmp_path / "out")
    assert train.main(["--env", f"agentgym:textcraft@{url}", *settings, "--out", out]) == 2
    told = capsys.readouterr().err.strip().split("\n")[-1]
    assert told.startswith(f"train.py: {url} gave no answer to /create")
