"""Rules of the house that no linter checks; every search is also shown a breach it must see."""

from __future__ import annotations

import ast
import re
import tempfile
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from fnmatch import fnmatch
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
MAX_LINES = 400
MAX_BYTES = 500_000
NAMES_WITHOUT_A_CONCEPT = {"util", "utils", "common", "helper", "helpers", "misc", "other"}
LORA_HOME = Path("packages/vox_tensor/src/vox_tensor/lora.py")
IMPORT_BY_NAME_HOMES = {
    Path("packages/vox_populi/src/vox_populi/extras.py"),
    Path("packages/vox_tensor/src/vox_tensor/lazy_exports.py"),
}
LARGE_FILES_ALLOWED = ("packages/vox_populi/src/vox_populi/vox_nano/*",)

BANNED_CALLS = {
    "eval": "runs text as code",
    "exec": "runs text as code",
    "compile": "makes code from text",
    "torch.load": "unpickles",
    "torch.save": "pickles",
    "numpy.load": "can unpickle; read safetensors",
    "yaml.load": "can construct any object; use a safe loader",
    "yaml.unsafe_load": "constructs any object",
    "yaml.full_load": "constructs objects",
    "os.system": "runs a shell",
    "os.popen": "runs a shell",
    "tempfile.mktemp": "names a file that another process can take",
}
STREAM_HOME = Path("packages/vox_cli/src/vox_cli/terminal.py")
PYTHON_API = Path("packages/vox_populi/src/vox_populi/api.py")
STREAM_CALLS = {
    "print",
    "input",
    "pprint.pprint",
    "sys.stdout",
    "sys.stderr",
    "sys.__stdout__",
    "sys.__stderr__",
    "sys.displayhook",
    "sys.excepthook",
    "getpass.getpass",
    "logging.basicConfig",
    "logging.StreamHandler",
    "logging.lastResort",
    "traceback.print_exc",
    "traceback.print_exception",
    "traceback.print_stack",
    "warnings.showwarning",
    *(f"typer.{name}" for name in ("echo", "secho", "style", "prompt", "confirm", "progressbar")),
    *(f"click.{name}" for name in ("echo", "secho", "style", "prompt", "confirm", "progressbar")),
    "typer.echo_via_pager",
    "click.echo_via_pager",
}
"""What reaches a terminal; everything that does goes through `STREAM_HOME`, which escapes it."""
STREAM_MODULES = {"rich", "curses", "colorama"}
BANNED_MODULES = {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "marshal", "shelve"}
IMPORT_BY_NAME = {"importlib.import_module", "__import__", "runpy.run_path", "runpy.run_module"}


def ignored_patterns() -> tuple[str, ...]:
    """What git ignores here; the patterns are plain names and `*.x`, so fnmatch reads them."""
    lines = (ROOT / ".gitignore").read_text(encoding="utf-8").splitlines()
    return (".git", *(line.rstrip("/") for line in lines if line and not line.startswith("#")))


def tracked_files(folder: Path, patterns: tuple[str, ...]) -> Iterator[Path]:
    """Every file below a folder that git would track, relative to the root."""
    for path in sorted(folder.iterdir()):
        if any(fnmatch(path.name, pattern) for pattern in patterns):
            continue
        if path.is_dir():
            yield from tracked_files(path, patterns)
        elif path.is_file():
            yield path.relative_to(ROOT)


FILES = tuple(tracked_files(ROOT, ignored_patterns()))
PYTHON_FILES = tuple(path for path in FILES if path.suffix == ".py")
# Tests may forge what the product must refuse, so only the product is held to the bans.
PRODUCT_FILES = tuple(
    path for path in PYTHON_FILES if not {"tests", "tests_integration"} & set(path.parts)
)


def text_of(path: Path) -> str | None:
    """The text of a tracked file, or nothing for a binary one."""
    raw = (ROOT / path).read_bytes()
    return None if b"\0" in raw else raw.decode("utf-8", errors="strict")


def texts() -> Iterator[tuple[Path, str]]:
    for path in FILES:
        text = text_of(path)
        if text is not None:
            yield path, text


