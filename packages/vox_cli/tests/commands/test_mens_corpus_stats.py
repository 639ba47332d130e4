from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

Vox = Callable[..., Any]


def test_stats_print_a_table_and_a_document(vox: Vox, tmp_path: Path) -> None:
    rows = tmp_path / "rows.jsonl"
    line = json.dumps({"prompt": "p", "response": "a"})
    rows.write_text(f"{line}\n" * 200, encoding="utf-8")
    outcome = vox("mens", "corpus", "stats", rows, rows, "--tokenizer", "vox")
    assert (outcome.code, outcome.err) == (0, "")
    assert "prompt_response 400" in outcome.out
    assert "tokens (vox-nano)" in outcome.out
    document = vox("mens", "corpus", "stats", rows, "--json").document
    assert document["rows"] == 200
    assert document["lengths"]["answer_characters"]["p99"] == 1
    assert "tokens" not in document["lengths"]
