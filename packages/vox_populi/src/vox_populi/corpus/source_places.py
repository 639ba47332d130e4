"""What the place of a source file says about it: archives are left out, golden examples come first.

Both are rules of the source system: `examples/archive/**` is only read on request, and the golden
examples are the files of `examples/` that its README mentions.
"""

from __future__ import annotations

import re
from pathlib import Path, PurePath

from vox_populi.operator_messages import corpus_sources as say
from vox_tensor.regular_file import open_regular

ARCHIVE_FOLDERS = frozenset({"archive", "archived", "archives"})
GOLDEN_FOLDER = "golden"
EXAMPLES_FOLDER = "examples"
GOLDEN_KEY = "golden"
"""Key of a row from a golden example; its value is true."""
_README = "README.md"
_MAX_README_BYTES = 2**20


def is_archived(relative: PurePath) -> bool:
    """Whether a file, by its path below the root, is in an archive folder."""
    return any(part.casefold() in ARCHIVE_FOLDERS for part in relative.parts[:-1])


def notes_of_rules(archived: int, legacy: int) -> tuple[str, ...]:
    """Notes on what these rules left out.

    Args:
        archived: Number of files in archives.
        legacy: Number of rows with legacy text.
    """
    return (
        *((say.note_archives_left_out(archived),) if archived else ()),
        *((say.note_legacy_left_out(legacy),) if legacy else ()),
    )


class GoldenExamples:
    """Tells which files below a root are golden examples.

    These are the files in a folder `golden`, at any depth, and those directly in a folder
    `examples` whose README.md mentions their name. The root counts as such a folder by its name.

    Args:
        root: The folder.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self._root_name = root.resolve().name
        self._mentioned: dict[Path, frozenset[str]] = {}

    def __contains__(self, relative: PurePath) -> bool:
        folders = (self._root_name, *relative.parts[:-1])
        if any(name.casefold() == GOLDEN_FOLDER for name in folders):
            return True
        if folders[-1].casefold() != EXAMPLES_FOLDER:
            return False
        folder = self._root / relative.parent
        if folder not in self._mentioned:
            self._mentioned[folder] = _names_in(folder / _README)
        return relative.name in self._mentioned[folder]


def _names_in(readme: Path) -> frozenset[str]:
    """Everything in a README that could be the name of a file."""
    try:
        with open_regular(readme, follow_links=False) as file:
            text = file.read(_MAX_README_BYTES).decode("utf-8", "replace")
    except OSError:
        return frozenset()
    words = re.findall(r"[\w.@+-]+", text)
    return frozenset(words) | {word.rstrip(".") for word in words}