def test_no_source_file_is_longer_than_the_limit() -> None:
    lengths = {path: len((text_of(path) or "").splitlines()) for path in PYTHON_FILES}
    assert len(lengths) > 20, "the walk must have found the sources"
    assert {path: n for path, n in lengths.items() if n > MAX_LINES} == {}


def test_agents_page_is_short() -> None:
    assert len((text_of(Path("AGENTS.md")) or "").splitlines()) <= 150


def test_every_module_is_named_after_a_concept() -> None:
    named = [p for p in PYTHON_FILES if p.stem.strip("_") in NAMES_WITHOUT_A_CONCEPT]
    folders = [p for p in PYTHON_FILES if set(p.parts[:-1]) & NAMES_WITHOUT_A_CONCEPT]
    assert named + folders == []


def test_lora_is_multiplied_in_one_file() -> None:
    assert [path for path in PYTHON_FILES if path.name == "lora.py"] == [LORA_HOME]


def resolved_names(tree: ast.Module) -> Mapping[str, str]:
    """The full name of each imported name: `import numpy as np` gives `np` -> `numpy`."""
    names: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                names[alias.asname or alias.name.split(".")[0]] = (
                    alias.name if alias.asname else alias.name.split(".")[0]
                )
        elif isinstance(node, ast.ImportFrom):
            for alias in node.names:
                names[alias.asname or alias.name] = f"{node.module}.{alias.name}"
    return names


def dotted(node: ast.expr, names: Mapping[str, str]) -> str | None:
    """The full name of a called thing, or nothing for a computed one."""
    if isinstance(node, ast.Name):
        return names.get(node.id, node.id)
    if isinstance(node, ast.Attribute):
        left = dotted(node.value, names)
        return f"{left}.{node.attr}" if left else None
    return None


def breaches(source: str, *, may_import_by_name: bool = False) -> list[str]:
    """Line and reason of every banned call or import."""
    tree = ast.parse(source)
    names = resolved_names(tree)
    banned = {**BANNED_CALLS, **({} if may_import_by_name else dict.fromkeys(IMPORT_BY_NAME, ""))}
    found = [
        f"line {node.lineno}: {name} {banned[name]}".rstrip()
        for node in ast.walk(tree)
        if isinstance(node, ast.Name | ast.Attribute) and (name := dotted(node, names)) in banned
    ]
    found += [
        f"line {node.lineno}: shell=True"
        for node in ast.walk(tree)
        if isinstance(node, ast.keyword)
        and node.arg == "shell"
        and not (isinstance(node.value, ast.Constant) and node.value.value is False)
    ]
    return found + [
        f"imports {name}" for name in names.values() if name.split(".")[0] in BANNED_MODULES
    ]


@pytest.mark.parametrize(
    "planted",
    [
        "eval('1')",
        "import torch\ntorch.load('x')",
        "import torch as t\nt.save({}, 'x')",
        "from torch import load\nload('x')",
        "from torch import load as read\nread('x')",
        "import torch\nreaders = {'bin': torch.load}",
        "import pickle",
        "from pickle import loads as decode",
        "import numpy as np\nnp.load('x')",
        "import yaml\nyaml.load('x')",
        "import os\nos.system('ls')",
        "import subprocess\nsubprocess.run('ls', shell=True)",
        "from importlib import import_module\nimport_module('x')",
    ],
)
def test_the_search_for_banned_names_sees(planted: str) -> None:
    assert breaches(planted)


@pytest.mark.parametrize(
    "harmless",
    ["model.eval()", "import re\nre.compile('x')", "import json\njson.load(f)", "load('x')"],
)
def test_the_search_for_banned_names_lets_pass(harmless: str) -> None:
    assert breaches(harmless) == []


def test_product_calls_nothing_banned() -> None:
    found = {
        path: lines
        for path in PRODUCT_FILES
        if (lines := breaches(text_of(path) or "", may_import_by_name=path in IMPORT_BY_NAME_HOMES))
    }
    assert found == {}


