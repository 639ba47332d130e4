"""Write what follows from the code: reference pages, the drawing of imports, the config's schema.

`--check` writes nothing and fails when a page on disk is not what the code says.
"""

from __future__ import annotations

import argparse
import ast
import sys
from collections.abc import Iterator
from dataclasses import dataclass, fields
from itertools import pairwise, zip_longest
from pathlib import Path
from typing import Any

import setting_types
from api_page import api_page
from draw_imports import with_drawing
from families_page import PAGE as FAMILIES_PAGE
from families_page import families_page
from memory_page import PAGE as MEMORY_PAGE
from memory_page import memory_page
from readme_tables import with_tables
from setting_pages import SCHEMA_FILE, config_schema, settings_page

from vox_cli.command_loading import load_command
from vox_cli.command_table import COMMANDS, ENVIRONMENT_PREFIX, PROGRAM, CommandEntry
from vox_cli.exit_codes import EXIT_CODE_OF_KIND, MEANING_OF_CODE
from vox_populi.contract.presets import PRESET_ALIASES, PRESETS, TrainPreset
from vox_populi.operator_messages import tensors

BAR = "\\|"

ROOT = Path(__file__).resolve().parents[1]
NOTICE = (
    "<!-- Written by docs/generate_reference.py. Change the code, then run `make docs`. -->\n\n"
)

README = "README.md"
PRESET_MEANINGS = {
    "tiny": "one quick pass with a small adapter, to see that everything works",
    "safe": "short rows and a small adapter, for a card of 8 GB or a CPU",
    "4080": "for a card of 16 or 24 GB, one row at a time",
    "a100": "a large adapter on long rows, for a card of 80 GB",
    "distributed": "larger steps on rows of 512 tokens, to be shared with `--nproc`",
    "mobile_edge": "within the limits of a phone's runtime; trains on the CPU",
    "vox-gen": "more epochs on short rows, for generated code",
}
IMPORTS_PAGE = "docs/src/explanation/imports.md"

AREAS = {
    "U": "Usage and configuration",
    "C": "Contract: a request that contradicts itself",
    "D": "Data: rows, tokenizers and templates",
    "H": "Model folders",
    "P": "Preflight and plan",
    "R": "Runs",
    "A": "Artifacts",
    "E": "Environment",
    "V": "Evaluation, gates and scorecards",
    "G": "The acceptance gate",
    "X": "Extras",
    "S": "Serving",
    "B": "Bugs in this program",
}


@dataclass(frozen=True, slots=True)
class ErrorEntry:
    """One problem as its message function states it."""

    code: str
    summary: str
    what: str
    fix: str


def error_entries() -> list[ErrorEntry]:
    """Every problem of the packages and the gate, by code, found in the sources: none is missed."""
    gate = ROOT / "tests_integration" / "gate" / "messages.py"
    sources = [*sorted((ROOT / "packages").glob("*/src/**/*.py")), gate]
    entries = [entry for path in sources for entry in _entries_of(path)]
    entries += _entries_of_tensors()
    homeless = [entry.code for entry in entries if entry.code[5:6] not in AREAS]
    assert not homeless, f"no area for {homeless}: name it in AREAS"
    return sorted(entries, key=lambda entry: entry.code)


def _entries_of(path: Path) -> Iterator[ErrorEntry]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for function in ast.walk(tree):
        if isinstance(function, ast.FunctionDef):
            yield from _entries_in(function, ast.get_docstring(function) or "")
    for constant, text in pairwise(tree.body):
        match constant, text:
            case ast.Assign(), ast.Expr(value=ast.Constant(value=str(summary))):
                yield from _entries_in(constant, summary)


def _entries_in(statement: ast.stmt, summary: str) -> Iterator[ErrorEntry]:
    """The problems of a message function, or the one that is a constant."""
    for call in ast.walk(statement):
        if isinstance(call, ast.Call) and ast.unparse(call.func) == "Problem":
            given = {word.arg: word.value for word in call.keywords if word.arg}
            code = given.get("code")
            if isinstance(code, ast.Constant):
                what, fix = _sentence(given["what"]), _sentence(given["fix"])
                yield ErrorEntry(str(code.value), summary.split("\n\n")[0], what, fix)


