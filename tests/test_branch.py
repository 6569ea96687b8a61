"""A run that shares the search of another: the same as if it had made everything itself."""

import json
import shutil

import pytest

import train
from extras import branch

QUICK = (
    *("--tiny", "--env", "course.handmade:Street", "--iterations", "1", "--tasks", "12"),
    *("--simulations", "4", "--branch", "2", "--steps", "3", "--warmup-steps", "6"),
    *("--warmup-tasks", "16", "--eval-tasks", "4", "--width", "8", "--layers", "1"),
    *("--batch-size", "256", "--micro-batch", "256", "--max-new-tokens", "6", "--device", "cpu"),
)


@pytest.fixture(scope="module")
def searched(tmp_path_factory):
    """A finished run of Agent-R."""
    out = tmp_path_factory.mktemp("branch") / "run"
    assert train.main([*QUICK, "--anew", "--out", str(out)]) == 0
    return out


def tell(capsys, *arguments):
    """The status of the command, what it prints, and what it tells."""
    status = branch.main([*map(str, arguments)])
    said = capsys.readouterr()
    return status, said.out.strip(), said.err.strip()


def left(out):
    """What a run leaves, without times and its own name."""
    files = {}
    for path in sorted(out.rglob("*")):
        if path.suffix in (".jsonl", ".safetensors") and path.name != "general.jsonl":
            files[str(path.relative_to(out))] = path.read_bytes()
    rows = [json.loads(line) for line in files.pop("results.jsonl").splitlines()]
    return files, [row | {"seconds": 0} for row in rows]


OTHERS = (
    ["--method", "optimal", "--steps", "4"],
    ["--method", "eto", "--alpha", "0.5", "--beta", "0.1", "--dpo-epochs", "1"],
    ["--method", "bc", "--eta", "0.3"],
    ["--critic", "end", "--splice", "paper", "--eta", "0.5", "--iterations", "2"],
)


@pytest.mark.parametrize("flags", OTHERS, ids=" ".join)
def test_what_goes_on_from_a_shared_search_is_what_a_run_of_its_own_leaves(
    tmp_path, searched, capsys, flags
):
    status, command, told = tell(capsys, searched, tmp_path / "shared", *flags)
    assert (status, told) == (0, "")
    words = command.split()
    assert words[:2] == ["python", "train.py"]
    assert "--anew" not in words, "it would remove what was taken over"
    assert train.main(words[2:]) == 0
    stage = "training" if "bc" in flags else "judging and splicing"
    assert f"goes on with the {stage} of iteration 1" in capsys.readouterr().out
    assert train.main([*QUICK, *flags, "--out", str(tmp_path / "own")]) == 0
    assert left(tmp_path / "shared") == left(tmp_path / "own")


@pytest.mark.parametrize(
    ("flags", "sentence"),
    [
        (["--seed", "3"], "--seed: has a part in warm-up or search"),
        (["--c-uct", "1"], "--c-uct: has a part"),
        (["--eta", "7"], "--eta 7.0: must be a number from 0 to 1"),
        (["--method", "sft"], "--method sft: must be one of"),
    ],
)
def test_what_cannot_be_shared_is_refused_before_anything_is_written(
    tmp_path, searched, capsys, flags, sentence
):
    status, _, told = tell(capsys, searched, tmp_path / "new", *flags)
    assert status == 2
    assert told.startswith(f"{branch.PROGRAM}: {sentence}")
    assert not (tmp_path / "new").exists()


def test_a_run_that_has_not_searched_and_a_folder_in_use_are_refused(tmp_path, searched, capsys):
    _, _, told = tell(capsys, tmp_path, tmp_path / "new")
    assert str(tmp_path / "config.json") in told
    _, _, told = tell(capsys, searched, searched)
    assert str(searched) in told
    damaged = tmp_path / "damaged"
    shutil.copytree(searched, damaged)
    (damaged / "run.json").write_text("{}\n")
    _, _, told = tell(capsys, damaged, tmp_path / "new")
    assert "run.json: is not as the run left it" in told
    config = json.loads((damaged / "config.json").read_text())
    (damaged / "config.json").write_text(json.dumps({**config, "width_of_all": 3}) + "\n")
    _, _, told = tell(capsys, damaged, tmp_path / "new")
    assert "config.json: names other flags" in told
    assert not (tmp_path / "new").exists()
    (damaged / "config.json").write_text(json.dumps(config) + "\n")
    (damaged / "results.jsonl").unlink()
    _, _, told = tell(capsys, damaged, tmp_path / "new", "--method", "bc")
    assert "results.jsonl: is not there any more" in told
    (damaged / "digests.json").unlink()  # as of a run that has not come to it
    _, _, told = tell(capsys, damaged, tmp_path / "new", "--method", "bc")
    assert "its first evaluation is not over" in told
    assert not (tmp_path / "new").exists()
    shutil.copy(searched / "run.json", damaged)
    (damaged / "results.jsonl").write_text("5\n")
    _, _, told = tell(capsys, damaged, tmp_path / "new", "--method", "bc")
    assert "results.jsonl: is not as the run left it; put it back" in told
    assert not (tmp_path / "new").exists()
    shutil.copytree(searched, tmp_path / "cut")
    (tmp_path / "cut" / "iteration-1" / "trees.jsonl").write_text("")
    _, _, told = tell(capsys, tmp_path / "cut", tmp_path / "new", "--method", "optimal")
    assert "trees.jsonl: is not as the run left it" in told
    (tmp_path / "cut" / "iteration-1" / "trees.jsonl").unlink()
    (tmp_path / "cut" / "general.jsonl").unlink()
    (tmp_path / "cut" / "digests.json").unlink()
    shutil.rmtree(tmp_path / "cut" / "iteration-0")
    status, _, told = tell(capsys, tmp_path / "cut", tmp_path / "new", "--method", "bc")
    assert status == 2
    assert "iteration-0: there is no such file or folder" in told
    assert not (tmp_path / "new").exists()
    assert not (tmp_path / "new.part").exists()
    young = tmp_path / "young"
    assert train.main([*QUICK, "--iterations", "0", "--out", str(young)]) == 0
    capsys.readouterr()
    status, _, told = tell(capsys, young, tmp_path / "new", "--iterations", "1")
    assert status == 2
    assert "its first search is not over" in told
