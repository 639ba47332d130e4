"""`vox mens corpus mix`: several files of rows in one, by weight."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from vox_cli import flags
from vox_cli.console import Console
from vox_cli.mix_config_file import read_mix_config
from vox_cli.report_text import aligned, counts_text
from vox_populi.corpus.mix import MixOptions, MixResult, mix_corpus
from vox_populi.corpus.mix_report import SourceReport
from vox_populi.data.dataset import OnBadRow
from vox_populi.number_ranges import SEED


def mix(
    console: Console,
    config: Annotated[Path, flags.path("YAML file with sources and weights.", "FILE")],
    output: Annotated[
        Path | None, flags.path("Output file, overriding the config's.", "FILE")
    ] = None,
    seed: Annotated[
        int | None, flags.whole("Seed, overriding the config's.", SEED, default="config or 42")
    ] = None,
    on_bad_row: Annotated[
        OnBadRow, flags.choice("What to do with a row that cannot be used.", OnBadRow, "error")
    ] = OnBadRow.ERROR,
    allow_missing_sources: Annotated[
        bool,
        flags.switch("Continue without missing required files.", "--allow-missing-sources"),
    ] = False,
    force: Annotated[
        bool, flags.switch("Replace an existing output with different content.", "--force")
    ] = False,
) -> None:
    """Mix files of rows into one, by weight, and write a report of its contents next to it.

    Every row of every source is checked before anything is written. The same files and seed
    give the same bytes. Sources are never modified.
    """
    options = MixOptions(
        output=output,
        allow_missing_sources=allow_missing_sources,
        on_bad_row=on_bad_row,
        force=force,
    )
    result = mix_corpus(read_mix_config(config, seed), options)
    console.notes(result.notes)
    if console.as_json:
        paths = {"output_path": str(result.output), "report_path": str(result.report_file)}
        console.document({**result.report.as_json(), **paths, "notes": list(result.notes)})
    else:
        console.result(mix_text(result))


def mix_text(result: MixResult) -> str:
    """A report of what each source contributed and where the rows are."""
    report = result.report
    return aligned(
        [
            *((each.source.path, _source_text(each, report.total)) for each in report.sources),
            ("rows written", f"{report.total:,}{counts_text(report.lanes)}"),
            ("output", result.output),
            ("report", result.report_file),
        ]
    )


def _source_text(source: SourceReport, total: int) -> str:
    if source.skipped_reason is not None and not source.input_rows:
        return f"skipped: {source.skipped_reason}"
    dropped = {reason.value: count for reason, count in source.dropped.items() if count}
    repeats = f" + {source.repeats:,} repeats" if source.repeats else ""
    return (
        f"{source.input_rows:,} rows in, {source.kept:,} kept{repeats},"
        f" {sum(dropped.values()):,} dropped{counts_text(dropped)},"
        f" {100 * source.emitted_rows / total:.1f} % of the output"
    )
