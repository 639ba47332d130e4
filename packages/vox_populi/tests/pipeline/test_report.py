"""Reports of runs: what the page has, what it must not have, and how it behaves in a browser."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from packages.vox_populi.tests.headless_browser import CHROMIUM, browser_page
from packages.vox_populi.tests.run_folders import Event, steps, write_run
from vox_populi.errors import ArtifactError, ConfigError, PreflightError
from vox_populi.pipeline.report import ReportRequest, report_runs

HELDOUT: tuple[Event, ...] = tuple(
    ("evaluation", {"step": step, "val_loss": loss}) for step, loss in ((0, 4.0), (5, 1.5), (10, 3))
)
SAMPLES = {
    "schema_version": 1,
    "samples": [{"prompt": "<b>ask", "expected": "yes", "before": "x", "after": "y"}],
}


@pytest.fixture
def runs(tmp_path: Path) -> tuple[Path, Path]:
    """A complete run with samples, and one that is not finished."""
    first = write_run(tmp_path / "first", *steps([3.0, 2.0, 1.0]), *HELDOUT, heldout=3.0)
    (first / "samples.json").write_text(json.dumps(SAMPLES))
    for step in (5, 10):
        (first / "checkpoints" / f"step-{step}").mkdir(parents=True)
    second = write_run(
        tmp_path / "second", *steps([2.5, 2.25]), contract={"learning_rate": 1e-3, "seed": 1}
    )
    return first, second


def test_the_page_has_curves_results_samples_settings_and_digests(
    runs: tuple[Path, Path], tmp_path: Path
) -> None:
    page = tmp_path / "pages" / "report.html"
    report = report_runs(ReportRequest(runs=runs, html=page))
    text = page.read_text("utf-8")
    for words in (
        *("Training loss", "Held-out loss", "Learning rate", "Gradient norm", "Speed"),
        *("Peak memory", "Rows of a step", "Learned share", "Results", "Checkpoints"),
        *("&lt;b&gt;ask", "Settings that differ", "--lr", "Digests", "sha256:base"),
        *("1.5000 after step 5", "cannot be compared"),
    ):
        assert words in text, words
    assert str(tmp_path) not in text, "no absolute path"
    assert "http" not in text.replace('"http://www.w3.org/2000/svg"', "").replace("http-equiv", "")
    assert "script-src 'sha256-" in text.replace("&#x27;", "'")
    document = json.loads(json.dumps(report.as_json()))
    assert document["runs"][0]["curves"]["loss"] == [[1, 3.0], [2, 2.0], [3, 1.0]]
    assert document["runs"][0]["samples"] == 1
    assert document["heldout_comparable"] is False


def test_a_long_run_gives_a_small_page(tmp_path: Path) -> None:
    run = write_run(tmp_path / "a", *steps([1000.0 / n for n in range(1, 5001)]))
    page = tmp_path / "report.html"
    report_runs(ReportRequest(runs=(run,), html=page))
    assert page.stat().st_size < 400_000


def test_what_cannot_be_reported_is_refused_and_writes_nothing(
    runs: tuple[Path, Path], tmp_path: Path
) -> None:
    page = tmp_path / "report.html"
    with pytest.raises(ConfigError, match="MENS-R105"):
        report_runs(ReportRequest(runs=(runs[0], runs[0]), html=page))
    with pytest.raises(ArtifactError, match="MENS-A022"):
        report_runs(ReportRequest(runs=(tmp_path,), html=page))
    with pytest.raises(PreflightError):
        report_runs(ReportRequest(runs=runs[:1], html=runs[0] / "telemetry.jsonl", force=True))
    (runs[0] / "samples.json").write_text("{}")
    with pytest.raises(ArtifactError, match="MENS-R107"):
        report_runs(ReportRequest(runs=runs[:1], html=page))
    assert not page.exists()


def test_runs_of_the_same_name_are_told_apart(tmp_path: Path) -> None:
    folders = tuple(write_run(tmp_path / name / "run", heldout=2.0) for name in "ab")
    assert report_runs(ReportRequest(runs=folders)).names == ("a/run", "b/run")


@pytest.mark.any_install
@pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium")
def test_the_page_works_in_a_browser_with_keys_alone(
    runs: tuple[Path, Path], tmp_path: Path
) -> None:
    file = tmp_path / "report.html"
    report_runs(ReportRequest(runs=runs, html=file))
    tip = "document.querySelector('.tip').textContent"
    with browser_page(tmp_path / "profile") as page:
        for width, dark in ((1100, False), (390, True)):
            page.open(file.as_uri(), width=width, dark=dark)
            assert page.evaluate("document.documentElement.scrollWidth") <= width
            page.evaluate("document.querySelector('.plot').focus()")
            page.press("ArrowRight")
            page.press("ArrowRight")
            assert page.evaluate(tip).startswith("step 1: first 3; second 2.5")
            page.press("End")
            assert page.evaluate(tip).startswith("step 10: ")
            page.press("Escape")
            assert page.evaluate(tip) == ""
            page.evaluate("document.querySelector('.legend input').click()")
            assert page.evaluate("document.querySelectorAll('.lines')[0].children.length") == 1
            page.evaluate("document.querySelector('#log').click()")
            assert "log axis" in page.evaluate("document.querySelector('svg .axes').textContent")
        assert set(page.requests) == {file.as_uri()}
        assert page.errors == []
