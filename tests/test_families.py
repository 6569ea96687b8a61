"""Any family of models: masks that count tokens, and a trial that refuses who does not act exactly.

All families are tried by `python -m tests.zoo`; here are some, and the page that it writes.
"""

import contextlib
import random
from dataclasses import replace

import pytest
import torch
import zoo
from transformers import masking_utils
from transformers.integrations import sdpa_attention

import train
from engine import dialogues, exactness, loading
from engine.masks import by_tokens, closed_up, heads_share, masks_by_tokens

BY_NAME = {family.name: family for family in zoo.FAMILIES}

# --- the page, and some of its lines


def test_the_page_has_a_line_for_every_family_and_none_is_wrong():
    lines = zoo.rows_of(zoo.PAGE.read_text(encoding="utf-8"))
    names = [line.split(" | ")[0].removeprefix("| ") for line in lines]
    assert names == list(BY_NAME)
    assert {line.split(" | ")[2] for line in lines} == {"exact", "refused"}


SOME = [
    "Mistral 0.1",  # every layer has a window
    "Gemma 3, text",  # some have, others see all
    "gpt-oss",  # with sinks, which only eager attention knows
    "Llama 4, text, without its tuned temperature",  # chunks
    "DeepSeek-V3 and R1",  # keys and values of different width
    "Falcon-RW, with alibi",  # which counts tokens
    "MPT",  # whose alibi counts columns
    "Mamba",
    "LFM2",
    "BERT",
]


@pytest.mark.parametrize("name", SOME)
def test_a_family_is_what_the_page_says(name):
    assert zoo.row(BY_NAME[name]) in zoo.PAGE.read_text(encoding="utf-8")


# --- masks


def rows_with_gaps(seed):
    """A mask [rows, columns] of tokens with padding anywhere; each row ends with a token."""
    generator = torch.Generator().manual_seed(seed)
    mask = torch.rand(4, 23, generator=generator) < 0.6
    mask[:, -1] = True
    mask[0] = True
    return mask


window = masking_utils.sliding_window_causal_mask_function
chunks = masking_utils.chunked_causal_mask_function

