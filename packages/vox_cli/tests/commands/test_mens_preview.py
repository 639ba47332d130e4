from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from vox_cli.commands import mens_preview
from vox_populi.data.marked_row import MarkedKind, MarkedPiece, MarkedRow
from vox_populi.data.token_text import TokenText
from vox_populi.pipeline.preview import PreviewRequest

Vox = Callable[..., Any]

ROW = MarkedRow(
    tokens=(
        TokenText(3, "<|im_start|>", 0, 12, control=True),
        TokenText(7, "yes", 12, 15),
        TokenText(4, "<|im_end|>", 15, 25, control=True),
    ),
    labels=(-100, 7, 4),
    pieces=(
        MarkedPiece("<|im_start|>", learned=False, kind=MarkedKind.CONTROL),
        MarkedPiece("yes", learned=True),
        MarkedPiece("<|im_end|>", learned=True, kind=MarkedKind.CONTROL),
    ),
    source_line=5,
)


class Asked:
    """Remembers a request and answers with what it was made with."""

    request: PreviewRequest | None = None

    def __call__(self, request: PreviewRequest, on_notes: object) -> Iterator[MarkedRow]:
        self.request = request
        return iter([ROW, ROW])


@pytest.fixture
def previewed(monkeypatch: pytest.MonkeyPatch) -> Asked:
    asked = Asked()
    monkeypatch.setattr(mens_preview, "preview_rows", asked)
    return asked


def test_preview_asks_for_what_the_trainer_would_use(vox: Vox, previewed: Asked) -> None:
    assert vox("mens", "preview", "--data", "rows.jsonl").code == 0
    assert previewed.request == PreviewRequest(data=(Path("rows.jsonl"),))
    argv = ["-n", 9, "--seq-len", 64, "--model", "base", "--template", "plain", "--ce-last-k", 2]
    assert vox("mens", "preview", "--data", "rows.jsonl", *argv).code == 0
    assert previewed.request is not None
    assert previewed.request.count == 9
    assert previewed.request.seq_len == 64
    assert previewed.request.ce_last_k == 2
    assert previewed.request.template == "plain"


def test_preview_prints_a_json_line_a_row(vox: Vox, previewed: Asked) -> None:
    lines = vox("mens", "preview", "--data", "rows.jsonl", "--json").out.splitlines()
    assert len(lines) == 2
    assert json.loads(lines[0]) == {
        "ids": [3, 7, 4],
        "labels": [-100, 7, 4],
        "text": "<|im_start|>yes<|im_end|>",
        "tokens": [
            {
                **{"id": 3, "text": "<|im_start|>", "start": 0, "end": 12},
                **{"learned": False, "control": True},
            },
            {"id": 7, "text": "yes", "start": 12, "end": 15, "learned": True, "control": False},
            {
                **{"id": 4, "text": "<|im_end|>", "start": 15, "end": 25},
                **{"learned": True, "control": True},
            },
        ],
        "source_line": 5,
        "source": None,
    }


def test_preview_shows_the_weight_of_a_row_that_has_one(vox: Vox, tmp_path: Path) -> None:
    rows = tmp_path / "rows.jsonl"
    row = {"prompt": "Say hi.", "response": "hi"}
    texts = [json.dumps({**row, "weight": 2.5}), json.dumps(row)]
    rows.write_text("\n".join(texts) + "\n", encoding="utf-8")
    heavy, plain = [
        line
        for line in vox("mens", "preview", "--data", rows).out.splitlines()
        if "learned" in line
    ]
    assert heavy.endswith("learned, weight 2.5")
    assert plain.endswith("learned")


def test_preview_marks_what_is_learned(vox: Vox, previewed: Asked) -> None:
    plain = vox("mens", "preview", "--data", "rows.jsonl").out
    assert "line 5: 3 tokens, 2 learned" in plain
    assert "<|im_start|>«yes<|im_end|>»" in plain
    coloured = vox("mens", "preview", "--data", "rows.jsonl", "--color", "always").out
    assert "\x1b[1m<|im_start|>\x1b[0m\x1b[32myes\x1b[0m\x1b[1;32m<|im_end|>\x1b[0m" in coloured


def test_preview_asks_for_one_row(vox: Vox, previewed: Asked) -> None:
    assert vox("mens", "preview", "--data", "rows.jsonl", "--row", 7, "--line", 9).code == 0
    assert previewed.request is not None
    assert (previewed.request.row, previewed.request.line) == (7, 9)


def test_preview_of_a_real_file(vox: Vox, tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text('{"prompt": "Say hi.", "response": "hi"}\n', encoding="utf-8")
    row = json.loads(vox("mens", "preview", "--data", path, "--json").out)
    assert len(row["ids"]) == len(row["labels"])
    assert row["source_line"] == 1
    assert "Say hi." in row["text"]
    learned = [label for label in row["labels"] if label != -100]
    assert 0 < len(learned) < len(row["ids"])


ROWS = (
    {"prompt": "Say hi.", "response": "hi", "source": "a"},
    {"prompt": "Say a lot.", "response": "lots " * 300, "source": "b"},
)


@pytest.fixture
def rows_file(tmp_path: Path) -> Path:
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in ROWS), encoding="utf-8")
    return path


def test_check_prints_counts_and_exits_6_with_a_line_per_missed_gate(
    vox: Vox, rows_file: Path
) -> None:
    outcome = vox("mens", "preview", "--data", rows_file, "--check", "--seq-len", 64)
    assert (outcome.code, outcome.codes) == (6, ["MENS-D212"])
    assert "--max-cut-share" in outcome.err
    lines = outcome.out.splitlines()
    assert [line.split()[:2] for line in lines if line.startswith(("a ", "b "))] == [
        ["a", "1"],
        ["b", "1"],
    ]
    argv = ["--check", "--seq-len", 64, "--max-cut-share", 0.5]
    assert vox("mens", "preview", "--data", rows_file, *argv).code == 0


def test_check_in_json_is_one_document_also_when_a_gate_is_missed(
    vox: Vox, rows_file: Path
) -> None:
    argv = ["preview", "--data", rows_file, "--check", "--seq-len", 64, "--json"]
    outcome = vox("mens", *argv)
    assert (outcome.code, outcome.document["ok"], outcome.document["exit_code"]) == (6, False, 6)
    assert (outcome.document["total"]["cut"], outcome.document["total"]["rows"]) == (1, 2)
    missed = [gate["flag"] for gate in outcome.document["gates"] if not gate["ok"]]
    assert missed == ["--max-cut-share"]
    assert vox("mens", *argv, "--max-cut-share", 1).document["ok"] is True


def test_the_page_is_written_without_gates_and_not_over_a_file(vox: Vox, rows_file: Path) -> None:
    page = rows_file.with_suffix(".html")
    argv = ["mens", "preview", "--data", rows_file, "--seq-len", 64, "--html", page]
    assert vox(*argv).code == 0
    written = page.read_bytes()
    outcome = vox(*argv)
    assert (outcome.code, outcome.codes) == (3, ["MENS-D214"])
    assert page.read_bytes() == written
    assert vox(*argv, "--force", "--check").code == 6
