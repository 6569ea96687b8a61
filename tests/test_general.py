"""General data: dialogues of a file, lessons for a model that is brought, and their shares."""

import json
import math
import random
from collections import Counter

import pytest
from brought import QUICK, Run, stranger
from families import BYTES

import train
from agent_r import Actor
from engine import UserError
from engine.learning import learned_shares
from general.dialogues import read_dialogues
from train import Config, Encoded, Mix, Source, check, draw_batches, general_data


def line(*turns, form="messages", **more):
    """A line of a file: texts, the user's first, in one of the two forms."""
    who, what = {"messages": ("role", "content"), "conversations": ("from", "value")}[form]
    names = {"messages": ("user", "assistant"), "conversations": ("human", "gpt")}[form]
    record = [{who: names[i % 2], what: text} for i, text in enumerate(turns)]
    return json.dumps({form: record, **more})


def file_of(folder, *lines):
    path = folder / "general.jsonl"
    path.write_bytes(
        b"\n".join(text if isinstance(text, bytes) else text.encode() for text in lines)
    )
    return path


CHAT = ("what is red?", "a cup is red.", "and blue?", "a lamp.")
READ = [
    {"role": "user", "content": CHAT[0]},
    {"role": "assistant", "content": CHAT[1], "loss": True},
    {"role": "user", "content": CHAT[2]},
    {"role": "assistant", "content": CHAT[3], "loss": True},
]


# --- the file


@pytest.mark.parametrize("form", ["messages", "conversations"])
def test_both_forms_are_read_and_what_the_assistant_says_is_learned(tmp_path, form):
    path = file_of(tmp_path, line(*CHAT, form=form, id="7"), "", line(*CHAT[:2], form=form), "  ")
    assert read_dialogues(path) == [READ, READ[:2]]


def test_a_system_turn_is_joined_to_the_first_of_the_users(tmp_path):
    first = {"role": "system", "content": "be short."}
    turns = [{"role": message["role"], "content": message["content"]} for message in READ]
    path = file_of(tmp_path, json.dumps({"messages": [first, *turns]}))
    (dialogue,) = read_dialogues(path)
    assert dialogue[0] == {"role": "user", "content": f"be short.\n\n{CHAT[0]}"}
    assert dialogue[1:] == READ[1:]
    share = [{"from": "system", "value": "be short."}, {"from": "human", "value": CHAT[0]}]
    share.append({"from": "gpt", "value": CHAT[1]})
    path = file_of(tmp_path, json.dumps({"conversations": share}))
    assert read_dialogues(path) == [[dialogue[0], READ[1]]]


def test_a_last_turn_of_the_user_that_nobody_answers_is_left_out(tmp_path):
    assert read_dialogues(file_of(tmp_path, line(*CHAT, "and green?"))) == [READ]


def test_a_turn_with_a_false_loss_is_not_learned_as_in_a_runs_own_data(tmp_path):
    turns = [dict(message) for message in READ]
    turns[1]["loss"] = False
    (dialogue,) = read_dialogues(file_of(tmp_path, json.dumps({"messages": turns})))
    assert dialogue == turns


def test_windows_line_ends_a_mark_at_the_start_and_any_letter_are_read(tmp_path):
    text = "\u00fc \u2028 \U0001f600"
    lines = [json.dumps({"messages": [{"role": "user", "content": text}]}, ensure_ascii=False)]
    record = json.loads(lines[0])
    record["messages"].append({"role": "assistant", "content": text})
    whole = json.dumps(record, ensure_ascii=False).encode()
    path = file_of(tmp_path, b"\xef\xbb\xbf" + whole + b"\r", whole + b"\r", b"")
    for dialogue in read_dialogues(path):
        assert [message["content"] for message in dialogue] == [text, text]


def turns(*pairs):
    return json.dumps({"messages": [{"role": role, "content": text} for role, text in pairs]})


