"""`vox mens doctor`: what this machine and this installation have, and how to get the rest."""

from __future__ import annotations

from vox_cli.console import Console
from vox_cli.machine_report import examine_machine, machine_text


def doctor(
    console: Console,
) -> None:
    """Show versions, devices, dtypes and extras, and how to install what is missing.

    Works without torch; nothing is written.
    """
    report = examine_machine()
    console.report(report, machine_text)
