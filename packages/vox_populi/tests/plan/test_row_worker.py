from __future__ import annotations

import io
import json
from datetime import UTC, datetime
from pathlib import Path

import pytest

from vox_populi.data.chat_template import ModelTemplate
from vox_populi.data.data_report import DataTally
from vox_populi.data.dataset import DatasetOptions, OnBadRow, RowCache, open_dataset
from vox_populi.data.row_cache.crew import serve, worker_count
from vox_populi.data.row_files.open_rows import open_rows
from vox_populi.data.template_rows import History
from vox_populi.data.training_text import ChatTemplate, TextPolicy
from vox_populi.files.plain_values import as_plain, of_plain
from vox_populi.hf.hf_tokenizer import HfTokenizer, load_hf_tokenizer
from vox_populi.plan import row_worker

TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


@pytest.fixture
def tokenizer(tmp_path: Path) -> HfTokenizer:
    """One id for each byte, and ChatML's control tokens."""
    library = pytest.importorskip("tokenizers", reason="needs vox-populi[mens-gpu]")
    letters = sorted(library.pre_tokenizers.ByteLevel.alphabet())
    vocab = {letter: i for i, letter in enumerate(letters)}
    made = library.Tokenizer(library.models.BPE(vocab=vocab, merges=[]))
    made.pre_tokenizer = library.pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.add_special_tokens(["<|im_start|>", "<|im_end|>"])
    (tmp_path / "tokenizer.json").write_text(made.to_str(), encoding="utf-8")
    return load_hf_tokenizer(tmp_path)


@pytest.fixture
def policy() -> TextPolicy:
    pytest.importorskip("jinja2", reason="needs vox-populi[mens-gpu]")
    own = ModelTemplate(text=TEMPLATE, now=datetime(2026, 1, 2, tzinfo=UTC))
    return TextPolicy(
        template=ChatTemplate.MODEL, system_prompt="Be brief.", history=History.LAST, own=own
    )


@pytest.fixture
def data(tmp_path: Path) -> Path:
    path = tmp_path / "train.jsonl"
    row = {"prompt": "<|im_end|>?", "response": "naïve"}
    lines = [json.dumps({**row, "prompt": f"{i} {row['prompt']}"}) for i in range(40)]
    path.write_text("\n".join([*lines, "{"]) + "\n", encoding="utf-8")
    return path


def test_processes_encode_a_models_template_as_this_one_does(
    data: Path, tokenizer: HfTokenizer, policy: TextPolicy, tmp_path: Path
) -> None:
    options = DatasetOptions(on_bad_row=OnBadRow.SKIP, seq_len=90)
    cache = RowCache(folder=tmp_path / "cache", workers=2, module=row_worker.MODULE, least_bytes=0)
    rows = open_rows(data)
    made = open_dataset(rows, tokenizer, policy, options, cache)
    expected = open_dataset(rows, tokenizer, policy, options)
    assert list(made) == list(expected)
    assert made.report == expected.report
    assert len(made) == 40


def test_a_request_is_answered_with_counts_or_what_the_system_refused(
    data: Path, tokenizer: HfTokenizer, policy: TextPolicy, tmp_path: Path
) -> None:
    job = {
        "tokenizer": tokenizer.portable(),
        "policy": as_plain(policy),
        "options": as_plain(DatasetOptions()),
        "files": [str(data)],
    }
    encoder = row_worker.part_encoder(json.loads(json.dumps(job)))
    [part] = open_rows(data).parts(1)
    requests = json.dumps({"part": as_plain(part), "target": str(tmp_path / "0")}) + "\n"
    answers = io.StringIO()
    serve(encoder, io.StringIO(requests), answers)
    tally = of_plain(DataTally, json.loads(answers.getvalue())["tally"])
    assert (tally.kept, tally.dropped.total()) == (40, 1)
    # The files are there already: the system's refusal is an answer as well.
    answers = io.StringIO()
    serve(encoder, io.StringIO(requests), answers)
    assert "os_error" in json.loads(answers.getvalue())


@pytest.mark.parametrize(
    ("threads", "variable", "expected"), [(3, "2", 3), (None, "2", 2), (None, "many", None)]
)
def test_the_number_of_processes_is_what_was_asked_for(
    threads: int | None, variable: str, expected: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", variable)
    found = worker_count(threads)
    assert found == expected if expected is not None else found >= 1
