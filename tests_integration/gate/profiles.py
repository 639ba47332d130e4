"""The gate's rows as data: which tests prove what, in which profile, and where that is written.

Rows are read from `acceptance.toml`; nothing here runs a test.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path, PurePosixPath

from tests_integration.gate import messages as say
from vox_populi.errors import ConfigError
from vox_populi.operator_messages.usage import gate_file_missing
from vox_populi.operator_messages.wording import capped
from vox_tensor.errors import Problem
from vox_tensor.regular_file import open_regular

SCHEMA_VERSION = 1
MANIFEST = "acceptance.toml"
PLACES = (f"tests_integration/{MANIFEST}", MANIFEST)
"""Where it is looked for, in each folder from the working one upwards."""

_TOP_KEYS = ("schema_version", "root", "profiles", "row", "outside", "left_out")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")


@dataclass(frozen=True, slots=True, kw_only=True)
class GateRow:
    """One row of the acceptance runbook."""

    id: str
    title: str
    proves: str
    """What holds when it passes, in a sentence."""
    select: tuple[str, ...]
    """Parts of test ids, as `pytest -k` and `cargo test` take them; each must match a test."""
    paths: tuple[str, ...]
    """Files and folders to look in, from the root of the workspace."""
    profiles: tuple[str, ...]
    ci: str
    """Job of `.github/workflows/ci.yml` that runs it."""
    docs: str
    """Page and anchor below `docs/src`."""
    tests: tuple[str, ...] = ()
    """Functions that must be among the selected ones."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GateManifest:
    """A whole `acceptance.toml`."""

    path: Path
    root: Path
    """The workspace, which paths start from and tests run in."""
    profiles: Mapping[str, str]
    """Name to what it is for."""
    rows: tuple[GateRow, ...]
    outside: Mapping[str, str]
    """Test file to the reason why no row reaches it."""
    left_out: Mapping[str, str]
    """Selector of the source system to the reason why there is no row for it."""

    def rows_of(self, profile: str) -> tuple[GateRow, ...]:
        """The rows of a profile, in the order of the file.

        Raises:
            ConfigError: When there is no such profile.
        """
        if profile not in self.profiles:
            raise ConfigError(say.gate_profile_unknown(profile, tuple(self.profiles)))
        return tuple(row for row in self.rows if profile in row.profiles)


def find_manifest(start: Path) -> Path:
    """The manifest of the workspace that a folder is in.

    Raises:
        ConfigError: When no folder from there upwards has one.
    """
    for folder in (start, *start.parents):
        for place in PLACES:
            if (folder / place).is_file():
                return folder / place
    raise ConfigError(gate_file_missing(MANIFEST).at(str(start)))


def read_manifest(path: Path) -> GateManifest:
    """Read and check a manifest; everything that is wrong with it is reported at once.

    Raises:
        ConfigError: When it cannot be read or a field is wrong.
    """
    try:
        with open_regular(path) as file:
            raw = tomllib.load(file)
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError, RecursionError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        reading = say.gate_manifest_unreadable(str(path), reason or type(error).__name__)
        raise ConfigError(reading) from None
    checked = _Checker(str(path))
    manifest = checked.manifest(path, raw)
    if checked.problems:
        raise ConfigError(*capped(checked.problems))
    return manifest


