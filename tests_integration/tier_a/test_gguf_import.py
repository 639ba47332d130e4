"""Tier A: model folders made of GGUF files, against the folder they came from and transformers."""

from __future__ import annotations

import itertools
import json
import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy
import pytest
import torch
from safetensors.torch import load_file
from tokenizers import Tokenizer
from torch import Tensor as Values
from transformers import AutoModelForCausalLM, AutoTokenizer

from packages.vox_populi.tests.gguf_files import Tensor, gguf_bytes
from packages.vox_populi.tests.sentencepiece_files import llama_pieces, sentencepiece_bytes
from tests_integration.tier_a.test_gguf_interop import CASES, as_gguf, logits_of
from tests_integration.tiny_models import GGUF_CASES_UNREAD, VOCAB, write_tiny_model
from tests_integration.tolerances import F32_LOGITS, assert_parity, differs
from vox_populi.containers.gguf_types import QUANTISED_TYPES
from vox_populi.errors import EnvironmentFailure, ModelError, PreflightError
from vox_populi.export.consumers import GgufType
from vox_populi.hf.gguf_pre_tokenizers import PRE_TOKENIZERS
from vox_populi.hf.older_tokenizers import convert_older_tokenizer
from vox_populi.pipeline.gguf import GgufRequest, export_gguf
from vox_populi.pipeline.import_gguf import (
    BaseDtype,
    ImportGgufReport,
    ImportGgufRequest,
    import_gguf,
)

gguf = pytest.importorskip("gguf", reason="needs vox-populi[gguf]")

SCALED = (
    "llama_llama3",
    "llama_linear",
    "phi3_longrope",
    "llama_wide_heads",
    "llama_multi_head",
    "granite_tied_biased",
)
"""Further variants whose settings a file carries."""


def imported(path: Path, dtype: BaseDtype = BaseDtype.AUTO, **more: Any) -> ImportGgufReport:
    output = path.parent / "again"
    return import_gguf(ImportGgufRequest(source=path, output=output, dtype=dtype, **more))


def weights_of(folder: Path) -> dict[str, Values]:
    found: dict[str, Values] = {}
    for path in sorted(folder.glob("*.safetensors")):
        found |= load_file(path)
    return found


@pytest.mark.parametrize("name", [*CASES, *SCALED, *GGUF_CASES_UNREAD])
def test_an_exported_model_comes_back_tensor_by_tensor(name: str, tmp_path: Path) -> None:
    original = write_tiny_model(tmp_path / "m", name, tokenizer=True, sharded=True)
    report = imported(as_gguf(tmp_path / "m"))
    assert (report.dtype, report.notes) == ("float32", ())
    before, after = weights_of(tmp_path / "m"), weights_of(report.output)
    assert after.keys() == before.keys()
    for key, tensor in before.items():
        assert torch.equal(after[key], tensor), key
    again: Any = AutoModelForCausalLM.from_pretrained(report.output, dtype=torch.float32)
    if name == "phi3_longrope":
        # The file's context is the first one, so the longer list is for no text of it.
        return
    assert_parity(logits_of(again.eval()), logits_of(original), F32_LOGITS)


@pytest.mark.parametrize("name", ["gpt2", "llama", "qwen2_tied", "qwen3"])
def test_a_quantised_file_gives_the_weights_that_transformers_reads(
    name: str, tmp_path: Path
) -> None:
    original = write_tiny_model(tmp_path / "m", name, tokenizer=True)
    path = as_gguf(tmp_path / "m", GgufType.Q8_0)
    report = imported(path, BaseDtype.F32)
    assert "Q8_0" in report.types
    assert "Q8_0" in " ".join(report.notes)
    theirs: Any = AutoModelForCausalLM.from_pretrained(
        tmp_path, gguf_file=path.name, config=original.config, dtype=torch.float32
    )
    ours: Any = AutoModelForCausalLM.from_pretrained(report.output, dtype=torch.float32)
    found, expected = ours.state_dict(), theirs.state_dict()
    assert found.keys() == expected.keys()
    for key, tensor in expected.items():
        assert torch.equal(found[key], tensor), key
    assert differs(logits_of(ours.eval()), logits_of(original), F32_LOGITS)
    assert_parity(logits_of(ours.eval()), logits_of(theirs.eval()), F32_LOGITS)


