"""`vox mens corpus stats`: rows, labels and lengths of files."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Annotated

from vox_cli import flags
from vox_cli.console import Console
from vox_cli.report_text import aligned, counts_text
from vox_cli.transfer_view import transfer_view
from vox_populi.contract.choices import TokenizerKind
from vox_populi.contract.download_choice import DownloadChoice
from vox_populi.corpus.length_counts import LengthCounts
from vox_populi.corpus.stats import FileStats, StatsReport
from vox_populi.hf.hub_name import ModelParts
from vox_populi.pipeline.corpus_stats import count_corpus
from vox_populi.pipeline.model_arguments import model_folder

_MOST_SHOWN = 10


def stats(
    console: Console,
    download: DownloadChoice,
    files: Annotated[list[Path], flags.path_argument("Files of rows.", "FILE...")],
    model: Annotated[
        Path | None, flags.path("Base folder whose tokenizer counts tokens.", "DIR")
    ] = None,
    tokenizer: Annotated[
        TokenizerKind | None,
        flags.choice("Vocabulary to count tokens with.", TokenizerKind, "hf with --model"),
    ] = None,
) -> None:
    """Count the rows of files by layout and label, and their lengths.

    Bad rows are counted apart. Tokens are counted, as a run would train on them, if --model or
    --tokenizer is passed.
    """
    if model is not None:
        model = model_folder(
            model,
            may_download=download.allow_download,
            parts=ModelParts.TEXT,
            watcher=transfer_view(console),
        )
    report = count_corpus(files, model, tokenizer)
    console.notes(report.notes)
    console.report(report, stats_text)


def stats_text(report: StatsReport) -> str:
    """Tables of files, labels and lengths."""
    return aligned(
        [
            *((str(file.path), _file_text(file)) for file in report.files),
            *((name, _labels_text(counts)) for name, counts in report.labels.items()),
            *_length_rows(report),
        ]
    )


def _file_text(file: FileStats) -> str:
    bad = f", {file.bad_rows:,} bad{counts_text(file.problems_by_code)}" if file.bad_rows else ""
    return f"{file.rows:,} rows{bad}"


def _labels_text(counts: Mapping[str, int]) -> str | None:
    """The most frequent labels, and how many more there are."""
    shown = dict(islice(counts.items(), _MOST_SHOWN))
    rest = len(counts) - len(shown)
    more = f" and {rest:,} more" if rest else ""
    return counts_text(shown).strip(" ()") + more if counts else None


def _length_rows(report: StatsReport) -> Iterator[tuple[str, object]]:
    for name, counts in report.lengths.items():
        of_base = f" ({report.base})" if name == "tokens" else ""
        yield name.replace("_", " ") + of_base, _length_text(counts)


def _length_text(counts: LengthCounts) -> str | None:
    if not counts.count:
        return None
    quantiles = ", ".join(f"{name} {value:,}" for name, value in counts.quantiles().items())
    mean = counts.total / counts.count
    return (
        f"{counts.total:,} in all, mean {mean:,.1f}, min {counts.least:,}, {quantiles},"
        f" max {counts.greatest:,}"
    )
