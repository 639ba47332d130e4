"""Reading a Git repository that is not trusted, with the git command.

Nothing of the repository is run, and its config, hooks and attributes are not even read: git works
in an empty repository of our own that borrows only the objects. Output, time and the number of
commits are bounded.
"""

from __future__ import annotations

import os
import re
import secrets
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from threading import Timer
from typing import IO

from vox_populi.errors import DataError, EnvironmentFailure
from vox_populi.operator_messages import corpus_sources as say
from vox_tensor.regular_file import open_regular

MAX_COMMITS = 100_000
MAX_PATCH_BYTES = 64 * 2**20
"""A commit with a larger patch is not read to its end."""
_MAX_LINE_BYTES = 1 << 16
_CHUNK = 500
"""Number of commits that one process shows."""
_MAX_SECONDS = 120.0
"""Time for one process; repositories can be made that take years."""
_MAX_TIMEOUTS = 3
_MAX_CUTS = 1000
_WHOLE_FILE = 10**6
"""Number of lines around a change that is the whole of any file that is read."""
_ID = re.compile(r"[0-9a-f]{40}(?:[0-9a-f]{24})?")
_BRANCH = re.compile(r"ref: (refs/heads/[^\x00-\x20~^:?*\\\[\x7f]+)")
_MAX_REF_BYTES = 64 * 2**20
_SETTINGS = (
    *("core.attributesFile=/dev/null", "core.hooksPath=/dev/null", "core.fsmonitor=false"),
    *("core.bigFileThreshold=1m", "core.quotePath=true", "protocol.allow=never", "gc.auto=0"),
    *("i18n.logOutputEncoding=UTF-8", "log.showSignature=false"),
)
_PATCH_FLAGS = (
    *("--root", "-p", "--no-color", "--no-ext-diff", "--no-textconv"),
    *("--no-renames", "--ignore-submodules", "--diff-algorithm=myers", "--full-index"),
    *("--src-prefix=a/", "--dst-prefix=b/"),
)


@dataclass(frozen=True, slots=True)
class Commit:
    """A commit that is not a merge."""

    id: str
    message: str | None
    """`None` if it is not UTF-8 or too long."""
    patch: tuple[str, ...] | None
    """Lines of its patch; `None` if it is too long or not UTF-8."""


class GitRepository:
    """The history of a folder's checked-out branch.

    Args:
        root: A working folder with a `.git` folder in it, or a bare repository.
        max_chars: Longest message, and longest patch, that are kept.
        paths: Patterns of the files whose changes are shown; all without one.
        whole_files: Whether patches show the whole of a changed file.

    Raises:
        DataError: When it is not a repository, or leads to other folders.
        EnvironmentFailure: Without the git command.
    """

    def __init__(
        self, root: Path, *, max_chars: int, paths: Sequence[str] = (), whole_files: bool = False
    ) -> None:
        self._where = str(root)
        self._max_chars = max_chars
        self._paths = ("--", *paths) if paths else ()
        self._context = f"--unified={_WHOLE_FILE if whole_files else 3}"
        self._git = shutil.which("git")
        if self._git is None:
            raise EnvironmentFailure(say.GIT_MISSING)
        self._folder = _git_folder(root)
        self._tip = _tip(self._folder, root)
        self._boundary = f"commit-{secrets.token_hex(16)}"

    def commits(self) -> Iterator[Commit]:
        """The newest commits without merges, newest first.

        Raises:
            DataError: When the repository is damaged or takes too long.
        """
        with tempfile.TemporaryDirectory(prefix="vox-git-") as name:
            has_long_ids = len(self._tip) > 40
            workspace = _Workspace(str(self._git), Path(name), self._folder, has_long_ids)
            ids = self._ids(workspace)
            timeouts = cuts = 0
            while ids:
                chunk = ids[:_CHUNK]
                asked = (*_PATCHES, self._context, self._format, *self._paths)
                with workspace.running(asked, chunk) as running:
                    patches = _Patches(running, self._boundary, self._max_chars)
                    yield from patches
                    if not patches.is_cut:
                        self._check(running)
                timeouts += running.timed_out
                cuts += patches.is_cut
                if timeouts > _MAX_TIMEOUTS or cuts > _MAX_CUTS:
                    raise DataError(
                        say.git_failed("too many commits cannot be read").at(self._where)
                    )
                # What ended a process early is the commit that it was at: the next one skips it.
                ids = ids[_after(chunk, patches.last_id) if patches.is_cut else len(chunk) :]

    @property
    def _format(self) -> str:
        return f"--pretty=tformat:{self._boundary} %H%n%B%n{self._boundary}"

    def _ids(self, workspace: _Workspace) -> list[str]:
        """Commits from the newest to the oldest."""
        arguments = ("rev-list", "--no-merges", f"--max-count={MAX_COMMITS}", self._tip)
        with workspace.running(arguments) as running:
            ids = [line.decode("ascii", "replace").strip() for line in running.output]
            self._check(running)
        return [each for each in ids if _ID.fullmatch(each)]

    def _check(self, running: _Running) -> None:
        if running.finish() != 0:
            reason = "it takes too long" if running.timed_out else "objects are missing or damaged"
            raise DataError(say.git_failed(reason).at(self._where))


