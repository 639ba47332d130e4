"""`vox mens check-served`: whether a server answers as the trained weights do."""

from __future__ import annotations

from typing import Annotated

import typer

from vox_cli.console import Console
from vox_cli.report_text import aligned
from vox_populi.contract.setting import extended
from vox_populi.pipeline.check_served import (
    CheckServedReport,
    CheckServedRequest,
    CheckServedSettings,
)
from vox_populi.pipeline.check_served import check_served as compare


def check_served(
    console: Console,
    url: Annotated[
        str,
        typer.Argument(
            help="Address of a server with OpenAI's API, such as http://127.0.0.1:8000.",
            metavar="URL",
            show_default=False,
            show_envvar=False,
        ),
    ],
    settings: CheckServedSettings,
) -> None:
    """Ask a server (vLLM, llama-server, ours) the same prompts, and compare its answers with ours.

    Says which differs: template, end token, adapter, rounding or weights; exits with code 6 then.
    The key of VOX_MENS_API_KEY is sent to the server if it is set. Nothing else is asked.
    """
    report = compare(extended(CheckServedRequest, settings, url=url))
    console.notes(report.notes)
    console.gated(report, check_served_text)


def check_served_text(report: CheckServedReport) -> str:
    """What was compared, and how near it is."""
    verdict, found = report.verdict, report.verdict.as_json()
    seen = f"{found['mean_difference']} on average, {found['largest_difference']} at most"
    base = f", {found['mean_difference_to_base']} to the base"
    is_scored = found["mean_difference"] is not None
    return aligned(
        [
            ("server", f"{report.url}, {report.server}"),
            ("model", report.served_model),
            ("compared with", report.model if report.adapter is None else report.adapter),
            ("prompts", f"{len(verdict.pairs):,}, {found['tokens']:,} tokens of answers"),
            ("template", verdict.template),
            ("end token", verdict.end),
            (
                "adapter",
                f"{verdict.adapter}{base if is_scored and verdict.adapter != 'none' else ''}",
            ),
            ("rounding", f"{verdict.rounding}, {seen}" if is_scored else None),
        ]
    )
