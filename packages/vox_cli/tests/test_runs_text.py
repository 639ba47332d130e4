"""Lists and comparisons of runs: what matters most stays where the terminal is narrow."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from packages.vox_populi.tests.run_folders import steps, write_run
from vox_cli.columns import Column, table_lines
from vox_cli.report_page_text import report_text
from vox_cli.runs_text import compare_text, runs_text
from vox_cli.text_width import cells
from vox_populi.pipeline.compare import compare
from vox_populi.pipeline.list_runs import RunOrder, list_runs
from vox_populi.pipeline.report import ReportRequest, report_runs

Vox = Callable[..., Any]


def test_the_least_important_columns_are_left_out_first() -> None:
    columns = [
        Column(name="run", cells=["名前", "b"], priority=0, is_number=False),
        Column(name="x", cells=["12345", "1"], priority=2),
        Column(name="y", cells=["1", "2"], priority=1),
        Column(name="empty", cells=["", ""], priority=1),
    ]
    assert table_lines(columns, None) == ["run       x  y", "名前  12345  1", "b         1  2"]
    assert table_lines(columns, 10) == ["run   y", "名前  1", "b     2"]
    assert table_lines(columns, 3) == ["run", "名", "b"]


@pytest.mark.parametrize("room", [39, 79, None])
def test_a_list_fits_and_marks_losses_of_other_rows(tmp_path: Path, room: int | None) -> None:
    write_run(tmp_path / "a", heldout=3.0)
    write_run(tmp_path / "b", heldout=2.0, inputs={"valid": "sha256:x"})
    write_run(tmp_path / "c\x1b[2J\n", heldout=2.0)
    (tmp_path / "c\x1b[2J\n" / "request.json").write_text("{")
    text = runs_text(list_runs(tmp_path, RunOrder.HELDOUT), room)
    lines = text.splitlines()
    assert "\x1b" not in text
    assert [line.split()[0] for line in lines[:3]] == ["run", "b", "a"]
    assert "2.0000" in lines[1]
    if room is not None:
        assert max(map(cells, lines[:3])) <= room
    if room is None:
        assert "comparable" in text
    assert "damaged: " in text


@pytest.mark.parametrize("room", [39, None])
def test_a_comparison_has_results_settings_and_inputs(tmp_path: Path, room: int | None) -> None:
    first = write_run(tmp_path / "a", heldout=3.0)
    second = write_run(
        tmp_path / "second-run-with-a-long-name",
        heldout=2.0,
        contract={"learning_rate": 1e-3},
        inputs={"data": "sha256:other"},
    )
    text = compare_text(compare([first, second]), room)
    for words in ("3.0000", "--lr", "0.001", "not the same (data, other)", "1:01"):
        assert words in text


def test_the_commands_print_them(vox: Vox, tmp_path: Path) -> None:
    first = write_run(tmp_path / "a", heldout=3.0)
    second = write_run(tmp_path / "b", heldout=2.0, inputs={"data": "sha256:other"})
    assert vox("mens", "runs", tmp_path).out.splitlines()[1].startswith("b")
    listed = vox("mens", "runs", tmp_path, "--sort", "name", "--json").document
    assert [run["name"] for run in listed["runs"]] == ["a", "b"]
    outcome = vox("mens", "compare", first, second)
    assert outcome.code == 0
    assert "cannot be compared" in outcome.err
    assert vox("mens", "compare", first).code == 2
    assert vox("mens", "runs", tmp_path / "absent").code == 3


def test_a_report_of_one_run_has_its_curves_and_fits(vox: Vox, tmp_path: Path) -> None:
    run = write_run(tmp_path / "a", *steps([3.0, 2.0]), heldout=3.0)
    text = report_text(report_runs(ReportRequest(runs=(run,))), 60, has_unicode=False)
    assert "training loss" in text
    assert "3 -> 2" in text
    assert "the same" not in text
    assert text.isascii()
    assert max(map(cells, text.splitlines())) <= 60
    assert "training loss" in vox("mens", "report", run).out
