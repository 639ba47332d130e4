from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Vox = Callable[..., Any]


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    path = tmp_path / "rows.jsonl"
    lines = [json.dumps({"prompt": f"p{i}", "response": "a", "doc": i // 4}) for i in range(200)]
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return path


def test_split_reports_rows_and_groups(vox: Vox, rows: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    argv = ["mens", "corpus", "split", rows, "--train", out / "t.jsonl", "--valid", out / "v.jsonl"]
    outcome = vox(*argv, "--ratio", "0.7:0.3", "--group-by", "doc")
    assert (outcome.code, outcome.err) == (0, "")
    assert "train  " in outcome.out
    document = vox(*argv, "--ratio", "70/30", "--group-by", "doc", "--json").document
    assert document["groups"] == 50
    counts = [side["rows"] for side in document["sides"].values()]
    assert sum(counts) == 200
    assert all(count % 4 == 0 for count in counts)


@pytest.mark.parametrize("ratio", ["9", "1,2,3", "1,x", "0,1", "1,", "-1,2", "nan,1"])
def test_a_bad_ratio_is_a_usage_error(vox: Vox, rows: Path, tmp_path: Path, ratio: str) -> None:
    out = ["--train", tmp_path / "t.jsonl", "--valid", tmp_path / "v.jsonl"]
    outcome = vox("mens", "corpus", "split", rows, *out, f"--ratio={ratio}")
    assert outcome.code == 2
    assert outcome.err.count("\n") == 1
    assert list(tmp_path.iterdir()) == [rows]