BROKEN = {
    "no json": ("{", "no JSON"),
    "no text": (b'{"messages": "\xff"}', "no JSON"),
    "deep": ("[" * 100_000, "no JSON"),
    "a list": (f"[{line(*CHAT)}]", "must be a JSON object with messages or conversations"),
    "a number": ("7", "must be a JSON object"),
    "neither": ('{"text": "hello"}', "must be a JSON object with messages or conversations"),
    "no list": ('{"messages": "hello"}', "messages must be a list"),
    "null": ('{"conversations": null}', "conversations must be a list"),
    "empty": ('{"messages": []}', "no turn of the assistant's"),
    "text for a turn": ('{"messages": ["hello"]}', "turn 1 must have a field 'role'"),
    "no role": ('{"messages": [{"content": "a"}]}', "turn 1 must have a field 'role'"),
    "other role": (turns(("user", "a"), ("tool", "b")), "turn 2 must have a field 'role'"),
    "role of a list": ('{"messages": [{"role": ["user"], "content": "a"}]}', "turn 1 must have"),
    "other form": (
        '{"conversations": [{"role": "user", "content": "a"}]}',
        "turn 1 must have a field 'from'",
    ),
    "no content": ('{"messages": [{"role": "user"}]}', "turn 1 must have a text as its field"),
    "parts": ('{"messages": [{"role": "user", "content": [{"text": "a"}]}]}', "must have a text"),
    "assistant first": (turns(("assistant", "a"), ("user", "b")), "turn 1 is the assistant's"),
    "twice the user": (turns(("user", "a"), ("user", "b")), "turn 2 is the user's"),
    "twice the assistant": (
        turns(("user", "a"), ("assistant", "b"), ("assistant", "c")),
        "turn 3 is the assistant's",
    ),
    "system in the middle": (turns(("user", "a"), ("system", "b")), "turn 2 is the system's"),
    "user alone": (turns(("user", "a")), "no turn of the assistant's"),
    "system alone": (turns(("system", "a")), "no turn of the assistant's"),
    "says nothing": (turns(("user", "a"), ("assistant", " \n")), "turn 2 is empty"),
    "half a letter": (turns(("user", "\ud83d"), ("assistant", "b")), "turn 1 holds half"),
    "loss": (
        '{"messages": [{"role": "user", "content": "a"},'
        ' {"role": "assistant", "content": "b", "loss": "yes"}]}',
        "turn 2 has a `loss`",
    ),
}


@pytest.mark.parametrize("problem", BROKEN)
def test_a_broken_line_is_refused_by_its_number(tmp_path, problem):
    content, part = BROKEN[problem]
    path = file_of(tmp_path, line(*CHAT), "", content, line(*CHAT))
    with pytest.raises(UserError) as refusal:
        read_dialogues(path)
    told = str(refusal.value)
    assert told.startswith(f"--general {path}, line 3: ")
    assert part in told
    assert "\n" not in told


@pytest.mark.parametrize("kind", ["missing", "folder", "empty", "blank"])
def test_a_file_without_dialogues_is_refused_by_its_name(tmp_path, kind):
    path = tmp_path / "general.jsonl"
    if kind == "folder":
        path.mkdir()
    elif kind != "missing":
        path.write_text("" if kind == "empty" else "\n \n")
    with pytest.raises(UserError, match=r"--general .*general.jsonl"):
        read_dialogues(path)


# --- the sources


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return stranger(tmp_path_factory.mktemp("stranger") / "model")


@pytest.fixture(scope="module")
def chats(tmp_path_factory):
    rng = random.Random(0)
    words = ["the", "cup", "is", "red", "lamp", "blue", "and", "a", "room"]
    lines = []
    for _ in range(12):
        said = [" ".join(rng.choices(words, k=rng.randint(3, 9))) for _ in range(4)]
        lines.append(line(*said))
    return file_of(tmp_path_factory.mktemp("chats"), *lines)


def sources_of(folder, **flags):
    config = Config(model=str(folder), **flags)
    check(config)
    worlds = {"lab": train.make_world("lab")}
    return general_data(config, Actor.load(folder), worlds)


def test_without_a_file_or_a_warm_up_there_is_no_general_data(folder):
    assert not any(source.examples for source in sources_of(folder))


def test_a_file_alone_is_all_general_data(folder, chats):
    (*lessons, dialogues) = sources_of(folder, general=str(chats))
    assert not any(source.examples for source in lessons)
    assert (dialogues.share, dialogues.kind, dialogues.left_out) == (1.0, "general", 0)
    actor = Actor.load(folder)
    expected = [actor.format.encode(messages) for messages in read_dialogues(chats)]
    assert [(example.ids, example.labels) for example in dialogues.examples] == expected
    text = BYTES.decode([label for label in dialogues.examples[0].labels if label != -100])
    said = [message["content"] for message in read_dialogues(chats)[0][1::2]]
    assert text == "".join(f"{words}<|im_end|>" for words in said)


def test_lessons_alone_are_shared_as_a_tiny_models(folder):
    shown, judged = sources_of(folder, warmup_steps=1, warmup_tasks=3, judge_share=0.25)
    assert (len(shown.examples), len(judged.examples)) == (3, 3)
    assert (shown.share, judged.share) == (0.75, 0.25)


