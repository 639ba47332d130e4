"""Reading the fields of a request's body: each is known, and of the right type and range. No torch.

`null` stands for an absent field, as OpenAI's clients send it.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import TypeVar

from vox_populi.number_ranges import NumberRange
from vox_populi.operator_messages import serving as say
from vox_populi.serve.api_error import bad_request

NumberT = TypeVar("NumberT", int, float)


class BodyFields:
    """A body and what its fields say."""

    def __init__(self, body: Mapping[str, object]) -> None:
        self._body = {name: value for name, value in body.items() if value is not None}

    def require_known(
        self, taken: Collection[str], ignored: Collection[str], refused: Mapping[str, str]
    ) -> tuple[str, ...]:
        """Refuse unknown and unsupported fields.

        Args:
            taken: Fields that are read.
            ignored: Fields without an effect here.
            refused: Fields with an effect that this server does not have, and why.

        Returns:
            Those of the body that are ignored.

        Raises:
            ApiError: For the first field that is not supported.
        """
        for name in self._body:
            if name in refused:
                raise bad_request(say.field_refused(name, refused[name]), name)
            if name not in taken and name not in ignored:
                raise bad_request(say.field_unknown(name), name)
        return tuple(name for name in self._body if name in ignored)

    def get(self, name: str) -> object:
        """A value of any type; `None` if it is absent."""
        return self._body.get(name)

    def whole(self, name: str, allowed: NumberRange, default: int) -> int:
        """An integer."""
        found = self._in_range(name, allowed, default)
        assert isinstance(found, int), "the range holds integers alone"
        return found

    def real(self, name: str, allowed: NumberRange, default: float) -> float:
        """A number."""
        return float(self._in_range(name, allowed, default))

    def flag(self, name: str, *, default: bool) -> bool:
        """A boolean."""
        found = self._body.get(name, default)
        if not isinstance(found, bool):
            raise bad_request(say.field_out_of_range(name, "true or false"), name)
        return found

    def text(self, name: str) -> str:
        """A string that must be there."""
        found = self._body.get(name)
        if found is None:
            raise bad_request(say.field_missing(name), name)
        if not isinstance(found, str):
            raise bad_request(say.field_out_of_range(name, "a string"), name)
        return found

    def fields(self, name: str) -> BodyFields | None:
        """An object; `None` if it is absent."""
        found = self._body.get(name)
        if found is None:
            return None
        if not isinstance(found, dict):
            raise bad_request(say.field_out_of_range(name, "an object"), name)
        return BodyFields(found)

    def _in_range(self, name: str, allowed: NumberRange, default: float) -> float | int:
        found = self._body.get(name)
        if found is None:
            return default
        if not allowed.is_whole and isinstance(found, int) and not isinstance(found, bool):
            found = float(found) if abs(found) < _LARGEST else found
        if not isinstance(found, int | float) or not allowed.holds(found):
            raise bad_request(say.field_out_of_range(name, str(allowed)), name)
        return found


_LARGEST = 2**53
"""Integers up to which a double is exact."""