@pytest.mark.parametrize(
    ("kind", "dtype"),
    [(GgufType.F32, "float32"), (GgufType.F16, "float16"), (GgufType.BF16, "bfloat16")],
)
def test_a_plain_file_keeps_its_type(kind: GgufType, dtype: str, tmp_path: Path) -> None:
    write_tiny_model(tmp_path / "m", "llama", tokenizer=True)
    report = imported(as_gguf(tmp_path / "m", kind))
    assert report.dtype == dtype
    config = json.loads((report.output / "config.json").read_text(encoding="utf-8"))
    assert config["torch_dtype"] == dtype
    assert {tensor.dtype for tensor in weights_of(report.output).values()} == {
        getattr(torch, dtype)
    }


def test_the_record_names_the_source_and_no_path(tmp_path: Path) -> None:
    write_tiny_model(tmp_path / "m", "llama", tokenizer=True)
    path = as_gguf(tmp_path / "m", GgufType.Q8_0)
    report = imported(path)
    text = (report.output / "gguf_import.json").read_text(encoding="utf-8")
    record = json.loads(text)
    assert str(tmp_path) not in text
    assert record["source_file"] == path.name
    assert record["source_sha256"] == report.source_sha256
    assert record["tensors"]["model.embed_tokens.weight"] == "Q8_0"


def test_the_tokenizer_and_the_template_come_along(tmp_path: Path) -> None:
    write_tiny_model(tmp_path / "m", "llama", tokenizer=True)
    template = "{% for m in messages %}<|im_start|>{{ m.content }}<|im_end|>{% endfor %}"
    (tmp_path / "m" / "chat_template.jinja").write_text(template, encoding="utf-8")
    report = imported(as_gguf(tmp_path / "m"))
    assert report.templates == ("default",)
    theirs: Any = AutoTokenizer.from_pretrained(tmp_path / "m")
    ours: Any = AutoTokenizer.from_pretrained(report.output)
    for text in TEXTS:
        expected = theirs.encode(text, add_special_tokens=False)
        assert ours.encode(text, add_special_tokens=False) == expected, text
    chat = [{"role": "user", "content": "hi  there"}]
    rendered = ours.apply_chat_template(chat, tokenize=False)
    assert rendered == theirs.apply_chat_template(chat, tokenize=False)
    assert "hi  there" in rendered
    assert ours.eos_token == "<|im_end|>"


TEXTS = (
    "def add(a, b):\n    return a + b\n",
    "Two  spaces, a tab\tand 12345 digits; don't, I'LL, we've.",
    "\n\n  naïve café 東京 👋🏽 \r\n",
    "<|im_start|>user\nhi<|im_end|>",
    "",
)


def rewrite_tokenizer(folder: Path, **parts: Any) -> dict[str, Any]:
    path = folder / "tokenizer.json"
    raw: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    raw |= {"post_processor": None, **parts}
    path.write_text(json.dumps(raw), encoding="utf-8")
    return raw


@pytest.mark.parametrize("pre", ["olmo", "smollm", "qwen2", "smaug-bpe", "gpt-4o", "deepseek-v3"])
def test_a_tokenizer_that_was_exported_comes_back(pre: str, tmp_path: Path) -> None:
    write_tiny_model(tmp_path / "m", "llama", tokenizer=True)
    known = PRE_TOKENIZERS[pre]
    before = rewrite_tokenizer(
        tmp_path / "m",
        pre_tokenizer=known.definition(),
        normalizer={"type": "NFC"} if known.nfc else None,
    )
    path = tmp_path / "m.gguf"
    report = export_gguf(GgufRequest(source=tmp_path / "m", output=path))
    assert report.pre_tokenizer == pre
    after = json.loads((imported(path).output / "tokenizer.json").read_text(encoding="utf-8"))
    for part in ("normalizer", "pre_tokenizer", "added_tokens"):
        assert after[part] == before[part], part
    assert after["model"]["vocab"] == before["model"]["vocab"]


