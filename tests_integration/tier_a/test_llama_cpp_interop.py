"""Tier A: GGUF files in llama.cpp itself: ids of every kind of tokenizer, and what it computes."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch

pytest.importorskip("gguf", reason="needs vox-populi[gguf]")
pytest.importorskip("xllamacpp", reason="needs the wheel xllamacpp (llama.cpp)")

from tokenizers import Tokenizer

from tests_integration.tier_a.chat_tokenizers import (
    byte_level,
    metaspace_always,
    prepended,
)
from tests_integration.tier_a.llama_cpp import LlamaCpp
from tests_integration.tiny_models import GGUF_CASES_UNREAD, VOCAB, write_tiny_model
from vox_populi.export.consumers import GgufType, GgufTypeChoice
from vox_populi.export.gguf.model import GgufSource, write_model_gguf
from vox_populi.export.gguf.pre_tokenizers import KNOWN
from vox_populi.export.gguf.text import GgufText
from vox_populi.export.gguf.vocabulary import read_gguf_vocabulary
from vox_populi.hf.embedded import embedded_model_dir
from vox_populi.hf.keymap import HEAD_WEIGHT, tensor_keys
from vox_populi.hf.model_config import parse_model_config
from vox_populi.pipeline.gguf import GgufRequest, export_gguf
from vox_tensor.tokenizer import VoxTokenizer

CONFIG = {
    "model_type": "llama",
    "architectures": ["LlamaForCausalLM"],
    "hidden_size": 32,
    "intermediate_size": 32,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
    "max_position_embeddings": 512,
    "tie_word_embeddings": True,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "torch_dtype": "float32",
}
TEXTS = (
    "def add(first, second):\n    '''Sum.'''\n    return first + second  # 12\n\n\nadd(1, 200)",
    "naïve café, 東京 👋🏽\r\n, I'LL don't we've 'S",
    "  lead and\ttabs \t x\n \n  \nend ",
    "Ωmega ١٢٣ ⅷ ½ 안녕하세요 مرحبا بالعالم",
    "the answer is in the code, x=1e10 + 2005 == 3.14159",
    "“quotes” — dash… a\u00a0b <s>not a control token</s> <|im_end|>",
)


def random_texts(alphabet: str) -> list[str]:
    rng = random.Random(5)
    return ["".join(rng.choices(alphabet, k=rng.randrange(1, 50))) for _ in range(60)]


def served(folder: Path) -> LlamaCpp:
    """A model without knowledge, with the tokenizer of a folder."""
    raw = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))
    ids = [*raw["model"]["vocab"].values(), *(token["id"] for token in raw["added_tokens"])]
    config = parse_model_config({**CONFIG, "vocab_size": max(ids) + 1}, "test")
    keys = [key for key in tensor_keys(config) if key.required and key.ours != HEAD_WEIGHT]
    source = GgufSource(
        config=config,
        name="tiny",
        where="test",
        tensors=[(key, partial(torch.zeros, key.shape)) for key in keys],
    )
    vocabulary = read_gguf_vocabulary(folder, config.vocab_size)
    file = folder / "m.gguf"
    text = GgufText(templates={}, bos_id=1, eos_id=2, eot_id=None)
    write_model_gguf(file, source, GgufType.F16, vocabulary, text)
    return LlamaCpp(file)


def split_like(name: str) -> Callable[[], dict[str, Any]]:
    """A small byte-level tokenizer that splits as one of llama.cpp's names says."""

    def made() -> dict[str, Any]:
        definition: dict[str, Any] = json.loads(byte_level().to_str())
        level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True}
        digits = {"type": "Digits", "individual_digits": True}
        if name == "gpt-2":
            splits = [level | {"use_regex": True}]
        elif name == "smollm":
            splits = [digits, level | {"use_regex": True}]
        else:
            known = next(known for known in KNOWN if known.name == name)
            definition["model"]["ignore_merges"] = known.ignores_merges
            patterns = [
                each.replace("<contraction>", r"(?i:'s|'t|'re|'ve|'m|'ll|'d)")
                for each in known.patterns or ()
            ]
            parts = [
                {
                    "type": "Split",
                    "pattern": {"Regex": each},
                    "behavior": "Isolated",
                    "invert": False,
                }
                for each in patterns
            ]
            splits = [*parts, level | {"use_regex": False}]
        definition["pre_tokenizer"] = {"type": "Sequence", "pretokenizers": splits}
        return definition

    return made