def test_a_file_and_lessons_have_half_each(folder, chats):
    flags = {"warmup_steps": 1, "warmup_tasks": 3, "judge_share": 0.25, "general": str(chats)}
    shown, judged, dialogues = sources_of(folder, **flags)
    assert (shown.share, judged.share, dialogues.share) == (0.375, 0.125, 0.5)
    assert len(shown.examples) == len(judged.examples) == 3
    assert len(dialogues.examples) == 12


def test_dialogues_that_are_too_long_are_left_out_and_counted(tmp_path, chats, capsys):
    small = stranger(tmp_path / "small", positions=600)
    path = file_of(tmp_path, line("a", "b " * 700), chats.read_bytes(), line("c " * 700, "d"))
    run = Run(tmp_path / "run", small, "--general", path, "--steps", 30)
    assert "General data: 2 dialogues left out" in capsys.readouterr().out
    assert run.rows[1]["learned_general"] > 0


def test_where_no_dialogue_fits_the_run_does_not_begin(tmp_path, capsys):
    small = stranger(tmp_path / "small", positions=600)
    path = file_of(tmp_path, line("a", "b " * 700))
    arguments = [*QUICK, "--model", str(small), "--general", str(path)]
    assert train.main([*arguments, "--out", str(tmp_path / "out")]) == 2
    assert "longer than the model's context of 600 tokens" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


# --- flags


def test_a_model_that_is_brought_has_the_papers_eta_where_there_is_general_data():
    plain = train.parse(["--model", "m"])
    assert (plain.eta, plain.warmup_steps, plain.lessons) == (1.0, 0, 0)
    for flags in (["--general", "f"], ["--warmup-steps", "5"]):
        config = train.parse(["--model", "m", *flags])
        assert (config.eta, config.warmup_lr) == (0.2, 2e-5)
        assert train.parse(["--model", "m", *flags, "--eta", "0.9"]).eta == 0.9
    assert train.parse(["--model", "m", "--warmup-steps", "5"]).lessons == 4000
    beside = train.parse(["--tiny", "--model", "m"])
    assert (beside.eta, beside.warmup_steps, beside.lessons) == (1.0, 0, 0)
    assert beside.lr == train.TINY["lr"], "the sizes are those of --tiny"


@pytest.mark.parametrize(
    ("flags", "part"),
    [
        ({"model": "m", "eta": 0.5}, "--eta 0.5: there is no general data"),
        ({"model": "m", "eta": 0.0}, "--eta 0.0: there is no general data"),
        ({"model": "m", "method": "bc"}, "--method bc "),
        ({"general": "f"}, "--general and --thoughts are for a model named by --model"),
        ({"model": "m", "warmed": "w"}, "--warmed need the warm-up data"),
    ],
)
def test_what_has_no_general_data_to_go_with_is_refused(flags, part):
    with pytest.raises(UserError, match=part):
        check(Config(**flags))


@pytest.mark.parametrize(
    "flags",
    [
        {"model": "m", "eta": 1},
        {"model": "m", "eta": 0.5, "general": "f"},
        {"model": "m", "eta": 0.5, "warmup_steps": 3},
        {"model": "m", "method": "bc", "general": "f"},
        {"model": "m", "method": "bc", "warmup_steps": 3},
        {"model": "m", "method": "eto"},
        {"model": "m", "method": "optimal"},
        {"model": "m", "method": "direct-revision"},
    ],
)
def test_what_has_is_not(flags):
    check(Config(**flags))


@pytest.mark.parametrize("flag", ["--general", "--eta"])
def test_they_are_told_in_one_sentence_and_nothing_is_written(folder, tmp_path, flag, capsys):
    value = {"--general": str(tmp_path / "missing"), "--eta": "0.5"}[flag]
    arguments = [*QUICK, "--model", str(folder), flag, value, "--out", str(tmp_path / "out")]
    assert train.main(arguments) == 2
    told = capsys.readouterr().err.strip()
    assert told.startswith(f"train.py: {flag} {value}")
    assert "\n" not in told
    assert not (tmp_path / "out").exists()


# --- runs


@pytest.fixture(scope="module")
def runs(folder, chats, tmp_path_factory):
    base = tmp_path_factory.mktemp("runs")
    flags = {"0.2": 0.2, "0.9": 0.9, "1": 1}
    return {
        name: Run(base / name, folder, "--general", chats, "--eta", eta, "--steps", 30)
        for name, eta in flags.items()
    }


