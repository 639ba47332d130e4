"""`vox mens doctor`: what this machine and this installation have, and how to get the rest."""

from __future__ import annotations

from vox_cli.console import ColorChoice, Console
from vox_cli.flags import ColorFlag, JsonFlag, QuietFlag, VerboseFlag
from vox_cli.machine_report import examine_machine, machine_text


def doctor(
    json: JsonFlag = False,
    quiet: QuietFlag = False,
    verbose: VerboseFlag = False,
    color: ColorFlag = ColorChoice.AUTO,
) -> None:
    """Show versions, devices, dtypes and extras, and how to install what is missing.

    Works without torch; nothing is written.
    """
    console = Console(as_json=json, quiet=quiet, verbose=verbose, color=color)
    report = examine_machine()
    if json:
        console.document(report.as_json())
    else:
        console.result(machine_text(report))
