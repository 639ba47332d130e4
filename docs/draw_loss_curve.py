"""Draw the losses of a run as one SVG file for README: `draw_loss_curve.py RUN FILE`.

The picture has no background and colours that are readable on white and on black.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

WIDTH, HEIGHT = 720, 300
LEFT, RIGHT, TOP, BOTTOM = 48, 16, 40, 40
TRAIN, HELD_OUT, TEXT, LINES = "#8c959f", "#1a7fd4", "#768390", "#76839055"
FONT = "system-ui, sans-serif"

Point = tuple[float, float]


def losses(run: Path) -> tuple[list[Point], list[Point]]:
    """Step and loss of every step, and of every evaluation."""
    steps: list[Point] = []
    evaluations: list[Point] = []
    for line in (run / "telemetry.jsonl").read_text(encoding="utf-8").splitlines():
        event = json.loads(line)
        payload = event["payload"]
        if event["event"] == "step":
            steps.append((payload["step"], payload["loss"]))
        elif event["event"] == "evaluation":
            evaluations.append((payload["step"], payload["val_loss"]))
    return steps, evaluations


def picture(steps: list[Point], evaluations: list[Point]) -> str:
    """The SVG file."""
    last = max(step for step, _ in steps)
    most = max(loss for _, loss in (*steps, *evaluations))

    def place(point: Point) -> Point:
        x = LEFT + point[0] / last * (WIDTH - LEFT - RIGHT)
        return x, HEIGHT - BOTTOM - point[1] / most * (HEIGHT - TOP - BOTTOM)

    first, final = evaluations[0][1], evaluations[-1][1]
    title = f"Held-out loss {first:.2f} to {final:.2f} in {last:.0f} steps"
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img"'
            f' aria-label="{title}" font-family="{FONT}" font-size="13">',
            f"<title>{title}</title>",
            *_axes(last, int(most), place),
            _line(map(place, steps), TRAIN, 1.5),
            _line(map(place, evaluations), HELD_OUT, 2.5),
            *(_dot(place(point)) for point in evaluations),
            _text(LEFT, 20, "training loss, step by step", TRAIN),
            _text(LEFT + 190, 20, "held-out loss", HELD_OUT),
            _text(WIDTH - RIGHT, HEIGHT - 8, "optimizer steps", TEXT, "end"),
            "</svg>",
            "",
        ]
    )


def _axes(last: float, most: int, place: object) -> Iterator[str]:
    assert callable(place)
    for loss in range(most + 1):
        y = place((0, loss))[1]
        yield f'<path d="M{LEFT} {y:.1f}H{WIDTH - RIGHT}" stroke="{LINES}"/>'
        yield _text(LEFT - 8, y + 4, str(loss), TEXT, "end")
    for step in range(0, int(last) + 1, 24):
        yield _text(place((step, 0))[0], HEIGHT - BOTTOM + 18, str(step), TEXT, "middle")


def _line(points: Iterable[Point], colour: str, width: float) -> str:
    spots = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    return f'<polyline points="{spots}" fill="none" stroke="{colour}" stroke-width="{width}"/>'


def _dot(point: Point) -> str:
    return f'<circle cx="{point[0]:.1f}" cy="{point[1]:.1f}" r="4" fill="{HELD_OUT}"/>'


def _text(x: float, y: float, text: str, colour: str, anchor: str = "start") -> str:
    place = f'x="{x:.1f}" y="{y:.1f}"'
    return f'<text {place} fill="{colour}" text-anchor="{anchor}">{text}</text>'


if __name__ == "__main__":
    run, file = map(Path, sys.argv[1:])
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(picture(*losses(run)), encoding="utf-8", newline="\n")