def _entries_of_tensors() -> Iterator[ErrorEntry]:
    """The sentences that several kinds of files share, with the codes of each."""
    for file in tensors.TENSOR_FILES:
        made = {
            tensors.tensor_missing: tensors.tensor_missing(file, "", "…", "…"),
            tensors.tensor_unexpected: tensors.tensor_unexpected(file, "", "…", "…"),
            tensors.tensor_misshaped: tensors.tensor_misshaped(file, "", "…", (), ()),
            tensors.tensor_wrong_type: tensors.tensor_wrong_type(file, "", "…", "…"),
        }
        if file.not_finite is not None:
            made[tensors.tensor_not_finite] = tensors.tensor_not_finite(file, "", "…")
        for function, problem in made.items():
            if file is tensors.SIDECAR and problem.code == tensors.LORA_BIN.wrong_type:
                continue  # It is the same code.
            summary = (function.__doc__ or "").split("\n\n")[0]
            what = problem.what.replace("[]", "…")
            yield ErrorEntry(problem.code, summary, what, problem.fix)


def _sentence(node: ast.expr) -> str:
    """A message as a reader can recognise it: literal text, with a name for each value in it."""
    if isinstance(node, ast.Constant):
        return str(node.value)
    if isinstance(node, ast.JoinedStr):
        return "".join(_part(value) for value in node.values)
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        return _sentence(node.left) + _sentence(node.right)
    if isinstance(node, ast.IfExp):
        return f"{_sentence(node.body)} | {_sentence(node.orelse)}"
    if isinstance(node, ast.Name):
        return f"{{{node.id}}}"
    return "…"


def _part(node: ast.expr) -> str:
    if isinstance(node, ast.Constant):
        return str(node.value)
    if isinstance(node, ast.FormattedValue) and isinstance(node.value, ast.Name | ast.Attribute):
        return f"{{{ast.unparse(node.value)}}}"
    return "…"


def errors_page() -> str:
    """Every problem code, grouped by area."""
    lines = [
        "# Problem codes",
        "",
        "Every failure that an operator can fix is printed as one line: code, place, cause, fix.",
        "Words in braces stand for values. A code is never given a second meaning.",
    ]
    entries = error_entries()
    for letter, title in AREAS.items():
        members = [entry for entry in entries if entry.code.startswith(f"MENS-{letter}")]
        if not members:
            continue
        lines += ["", f"## {title}"]
        for entry in members:
            anchor = f"{{#{entry.code.lower()}}}"
            lines += ["", f"### {entry.code}: {_prose(entry.summary).rstrip('.')} {anchor}"]
            lines += ["", "```text", entry.what, entry.fix, "```"]
    return NOTICE + "\n".join(lines) + "\n"


def _prose(text: str) -> str:
    return " ".join(text.split())


def exit_codes_page() -> str:
    """The table of exit codes, and which kind of failure ends in which."""
    kinds = {code: kind.value for kind, code in EXIT_CODE_OF_KIND.items()}
    lines = ["# Exit codes", "", "| Code | Kind | Meaning |", "|---|---|---|"]
    for code, meaning in MEANING_OF_CODE.items():
        kind = f"`{kinds[code]}`" if code in kinds else ""
        lines.append(f"| {int(code)} | {kind} | {meaning} |")
    return NOTICE + "\n".join(lines) + "\n"


def cli_page() -> str:
    """Every command with its arguments and options."""
    lines = [
        "# Commands",
        "",
        "Results go to standard output, everything else to standard error. With `--json`, standard",
        "output is one JSON document, also on failure. If a command prints JSON lines instead,",
        "each line is one, and a failure is the last; see [Terminal output](terminal.md).",
        "Every option can also be set in the",
        f"environment: `--batch-size` is `{ENVIRONMENT_PREFIX}_BATCH_SIZE`. A flag overrides the",
        "environment.",
    ]
    for entry in COMMANDS:
        lines += ["", *_command_section(entry)]
    return NOTICE + "\n".join(lines) + "\n"