def stream_uses(source: str) -> list[str]:
    """Line and name of everything that writes to a stream of the process, or names one."""
    tree = ast.parse(source)
    names = resolved_names(tree)
    used = [
        f"line {node.lineno}: {name}"
        for node in ast.walk(tree)
        if isinstance(node, ast.Name | ast.Attribute)
        and (name := dotted(node, names)) in STREAM_CALLS
    ]
    return used + [
        f"imports {name}" for name in names.values() if name.split(".")[0] in STREAM_MODULES
    ]


@pytest.mark.parametrize(
    "planted",
    [
        "print('x')",
        "show = print",
        "import sys\nsys.stdout.write('x')",
        "from sys import stderr as out\nout.write('x')",
        "import sys\nwrite(sys.stderr)",
        "import typer\ntyper.echo('x')",
        "import typer as t\nt.secho('x')",
        "from typer import echo\necho('x')",
        "import logging\nlogging.StreamHandler()",
        "import traceback\ntraceback.print_exc()",
        "from rich.console import Console",
    ],
)
def test_the_search_for_writers_to_a_terminal_sees(planted: str) -> None:
    assert stream_uses(planted)


def test_one_module_writes_to_the_terminal() -> None:
    sources = [path for path in PRODUCT_FILES if path.parts[0] == "packages"]
    found = {path: stream_uses(text_of(path) or "") for path in sources}
    assert found.pop(STREAM_HOME), "the search must find the one that does"
    # In a program or notebook nobody else shows progress: `print` is the default of an argument.
    assert [use.partition(": ")[2] for use in found.pop(PYTHON_API)] == ["print"]
    assert {path: uses for path, uses in found.items() if uses} == {}


def registry_hosts() -> tuple[str, ...]:
    """The hosts of the public index, put together here because no file may hold them."""
    index = "pypi" + ".org"
    files = "pythonhosted" + ".org"
    return (index, files)


def machine_roots() -> tuple[str, ...]:
    """Folders that exist on a developer's machine and nowhere else."""
    roots = [*(f"/{name}/" for name in ("home", "Users", "root")), f"{Path.home()}/", f"{ROOT}/"]
    parent, scratch = ROOT.parent, Path(tempfile.gettempdir())
    # A clone directly below / or in the scratch folder says nothing about its parent.
    if len(parent.parts) > 1 and parent != scratch and scratch not in parent.parents:
        roots.append(f"{parent}/")
    return tuple(dict.fromkeys(root for root in roots if root != "//"))


def private_names(text: str) -> list[str]:
    """Registry hosts and machine paths in a text."""
    hosts = "|".join(re.escape(host) for host in registry_hosts())
    roots = "|".join(re.escape(root) for root in machine_roots())
    pattern = rf"(?:{hosts})|(?<![\w.~-])(?:{roots})"
    return [match.group() for match in re.finditer(pattern, text)]


def test_the_search_for_private_names_sees_and_lets_pass() -> None:
    assert private_names(f"index-url = https://{registry_hosts()[0]}/simple")
    assert private_names(f"open('{machine_roots()[2]}x')")
    assert private_names(f"see {ROOT}/Makefile")
    assert private_names("models/home/x and docs/src/root/y") == []


def test_no_file_names_a_registry_host_or_a_path_of_a_machine() -> None:
    # This file has to name the roots that it searches for.
    here = Path(__file__).relative_to(ROOT)
    found = {path: private_names(text) for path, text in texts() if path != here}
    assert {path: names for path, names in found.items() if names} == {}


OUR_NAME = r"vox[-_.](?:tensor|populi|cli|mens)[\w.-]*"
INSTALL = r"(?:\b(?:pip3?|pipx|uv|uvx|poetry|conda|Reinstall|reinstall)\b[^\n|]*?)"
# A path, a workspace member (`--package NAME`) and an import (`python -m NAME`) are not an index's.
BARE_INSTALL = re.compile(
    rf"{INSTALL}(?<!--package )(?<!-m )(?<![\w./*-]){OUR_NAME}(?:\[[\w,-]+\])?(?![\w/.*-])"
)
FORMER_NAME = re.compile("vox" + "-cli")
TELLS_OF_FORMER_NAME = {
    Path("CHANGELOG.md"),
    Path("docs/src/adr/0017-the-command-is-distributed-as-vox-mens-cli.md"),
}


