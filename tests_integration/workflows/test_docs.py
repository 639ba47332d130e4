"""The docs say what is there: generated pages are fresh, decisions complete, the site builds."""

from __future__ import annotations

import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from vox_populi.data.row_formats import CONVERSATION_KEYS
from vox_populi.data.row_pairs import ANSWER_KEYS, PROMPT_KEYS, SYSTEM_KEYS
from vox_populi.data.row_tools import TOOLS_KEYS
from vox_populi.data.row_turns import LEARN_KEYS, REASONING_KEYS, ROLE_NAMES

ROOT = Path(__file__).resolve().parents[2]
SOURCE = ROOT / "docs" / "src"
DECISIONS = sorted((SOURCE / "adr").glob("[0-9]*.md"))
HAND_WRITTEN = [
    *(ROOT / name for name in ("README.md", "AGENTS.md", "CONTRIBUTING.md", "CHANGELOG.md")),
    *SOURCE.rglob("*.md"),
    *ROOT.glob("packages/*/README.md"),
]
# A path in backticks that starts at the root of the workspace, without a placeholder in it.
REPOSITORY_PATH = re.compile(
    r"`((?:packages|tests_integration|bench|demo|docs|pretrain|\.ci|\.github)/[\w./-]+)`"
)
STATUS = re.compile(
    r"^Status: (proposed|accepted \(\d{4}-\d\d-\d\d\)|superseded by \d{4})$", re.MULTILINE
)


def run(*command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *command],
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        encoding="utf-8",
        check=False,
    )


def test_generated_pages_are_fresh() -> None:
    done = run("docs/generate_reference.py", "--check")
    assert done.returncode == 0, done.stderr


def test_every_problem_code_is_used_once_and_listed() -> None:
    page = (SOURCE / "reference" / "errors.md").read_text(encoding="utf-8")
    codes = re.findall(r"^### ([^:]+): .+ \{#[a-z0-9-]+\}$", page, flags=re.MULTILINE)
    assert len(codes) == page.count("\n### ")
    assert len(codes) > 50
    assert [code for code, n in Counter(codes).items() if n > 1] == []
    assert [code for code in codes if not re.fullmatch(r"MENS-[A-Z]\d{3}", code)] == []


def test_errors_that_pages_show_are_worded_as_they_are_printed() -> None:
    page = (SOURCE / "reference" / "errors.md").read_text(encoding="utf-8")
    entry = r"^### ([^\n:]+): [^\n]+$.*?^```text\n([^\n]*)\n([^\n]*)\n```$"
    entries = re.findall(entry, page, re.MULTILINE | re.DOTALL)
    sentences = {code: f"{any_of(what)} {any_of(fix)}" for code, what, fix in entries}
    shown = [
        (path.name, line)
        for path in HAND_WRITTEN
        for line in re.findall(r"^error \[.+$", path.read_text(encoding="utf-8"), re.MULTILINE)
    ]
    assert len(shown) > 8
    for name, line in shown:
        code = line[len("error [") :].partition("]")[0]
        pattern = rf"error \[{code}\] (.+: )?{sentences[code]}"
        assert re.fullmatch(pattern, line), f"{name} shows {line}, and {code} is {sentences[code]}"


def any_of(template: str) -> str:
    """A pattern of a message on the page of codes: values in braces, bars between choices."""
    choices = [
        "".join(
            ".*" if part == "…" or part.startswith("{") else re.escape(part)
            for part in re.split(r"(\{[^}]*\}|…)", choice)
        )
        for choice in template.split(" | ")
    ]
    return f"({'|'.join(choices)})"


def test_the_decisions_are_numbered_without_a_hole_and_listed() -> None:
    assert len(DECISIONS) >= 14
    assert [int(path.name[:4]) for path in DECISIONS] == list(range(1, len(DECISIONS) + 1))
    index = (SOURCE / "adr" / "index.md").read_text(encoding="utf-8")
    for path in DECISIONS:
        title = path.read_text(encoding="utf-8").splitlines()[0].removeprefix("# ")
        assert f"- [{title}]({path.name})" in index


@pytest.mark.parametrize("path", DECISIONS, ids=lambda path: path.name[:4])
def test_a_decision_has_every_part(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert text.startswith(f"# {path.name[:4]}: ")
    assert re.search(
        r"^Status: (proposed|accepted \(\d{4}-\d\d-\d\d\)|superseded by \d{4})$", text, re.M
    )
    assert re.search(r"^Touches: .", text, re.M)
    headings = re.findall(r"^## (.+)$", text, re.M)
    assert headings == ["Context", "Decision", "Consequences", "Rejected"]


def test_pages_for_contributors_name_the_same_owner_of_a_choice() -> None:
    owner = "vox_populi/plan/graph_choice.py"
    assert (ROOT / "packages/vox_populi/src" / owner).is_file()
    for name in ("AGENTS.md", ".github/pull_request_template.md"):
        text = (ROOT / name).read_text(encoding="utf-8")
        (line,) = re.findall(r"[Ww]hich modules\s+get an adapter\s+is decided in `([^`]+)`", text)
        assert line.endswith(owner), name


def test_paths_in_the_docs_exist() -> None:
    missing = {
        f"{page.relative_to(ROOT)}: {path}"
        for page in HAND_WRITTEN
        for path in REPOSITORY_PATH.findall(page.read_text(encoding="utf-8"))
        if not (ROOT / path).exists()
    }
    assert missing == set()


def test_the_site_builds_without_a_warning(tmp_path: Path) -> None:
    done = run("-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(tmp_path / "site"))
    assert done.returncode == 0, done.stdout + done.stderr
    start = (tmp_path / "site" / "index.html").read_text("utf-8")
    assert [path.stem for path in DECISIONS if f"adr/{path.stem}/" not in start] == []
    # In a code span of a table, an escaped bar would be shown with its backslash.
    pages = [
        path for path in (tmp_path / "site").rglob("*.html") if r"\|" in path.read_text("utf-8")
    ]
    assert pages == []


def test_the_page_on_rows_names_every_key_that_is_read() -> None:
    page = (SOURCE / "reference" / "rows.md").read_text(encoding="utf-8")
    keys = (
        *(*CONVERSATION_KEYS, *PROMPT_KEYS, *ANSWER_KEYS, *SYSTEM_KEYS),
        *(*TOOLS_KEYS, *LEARN_KEYS, *REASONING_KEYS, *ROLE_NAMES),
    )
    assert [key for key in keys if f"`{key}`" not in page] == []
