"""The screen of a watched run fits every terminal and says what matters first."""

from __future__ import annotations

from dataclasses import replace

import pytest

from vox_cli.text_width import cells
from vox_cli.watch_view import WatchedRun, sparkline, watch_lines
from vox_populi.pipeline.follow import Look
from vox_populi.runs.run_history import RunHistory, RunState
from vox_populi.runs.telemetry import TelemetryLine


def line(event: str, **payload: object) -> TelemetryLine:
    return TelemetryLine(1, event, payload)


LINES = (
    line("train_start", planned_steps_total=200, pairs_loaded=7, base_model="b\x1b[2J"),
    line("evaluation", step=0, val_loss=3.5),
    *(
        line(
            "step", epoch=0, step=i, loss=4.0 - i / 50, learning_rate=1e-4, grad_norm=0.5,
            tokens_per_sec=1234.0, eta_seconds_remaining=61.0, peak_memory_bytes=1 << 30,
        )
        for i in range(1, 101)
    ),
    line("evaluation", step=50, val_loss=2.25),
    line("evaluation", step=100, val_loss=2.5),
    line("checkpoint_saved", step=100, checkpoint="step-100"),
    line("invented_later"),
)  # fmt: skip


def seen(*lines: TelemetryLine, state: RunState = RunState.RUNNING) -> tuple[WatchedRun, Look]:
    history = RunHistory()
    for each in lines:
        history.add(each)
    look = Look(
        state=state, holder="process 1", read=lines, new=lines, history=history, has_restarted=False
    )
    watched = WatchedRun("runs-名前")
    watched.add(look)
    return watched, look


@pytest.mark.parametrize("columns", [10, 39, 79, 199])
@pytest.mark.parametrize("has_unicode", [True, False])
def test_no_line_is_wider_than_the_terminal(columns: int, has_unicode: bool) -> None:
    shown = watch_lines(*seen(*LINES), columns, has_unicode=has_unicode)
    assert shown
    assert max(map(cells, shown)) <= columns
    assert not any("\x1b" in each or "\n" in each for each in shown)
    if not has_unicode:
        assert "".join(shown).replace("名前", "").isascii()


def test_the_screen_has_progress_losses_and_checkpoints() -> None:
    text = "\n".join(watch_lines(*seen(*LINES), 79))
    for words in (
        *("running", "step 100/200", "ETA 1:01", "50%", "2.0000", "2.5000 (best 2.2500 at 50)"),
        *("1,234 tokens/s", "step-100 (2.5000)", "invented_later", "1.00 GiB"),
    ):
        assert words in text, words
    narrow = "\n".join(watch_lines(*seen(*LINES), 39))
    assert "step 100/200  ETA 1:01" in narrow


def test_a_run_without_steps_is_loading() -> None:
    assert "loading" in watch_lines(*seen(), 79)
    assert "no step" in watch_lines(*seen(state=RunState.INTERRUPTED), 79)


def test_a_sparkline_has_a_column_for_each_value_or_for_several() -> None:
    assert sparkline([0.0, 1.0, 2.0], 10, "abc") == "abc"
    assert sparkline([0.0, 0.0, 2.0, 2.0], 2, "abc") == "ac"
    assert sparkline([5.0] * 3, 3, "abc") == "aaa"
    assert sparkline([], 3) == sparkline([1.0], 0) == ""


def test_the_curve_of_a_resumed_run_begins_at_its_first_step() -> None:
    watched, look = seen(*LINES)
    again = replace(look, has_restarted=True, read=LINES[:52], new=(), history=look.history)
    watched.add(again)
    assert watched.losses.points() == [(i, 4.0 - i / 50) for i in range(1, 51)]