def test_eta_decides_how_much_is_learned_of_the_general_data(runs):
    assert len({run.weights(1) for run in runs.values()}) == 3
    assert len({run.weights(0) for run in runs.values()}) == 1
    rows = {name: run.rows[1] for name, run in runs.items()}
    for name, row in rows.items():
        assert row["eta"] == float(name)
        parts = [row["learned_general"], row["learned_revision"], row["learned_good"]]
        assert math.fsum(parts) == pytest.approx(1)
    shares = [rows[name]["learned_general"] for name in ("0.2", "0.9", "1")]
    assert shares[0] > shares[1] >= shares[2] == 0
    for run in runs.values():
        row = run.rows[0]
        assert row["learned_general"] is row["learned_revision"] is row["learned_good"] is None


def test_the_shares_are_those_of_the_tokens_that_were_trained_on():
    rng = random.Random(1)
    sources = []
    origin = {}
    for kind, mark in (("general", 1), ("revision", 2), ("good", 3)):
        examples = []
        for _ in range(9):
            length = rng.randint(2, 12)
            labels = [rng.choice((-100, mark)) for _ in range(length)]
            examples.append(Encoded([mark] * length, labels))
        sources.append(Source(examples, 0.2 * mark, kind))
        origin[mark] = kind
    mix = Mix(sources, rng)
    tally = Counter()
    for batch in draw_batches(mix, 25, 60, 30):
        for micro_batch in batch:
            for example in micro_batch:
                tally[origin[example.ids[0]]] += sum(label > 0 for label in example.labels[1:])
        assert mix.learned == tally, "nothing that is drawn but not trained on counts"
    shares = learned_shares(mix.learned, ["general", "revision", "good"])
    for kind, count in tally.items():
        assert shares[f"learned_{kind}"] == pytest.approx(count / tally.total())


def test_bc_learns_from_general_data_alone_whatever_eta_is(folder, chats, tmp_path):
    runs = []
    for eta in ("0.2", "1"):
        flags = ["--method", "bc", "--general", chats, "--eta", eta]
        runs.append(Run(tmp_path / eta, folder, *flags))
    for run in runs:
        assert run.rows[1]["trained_tokens"] > 0
        assert run.rows[1]["learned_general"] == 1
        assert not run.data(1)
    assert runs[0].weights(1) == runs[1].weights(1)


def test_eto_of_a_model_that_is_brought_needs_no_general_data(folder, tmp_path):
    run = Run(tmp_path / "eto", folder, "--method", "eto")
    assert run.rows[1]["learned_general"] is None


def test_a_model_is_warmed_up_where_steps_ask_for_it_and_only_once(folder, tmp_path, capsys):
    warm = Run(tmp_path / "warm", folder, "--warmup-steps", 3)
    plain = Run(tmp_path / "plain", folder)
    assert [run.rows[0]["trained_tokens"] > 0 for run in (warm, plain)] == [True, False]
    assert warm.rows[0]["learned_general"] == 1
    assert warm.rows[1]["learned_general"] > 0, "its lessons are general data"
    assert plain.rows[1]["learned_general"] == 0
    assert warm.weights(0) != plain.weights(0)
    capsys.readouterr()
    after = Run(tmp_path / "after", warm.model(0), "--warmup-steps", 3)
    assert "No warm-up: the model was taught here already" in capsys.readouterr().out
    assert after.rows[0]["trained_tokens"] == 0
    assert after.weights(0) == warm.weights(0)
    assert after.data(1) == warm.data(1)
    assert after.weights(1) == warm.weights(1), "the same as without a stop in between"
    untaught = Run(tmp_path / "untaught", plain.model(0), "--warmup-steps", 3)
    assert untaught.weights(0) == warm.weights(0), "saved here, but not taught: it is warmed up"


def test_a_world_without_an_expert_cannot_warm_up_a_model(folder, tmp_path, capsys):
    arguments = [*QUICK, "--model", str(folder), "--warmup-steps", "3"]
    arguments += ["--env", "test_command_line:NoExpert", "--out", str(tmp_path / "out")]
    assert train.main(arguments) == 2
    told = capsys.readouterr().err
    assert "has no expert to warm a model up with; leave out --warmup-steps" in told


def test_an_expert_that_does_not_think_cannot_teach_to(folder, tmp_path, capsys):
    arguments = [*QUICK, "--model", str(folder), "--warmup-steps", "3", "--thoughts", "yes"]
    assert train.main([*arguments, "--out", str(tmp_path / "out")]) == 2
    assert "--thoughts yes: the expert of brought:ShortLab thinks nothing" in (
        capsys.readouterr().err
    )
