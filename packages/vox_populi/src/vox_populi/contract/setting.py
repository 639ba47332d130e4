"""Settings: fields of a request that say how they are asked for, checked and recorded.

A field of a frozen dataclass is a setting when its metadata holds a `SettingSpec`. Flags,
environment variables, keys of a config file, the reference page and the JSON Schema of the file
are all made from `settings_of`, so a new field is a new setting everywhere.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import MISSING, Field, dataclass, fields, is_dataclass, replace
from enum import StrEnum
from functools import cache
from types import NoneType
from typing import Any, TypeVar, get_args, get_type_hints

from vox_populi.number_ranges import NumberRange, NumberSet
from vox_populi.operator_messages import contract as say
from vox_tensor.errors import Problem

RequestT = TypeVar("RequestT")

_SPEC = "setting"


class Recorded(StrEnum):
    """Whether a run's record, and with it the digest of a request, has a setting."""

    ALWAYS = "always"
    NEVER = "never"
    """It changes no number that is learned, or something else in the record stands for it."""
    IF_CHANGED = "if_changed"
    """Only where it is not the default, so that requests from before the setting keep theirs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SettingSpec:
    """What a field's type and default do not say."""

    help: str
    name: str | None = None
    """As a config file has it, where that is not the field's name."""
    allowed: NumberRange | NumberSet | None = None
    refused_at_once: bool = False
    """Whether a number out of range is refused where it is read, and not with the request."""
    words: Mapping[str, StrEnum] | None = None
    """Every word that is understood, where a closed set is known by more than its own."""
    parse: Callable[[str], object] | None = None
    """From text to the field's value, where its type does not say how; raises `ConfigError`."""
    as_text: Callable[[Any], str] = str
    """What `parse` reads back."""
    metavar: str | None = None
    """What a help shows in the value's place, where the type does not say it."""
    default_text: str | None = None
    """What a help says of the default, where the value itself does not."""
    negated: bool = False
    """Whether the setting is on where the field is false."""
    recorded: Recorded = Recorded.ALWAYS


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """One setting of a request."""

    field: str
    """Name in the dataclass that has it; no two of one request are the same."""
    group: str | None
    """Field of the request that holds that dataclass; `None` for the request itself."""
    kind: type
    """Type of a value that is not `None`."""
    is_nullable: bool
    default: object
    """`dataclasses.MISSING` for one that must be given."""
    spec: SettingSpec

    @property
    def name(self) -> str:
        """As in a config file."""
        return self.spec.name or self.field

    @property
    def flag(self) -> str:
        """As on a command line."""
        return _as_flag(self.name)

    @property
    def off_flag(self) -> str:
        """The flag that turns it off, of a setting that is on or off."""
        name = self.name.replace("no_", "", 1) if self.spec.negated else f"no_{self.name}"
        return _as_flag(name)

    @property
    def takes_null(self) -> bool:
        """Whether `null` is a value in a config file; some have a word for it."""
        return self.is_nullable and self.spec.parse is None

    def of(self, request: object) -> Any:
        """The value that a request has."""
        holder = request if self.group is None else getattr(request, self.group)
        return getattr(holder, self.field)

    def asked(self, value: object) -> object:
        """A field's value as it is asked for: text where `parse` reads it."""
        if self.spec.parse is not None:
            return self.spec.as_text(value)
        return not value if self.spec.negated else value

    def stored(self, asked: object) -> object:
        """The field's value for what was asked; the opposite of `asked`."""
        if self.spec.parse is not None:
            return self.spec.parse(str(asked))
        return not asked if self.spec.negated else asked

    def is_recorded(self, value: object) -> bool:
        """Whether a record has a value of this setting."""
        rule = self.spec.recorded
        return rule is Recorded.ALWAYS or (rule is Recorded.IF_CHANGED and value != self.default)

    def record(self, value: object) -> object:
        """A field's value as a record has it, in JSON values."""
        if self.spec.parse is not None:
            return self.spec.as_text(value)
        if isinstance(value, StrEnum):
            return value.value
        return float(value) if self.kind is float and isinstance(value, int) else value


def setting(
    help_text: str, *, recorded: Recorded = Recorded.ALWAYS, **details: Any
) -> Mapping[str, SettingSpec]:
    """Metadata of a field that is a setting; `details` are the other fields of `SettingSpec`."""
    return {_SPEC: SettingSpec(help=help_text, recorded=recorded, **details)}