def test_a_sentencepiece_tokenizer_that_was_exported_comes_back(tmp_path: Path) -> None:
    write_tiny_model(tmp_path / "m", "llama", tokenizer=True)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (tmp_path / "m" / name).unlink()
    pieces = llama_pieces(["ab c"])
    assert len(pieces) < VOCAB
    (tmp_path / "m" / "tokenizer.model").write_bytes(sentencepiece_bytes(pieces))
    before = convert_older_tokenizer(tmp_path / "m").definition
    (tmp_path / "m" / "tokenizer.json").write_text(json.dumps(before), encoding="utf-8")
    export_gguf(GgufRequest(source=tmp_path / "m", output=tmp_path / "m.gguf"))
    output = imported(tmp_path / "m.gguf").output
    first = Tokenizer.from_str(json.dumps(before))
    second = Tokenizer.from_file(str(output / "tokenizer.json"))
    total = 0
    for text in ("ab c", "  ab  c ", "cab\nb", "naïve"):
        ids = first.encode(text, add_special_tokens=False).ids
        assert second.encode(text, add_special_tokens=False).ids == ids, text
        total += len(ids)
    assert total > 12


def test_another_folders_tokenizer_can_be_taken(tmp_path: Path) -> None:
    write_tiny_model(tmp_path / "m", "llama", tokenizer=True)
    path = as_gguf(tmp_path / "m")
    report = imported(path, tokenizer_from=tmp_path / "m")
    for name in ("tokenizer.json", "tokenizer_config.json"):
        assert (report.output / name).read_bytes() == (tmp_path / "m" / name).read_bytes()
    with pytest.raises(ModelError) as caught:
        import_gguf(ImportGgufRequest(source=path, output=tmp_path / "no", tokenizer_from=tmp_path))
    assert caught.value.problems[0].code == "MENS-H139"


def test_nothing_is_replaced_and_nothing_is_left_behind(tmp_path: Path) -> None:
    write_tiny_model(tmp_path / "m", "llama", tokenizer=True)
    path = as_gguf(tmp_path / "m")
    occupied = ImportGgufRequest(source=path, output=tmp_path / "m")
    with pytest.raises(PreflightError):
        import_gguf(occupied)
    (tmp_path / "file").touch()
    with pytest.raises(EnvironmentFailure):
        import_gguf(replace(occupied, output=tmp_path / "file"))
    data = bytearray(path.read_bytes())
    data[-4:] = b"\x00\x00\xc0\x7f"
    broken = tmp_path / "broken.gguf"
    broken.write_bytes(bytes(data))
    with pytest.raises(ModelError) as caught:
        import_gguf(replace(occupied, source=broken, output=tmp_path / "new"))
    assert caught.value.problems[0].code == "MENS-H144"
    assert sorted(entry.name for entry in tmp_path.iterdir()) == sorted(
        ["m", path.name, path.with_suffix(".Modelfile").name, "file", "broken.gguf"]
    )


def test_the_vocabulary_is_as_large_as_the_original(tmp_path: Path) -> None:
    write_tiny_model(tmp_path / "m", "llama", tokenizer=True)
    report = imported(as_gguf(tmp_path / "m"))
    first, second = (
        json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))
        for folder in (tmp_path / "m", report.output)
    )
    assert second["model"]["vocab"] == first["model"]["vocab"]
    assert len(first["model"]["vocab"]) < VOCAB
    assert [tuple(pair) for pair in second["model"]["merges"]] == [
        tuple(pair) for pair in first["model"]["merges"]
    ]