@dataclass
class _Checker:
    """Takes values out of a parsed file and keeps what is wrong with them."""

    where: str
    problems: list[Problem] = field(default_factory=list)

    def manifest(self, path: Path, raw: Mapping[str, object]) -> GateManifest:
        self.no_others(raw, "the file", _TOP_KEYS)
        if raw.get("schema_version") != SCHEMA_VERSION:
            self.wrong("schema_version", f"must be {SCHEMA_VERSION}")
        root = self.text(raw, "root", "the file") if "root" in raw else "."
        profiles = self.profiles(raw.get("profiles"))
        rows = tuple(self.row(table, place) for table, place in self.tables(raw, "row"))
        self.rows_together(rows, profiles)
        return GateManifest(
            path=path,
            root=(path.parent / root).resolve(),
            profiles=profiles,
            rows=rows,
            outside=self.reasons(raw, "outside", "path"),
            left_out=self.reasons(raw, "left_out", "select"),
        )

    def row(self, table: Mapping[str, object], place: str) -> GateRow:
        self.no_others(table, place, tuple(each.name for each in fields(GateRow)))
        row = GateRow(
            id=self.text(table, "id", place),
            title=self.text(table, "title", place),
            proves=self.text(table, "proves", place),
            select=self.texts(table, "select", place),
            paths=self.texts(table, "paths", place),
            profiles=self.texts(table, "profiles", place),
            ci=self.text(table, "ci", place),
            docs=self.text(table, "docs", place),
            tests=self.texts(table, "tests", place) if "tests" in table else (),
        )
        if row.id and not _NAME.fullmatch(row.id):
            self.wrong(f"{place}.id", "must be letters, digits, dots, dashes and underscores")
        if not all(_is_inside(path) for path in row.paths):
            self.wrong(f"{place}.paths", "must be paths inside of the workspace, with slashes")
        return row

    def rows_together(self, rows: Sequence[GateRow], profiles: Mapping[str, str]) -> None:
        """What no row can be judged by alone."""
        ids = [row.id for row in rows]
        for twice in sorted({id for id in ids if ids.count(id) > 1}):
            self.wrong(f"row {twice}", "is there twice")
        for row in rows:
            for unknown in (name for name in row.profiles if name not in profiles):
                self.wrong(f"row {row.id}", f"names the profile {unknown!r}, which is not declared")
        for name in profiles:
            if not any(name in row.profiles for row in rows):
                self.wrong(f"profiles.{name}", "has no row")

    def profiles(self, value: object) -> Mapping[str, str]:
        if not isinstance(value, dict) or not value:
            self.wrong("profiles", "must be a table of names and what they are for")
            return {}
        return {name: self.text(value, name, "profiles") for name in value}

    def reasons(self, raw: Mapping[str, object], key: str, name: str) -> Mapping[str, str]:
        found: dict[str, str] = {}
        for table, place in self.tables(raw, key):
            self.no_others(table, place, (name, "reason"))
            found[self.text(table, name, place)] = self.text(table, "reason", place)
        return found

    def tables(
        self, raw: Mapping[str, object], key: str
    ) -> Iterator[tuple[Mapping[str, object], str]]:
        value = raw.get(key, [])
        if not isinstance(value, list) or not all(isinstance(each, dict) for each in value):
            self.wrong(key, f"must be tables, written as [[{key}]]")
            return
        for number, table in enumerate(value, start=1):
            yield table, f"{key} {number}"

    def text(self, table: Mapping[str, object], key: str, place: str) -> str:
        value = table.get(key)
        if isinstance(value, str) and value.strip():
            return value
        self.wrong(f"{place}.{key}", "must be text" if key in table else "is missing")
        return ""

    def texts(self, table: Mapping[str, object], key: str, place: str) -> tuple[str, ...]:
        value = table.get(key)
        if (
            isinstance(value, list)
            and value
            and all(isinstance(v, str) and v.strip() for v in value)
        ):
            return tuple(value)
        problem = "must be a list of texts, not empty" if key in table else "is missing"
        self.wrong(f"{place}.{key}", problem)
        return ()

    def no_others(self, table: Mapping[str, object], place: str, known: Sequence[str]) -> None:
        for key in table:
            if key not in known:
                self.wrong(f"{place}.{key}", "is not a field")

    def wrong(self, place: str, reason: str) -> None:
        self.problems.append(say.gate_manifest_invalid(self.where, place, reason))


def _is_inside(path: str) -> bool:
    """Whether a path stays below the root and cannot be taken for an option."""
    parts = PurePosixPath(path).parts
    return bool(parts) and not ({"..", "/"} & set(parts) or path.startswith("-") or "\\" in path)