def settings_in(group: type, **specs: SettingSpec) -> Mapping[str, Mapping[str, SettingSpec]]:
    """Metadata of a field that holds a dataclass of a lower layer, which knows no settings.

    Args:
        group: The dataclass.
        specs: By the names of its fields.
    """
    unknown = specs.keys() - {each.name for each in fields(group)}
    assert not unknown, f"{group.__name__} has no {sorted(unknown)}"
    return {_SPEC: specs}


def settings_of(request: type) -> tuple[Setting, ...]:
    """The settings of a dataclass and of the dataclasses that it holds, in their order."""
    return _settings_of(request)


def build(request: type[RequestT], values: Mapping[str, object]) -> RequestT:
    """Make a request from values by the names of fields, its own and those of its groups.

    A group that is given as a whole is changed by the fields of it that are given as well.

    Raises:
        TypeError: For a name that no field has.
    """
    own = {each.name: each for each in fields(request)}  # type: ignore[arg-type] # a dataclass
    top = {name: value for name, value in values.items() if name in own}
    changes: dict[str, dict[str, object]] = {}
    for each in settings_of(request):
        if each.group is not None and each.field in values:
            changes.setdefault(each.group, {})[each.field] = values[each.field]
    known = {*own, *(name for group in changes.values() for name in group)}
    if not values.keys() <= known:
        message = f"{request.__name__} has no setting {', '.join(sorted(values.keys() - known))}"
        raise TypeError(message)
    for name, changed in changes.items():
        whole: Any = top[name] if name in top else _default_group(own[name])
        top[name] = replace(whole, **changed)
    return request(**top)


def record_of(request: object) -> dict[str, object]:
    """A request's own settings, by the names of fields, as JSON values.

    Those that are never recorded are left out; those at their default are not.
    """
    return {
        each.field: each.record(each.of(request))
        for each in settings_of(type(request))
        if each.group is None and each.spec.recorded is not Recorded.NEVER
    }


def out_of_range(
    request: object,
    settings: Iterable[Setting],
    narrower: Mapping[str, NumberRange] | None = None,
) -> Iterator[Problem]:
    """A problem for each number of a request that its setting does not accept.

    Args:
        request: A dataclass with settings.
        settings: Those of it to look at.
        narrower: Ranges that depend on the rest of a request, by the names of fields.
    """
    for each in settings:
        allowed = (narrower or {}).get(each.field, each.spec.allowed)
        value = each.of(request)
        if allowed is not None and value is not None and not allowed.holds(value):
            yield say.setting_out_of_range(each.flag, value, str(allowed))


def _default_group(holder: Field[Any]) -> Any:
    assert callable(holder.default_factory), f"the group {holder.name} has no default"
    return holder.default_factory()


@cache
def _settings_of(request: type) -> tuple[Setting, ...]:
    return tuple(_settings(request))


def _settings(request: type) -> Iterator[Setting]:
    hints = get_type_hints(request)
    for each in fields(request):
        spec = each.metadata.get(_SPEC)
        if isinstance(spec, SettingSpec):
            yield _setting(each, hints[each.name], each.default, spec, None)
        elif is_dataclass(hints[each.name]) and each.default_factory is not MISSING:
            yield from _settings_of_group(each, hints[each.name], spec or {})


def _settings_of_group(
    holder: Field[Any], kind: type, specs: Mapping[str, SettingSpec]
) -> Iterator[Setting]:
    default = _default_group(holder)
    hints = get_type_hints(kind)
    for each in fields(kind):
        spec = specs.get(each.name) or each.metadata.get(_SPEC)
        if spec is not None:
            value = getattr(default, each.name)
            yield _setting(each, hints[each.name], value, spec, holder.name)


def _setting(
    each: Field[Any], hint: Any, default: object, spec: SettingSpec, group: str | None
) -> Setting:
    members = get_args(hint)
    is_nullable = NoneType in members
    kind = next(member for member in members if member is not NoneType) if is_nullable else hint
    return Setting(
        field=each.name,
        group=group,
        kind=kind,
        is_nullable=is_nullable,
        default=default,
        spec=spec,
    )


def _as_flag(name: str) -> str:
    return "--" + name.replace("_", "-")
