from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from vox_populi.data.dataset import RowCache

Vox = Callable[..., Any]


def test_what_is_kept_is_listed_and_removed(
    vox: Vox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = tmp_path / "rows.jsonl"
    rows.write_text(json.dumps({"prompt": "p", "response": "a"}) + "\n", encoding="utf-8")
    place = ("--row-cache-dir", tmp_path / "cache")
    empty = vox("mens", "cache", "list", *place)
    assert (empty.code, empty.err) == (0, "")
    assert "0 entries" in empty.out
    monkeypatch.setattr(RowCache, "is_for", lambda *_: True)
    assert vox("mens", "preview", "--data", rows, "--no-row-cache", *place).code == 0
    assert not (tmp_path / "cache").exists()
    preview = vox("mens", "preview", "--data", rows, *place)
    assert "--no-row-cache" in preview.err
    listed = vox("mens", "cache", "list", *place)
    assert "1 entry" in listed.out
    assert f"1 rows of {rows}" in listed.out
    document = vox("mens", "cache", "list", "--json", *place).document
    assert document["entries"][0]["files"] == [str(rows)]
    assert document["removed"] is False
    assert vox("mens", "cache", "clear", "--unused-days", 1, *place).out.endswith(
        "0 entries, 0 B\n"
    )
    cleared = vox("mens", "cache", "clear", *place)
    assert "removed" in cleared.out
    assert "0 entries" in vox("mens", "cache", "list", *place).out
    wrong = vox("mens", "cache", "clear", "--unused-days", -1, *place)
    assert wrong.code == 2
