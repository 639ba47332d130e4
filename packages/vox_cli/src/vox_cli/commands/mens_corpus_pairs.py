"""`vox mens corpus pairs`: rows from Python source, Markdown documents or a Git history."""

from __future__ import annotations

import sysconfig
from pathlib import Path
from typing import Annotated

from vox_cli import flags
from vox_cli.console import Console
from vox_cli.optional_values import OPTIONAL_VALUES
from vox_cli.report_text import aligned, counts_text
from vox_populi.contract.setting import extended
from vox_populi.corpus.git_pairs import GitRows, build_git_pairs
from vox_populi.corpus.legacy_rules import SOURCE_RULES, LegacyFilter, read_legacy_rules
from vox_populi.corpus.markdown_pairs import build_markdown_pairs
from vox_populi.corpus.pair_files import write_pairs
from vox_populi.corpus.pairs import PairOptions, PairsReport, PairsResult, build_pairs
from vox_populi.corpus.row_sides import SideOptions
from vox_populi.corpus.source_pairs import SourcePairs, SourceReport
from vox_populi.errors import ConfigError
from vox_populi.number_ranges import COUNT
from vox_populi.operator_messages import corpus_sources as say

STDLIB = Path(OPTIONAL_VALUES["--from-python"].implied)
"""The word for the running interpreter's standard library; `./stdlib` is a folder of that name."""


def pairs(
    console: Console,
    output_dir: Annotated[Path, flags.path("Folder for train.jsonl and valid.jsonl.", "DIR")],
    from_python: Annotated[
        Path | None,
        flags.path(
            "Folder of Python source; without DIR, this interpreter's standard library.", "[DIR]"
        ),
    ] = None,
    from_markdown: Annotated[
        Path | None, flags.path("Folder of Markdown documents.", "DIR")
    ] = None,
    from_git: Annotated[
        Path | None, flags.path("Git repository whose history is read.", "DIR")
    ] = None,
    git_rows: Annotated[
        GitRows,
        flags.choice("What answers a commit message of --from-git.", GitRows, "diff"),
    ] = GitRows.DIFF,
    max_rows: Annotated[int | None, flags.whole("Largest number of training rows.", COUNT)] = None,
    max_heldout_rows: Annotated[
        int | None, flags.whole("Largest number of held-out rows.", COUNT, default="as --max-rows")
    ] = None,
    include_archive: Annotated[
        bool, flags.switch("Read the files of archive folders too.", "--include-archive")
    ] = False,
    legacy_rules: Annotated[
        Path | None,
        flags.path("TOML file that says which text is legacy.", "FILE", "the built-in rule"),
    ] = None,
    include_legacy: Annotated[
        bool, flags.switch("Keep rows with legacy text, tagged.", "--include-legacy")
    ] = False,
    force: Annotated[bool, flags.switch("Replace the files of another corpus.", "--force")] = False,
) -> None:
    """Write training and held-out rows from source code, documents or a history.

    --from-python asks for a function by its docstring, --from-markdown for a section by its
    heading, --from-git for a change by its commit message. Golden examples come first. What is
    held out follows from a hash of its name, and no held-out answer occurs in a training row. The
    same sources give the same bytes. Nothing of a source is run.
    """
    options = SideOptions(
        max_rows=max_rows,
        max_heldout_rows=max_heldout_rows or max_rows,
        include_archive=include_archive,
        legacy=LegacyFilter(read_legacy_rules(legacy_rules or SOURCE_RULES), include_legacy),
    )
    sources = {"--from-python": from_python, "--from-markdown": from_markdown}
    sources["--from-git"] = from_git
    given = [flag for flag, path in sources.items() if path is not None]
    if len(given) != 1:
        raise ConfigError(say.pairs_source_count(given, tuple(sources)).at(str(output_dir)))
    built: PairsResult | SourcePairs
    if from_python is not None:
        built = _from_python(from_python, options)
    elif from_markdown is not None:
        built = build_markdown_pairs(from_markdown, options)
    else:
        assert from_git is not None, "one source was passed"
        built = build_git_pairs(from_git, git_rows, options)
    paths = write_pairs(built, output_dir, force=force)
    console.notes(built.report.notes)
    if console.as_json:
        notes = list(built.report.notes)
        shown = [str(path) for path in paths]
        console.document({**built.report.as_json(), "paths": shown, "notes": notes})
    else:
        console.result(pairs_text(built.report, paths))


def _from_python(root: Path, options: SideOptions) -> PairsResult:
    if root == STDLIB:
        root = Path(sysconfig.get_paths()["stdlib"])
    return build_pairs(root, extended(PairOptions, options))


def pairs_text(report: PairsReport | SourceReport, paths: tuple[Path, ...]) -> str:
    """A report of what was found and where the rows are."""
    if isinstance(report, PairsReport):
        counts = {
            "modules": f"{report.modules:,} ({report.heldout_modules:,} held out)",
            "functions": f"{report.functions:,}",
        }
        rejected = {reason.value: count for reason, count in report.rejected.items()}
    else:
        counts = {name.replace("_", " "): f"{count:,}" for name, count in report.counts.items()}
        rejected = {reason.value: count for reason, count in report.left_out.items()}
    dropped = {reason: count for reason, count in rejected.items() if count}
    return aligned(
        [
            *counts.items(),
            ("train rows", f"{report.train_rows:,}"),
            ("held-out rows", f"{report.heldout_rows:,}"),
            ("golden rows", f"{report.golden_rows:,}" if report.golden_rows else None),
            ("dropped", f"{sum(dropped.values()):,}{counts_text(dropped)}"),
            *(("file", path) for path in paths),
        ]
    )
