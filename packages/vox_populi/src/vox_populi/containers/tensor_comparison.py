"""Comparing the expected tensors of a file with those it contains. No torch here.

Every reader of a container uses this comparison; the kind of file gives the codes of its findings.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any, Protocol

from vox_populi.operator_messages import tensors as say
from vox_populi.operator_messages.wording import MAX_SHOWN
from vox_tensor.errors import Problem

Shape = Sequence[int | None]
"""`None`: any size of at least 1."""


class Described(Protocol):
    """A tensor, or its entry in a header."""

    @property
    def shape(self) -> Sequence[int]:
        """Size of each dimension."""

    @property
    def dtype(self) -> Any:
        """Its number type."""


@dataclass(frozen=True, slots=True)
class Missing:
    """An expected tensor that is missing."""

    name: str
    near: str | None = None
    """An unexpected tensor with a similar name."""

    def __str__(self) -> str:
        return f"missing {self.name}"


@dataclass(frozen=True, slots=True)
class Unexpected:
    """A tensor that is not expected."""

    name: str
    near: str | None = None
    """A possible name that is similar."""

    def __str__(self) -> str:
        return f"unexpected {self.name}"


@dataclass(frozen=True, slots=True)
class Misshaped:
    """A tensor with the wrong shape."""

    name: str
    found: tuple[int, ...]
    expected: Shape

    def __str__(self) -> str:
        return f"{self.name} is {list(self.found)}, expected {list(self.expected)}"


@dataclass(frozen=True, slots=True)
class WrongType:
    """A tensor of an unsupported number type."""

    name: str
    dtype: str

    def __str__(self) -> str:
        return f"{self.name} has the type {self.dtype}"


Difference = Missing | Unexpected | Misshaped | WrongType


def tensor_differences(
    expected: Mapping[str, Shape],
    found: Mapping[str, Described],
    dtypes: Collection[str] | None = None,
    possible: Sequence[str] | None = None,
) -> list[Difference]:
    """All differences: in the order of `expected`, then the unexpected tensors.

    Args:
        expected: Shape by name.
        found: Tensors by name.
        dtypes: The supported types; `None` for any.
        possible: Names that an unexpected tensor may be meant to have; `None`: `expected`.
    """
    unexpected = [name for name in found if name not in expected]
    missing = _Lookup(unexpected)
    differences: list[Difference] = []
    for name, shape in expected.items():
        if name not in found:
            differences.append(Missing(name, missing.nearest(name)))
            continue
        there = found[name]
        if not _fits(there.shape, shape):
            differences.append(Misshaped(name, tuple(there.shape), shape))
        if dtypes is not None and there.dtype not in dtypes:
            differences.append(WrongType(name, there.dtype))
    known = _Lookup(list(expected) if possible is None else possible)
    return [*differences, *(Unexpected(name, known.nearest(name)) for name in unexpected)]


def tensor_problem(
    file: say.TensorFile,
    where: str,
    difference: Difference,
    stored: Mapping[str, str] | None = None,
) -> Problem:
    """The problem for a difference.

    Args:
        file: The kind of file.
        where: The file or folder.
        difference: What differs.
        stored: The name in the file of each tensor, if it differs from the compared one.
    """
    name = (stored or {}).get(difference.name, difference.name)
    match difference:
        case Missing(near=near):
            return say.tensor_missing(file, where, name, near)
        case Unexpected(near=near):
            return say.tensor_unexpected(file, where, name, near)
        case Misshaped(found=found, expected=expected):
            return say.tensor_misshaped(file, where, name, found, expected)
        case WrongType(dtype=dtype):
            return say.tensor_wrong_type(file, where, name, dtype)


class _Lookup:
    """Similar names for the first problems, which are shown; each lookup takes time."""

    def __init__(self, known: Sequence[str]) -> None:
        self._known, self._left = known, MAX_SHOWN

    def nearest(self, name: str) -> str | None:
        self._left -= 1
        return nearest_name(name, self._known) if self._left >= 0 else None


def nearest_name(name: str, known: Sequence[str]) -> str | None:
    """The most likely intended name."""
    matches = get_close_matches(name, [each for each in known if each != name], n=1, cutoff=0.7)
    return matches[0] if matches else None


def _fits(found: Sequence[int], expected: Shape) -> bool:
    return len(found) == len(expected) and all(
        size >= 1 if wanted is None else size == wanted
        for size, wanted in zip(found, expected, strict=True)
    )
