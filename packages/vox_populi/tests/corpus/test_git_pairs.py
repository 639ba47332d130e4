from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from vox_populi.corpus import git_repository
from vox_populi.corpus.git_pairs import GitRows, build_git_pairs
from vox_populi.corpus.git_repository import GitRepository
from vox_populi.corpus.row_sides import LeftOut, SideOptions
from vox_populi.corpus.source_pairs import SourcePairs
from vox_populi.errors import DataError, EnvironmentFailure

pytestmark = pytest.mark.skipif(shutil.which("git") is None, reason="needs the command git")

Commit = Callable[..., str]


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    root = tmp_path / "repository"
    root.mkdir()
    git(root, "init", "-q", "-b", "main")
    return root


def git(root: Path, *arguments: str) -> str:
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(root),
        "GIT_CONFIG_NOSYSTEM": "1",
        **{
            f"GIT_{who}_{what}": "x@y"
            for who in ("AUTHOR", "COMMITTER")
            for what in ("NAME", "EMAIL")
        },
        **{f"GIT_{who}_DATE": "2024-01-01T00:00:00Z" for who in ("AUTHOR", "COMMITTER")},
    }
    done = subprocess.run(
        ["git", *arguments], cwd=root, env=environment, check=True, capture_output=True, text=True
    )
    return done.stdout.strip()


def commit(root: Path, message: str, **files: str | bytes | None) -> str:
    """Commit files, given by name with `__` for a slash and `_dot_` for a dot."""
    for key, content in files.items():
        path = root / key.replace("__", "/").replace("_dot_", ".")
        path.parent.mkdir(parents=True, exist_ok=True)
        if content is None:
            path.unlink()
        else:
            path.write_bytes(content.encode() if isinstance(content, str) else content)
    git(root, "add", "-A")
    git(root, "commit", "-q", "--allow-empty", "-m", message)
    return git(root, "rev-parse", "HEAD")


def rows(built: SourcePairs) -> list[dict[str, Any]]:
    return [row for side in (built.train, built.heldout) for row in side]


def left_out(built: SourcePairs) -> dict[str, int]:
    return {reason.value: count for reason, count in built.report.left_out.items() if count}


def test_a_message_asks_and_the_diff_answers(repository: Path) -> None:
    commit(repository, "Add the first file to begin", a_dot_txt="one\ntwo\nthree\n")
    changed = commit(
        repository,
        "Spell the second number in capitals\n\nWhy not.\n\nSigned-off-by: Ada <a@b>\nFixes-in: x",
        a_dot_txt="one\nTWO\nthree\n",
    )
    row = next(each for each in rows(build_git_pairs(repository)) if changed in str(each))
    assert row["prompt"] == (
        "Write the change that this commit message describes.\n\n"
        "Spell the second number in capitals\n\nWhy not.\n\nFiles:\na.txt"
    )
    assert row["response"] == (
        "diff --git a/a.txt b/a.txt\n--- a/a.txt\n+++ b/a.txt\n"
        "@@ -1,3 +1,3 @@\n one\n-two\n+TWO\n three\n"
    )
    assert row["source"] == f"git:{changed[:12]}"
    assert row["metadata"] == {"commit": changed, "files": ["a.txt"]}
    assert row["lane"] == "vox_codegen"


def test_changed_functions_answer_with_the_new_source(repository: Path) -> None:
    old = "class C:\n    def f(self):\n        '''Doc.'''\n        return 1\n\n\n"
    old += "def g():\n    return 2\n"
    commit(repository, "Add the module with two functions", m_dot_py=old, n_dot_txt="x")
    commit(
        repository,
        "Return three from the method f",
        m_dot_py=old.replace("return 1", "return 3").replace("\n\n\ndef", "\n\n\n# moved\ndef"),
        n_dot_txt="y",
    )
    built = build_git_pairs(repository, GitRows.FUNCTIONS)
    (row,) = rows(built)
    assert row["prompt"] == (
        "Change the Python function `C.f` as this commit message describes.\n\n"
        "Return three from the method f\n\n"
        "```python\ndef f(self):\n    '''Doc.'''\n    return 1\n```"
    )
    assert row["response"] == "def f(self):\n    '''Doc.'''\n    return 3\n"
    assert built.report.counts["functions"] == 1