def as_converted(make: Callable[[], Tokenizer]) -> Callable[[], dict[str, Any]]:
    """A tokenizer with all merges of each token together, as converters list them."""

    def made() -> dict[str, Any]:
        definition: dict[str, Any] = json.loads(make().to_str())
        vocab = definition["model"]["vocab"]
        order = dict.fromkeys("".join(pair) for pair in definition["model"]["merges"])
        definition["model"]["merges"] = [
            [token[:cut], token[cut:]]
            for token in order
            for cut in range(1, len(token))
            if token[:cut] in vocab and token[cut:] in vocab
        ]
        for token in definition["added_tokens"]:
            token["rstrip"] = False
        return definition

    return made


KINDS: dict[str, Callable[[], dict[str, Any]]] = {
    **{known.name: split_like(known.name) for known in KNOWN if known.name != "olmo"},
    "prepended": as_converted(prepended),
    "metaspace": as_converted(metaspace_always),
}


@pytest.mark.parametrize("kind", KINDS)
def test_llama_cpp_makes_the_same_ids(kind: str, tmp_path: Path) -> None:
    definition = KINDS[kind]()
    (tmp_path / "tokenizer.json").write_text(json.dumps(definition), encoding="utf-8")
    tokenizer = Tokenizer.from_str(json.dumps(definition))
    tokenizer.encode_special_tokens = True
    server = served(tmp_path)
    for text in (*TEXTS, *random_texts("ab Z9_ \n\t.,éß日🎉'\"\\#<>|0")):
        if kind == "metaspace" and text.startswith(" "):
            continue  # Only tokenizers leave out the second of two spaces.
        wanted = tokenizer.encode(text, add_special_tokens=False).ids
        assert server.ids(text) == wanted, text


def test_llama_cpp_makes_the_ids_of_our_own_tokenizer(tmp_path: Path) -> None:
    """Except for long numbers, and a word after a tab and a space, which are left out here."""
    raw = (embedded_model_dir() / "tokenizer.json").read_bytes()
    (tmp_path / "tokenizer.json").write_bytes(raw)
    tokenizer = VoxTokenizer.load(tmp_path / "tokenizer.json")
    server = served(tmp_path)
    left_out = {"2005": "205", "14159": "14", "\t x": "\tx"}
    texts = list(TEXTS)
    for theirs, ours in left_out.items():
        texts = [text.replace(theirs, ours) for text in texts]
    for text in (*texts, *random_texts("ab Z_(): \n.,éß日🎉'\"\\#<>|=")):
        assert server.ids(text) == tokenizer.encode(text), text


@pytest.mark.parametrize("name", GGUF_CASES_UNREAD)
def test_llama_cpp_writes_what_transformers_writes(name: str, tmp_path: Path) -> None:
    """Families whose GGUF files transformers does not read."""
    theirs: Any = write_tiny_model(tmp_path / "m", name, tokenizer=True)
    file, most = tmp_path / "m.gguf", 12
    export_gguf(GgufRequest(source=tmp_path / "m", output=file, kind=GgufTypeChoice.F32))
    ids = torch.randint(3, VOCAB - 20, (1, 20), generator=torch.Generator().manual_seed(1))
    expected = theirs.generate(
        ids,
        max_new_tokens=most,
        min_new_tokens=most,
        do_sample=False,
        eos_token_id=None,
        pad_token_id=0,
    )[0, 20:].tolist()
    assert len(set(expected)) > 1
    assert LlamaCpp(file, context=64).continued(ids[0].tolist(), most) == expected
