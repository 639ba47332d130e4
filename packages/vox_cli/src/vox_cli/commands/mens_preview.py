"""`vox mens preview`: rows as the trainer would see them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from vox_cli import flags
from vox_cli.console import Console
from vox_cli.mask_text import mask_text
from vox_cli.output_flags import PreviewConsole
from vox_cli.preview_text import PreviewLook, preview_text
from vox_cli.terminal import STDOUT
from vox_populi.data.mask_gates import MaskGates
from vox_populi.number_ranges import SHARE
from vox_populi.pipeline.preview import PreviewRequest, preview_rows
from vox_populi.pipeline.preview_check import MaskCheckRequest, check_masks


def preview(
    console: PreviewConsole,
    request: PreviewRequest,
    *,
    check: Annotated[
        bool,
        flags.switch("Count what is learned of all rows; exit 6 if a gate is missed.", "--check"),
    ] = False,
    max_refused_share: Annotated[
        float, flags.real("With --check: most rows that are refused.", SHARE, default=0)
    ] = 0.0,
    max_no_end_share: Annotated[
        float,
        flags.real(
            "With --check: most rows that learn an answer without an end.", SHARE, default=0
        ),
    ] = 0.0,
    max_wrong_bos_share: Annotated[
        float,
        flags.real(
            "With --check: most rows without exactly one BOS, if the base adds one.",
            SHARE,
            default=0,
        ),
    ] = 0.0,
    max_cut_share: Annotated[
        float, flags.real("With --check: most rows longer than --seq-len.", SHARE, default=0.05)
    ] = 0.05,
    min_learned_share: Annotated[
        float, flags.real("With --check: least share of tokens learned.", SHARE, default=0.01)
    ] = 0.01,
    max_control_share: Annotated[
        float | None,
        flags.real("With --check: most rows with text that spells a control token.", SHARE),
    ] = None,
    html: Annotated[
        Path | None, flags.path("Write a page with these counts and marked rows.", "FILE")
    ] = None,
    force: Annotated[bool, flags.switch("Replace the page of --html.", "--force")] = False,
) -> None:
    """Show rows exactly as training would use them: what is learned, and every control token.

    The text is what the ids say. Learned text is green, or between « and » without colours; text
    that spells a control token but is not one has a backslash in front. With --json, print one
    line per row with the exact ids; the label of a token that is not learned is -100.

    With --check, go through all rows instead: count per source what is learned, cut, refused or
    without an end, and exit with code 6 if a gate is missed. --html writes these counts and some
    rows to a page.
    """
    if check or html is not None:
        gates = MaskGates(
            max_refused_share=max_refused_share,
            max_no_end_share=max_no_end_share,
            max_wrong_bos_share=max_wrong_bos_share,
            max_cut_share=max_cut_share,
            min_learned_share=min_learned_share,
            max_control_share=max_control_share,
        )
        report = check_masks(
            MaskCheckRequest(rows=request, gates=gates if check else None, html=html, force=force)
        )
        console.notes(report.notes)
        console.gated(report, lambda found: mask_text(found, _columns()))
    else:
        _show(console, request)


def _show(console: Console, request: PreviewRequest) -> None:
    look = PreviewLook(has_color=console.has_color(STDOUT), columns=_columns())
    for shown in preview_rows(request, console.notes):
        if console.as_json:
            console.json_line(shown.as_json())
        else:
            console.styled(preview_text(shown, look))


def _columns() -> int | None:
    """Width to which results are fitted: none, unless a terminal shows them."""
    return STDOUT.columns() if STDOUT.is_terminal() else None