def test_merges_short_messages_and_what_is_not_text_give_no_rows(repository: Path) -> None:
    commit(repository, "wip", a_dot_txt="1\n")
    commit(repository, "Add a picture to the page", p_dot_png=b"\x89PNG\0\1" * 50)
    commit(repository, "Change nothing at all here")
    commit(repository, "Add a file of latin letters", l_dot_txt="\xe9\n".encode("latin-1"))
    commit(repository, "Add a very large file here", big_dot_txt="line\n" * 9000)
    git(repository, "checkout", "-q", "-b", "side")
    commit(repository, "Add a file on the side branch", s_dot_txt="s\n")
    git(repository, "checkout", "-q", "main")
    commit(repository, "Add a file on the main branch", t_dot_txt="t\n")
    git(repository, "merge", "-q", "--no-edit", "-m", "Merge the side branch into main", "side")
    built = build_git_pairs(repository, GitRows.DIFF)
    assert {row["metadata"]["files"][0] for row in rows(built)} == {"s.txt", "t.txt"}
    assert left_out(built) == {"too_short": 2, "too_long": 2}


def test_archives_are_left_out_of_a_change(repository: Path) -> None:
    files = {"a_dot_txt": "a\n", "archive__b_dot_txt": "b\n", "examples__README_dot_md": "x.txt"}
    commit(repository, "Add files here and in the archive", **files)
    commit(repository, "Add an example to look at", examples__x_dot_txt="x\n")
    built = build_git_pairs(repository)
    assert [row.get("golden") for row in rows(built)].count(True) == 1
    assert len(rows(built)) == 2
    assert not any("archive/" in row["response"] for row in rows(built))
    assert built.report.archived == 1
    whole = build_git_pairs(repository, options=SideOptions(include_archive=True))
    assert any("archive/b.txt" in row["response"] for row in rows(whole))


def test_a_change_that_was_made_twice_gives_one_row(repository: Path) -> None:
    commit(repository, "Add the first line of it", a_dot_txt="x\n")
    commit(repository, "Remove the only line of it", a_dot_txt="")
    commit(repository, "Add the only line again now", a_dot_txt="x\n")
    assert left_out(build_git_pairs(repository)) in (
        {"duplicate_answer": 1},
        {"seen_in_training": 1},
    )


def test_the_same_history_gives_the_same_rows(repository: Path, tmp_path: Path) -> None:
    for number in range(12):
        commit(repository, f"Write the number {number} to a file", n_dot_txt=f"{number}\n")
    first = build_git_pairs(repository)
    git(repository, "gc", "-q")
    git(tmp_path, "clone", "-q", "--bare", "--no-local", str(repository), "bare.git")
    for root in (repository, tmp_path / "bare.git"):
        again = build_git_pairs(root)
        assert list(again.train) == list(first.train)
        assert list(again.heldout) == list(first.heldout)
    assert first.report.counts["commits"] == 12


def test_nothing_of_the_repository_is_run_or_read(repository: Path, tmp_path: Path) -> None:
    mark = tmp_path / "ran"
    script = tmp_path / "evil.sh"
    script.write_text(f"#!/bin/sh\ntouch {mark}\ncat\n", encoding="utf-8")
    script.chmod(0o755)
    commit(
        repository,
        "Add a file with an attribute",
        a_dot_txt="1\n",
        _dot_gitattributes="* diff=evil\n",
    )
    commit(repository, "Change the file with the attribute", a_dot_txt="2\n")
    settings = {
        **{f"diff.evil.{key}": str(script) for key in ("textconv", "command")},
        **{f"core.{key}": str(script) for key in ("fsmonitor", "pager", "sshCommand", "editor")},
        **{"diff.external": str(script), "gpg.program": str(script), "log.showSignature": "false"},
        **{"core.hooksPath": str(tmp_path), "core.alternateRefsCommand": str(script)},
        "remote.origin.promisor": "true",
        **{"remote.origin.url": f"ext::{script}", "remote.origin.uploadpack": str(script)},
        "protocol.allow": "always",
    }
    with (repository / ".git" / "config").open("a", encoding="utf-8") as config:
        for key, value in settings.items():
            *section, name = key.split(".")
            head = section[0] if len(section) == 1 else f'{section[0]} "{".".join(section[1:])}"'
            config.write(f"[{head}]\n\t{name} = {value}\n")
    (repository / ".git" / "info").mkdir(exist_ok=True)
    (repository / ".git" / "info" / "attributes").write_text("* diff=evil\n", encoding="utf-8")
    built = build_git_pairs(repository)
    assert len(rows(built)) == 2
    assert not mark.exists()
    git(repository, "show", "--ext-diff")
    assert mark.exists(), "git itself runs it"


