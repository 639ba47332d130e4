"""Texts without turns: the ids of the tokenizer's own call, and its end, all of it learned."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("transformers", reason="needs vox-populi[mens-train]")

from transformers import AutoTokenizer

from tests_integration.tier_a.chat_tokenizers import KINDS, write_folder
from vox_populi.data.row_formats import parse_row
from vox_populi.data.supervision import encode_record
from vox_populi.data.training_text import ChatTemplate, TextPolicy
from vox_populi.hf.hf_tokenizer import load_hf_tokenizer
from vox_populi.plan.template_choice import choose_template
from vox_tensor.records import IGNORE_INDEX

TEMPLATE = "{{ bos_token }}{% for m in messages %}{{ m.content + eos_token }}{% endfor %}"
TEXTS = ("the answer", " leading and trailing \n", "Zażółć 東京 👋🏽", "def f(x):\n    return x\n")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("asked", [each for each in ChatTemplate if each != ChatTemplate.FILE])
def test_a_text_has_the_ids_of_the_tokenizer_and_an_end(
    tmp_path: Path, kind: str, asked: ChatTemplate
) -> None:
    folder = write_folder(tmp_path / "base", kind, TEMPLATE)
    theirs, ours = AutoTokenizer.from_pretrained(folder), load_hf_tokenizer(folder)
    policy, _ = choose_template(TextPolicy(template=asked), folder, ours)
    for text in TEXTS:
        row = encode_record(parse_row({"text": text}, 1, "rows.jsonl"), ours, policy)
        expected = [*theirs(text)["input_ids"], theirs.eos_token_id]
        assert list(row.ids) == expected, text
        assert row.n_supervised == len(row) - 1
        first = 1 if theirs("")["input_ids"] else 0
        assert all(label != IGNORE_INDEX for label in row.labels[first:])