_PATCHES = ("diff-tree", "--stdin", *_PATCH_FLAGS)


def _after(chunk: list[str], last_id: str | None) -> int:
    """Number of commits up to one, at least 1."""
    return chunk.index(last_id) + 1 if last_id in chunk else 1


@dataclass(slots=True)
class _Running:
    """A git process whose output is read."""

    process: subprocess.Popen[bytes]
    output: IO[bytes]
    timed_out: bool = False

    def stop(self) -> None:
        """End it because its time is over."""
        self.timed_out = True
        self.process.kill()

    def finish(self) -> int:
        """Wait for its end; return its exit code."""
        return self.process.wait()


@dataclass(frozen=True, slots=True)
class _Workspace:
    """An empty repository of our own that borrows the objects of another."""

    git: str
    folder: Path
    other: Path
    has_long_ids: bool
    """Whether objects are named by SHA-256."""

    def __post_init__(self) -> None:
        for name in ("objects", "refs"):
            (self.folder / name).mkdir()
        (self.folder / "HEAD").write_text("ref: refs/heads/none\n", encoding="ascii")
        form = "[extensions]\n\tobjectFormat = sha256\n" if self.has_long_ids else ""
        version = int(self.has_long_ids)
        config = f"[core]\n\trepositoryFormatVersion = {version}\n\tbare = true\n{form}"
        (self.folder / "config").write_text(config, encoding="ascii")

    @contextmanager
    def running(self, arguments: Sequence[str], ids: Sequence[str] = ()) -> Iterator[_Running]:
        """Run git; it has ended when the block does."""
        with tempfile.TemporaryFile() as asked:
            asked.write("".join(f"{each}\n" for each in ids).encode("ascii"))
            asked.seek(0)
            process = subprocess.Popen(
                [self.git, *_settings(), *arguments],
                cwd=self.folder,
                env=self._environment(),
                stdin=asked,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
            )
        assert process.stdout is not None, "it is a pipe"
        running = _Running(process, process.stdout)
        timer = Timer(_MAX_SECONDS, running.stop)
        timer.daemon = True
        timer.start()
        try:
            yield running
        finally:
            timer.cancel()
            process.kill()
            process.stdout.close()
            process.wait()

    def _environment(self) -> dict[str, str]:
        """Nothing of this process but where programs are."""
        shallow = self.other / "shallow"
        has_shallow = shallow.is_file() and not shallow.is_symlink()
        return {
            "PATH": os.environ.get("PATH", os.defpath),
            "LC_ALL": "C",
            "HOME": str(self.folder),
            "GIT_DIR": str(self.folder),
            "GIT_OBJECT_DIRECTORY": str((self.other / "objects").resolve()),
            "GIT_CONFIG_NOSYSTEM": "1",
            "GIT_CONFIG_GLOBAL": os.devnull,
            "GIT_ATTR_NOSYSTEM": "1",
            "GIT_ALLOW_PROTOCOL": "none",
            "GIT_NO_LAZY_FETCH": "1",
            "GIT_NO_REPLACE_OBJECTS": "1",
            "GIT_OPTIONAL_LOCKS": "0",
            "GIT_TERMINAL_PROMPT": "0",
            **({"GIT_SHALLOW_FILE": str(shallow.resolve())} if has_shallow else {}),
        }


def _settings() -> Iterator[str]:
    yield "--no-pager"
    for setting in _SETTINGS:
        yield from ("-c", setting)


