"""Models on disk: what is saved comes back, what cannot be used is told, nothing is half-there."""

import json

import pytest
import torch
from doubles import tiny_actor
from families import DIALOGUE, FAMILIES, family
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedConfig

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


def spoil_tokenizer(**change):
    def spoil(folder):
        config = json.loads((folder / "tokenizer_config.json").read_text())
        (folder / "tokenizer_config.json").write_text(json.dumps({**config, **change}))

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
    "a run's folder": (write("run.json", b"{}"), "a run's folder, not a model's; name a model in"),
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


def as_an_adapter(folder):
    (folder / "adapter_config.json").write_text("{}")
    (folder / "config.json").unlink()
    (folder / "model.safetensors").rename(folder / "adapter_model.safetensors")


def change_weights(change):
    def spoil(folder):
        weights = load_file(folder / "model.safetensors")
        change(weights)
        save_file(weights, folder / "model.safetensors", {"format": "pt"})

    return spoil


def without_head(folder):
    """A folder as `LlamaModel.save_pretrained` leaves it, whose head is not the embedding."""
    spoil_config(tie_word_embeddings=False)(folder)


def without_half_of_the_file(folder):
    content = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(content[: len(content) // 2])


def with_a_token_more(special):
    def spoil(folder):
        tokenizer = AutoTokenizer.from_pretrained(folder)
        tokenizer.add_tokens(["<late>"], special_tokens=special)
        tokenizer.save_pretrained(folder)

    return spoil


SPOILT |= {
    "an adapter": (as_an_adapter, "adapter such as LoRA's, not a whole model"),
    "no head": (without_head, "lacks 1 of its weights, such as lm_head.weight"),
    "a layer lacks": (
        change_weights(lambda weights: weights.pop("model.layers.1.mlp.up_proj.weight")),
        "lacks 1 of its weights, such as model.layers.1.mlp.up_proj.weight",
    ),
    "half of the file": (without_half_of_the_file, "cannot be loaded"),
    "no numbers": (
        change_weights(lambda weights: weights["model.norm.weight"].fill_(torch.nan)),
        "no finite numbers",
    ),
    "a token more": (with_a_token_more(special=False), "none for token .* <late>"),
    "a special token more": (with_a_token_more(special=True), "none for token .* <late>"),
    "quantized": (
        spoil_config(quantization_config={"quant_method": "bitsandbytes", "load_in_4bit": True}),
        "is quantized",
    ),
    "encoder": (spoil_config(model_type="t5"), "cannot be loaded"),
    "dropout of two": (spoil_config(attention_dropout=2), "attention_dropout 2, and a share is at"),
    "a length that is none": (spoil_tokenizer(model_max_length="x"), "model_max_length is 'x'"),
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


@pytest.mark.parametrize("content", [b"", b"version https://git-lfs.github.com/spec/v1"])
def test_what_lies_beside_a_model_s_own_weights_is_not_looked_at(content, saved, tmp_path):
    for name, own in saved.items():
        (tmp_path / name).write_bytes(own)
    (tmp_path / "consolidated.safetensors").write_bytes(content)
    whole = Actor.load(tmp_path).model.state_dict()
    Actor.load(tmp_path).model.save_pretrained(tmp_path / "parts", max_shard_size="8KB")
    for path in (tmp_path / "parts").iterdir():
        path.rename(tmp_path / path.name)
    (tmp_path / "model.safetensors").unlink()
    assert len(loading.files_of_weights(tmp_path)) > 1
    for name, weight in Actor.load(tmp_path).model.state_dict().items():
        assert torch.equal(weight, whole[name])


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
    assert ("a file, not a folder" in str(caught.value)) == (kind == "file")


@pytest.mark.parametrize("dtype", [torch.int8, torch.uint8, torch.float8_e4m3fn])
def test_weights_that_stay_packed_are_refused(dtype, tmp_path):
    layer = torch.nn.Linear(2, 2)
    layer.weight = torch.nn.Parameter(layer.weight.to(dtype), requires_grad=False)
    with pytest.raises(UserError, match="is quantized, and packed weights cannot be trained"):
        loading.check_weights(tmp_path, layer, [])


def test_tokens_of_pictures_may_have_no_row_since_no_text_holds_them(tmp_path):
    """As in Gemma 3's smallest, whose tokenizer is that of its larger sisters."""
    actor = tiny_actor()
    actor.tokenizer.add_tokens(["<image_soft_token>"], special_tokens=True)
    actor.save(tmp_path / "model")
    assert Actor.load(tmp_path / "model").model.config.vocab_size == len(actor.tokenizer) - 1


def test_weights_are_float32_whatever_they_were_saved_in(tmp_path):
    actor = tiny_actor()
    actor.model.to(torch.bfloat16)
    actor.save(tmp_path / "model")
    for dtype in ("float32", "bfloat16"):
        back = Actor.load(tmp_path / "model", dtype=dtype)
        assert {weight.dtype for weight in back.model.parameters()} == {torch.float32}


def test_weights_that_the_loader_unpacks_to_sixteen_bits_are_float32_too(tmp_path, monkeypatch):
    tiny_actor().save(tmp_path / "model")
    whole = AutoModelForCausalLM.from_pretrained

    def unpacked(folder, dtype, **named):
        return whole(folder, dtype=torch.bfloat16, **named)

    monkeypatch.setattr(loading.AutoModelForCausalLM, "from_pretrained", unpacked)
    model, _ = loading.load(tmp_path / "model", "cpu")
    assert model.dtype == torch.float32


ROPES = {
    "llama3": ({"rope_type": "llama3", "original_max_position_embeddings": 100}, 400),
    "longrope": ({"rope_type": "longrope", "original_max_position_embeddings": 100}, 100),
    "by layer": (
        {
            "sliding_attention": {"rope_type": "default"},
            "full_attention": {"rope_type": "dynamic", "original_max_position_embeddings": 50},
        },
        50,
    ),
    "none": (None, 400),
}


@pytest.mark.parametrize("name", ROPES)
def test_a_context_ends_where_positions_would_be_turned_otherwise(name):
    parameters, length = ROPES[name]
    config = PreTrainedConfig()
    config.max_position_embeddings = 400
    config.rope_parameters = parameters
    assert loading.context_length(config) == length


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
