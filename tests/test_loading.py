"""Models on disk: what is saved comes back, what cannot be used is told, nothing is half-there."""

import json

import pytest
import torch
from doubles import tiny_actor
from families import DIALOGUE, FAMILIES, family
from safetensors import SafetensorError
from transformers import AutoModelForCausalLM, AutoTokenizer

from agent_r import Actor
from engine import UserError, loading


@pytest.mark.parametrize("name", FAMILIES)
def test_an_actor_comes_back_from_disk_and_says_the_same(name, tmp_path):
    actor = family(name)
    actor.save(tmp_path / "model")
    back = Actor.load(tmp_path / "model", max_new_tokens=actor.max_new_tokens)
    assert not back.model.training
    texts = ["hall: nothing, no cup.", "garden: cup."]
    openings = [actor.format.opening(text) for text in texts]
    assert [back.format.opening(text) for text in texts] == openings
    assert back.start(openings).replies() == actor.start(openings).replies()
    assert back.format.end == actor.format.end
    assert back.max_length == actor.max_length


@pytest.mark.parametrize("name", FAMILIES)
def test_what_is_saved_is_an_ordinary_checkpoint_without_pickles(name, tmp_path):
    actor = family(name)
    actor.save(tmp_path / "model")
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "model")
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "model")
    head = actor.model.get_output_embeddings().weight
    assert torch.equal(model.get_output_embeddings().weight, head)
    rendering = actor.tokenizer.apply_chat_template(DIALOGUE, tokenize=False)
    assert tokenizer.apply_chat_template(DIALOGUE, tokenize=False) == rendering
    assert not list(tmp_path.rglob("*.bin")), "a checkpoint holds no pickles"
    assert [path.name for path in tmp_path.iterdir()] == ["model"], "nothing else lies beside it"


def test_a_checkpoint_that_cannot_be_finished_does_not_appear_and_the_next_one_does(
    tmp_path, monkeypatch
):
    actor = tiny_actor()

    def full(folder):
        folder.mkdir()
        (folder / "model.safetensors").write_bytes(b"half")
        raise SafetensorError("no space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(actor.model, "save_pretrained", full)
        with pytest.raises(OSError, match="no space left on device"):
            loading.save(actor.model, actor.tokenizer, tmp_path / "model")
    assert not (tmp_path / "model").exists()
    loading.save(actor.model, actor.tokenizer, tmp_path / "model")
    assert Actor.load(tmp_path / "model").format.end == actor.format.end
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def spoil_config(**change):
    def spoil(folder):
        config = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps({**config, **change}))

    return spoil


def remove(*names):
    def spoil(folder):
        for path in folder.iterdir():
            if path.name in names:
                path.unlink()

    return spoil


def write(name, content):
    def spoil(folder):
        (folder / name).write_bytes(content)

    return spoil


SPOILT = {
    "no config": (remove("config.json"), "no config.json"),
    "empty config": (write("config.json", b"{}"), "cannot be loaded"),
    "broken config": (write("config.json", b"{broken"), "cannot be loaded"),
    "unknown family": (spoil_config(model_type="nonsense"), "cannot be loaded"),
    "not a language model": (spoil_config(model_type="vit"), "cannot be loaded"),
    "other sizes": (spoil_config(hidden_size=32), "cannot be loaded"),
    "no weights": (remove("model.safetensors"), "cannot be loaded"),
    "spoilt weights": (write("model.safetensors", b"12345678 no"), "cannot be loaded"),
    "no tokenizer": (remove("tokenizer.json", "tokenizer_config.json"), "cannot be loaded"),
    "broken tokenizer": (write("tokenizer.json", b"{broken"), "cannot be loaded"),
    "no template": (remove("chat_template.jinja"), "no chat template"),
    "broken template": (write("chat_template.jinja", b"{% if"), "chat template"),
}


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    folder = tmp_path_factory.mktemp("saved")
    tiny_actor().save(folder / "model")
    return {path.name: path.read_bytes() for path in (folder / "model").iterdir()}


@pytest.mark.parametrize("problem", SPOILT)
def test_a_model_folder_that_cannot_be_used_is_told_in_one_sentence(problem, saved, tmp_path):
    for name, content in saved.items():
        (tmp_path / name).write_bytes(content)
    spoil, part = SPOILT[problem]
    spoil(tmp_path)
    with pytest.raises(UserError, match=part) as caught:
        Actor.load(tmp_path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("kind", ["missing", "empty", "file"])
def test_a_path_that_is_no_model_folder_is_named(kind, tmp_path):
    path = tmp_path / "model"
    if kind == "empty":
        path.mkdir()
    elif kind == "file":
        path.write_text("not a folder")
    with pytest.raises(UserError, match="name one that holds a saved model") as caught:
        Actor.load(path)
    assert str(path) in str(caught.value)


def test_auto_takes_a_device_that_is_there_and_another_is_refused_by_its_flag(monkeypatch):
    assert loading.pick_device("cpu") == "cpu"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    assert loading.pick_device("auto") == "cpu"
    with pytest.raises(UserError, match="--device cuda: this machine has none"):
        loading.pick_device("cuda")
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    assert loading.pick_device("auto") == "mps"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert loading.pick_device("auto") == "cuda"
