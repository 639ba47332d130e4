"""Typed reading of a `config.json`: every wrong field becomes a problem, none stops the reading."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from vox_populi.operator_messages import model_folder as say
from vox_tensor.errors import Problem

_PLACEHOLDER = 1
"""Placeholder for a reported field, so that the fields after it are still checked."""


LARGEST = 1e30
"""Largest factor that float32 arithmetic can use safely."""


@dataclass(slots=True)
class ConfigFields:
    """A mapping from JSON and the problems found in it so far.

    `null` counts as absent, as in transformers. A field may have two names (GPT-2's `n_embd`
    and `hidden_size`); both present with different values is a problem.
    """

    raw: Mapping[str, object]
    where: str
    problems: list[Problem] = field(default_factory=list)

    def is_given(self, name: str) -> bool:
        """Whether the key is in the file, even as `null`."""
        return name in self.raw

    def value(self, *names: str) -> object | None:
        """The raw value under the first name that has one."""
        found = {name: self.raw[name] for name in names if self.raw.get(name) is not None}
        values = list(found.values())
        if any(value != values[0] for value in values[1:]):
            self.problems.append(say.config_contradiction(self.where, *found))
        return values[0] if values else None

    def count(self, *names: str, default: int | None = None, maximum: int) -> int:
        """A positive whole number; required when there is no default."""
        value = self.value(*names)
        if value is None and default is not None:
            return default
        if type(value) is int and 1 <= value <= maximum:
            return value
        return self._wrong(names[0], value, f"a whole number from 1 to {maximum}")

    def number(
        self,
        name: str,
        *,
        default: float | None = None,
        above: float = 0.0,
        or_equal: bool = False,
        at_most: float = LARGEST,
    ) -> float:
        """A number within bounds; required when there is no default."""
        value = self.value(name)
        if value is None and default is not None:
            return default
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            is_above = value > above or (or_equal and value == above)
            if is_above and value <= at_most:
                return float(value)
        bound = f"from {above:g} to" if or_equal else f"above {above:g}, at most"
        return self._wrong(name, value, f"a number {bound} {at_most:g}")

    def optional_number(self, name: str, *, above: float, or_equal: bool = False) -> float | None:
        """A finite number above a bound, or `None` when absent."""
        if self.value(name) is None:
            return None
        return self.number(name, above=above, or_equal=or_equal)

    def numbers(self, name: str, *, count: int) -> tuple[float, ...]:
        """A required list of so many numbers above 0."""
        value = self.value(name)
        if isinstance(value, list) and len(value) == count:
            plain = [n for n in value if isinstance(n, (int, float)) and not isinstance(n, bool)]
            if len(plain) == count and all(0 < number <= LARGEST for number in plain):
                return tuple(float(number) for number in plain)
        self._wrong(name, value, f"a list of {count} numbers above 0, at most {LARGEST:g}")
        return (float(_PLACEHOLDER),) * count

    def flag(self, name: str, *, default: bool) -> bool:
        """A boolean."""
        value = self.value(name)
        if value is None:
            return default
        if isinstance(value, bool):
            return value
        self._wrong(name, value, "true or false")
        return default

    def text(self, *names: str, default: str) -> str:
        """A string."""
        value = self.value(*names)
        if value is None:
            return default
        if isinstance(value, str):
            return value
        self._wrong(names[0], value, "a string")
        return default

    def texts(self, name: str) -> tuple[str, ...] | None:
        """A list of strings, or `None` when absent."""
        value = self.value(name)
        if value is None:
            return None
        if isinstance(value, list) and all(isinstance(item, str) for item in value):
            return tuple(value)
        self._wrong(name, value, "a list of strings")
        return None

    def flags(self, name: str) -> tuple[bool, ...] | None:
        """A list of zeros and ones, or `None` when absent."""
        value = self.value(name)
        if value is None:
            return None
        if isinstance(value, list) and all(
            isinstance(item, int) and item in (0, 1) for item in value
        ):
            return tuple(map(bool, value))
        self._wrong(name, value, "a list of zeros and ones")
        return None

    def layer_numbers(self, name: str) -> tuple[int, ...]:
        """A list of whole numbers from 0, empty when absent."""
        value = self.value(name)
        items = value if isinstance(value, list) else [] if value is None else [value]
        if isinstance(value, list | None) and all(type(n) is int and n >= 0 for n in items):
            return tuple(items)
        self._wrong(name, value, "a list of layer numbers")
        return ()

    def mapping(self, name: str) -> Mapping[str, object] | None:
        """A JSON object, or `None` when absent or empty."""
        value = self.value(name)
        if value is None or value == {}:
            return None
        if isinstance(value, dict):
            return value
        self._wrong(name, value, "an object")
        return None

    def token_ids(self, name: str, vocab_size: int) -> tuple[int, ...]:
        """Ids under a key that has one id or a list of them.

        Ids outside the vocabulary are dropped: no token can have them, and published and tiny
        configs have defaults such as GPT-2's 50256 or -1 for "none".
        """
        value = self.value(name)
        items = value if isinstance(value, list) else [] if value is None else [value]
        ids = [item for item in items if isinstance(item, int) and not isinstance(item, bool)]
        if len(ids) < len(items):
            self._wrong(name, value, "a token id or a list of token ids")
        return tuple(dict.fromkeys(item for item in ids if 0 <= item < vocab_size))

    def require(self, name: str, expected: str) -> None:
        """Report a field that is absent."""
        if self.value(name) is None:
            self.problems.append(say.config_field_missing(name, expected).at(self.where))

    def must_be(self, name: str, supported: Collection[object], meaning: str) -> None:
        """Refuse, by name, a setting that requires unsupported arithmetic."""
        value = self.value(name)
        if value is not None and value not in supported:
            self.unsupported(name, value, meaning)

    def unsupported(self, name: str, value: object, meaning: str) -> None:
        """Report a setting that is recognised but not supported."""
        self.problems.append(say.config_unsupported(name, value, meaning).at(self.where))

    def contradiction(self, *names: str) -> None:
        """Report fields that cannot hold at the same time."""
        self.problems.append(say.config_contradiction(self.where, *names))

    def _wrong(self, name: str, value: object, expected: str) -> int:
        if value is None:
            self.problems.append(say.config_field_missing(name, expected).at(self.where))
        else:
            self.problems.append(say.config_field_wrong(name, value, expected).at(self.where))
        return _PLACEHOLDER
