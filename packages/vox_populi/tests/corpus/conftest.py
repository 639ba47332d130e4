"""Files of rows, and a folder to mix them in."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

from vox_populi.corpus.mix import MixOptions, MixResult, mix_corpus
from vox_populi.corpus.mix_config import MixConfig, MixSource
from vox_populi.errors import DataError

# Property tests draw the same examples on every machine and keep nothing between runs.
settings.register_profile("reproducible", derandomize=True, database=None, deadline=None)
settings.load_profile("reproducible")

RowWriter = Callable[..., Path]


@pytest.fixture
def write_rows(tmp_path: Path) -> RowWriter:
    """Write rows, given as objects or as ready lines, to `train.jsonl`; return its path."""

    def write(*rows: Mapping[str, object] | str, name: str = "train.jsonl") -> Path:
        lines = [row if isinstance(row, str) else json.dumps(row) for row in rows]
        path = tmp_path / name
        path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8", newline="")
        return path

    return write


class MixFolder:
    """Sources, a config and an output in a folder of their own."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.output = path / "out" / "mixed.jsonl"

    def write(self, name: str, lines: Sequence[object] | bytes) -> Path:
        path = self.path / name
        if isinstance(lines, bytes):
            path.write_bytes(lines)
        else:
            text = [line if isinstance(line, str) else json.dumps(line) for line in lines]
            path.write_text("".join(f"{line}\n" for line in text), encoding="utf-8")
        return path

    def config(self, *sources: MixSource, **fields: Any) -> MixConfig:
        return MixConfig(file=self.path / "mix.yaml", sources=sources, output=self.output, **fields)

    def mix(self, *sources: MixSource, force: bool = True, **fields: Any) -> MixResult:
        options = {
            name: fields.pop(name)
            for name in ("allow_missing_sources", "on_bad_row")
            if name in fields
        }
        return mix_corpus(self.config(*sources, **fields), MixOptions(force=force, **options))

    def mixed(self, *sources: MixSource, **fields: Any) -> list[dict[str, Any]]:
        """The rows that a mix writes."""
        text = self.mix(*sources, **fields).output.read_bytes().decode()
        return [json.loads(line) for line in text.split("\n")[:-1]]

    def refused(self, *sources: MixSource, **fields: Any) -> list[tuple[str, str | None]]:
        """Code and place of each problem; nothing is left behind."""
        before = self.content()
        with pytest.raises(DataError) as caught:
            self.mix(*sources, **fields)
        assert self.content() == before
        return [(problem.code, problem.where) for problem in caught.value.problems]

    def content(self) -> dict[str, bytes]:
        files = (path for path in sorted(self.path.rglob("*")) if path.is_file())
        return {str(path): path.read_bytes() for path in files}


@pytest.fixture(scope="session")
def mix_folder_at() -> Callable[[Path], MixFolder]:
    """Make a folder to mix files in."""
    return MixFolder


@pytest.fixture
def mix_folder(tmp_path: Path) -> MixFolder:
    """A folder to mix files in; `output` may be set to another place."""
    return MixFolder(tmp_path)
