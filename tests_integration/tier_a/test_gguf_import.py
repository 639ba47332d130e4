"""Tier A: model folders made of GGUF files, against the folder they came from and transformers."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from tokenizers import Tokenizer
from torch import Tensor
from transformers import AutoModelForCausalLM, AutoTokenizer

from packages.vox_populi.tests.sentencepiece_files import llama_pieces, sentencepiece_bytes
from tests_integration.tier_a.test_gguf_interop import CASES, as_gguf, logits_of
from tests_integration.tiny_models import VOCAB, write_tiny_model
from tests_integration.tolerances import F32_LOGITS, assert_parity, differs
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

SCALED = ("llama_llama3", "llama_linear", "phi3_longrope", "llama_wide_heads", "llama_multi_head")
"""Further variants whose settings a file carries."""


def imported(path: Path, dtype: BaseDtype = BaseDtype.AUTO, **more: Any) -> ImportGgufReport:
    output = path.parent / "again"
    return import_gguf(ImportGgufRequest(source=path, output=output, dtype=dtype, **more))


def weights_of(folder: Path) -> dict[str, Tensor]:
    found: dict[str, Tensor] = {}
    for path in sorted(folder.glob("*.safetensors")):
        found |= load_file(path)
    return found


@pytest.mark.parametrize("name", [*CASES, *SCALED])
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