def test_a_repository_that_leads_elsewhere_is_refused(repository: Path, tmp_path: Path) -> None:
    commit(repository, "Add a secret to this place", a_dot_txt="secret\n")
    linked, worktree, shared, packs = (tmp_path / name for name in ("l", "w", "s", "p"))
    linked.mkdir()
    (linked / ".git").symlink_to(repository / ".git")
    git(repository, "worktree", "add", "-q", str(worktree))
    git(tmp_path, "clone", "-q", "--shared", str(repository), str(shared))
    shutil.copytree(repository, packs)
    shutil.rmtree(packs / ".git" / "objects" / "pack")
    (packs / ".git" / "objects" / "pack").symlink_to(repository / ".git" / "objects" / "pack")
    for root in (linked, worktree, shared, packs):
        with pytest.raises(DataError) as caught:
            build_git_pairs(root)
        assert [problem.code for problem in caught.value.problems] == ["MENS-D242"]


@pytest.mark.parametrize(
    ("head", "code"),
    [
        ("ref: refs/heads/../../../secret\n", "MENS-D243"),
        ("ref: refs/heads/none\n", "MENS-D243"),
        ("--output=/tmp/x\n", "MENS-D243"),
        ("0" * 40 + "\n", "MENS-D244"),
        ("", "MENS-D243"),
    ],
)
def test_a_head_that_names_no_commit_is_refused(repository: Path, head: str, code: str) -> None:
    commit(repository, "Add a file to the history", a_dot_txt="1\n")
    (repository / ".git" / "HEAD").write_text(head, encoding="utf-8")
    with pytest.raises(DataError) as caught:
        build_git_pairs(repository)
    assert [problem.code for problem in caught.value.problems] == [code]


def test_what_is_no_repository_is_refused(repository: Path, tmp_path: Path) -> None:
    inner = repository / "inner"
    inner.mkdir()
    for root in (tmp_path, tmp_path / "none", inner):
        with pytest.raises(DataError) as caught:
            build_git_pairs(root)
        assert caught.value.problems[0].code == "MENS-D241"
    with pytest.raises(DataError) as caught:
        build_git_pairs(repository)
    assert caught.value.problems[0].code == "MENS-D243"


def test_without_git_there_is_one_line(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(EnvironmentFailure) as caught:
        build_git_pairs(repository)
    assert caught.value.problems[0].code == "MENS-D240"


def test_a_damaged_commit_is_skipped(repository: Path) -> None:
    commit(repository, "Add the first of three files", a_dot_txt="1\n")
    damaged = commit(repository, "Add the second of three files", b_dot_txt="2\n")
    commit(repository, "Add the third of three files", c_dot_txt="3\n")
    blob = git(repository, "rev-parse", f"{damaged}:b.txt")
    (repository / ".git" / "objects" / blob[:2] / blob[2:]).unlink()
    built = build_git_pairs(repository)
    assert {row["metadata"]["files"][0] for row in rows(built)} == {"a.txt", "c.txt"}
    assert left_out(built) == {"too_long": 1}


class _TimeIsOver:
    """A timer whose time is over when it starts."""

    daemon = False

    def __init__(self, seconds: float, function: Callable[[], None]) -> None:
        assert seconds > 0
        self.start = function

    def cancel(self) -> None: ...


def test_a_commit_that_is_too_large_or_too_slow_is_skipped(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit(repository, "Add the first of three files", a_dot_txt="1\n")
    commit(repository, "Add a large file between them", b_dot_txt="line of a file\n" * 20_000)
    commit(repository, "Add the third of three files", c_dot_txt="3\n")
    monkeypatch.setattr(git_repository, "MAX_PATCH_BYTES", 100_000)
    found = list(GitRepository(repository, max_chars=1000).commits())
    assert [each.patch is None for each in found] == [False, True, False]
    # A git that never ends by itself: the real one may end before it is stopped.
    endless = tmp_path / "git"
    endless.write_text("#!/bin/sh\nexec sleep 600\n", encoding="ascii")
    endless.chmod(0o755)
    monkeypatch.setattr(shutil, "which", lambda name: str(endless))
    monkeypatch.setattr(git_repository, "Timer", _TimeIsOver)
    with pytest.raises(DataError) as caught:
        list(GitRepository(repository, max_chars=1000).commits())
    assert caught.value.problems[0].code == "MENS-D244"


def test_a_text_cannot_forge_a_commit(repository: Path) -> None:
    forged = "commit-0123456789abcdef " + "0" * 40
    commit(repository, f"Say {forged}\n\n{forged}", a_dot_txt=f"{forged}\ndiff --git a/x b/x\n")
    (found,) = GitRepository(repository, max_chars=5000).commits()
    assert found.message is not None
    assert forged in found.message
    (row,) = rows(build_git_pairs(repository))
    assert row["metadata"]["files"] == ["a.txt"]
    assert LeftOut.TOO_SHORT not in left_out(build_git_pairs(repository))
