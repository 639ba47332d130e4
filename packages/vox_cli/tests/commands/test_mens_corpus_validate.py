from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

Vox = Callable[..., Any]


def rows_file(tmp_path: Path, *lines: str) -> Path:
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(line + "\n" for line in lines), encoding="utf-8")
    return path


GOOD = json.dumps({"prompt": "Say hi.", "response": "hi", "rating": 4})


def test_good_rows_are_counted(vox: Vox, tmp_path: Path) -> None:
    document = vox("mens", "corpus", "validate", rows_file(tmp_path, GOOD, GOOD), "--json").document
    assert document["ok"] is True
    assert (document["rows"], document["accepted"], document["rejected"]) == (2, 2, 0)
    assert document["ratings"] == {"4": 2}


def test_bad_rows_are_refused_with_their_lines(vox: Vox, tmp_path: Path) -> None:
    path = rows_file(tmp_path, GOOD, '{"prompt": "secret"', GOOD, '{"prompt": 3}')
    outcome = vox("mens", "corpus", "validate", path)
    assert outcome.code == 3
    assert f"{path}:2" in outcome.err
    assert f"{path}:4" in outcome.err
    assert "secret" not in outcome.err
    assert "rejected" in outcome.out


def test_json_has_counts_and_problems_in_one_document(vox: Vox, tmp_path: Path) -> None:
    path = rows_file(tmp_path, GOOD, "not json")
    document = vox("mens", "corpus", "validate", path, "--json").document
    assert (document["ok"], document["exit_code"]) == (False, 3)
    assert (document["rows"], document["accepted"]) == (2, 1)
    assert [problem["where"] for problem in document["problems"]] == [f"{path}:2"]


def test_rows_that_pass_go_to_another_file(vox: Vox, tmp_path: Path) -> None:
    path = rows_file(tmp_path, GOOD, "not json")
    before = path.read_bytes()
    assert vox("mens", "corpus", "validate", path, "--output", tmp_path / "good.jsonl").code == 3
    assert (tmp_path / "good.jsonl").read_text(encoding="utf-8").strip() == GOOD
    assert vox("mens", "corpus", "validate", path, "--output", path).code == 3
    assert path.read_bytes() == before


def test_a_missing_file_is_refused(vox: Vox, tmp_path: Path) -> None:
    outcome = vox("mens", "corpus", "validate", tmp_path / "no.jsonl", "--json")
    assert outcome.code == 3
    assert outcome.document["ok"] is False


def test_several_files_are_checked_and_written_to_one(vox: Vox, tmp_path: Path) -> None:
    good, bad = tmp_path / "good.jsonl", tmp_path / "bad.jsonl"
    good.write_text(f"{GOOD}\n{GOOD}\n", encoding="utf-8")
    bad.write_text(f"{GOOD}\nnot json\n", encoding="utf-8")
    outcome = vox("mens", "corpus", "validate", good, bad, "--output", tmp_path / "all.jsonl")
    assert outcome.code == 3
    assert f"{bad}:2" in outcome.err
    assert "rows in all" in outcome.out
    assert (tmp_path / "all.jsonl").read_text(encoding="utf-8") == f"{GOOD}\n" * 3
    document = vox("mens", "corpus", "validate", good, bad, "--json").document
    assert (document["rows"], document["accepted"], document["rejected"]) == (4, 3, 1)
    assert [each["path"] for each in document["files"]] == [str(good), str(bad)]
    assert document["exit_code"] == 3
    alike = vox("mens", "corpus", "validate", good, good, "--json").document
    assert (alike["ok"], alike["output"]) == (True, None)
    gone = [tmp_path / name for name in ("gone.jsonl", "lost.jsonl")]
    missing = vox("mens", "corpus", "validate", good, *gone)
    assert missing.code == 3
    assert all(str(path) in missing.err for path in gone)
    over = vox("mens", "corpus", "validate", good, bad, "--output", bad)
    assert "MENS-D063" in over.err