def _command_section(entry: CommandEntry) -> Iterator[str]:
    command = load_command(entry)
    arguments = [p for p in command.params if p.param_type_name == "argument"]
    options = [p for p in command.params if p.param_type_name == "option" and not p.hidden]
    usage = [PROGRAM, *entry.words, *(_argument(argument) for argument in arguments)]
    yield f"## {PROGRAM} {' '.join(entry.words)}"
    yield ""
    yield entry.short_help
    yield ""
    yield "```text"
    yield " ".join([*usage, "[OPTIONS]"])
    yield "```"
    if options:
        yield ""
        yield "| Option | Meaning |"
        yield "|---|---|"
        for option in options:
            yield f"| {_option(option)} | {_cell(option.help or '')} |"


def _argument(argument: Any) -> str:
    name = argument.metavar or argument.name.upper()
    return name if argument.required else f"[{name}]"


def _option(option: Any) -> str:
    names = ", ".join(f"`{name}`" for name in (*option.opts, *option.secondary_opts))
    value = "" if option.is_flag or not option.metavar else f" `{option.metavar}`"
    return _cell(names + value)


def _cell(text: str) -> str:
    """Text between the bars of a table; inside a code span a backslash would be shown."""
    parts = _prose(text).split("`")
    outside = [part.replace("|", "\\|") for part in parts[::2]]
    inside = [f"`{part.replace('|', f'`{BAR}`')}`" for part in parts[1::2]]
    return "".join(each for pair in zip_longest(outside, inside, fillvalue="") for each in pair)


def presets_page() -> str:
    """The settings that each preset name stands for."""
    names = [field.name for field in fields(TrainPreset)]
    lines = [
        "# Presets",
        "",
        "`--preset NAME` is a starting point: a flag, an environment variable or the config file",
        "overrides it. With fewer than 500 rows, the epochs and the warm-up of a preset are",
        "adapted to the data unless something overrides them, and a note says so.",
        "",
        *(f"- `{name}`: {PRESET_MEANINGS[name]}" for name in PRESETS if name in PRESET_MEANINGS),
        "",
        *_AUTO_PRESET.splitlines(),
        "",
        f"| Preset | {' | '.join(f'`{name}`' for name in names)} |",
        f"|---|{'---|' * len(names)}",
    ]
    for preset, settings in PRESETS.items():
        values = (getattr(settings, name) for name in names)
        lines.append(f"| `{preset}` | {' | '.join('' if v is None else str(v) for v in values)} |")
    others = (f"`{alias}` is `{preset}`" for alias, preset in PRESET_ALIASES.items())
    lines += ["", f"Other names: {', '.join(others)}."]
    return NOTICE + "\n".join(lines) + "\n"


_AUTO_PRESET = """\
`--preset auto` plans `a100`, `4080` and `safe`, in this order, with your other settings and
the base, and takes the first whose memory estimate is at most 90 % of what the device has (of
a GPU, what is free) and whose rows the base has positions for. A note has the choice and both
numbers. If none fits, or the memory is not known, the command stops (MENS-E094, MENS-E093).
The run records the name that was chosen; resume it with that name if the machine may differ.
"""


def main() -> int:
    """Write the pages, or say which are stale."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; fail when stale")
    check = parser.parse_args().check
    pages = {
        "docs/src/reference/api.md": NOTICE + api_page(),
        "docs/src/reference/errors.md": errors_page(),
        "docs/src/reference/exit-codes.md": exit_codes_page(),
        "docs/src/reference/cli.md": cli_page(),
        "docs/src/reference/presets.md": presets_page(),
        "docs/src/reference/settings.md": NOTICE + "\n".join(settings_page()) + "\n",
        MEMORY_PAGE: NOTICE + memory_page(),
        FAMILIES_PAGE: NOTICE + families_page(),
        README: with_tables((ROOT / README).read_text(encoding="utf-8")),
        IMPORTS_PAGE: with_drawing((ROOT / IMPORTS_PAGE).read_text(encoding="utf-8")),
        setting_types.MODULE: setting_types.module_text(),
        SCHEMA_FILE: config_schema(),
    }
    stale = [name for name, text in pages.items() if _on_disk(ROOT / name) != text]
    if check:
        sys.stderr.writelines(f"stale: {name}; run make docs\n" for name in stale)
        return 1 if stale else 0
    for name in stale:
        (ROOT / name).write_text(pages[name], encoding="utf-8", newline="\n")
    return 0


def _on_disk(path: Path) -> str | None:
    return path.read_text(encoding="utf-8") if path.exists() else None


if __name__ == "__main__":
    raise SystemExit(main())
