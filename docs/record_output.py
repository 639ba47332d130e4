"""Run the commands of pages that show output, in order, and write what they print into the pages.

A shell block (```bash) that is followed by a text block (```text) shows the output of its commands;
`…` on a line of its own marks omitted lines. `--check` writes nothing and fails when
a page shows something else than is printed. Numbers, digests and widths of columns may differ;
words may not.
"""

from __future__ import annotations

import argparse
import contextlib
import difflib
import os
import re
import shlex
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from vox_cli.app import run
from vox_populi import extras
from vox_populi.hf.embedded import embedded_model_dir

ROOT = Path(__file__).resolve().parents[1]

SESSIONS = (
    ("README.md", "docs/src/howto/evaluate.md", "docs/src/howto/generate.md"),
    ("docs/src/tutorial/first-adapter.md", "docs/src/howto/read-a-dry-run.md"),
    ("docs/src/howto/mix.md",),
    ("docs/src/howto/see-what-is-learned.md",),
)
"""Pages whose commands run one after the other in one folder, each where the last ended."""

BLOCK = re.compile(r"^```(bash|text)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LEFT_OUT = "…"
ENVIRONMENT = {"VOX_MENS_DEVICE": "cpu", "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
"""So that a page does not depend on the machine."""
BUILT_IN = (str(embedded_model_dir()), "…/vox_nano")
"""The built-in base is where the program is installed."""
OTHER_PROGRAMS = ("make", "source", "pip")
"""Of which no output is shown; `tests_integration/workflows` tests that the commands work."""
RUNNERS = (
    "train_run",
    "evaluate_run",
    "generate_run",
    "merge_run",
    "export_run",
)

_MASKS = (
    (re.compile(r"\b[0-9a-f]{12,}\b"), "#"),
    (re.compile(r" +ETA [\d:]+"), ""),
    (re.compile(r"[-+]?\d[\d,]*(\.\d+)?(e[-+]?\d+)?"), "#"),
    (re.compile(r"# (ms|s|min|h)\b"), "# s"),
    (re.compile(r"# [KMG]i?B\b"), "# MiB"),
    (re.compile(r"[ ]{2,}"), " "),
    (re.compile(r"-{2,}"), "--"),
)


@dataclass(frozen=True, slots=True)
class Shown:
    """A shell block of a page, and the block of its output."""

    commands: str
    line: int
    span: tuple[int, int] | None
    """Of the output in the page's text; `None` where none is shown."""
    output: str = ""


class WrongPageError(Exception):
    """A page that cannot be run or recorded."""


def shell_blocks(text: str) -> Iterator[Shown]:
    """The shell blocks of a page, in order."""
    blocks = list(BLOCK.finditer(text))
    for block, after in zip(blocks, [*blocks[1:], None], strict=False):
        if block[1] != "bash":
            continue
        line = text.count("\n", 0, block.start()) + 1
        if after is None or after[1] != "text" or text[block.end() : after.start()].strip():
            yield Shown(block[2], line, None)
        else:
            yield Shown(block[2], line, after.span(2), after[2])


def masked(line: str) -> str:
    """A line without what may differ."""
    for pattern, stand_in in _MASKS:
        line = pattern.sub(stand_in, line)
    return line.rstrip()


def is_shown(output: Sequence[str], shown: Sequence[str]) -> bool:
    """Whether the lines are those that the page shows, `…` for any number of them."""
    pattern = "".join(
        r"(?:.*\n)*" if line == LEFT_OUT else re.escape(masked(line)) + "\n" for line in shown
    )
    return re.fullmatch(pattern, "".join(masked(line) + "\n" for line in output)) is not None


def with_gaps(output: Sequence[str], shown: Sequence[str]) -> list[str]:
    """New output without the lines that the page left out: by their number, from both ends."""
    if LEFT_OUT not in shown:
        return list(output)
    if shown.count(LEFT_OUT) > 1:
        if is_shown(output, shown):
            return list(shown)
        message = f"the output has several lines {LEFT_OUT}; shorten it by hand"
        raise WrongPageError(message)
    first = shown.index(LEFT_OUT)
    last = len(shown) - first - 1
    return [*output[:first], LEFT_OUT, *output[len(output) - last :]]


def run_block(block: Shown, folder: Path) -> tuple[list[str], Path]:
    """What the commands print, standard error included, and the folder they end in."""
    lines: list[str] = []
    for line in block.commands.replace("\\\n", " ").splitlines():
        words = shlex.split(line, comments=True)
        if not words or words[0] in OTHER_PROGRAMS:
            continue
        if words[0] == "cd":
            folder = folder / words[1]
            continue
        if words[0] != "vox":
            message = f"{words[0]}: only vox and cd are run"
            raise WrongPageError(message)
        code, printed = run_vox(words[1:], folder)
        if code and "error [" not in block.output:
            message = f"exit code {code}: {line}\n{printed}"
            raise WrongPageError(message)
        lines += printed.replace(*BUILT_IN).splitlines()
    while lines and not lines[-1].strip():
        lines.pop()
    return lines, folder


def run_vox(arguments: Sequence[str], folder: Path) -> tuple[int, str]:
    """Exit code and output of a command, in a process of its own that has torch already."""
    with tempfile.TemporaryFile() as file:
        child = os.fork()
        if child == 0:
            _become_vox(arguments, folder, file.fileno())
        _, status = os.waitpid(child, 0)
        file.seek(0)
        return os.waitstatus_to_exitcode(status), file.read().decode("utf-8")


def _become_vox(arguments: Sequence[str], folder: Path, output: int) -> None:
    """The child: never returns, whatever happens."""
    code = 1
    try:
        os.chdir(folder)
        nothing = os.open(os.devnull, os.O_RDONLY)
        for source, target in ((nothing, 0), (output, 1), (output, 2)):
            os.dup2(source, target)
        for stream in (sys.stdout, sys.stderr):
            if hasattr(stream, "reconfigure"):
                stream.reconfigure(encoding="utf-8", line_buffering=True)
        code = run(list(arguments))
        sys.stdout.flush()
        sys.stderr.flush()
    finally:
        os._exit(code)


def problems_of(pages: Sequence[str], folder: Path, *, write: bool) -> Iterator[str]:
    """Run the pages of a session; what they show wrongly, or rewrite it."""
    for name in pages:
        text = (ROOT / name).read_text(encoding="utf-8")
        changes: list[tuple[tuple[int, int], str]] = []
        for block in shell_blocks(text):
            place = f"{name}:{block.line}"
            try:
                output, folder = run_block(block, folder)
                if block.span is None:
                    continue
                shown = block.output.splitlines()
                if not is_shown(output, shown):
                    new = with_gaps(output, shown) if write else output
                    changes.append((block.span, "".join(line + "\n" for line in new)))
                    yield f"{place}: printed is\n" + "\n".join(difflib.ndiff(shown, output))
            except WrongPageError as error:
                yield f"{place}: {error}"
                return
        if write:
            for (start, end), new_text in reversed(changes):
                text = text[:start] + new_text + text[end:]
            (ROOT / name).write_text(text, encoding="utf-8")


def main(arguments: Sequence[str] | None = None) -> int:
    """Record, or check."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--check", action="store_true", help="write nothing; fail on a difference")
    parser.add_argument("--page", help="only the session with this page")
    options = parser.parse_args(arguments)
    for name in [name for name in os.environ if name.startswith("VOX_")]:
        del os.environ[name]
    os.environ.update(ENVIRONMENT)
    for name in RUNNERS:
        extras.load(f"vox_populi.pipeline.{name}")
    found: list[str] = []
    for pages in SESSIONS:
        if options.page is None or options.page in pages:
            with tempfile.TemporaryDirectory() as scratch:
                _lay_out(Path(scratch))
                found += problems_of(pages, Path(scratch), write=not options.check)
    sys.stderr.write("".join(f"{problem}\n\n" for problem in found))
    return 1 if found and options.check else 0


def _lay_out(scratch: Path) -> None:
    """What pages name besides their own results: the demo's files, as in a clone."""
    with contextlib.suppress(FileExistsError):
        (scratch / "demo").symlink_to(ROOT / "demo", target_is_directory=True)


if __name__ == "__main__":
    sys.exit(main())