# Whether the token of one number sees that of another, and transformers' function of columns.
PATTERNS = {
    "window": (lambda query, key: query - key < 4, lambda left: window(4)),
    "chunks": (lambda query, key: query // 4 == key // 4, lambda left: chunks(4, left)),
}


@pytest.mark.parametrize("kind", ["sdpa", "eager"])
@pytest.mark.parametrize("pattern", PATTERNS)
@pytest.mark.parametrize("new", [1, 5, 23])
def test_windows_and_chunks_count_tokens(pattern, kind, new):
    sees, function = PATTERNS[pattern]
    mask = rows_with_gaps(new)
    rows, columns = mask.shape
    left = (mask.cumsum(1) == 0).sum(1)
    with masks_by_tokens():
        made = masking_utils.ALL_MASK_ATTENTION_FUNCTIONS[kind](
            batch_size=rows,
            q_length=new,
            kv_length=columns,
            q_offset=columns - new,
            mask_function=function(left),
            attention_mask=mask,
            local_size=4,
        )
    seen = made if made.dtype == torch.bool else made == 0
    for row in range(rows):
        tokens = mask[row].nonzero()[:, 0].tolist()
        for query in [column for column in tokens if column >= columns - new]:
            expected = [
                key
                for number, key in enumerate(tokens)
                if key <= query and sees(tokens.index(query), number)
            ]
            assert seen[row, 0, query - columns + new].nonzero()[:, 0].tolist() == expected


def test_closed_up_rows_have_no_gap_and_begin_where_they_began():
    for seed in range(5):
        mask = rows_with_gaps(seed)
        for row, places in zip(mask, closed_up(mask), strict=True):
            first = int(row.nonzero()[0])
            assert places[row].tolist() == list(range(first, first + int(row.sum())))


def test_where_order_is_all_that_counts_masks_are_transformers_own():
    """The path of a model without windows, which must stay the fast one."""
    asked = {"batch_size": 2, "q_length": 3, "kv_length": 5, "q_offset": 2}
    seen = []

    def make(*, mask_function, attention_mask, **_):
        seen.append((mask_function, attention_mask))

    mask = torch.tensor([[0, 1, 0, 1, 1], [1, 1, 1, 1, 1]]).bool()
    own = masking_utils.causal_mask_function
    by_tokens(make)(mask_function=own, attention_mask=mask, **asked)
    by_tokens(make)(mask_function=window(2), attention_mask=mask[1:], **asked)
    by_tokens(make)(mask_function=window(2), attention_mask=None, **asked)
    assert seen[0][0] is own
    assert seen[1][1].all()
    assert seen[2][1] is None


@pytest.mark.parametrize("new", [1, 5])
@pytest.mark.parametrize("padded", [True, False])
def test_heads_that_share_keys_attend_as_with_copies_of_their_own(padded, new):
    torch.manual_seed(0)
    module = torch.nn.Module()
    module.num_key_value_groups = 3
    query = torch.randn(2, 6, new, 8)
    keys, values = torch.randn(2, 2, 5, 8), torch.randn(2, 2, 5, 8)
    mask = rows_with_gaps(0)[:2, None, None, -5:].expand(-1, 1, new, -1) if padded else None
    attend = sdpa_attention.sdpa_attention_forward
    with masks_by_tokens():
        ours, _ = attend(module, query, keys, values, mask, scaling=0.3)
    theirs, _ = attend(
        torch.nn.Module(),
        query,
        keys.repeat_interleave(3, dim=1),
        values.repeat_interleave(3, dim=1),
        mask,
        scaling=0.3,
    )
    torch.testing.assert_close(ours, theirs)


def test_on_a_cpu_heads_share_keys_where_several_tokens_are_read_behind_a_mask():
    key = torch.zeros(1, 1, 4, 2)
    assert heads_share(torch.ones(1, 1, 3, 4), key, key)
    assert not heads_share(torch.ones(1, 1, 1, 4), key, key)
    assert not heads_share(None, key, key)
    own = sdpa_attention.use_gqa_in_sdpa
    with masks_by_tokens():
        assert sdpa_attention.use_gqa_in_sdpa is heads_share
    assert sdpa_attention.use_gqa_in_sdpa is own


def test_transformers_masks_are_its_own_again_when_a_model_has_raised():
    registry = masking_utils.ALL_MASK_ATTENTION_FUNCTIONS

    def fail():
        with masks_by_tokens():
            assert registry["sdpa"] is not masking_utils.sdpa_mask
            raise ValueError("a fault")

    with pytest.raises(ValueError, match="a fault"):
        fail()
    assert registry["sdpa"] is masking_utils.sdpa_mask
    assert registry["eager"] is masking_utils.eager_mask


# --- the trial


@pytest.mark.parametrize("name", ["Mistral 0.1", "gpt-oss", "Command R7B and A"])
def test_a_window_of_columns_is_refused_however_wide_it_is(name, monkeypatch):
    model = zoo.make(BY_NAME[name])
    model.config.sliding_window = 400
    assert exactness.fault(model) == ""
    monkeypatch.setattr(dialogues, "masks_by_tokens", contextlib.nullcontext)
    assert "rows of different length" in exactness.fault(model)


def test_columns_that_are_counted_where_no_configuration_reaches_are_found():
    """GPT-Neo cuts its window into a buffer when it is made."""
    family = BY_NAME["GPT-Neo"]
    change = {**family.change, "window_size": 256, "max_position_embeddings": 2048}
    assert "rows of different length" in exactness.fault(zoo.make(replace(family, change=change)))


def test_a_model_is_left_as_it_was():
    model = zoo.make(BY_NAME["Gemma 3, text"])
    before = (model.config.to_dict(), {name: vars(part) for name, part in model.named_modules()})
    assert exactness.fault(model) == ""
    model.config.num_hidden_layers = 20  # more than there are, which slicing does not mind
    with exactness.short_windows(model), exactness.few_layers(model):
        assert model.config.sliding_window == exactness.SHORT
        assert model.config.num_hidden_layers == exactness.LAYERS
    model.config.num_hidden_layers = 4
    after = (model.config.to_dict(), {name: vars(part) for name, part in model.named_modules()})
    assert before == after


def test_one_layer_of_each_kind_is_tried():
    model = zoo.make(BY_NAME["Gemma 3, text"])
    config = model.config
    config.num_hidden_layers = 40
    config.layer_types = ["sliding_attention"] * 30 + ["full_attention"] * 10
    with exactness.few_layers(model):
        assert config.num_hidden_layers == 31


def test_the_trial_is_cheap():
    model = zoo.make(BY_NAME["Llama 2, SmolLM2, Falcon 3"])
    read = []
    embedding = model.get_input_embeddings()
    embedding.register_forward_pre_hook(lambda _, inputs: read.append(inputs[0].numel()))
    assert exactness.fault(model) == ""
    assert len(read) == 5
    assert sum(read) < 60


def test_one_case_of_many_that_differs_may_be_rounding():
    generator = torch.Generator().manual_seed(0)
    one = torch.randn(3, 50, generator=generator)
    other = one.clone()
    other[1] = -one[1]
    assert exactness.distance(one, other) == 0.0
    other[2] = -one[2]
    assert exactness.distance(one, other) == pytest.approx(2.0, rel=0.2)
    assert exactness.distance(one * torch.nan, one) == float("inf")


def test_rows_of_padding_are_heard_by_nobody():
    actor = zoo.load(BY_NAME["Mistral 0.1"])
    rng = random.Random(0)
    rows = [actor.format.opening(" ".join(rng.choices(zoo.HEARD, k=count))) for count in (1, 4)]
    plain, padded = actor.start(rows), actor.start(rows)
    padded.pad(300)
    for one in (plain, padded):
        one.feed([actor.format.turn("taken."), actor.format.turn("ok.")])
    assert padded.lengths() == plain.lengths()
    torch.testing.assert_close(padded.logits, plain.logits)


def test_nothing_is_written_for_a_model_that_is_refused(tmp_path, capsys):
    loading.save(zoo.make(BY_NAME["Mamba"]), zoo.TOKENIZER, tmp_path / "model")
    command = ["--env", "lab", "--model", str(tmp_path / "model"), "--out", str(tmp_path / "run")]
    assert train.main(command) == 2
    assert [path.name for path in tmp_path.iterdir()] == ["model"]
    told = capsys.readouterr().err.strip().split("\n")[-1]
    assert "MambaForCausalLM remembers something else than a key and a value" in told