class _Patches:
    """The commits in the output of `diff-tree`.

    `is_cut` says whether the process ended, or was given up, in the middle of the last one.

    A boundary that is drawn for each run separates them: no text of a repository can forge it.
    """

    def __init__(self, running: _Running, boundary: str, max_chars: int) -> None:
        self._running = running
        self._boundary = boundary.encode()
        self._max_bytes = 4 * max_chars
        self._max_chars = max_chars
        self.last_id: str | None = None
        self.is_cut = False

    def __iter__(self) -> Iterator[Commit]:
        line = self._line()
        while line.startswith(self._boundary):
            commit_id = self.last_id = line.split()[1].decode("ascii", "replace")
            message, line = self._part()
            patch: list[bytes] | None = None
            if line.startswith(self._boundary):
                patch, line = self._part()
            yield Commit(commit_id, self._text(message), self._lines(patch))
            if self.is_cut:
                return

    def _part(self) -> tuple[list[bytes] | None, bytes]:
        """The lines up to the next boundary or the end, and that; `None` if they are too many."""
        kept: list[bytes] | None = []
        size = 0
        while (line := self._line()) and not line.startswith(self._boundary):
            size += len(line)
            if size > MAX_PATCH_BYTES:
                self.is_cut = True
                return None, b""
            if size > self._max_bytes:
                kept = None
            if kept is not None:
                kept.append(line)
        if not line and self._running.finish() != 0:
            self.is_cut = True
            return None, b""
        return kept, line

    def _line(self) -> bytes:
        return self._running.output.readline(_MAX_LINE_BYTES)

    def _text(self, lines: list[bytes] | None) -> str | None:
        if lines is None:
            return None
        try:
            text = b"".join(lines).decode("utf-8")
        except UnicodeDecodeError:
            return None
        return text if len(text) <= self._max_chars and "\0" not in text else None

    def _lines(self, lines: list[bytes] | None) -> tuple[str, ...] | None:
        text = self._text(lines)
        return None if text is None else tuple(text.split("\n"))


def _git_folder(root: Path) -> Path:
    """The folder with the objects, which must be in the folder that was passed.

    Raises:
        DataError: When there is none, or it borrows from another place.
    """
    where, inner = str(root), root / ".git"
    if os.path.lexists(inner):
        folder = inner
    elif (root / "HEAD").is_file() and (root / "objects").is_dir():
        folder = root
    else:
        raise DataError(say.NOT_A_REPOSITORY.at(where))
    objects = folder / "objects"
    links = [path for path in (inner, objects, *_entries(objects)) if path.is_symlink()]
    borrowed = [folder / "commondir", objects / "info" / "alternates"]
    if links or not folder.is_dir() or any(map(os.path.lexists, borrowed)):
        raise DataError(say.REPOSITORY_LEADS_OUT.at(where))
    if not objects.is_dir():
        raise DataError(say.NOT_A_REPOSITORY.at(where))
    return folder


def _entries(objects: Path) -> Iterator[Path]:
    for folder in (objects, objects / "pack", objects / "info"):
        with suppress(OSError), os.scandir(folder) as found:
            yield from (Path(entry.path) for entry in found if entry.is_symlink())


def _tip(folder: Path, root: Path) -> str:
    """The commit that is checked out.

    Raises:
        DataError: When it cannot be told.
    """
    head = _small_text(folder / "HEAD")
    if _ID.fullmatch(head):
        return head
    branch = _BRANCH.fullmatch(head)
    if branch is not None and ".." not in branch[1]:
        loose = _small_text(folder / branch[1])
        if _ID.fullmatch(loose):
            return loose
        packed = _small_text(folder / "packed-refs", _MAX_REF_BYTES)
        for line in packed.split("\n"):
            commit_id, _, name = line.partition(" ")
            if name == branch[1] and _ID.fullmatch(commit_id):
                return commit_id
    raise DataError(say.REPOSITORY_WITHOUT_COMMITS.at(str(root)))


def _small_text(path: Path, most: int = 4096) -> str:
    """Content of a regular file that is not a link; empty if there is none."""
    try:
        with open_regular(path, follow_links=False) as file:
            return file.read(most).decode("utf-8", "replace").rstrip("\n")
    except OSError:
        return ""