WIDTH, HEADS, KV_HEADS, LAYERS, ROWS = 256, 8, 4, 4, 16
LINEAR = {
    "attn_q": ("self_attn.q_proj", WIDTH),
    "attn_k": ("self_attn.k_proj", WIDTH * KV_HEADS // HEADS),
    "attn_v": ("self_attn.v_proj", WIDTH * KV_HEADS // HEADS),
    "attn_output": ("self_attn.o_proj", WIDTH),
    "ffn_gate": ("mlp.gate_proj", WIDTH),
    "ffn_up": ("mlp.up_proj", WIDTH),
    "ffn_down": ("mlp.down_proj", WIDTH),
}


def finite_rows(kind: str, n_rows: int, source: Any) -> tuple[bytes, Any]:
    """Random rows of a quantised type whose numbers are all finite, and these numbers."""
    code = gguf.GGMLQuantizationType[kind]
    block, n_bytes = gguf.GGML_QUANT_SIZES[code]
    stored: list[bytes] = []
    values: list[Any] = []
    while len(stored) < n_rows:
        raw = numpy.frombuffer(source.randbytes(WIDTH // block * n_bytes), dtype=numpy.uint8)
        with numpy.errstate(all="ignore"):
            row = gguf.quants.dequantize(raw[None], code)[0]
        if numpy.isfinite(row).all():
            stored.append(raw.tobytes())
            values.append(row)
    return b"".join(stored), numpy.stack(values).astype(numpy.float32)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_every_quantised_type_is_read_as_the_package_reads_it(tmp_path: Path) -> None:
    """Rows of all K-quants, IQ types and others, which no writer of ours makes."""
    source, types = random.Random(1), sorted(QUANTISED_TYPES)
    assert len(types) < len(LINEAR) * LAYERS
    entries: list[Tensor] = []
    expected: dict[str, tuple[Any, str]] = {}
    used = itertools.cycle(types)
    for layer in range(LAYERS):
        for part, (name, n_rows) in LINEAR.items():
            kind = next(used)
            data, values = finite_rows(kind, n_rows, source)
            code = gguf.GGMLQuantizationType[kind].value
            entries.append(Tensor(f"blk.{layer}.{part}.weight", (WIDTH, n_rows), data, code))
            heads = {"attn_q": HEADS, "attn_k": KV_HEADS}.get(part)
            if heads is not None:
                # llama.cpp keeps the two halves of a head's rows beside each other.
                pairs = values.reshape(heads, -1, 2, WIDTH)
                values = pairs.swapaxes(1, 2).reshape(values.shape)
            expected[f"model.layers.{layer}.{name}.weight"] = values, kind
        for part in ("attn_norm", "ffn_norm"):
            ones = numpy.ones(WIDTH, numpy.float32).tobytes()
            entries.append(Tensor(f"blk.{layer}.{part}.weight", (WIDTH,), ones))
    table = numpy.arange(ROWS * WIDTH, dtype=numpy.float32) / 1000
    entries.append(Tensor("token_embd.weight", (WIDTH, ROWS), table.tobytes()))
    entries.append(Tensor("output_norm.weight", (WIDTH,), numpy.ones(WIDTH, "f4").tobytes()))
    tokens = [chr(97 + number) for number in range(ROWS - 1)]
    metadata: dict[str, object] = {
        "general.architecture": "llama",
        "llama.embedding_length": WIDTH,
        "llama.block_count": LAYERS,
        "llama.context_length": 64,
        "llama.feed_forward_length": WIDTH,
        "llama.attention.head_count": HEADS,
        "llama.attention.head_count_kv": KV_HEADS,
        "llama.attention.layer_norm_rms_epsilon": 1e-5,
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": "gpt-2",
        "tokenizer.ggml.tokens": [*tokens, "<|im_end|>"],
        "tokenizer.ggml.eos_token_id": ROWS - 1,
    }
    path = tmp_path / "m.gguf"
    path.write_bytes(gguf_bytes(metadata, entries))
    report = imported(path, BaseDtype.F32)
    found = weights_of(report.output)
    assert report.types.keys() == {*types, "F32"}
    for name, (values, kind) in expected.items():
        assert numpy.array_equal(found[name].numpy(), values), (name, kind)
        assert len(numpy.unique(values)) > 1, kind


@pytest.mark.parametrize("name", ["gemma", "gemma2", "gemma3", "gemma3n"])
def test_a_gemma_file_is_refused_by_name_with_the_way_out(name: str, tmp_path: Path) -> None:
    path = tmp_path / "m.gguf"
    path.write_bytes(gguf_bytes({"general.architecture": name}))
    with pytest.raises(ModelError) as caught:
        imported(path)
    (problem,) = caught.value.problems
    assert problem.code == "MENS-H133"
    assert name in problem.what
    assert "llama" in problem.fix
    assert not (tmp_path / "again").exists()