def index_installs(text: str) -> list[str]:
    """Whatever installs one of our names from an index, where it may be somebody else's."""
    return [match.group() for match in BARE_INSTALL.finditer(text)]


@pytest.mark.parametrize(
    "planted",
    [
        "pip install vox-tensor",
        "pip install 'vox-populi[gguf]'",
        'Run: pip install -U "vox-mens-cli[mens-gpu]"',
        "uv pip install --find-links dist vox_populi",
        "uv add vox-tensor",
        "uvx --from vox-mens-cli vox",
        "pipx install vox.mens.cli",
        "Reinstall vox-populi, or pass --model.",
    ],
)
def test_the_search_for_installs_from_an_index_sees(planted: str) -> None:
    assert index_installs(planted)


@pytest.mark.parametrize(
    "harmless",
    [
        'pip install ./packages/vox_tensor "./packages/vox_cli[mens-gpu]"',
        "pip install dist/vox_*.whl",
        'pip install "dist/vox_mens_cli-0.1.0-py3-none-any.whl[mens-gpu]"',
        "uv sync --package vox-mens-cli --inexact",
        "uv run python -m vox_cli.app",
        "vox-populi without an extra",
    ],
)
def test_the_search_for_installs_from_an_index_lets_pass(harmless: str) -> None:
    assert index_installs(harmless) == []


def test_no_text_installs_our_names_from_an_index() -> None:
    here = Path(__file__).relative_to(ROOT)
    tells = {here, *TELLS_OF_FORMER_NAME}
    found = {path: index_installs(text) for path, text in texts() if path not in tells}
    assert {path: lines for path, lines in found.items() if lines} == {}
    former = {path for path, text in texts() if FORMER_NAME.search(text)}
    assert former == TELLS_OF_FORMER_NAME


def untidy_lines(lines: Iterable[str]) -> list[int]:
    """Numbers of lines that end in blanks or a carriage return."""
    return [n for n, line in enumerate(lines, start=1) if line != line.rstrip()]


def test_text_files_end_in_one_newline_and_carry_no_trailing_blanks() -> None:
    # A CSV table ends its lines as the csv module writes them (RFC 4180: CR LF).
    untidy = {
        path: lines
        for path, text in texts()
        if path.suffix != ".csv"
        if (lines := untidy_lines(text.removesuffix("\n").split("\n")))
        or (text and not text.endswith("\n"))
        or text.endswith("\n\n")
    }
    assert untidy == {}


def test_only_the_embedded_model_is_large() -> None:
    large = {path for path in FILES if (ROOT / path).stat().st_size > MAX_BYTES}
    allowed = {p for p in large if any(fnmatch(str(p), name) for name in LARGE_FILES_ALLOWED)}
    assert large - allowed == set()


def test_every_package_carries_the_license_and_the_workspace_version() -> None:
    license_text = text_of(Path("LICENSE"))
    version = tomllib.loads(text_of(Path("pyproject.toml")) or "")["project"]["version"]
    packages = sorted((ROOT / "packages").iterdir())
    assert len(packages) == 3
    for package in packages:
        project = tomllib.loads((package / "pyproject.toml").read_text(encoding="utf-8"))["project"]
        assert project["version"] == version
        assert (package / "LICENSE").read_text(encoding="utf-8") == license_text


def test_ci_runs_check_and_test_and_nothing_else() -> None:
    lines = (text_of(Path(".ci/run")) or "").splitlines()
    commands = [line for line in lines if line and not line.startswith("#")]
    assert commands[0] == "set -euo pipefail"
    assert commands[2:] == ["export LOCKED=1", "make check", "make test"]
    assert (ROOT / ".ci/run").stat().st_mode & 0o111, "must be executable"
