from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

Vox = Callable[..., Any]


def test_convert_writes_one_layout_and_counts(vox: Vox, tmp_path: Path) -> None:
    rows, out = tmp_path / "rows.jsonl", tmp_path / "new" / "out.jsonl"
    lines = [{"prompt": "a", "response": "b", "id": 1}, {"text": "t"}]
    rows.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    argv = ["mens", "corpus", "convert", rows, "--to", "alpaca", "-o", out]
    refused = vox(*argv)
    assert (refused.code, refused.codes) == (3, ["MENS-D234"])
    assert not out.parent.exists()
    outcome = vox(*argv, "--on-bad-row", "skip")
    assert outcome.code == 0
    assert "1 rows are left out" in outcome.err
    written = json.loads(out.read_text(encoding="utf-8"))
    assert written == {"instruction": "a", "input": "", "output": "b", "id": 1}
    document = vox(*argv, "--on-bad-row", "skip", "--json").document
    assert (document["rows"], document["to"], document["skipped"]) == (1, "alpaca", 1)


def test_convert_never_writes_over_its_input(vox: Vox, tmp_path: Path) -> None:
    rows = tmp_path / "rows.jsonl"
    rows.write_text('{"prompt": "a", "response": "b"}\n', encoding="utf-8")
    outcome = vox("mens", "corpus", "convert", rows, "--to", "messages", "-o", rows, "--force")
    assert (outcome.code, outcome.codes) == (3, ["MENS-D235"])
    assert vox("mens", "corpus", "convert", rows, "--to", "csv", "-o", "x").code == 2
    assert vox("mens", "corpus", "convert", "--to", "alpaca", "-o", "x").code == 2
