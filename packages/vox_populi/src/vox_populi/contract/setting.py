"""Settings: fields of a request that define how they are requested, checked and recorded.

A field of a frozen dataclass is a setting when its metadata holds a `SettingSpec`. Flags,
environment variables, keys of a config file, the reference page and the JSON Schema of the file
are all made from `settings_of`, so a new field is a new setting everywhere.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import MISSING, Field, dataclass, field, fields, is_dataclass, replace
from enum import StrEnum
from functools import cache
from types import NoneType, UnionType
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

from vox_populi.errors import ConfigError
from vox_populi.hf.hub_name import ModelParts
from vox_populi.number_ranges import NumberRange, NumberSet
from vox_populi.operator_messages import contract as say
from vox_tensor.errors import Problem

RequestT = TypeVar("RequestT")
ValueT = TypeVar("ValueT")

_SPEC = "setting"


class Recorded(StrEnum):
    """Whether a setting is part of a run's record, and so of the digest of a request."""

    ALWAYS = "always"
    NEVER = "never"
    """Never: it does not affect what is learned, or something else in the record represents it."""
    IF_CHANGED = "if_changed"
    """Only if it is not the default, so that older requests keep their digest."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SettingSpec:
    """Facts about a setting that do not follow from its type and default."""

    help: str
    name: str | None = None
    """Key in a config file, if it differs from the field's name."""
    flags: tuple[str, ...] = ()
    """Its flags, if they do not follow from its name; messages use the first."""
    argument: str | None = None
    """Placeholder of the positional argument that sets it; it has a flag only if `flags` has."""
    hidden: bool = False
    """Whether help omits the flag: another name of what the argument sets."""
    allowed: NumberRange | NumberSet | None = None
    refused_at_once: bool = False
    """Whether a number out of range is refused when it is read, not with the request."""
    words: Mapping[str, StrEnum] | None = None
    """Every accepted word, if a closed set accepts more than its own."""
    parse: Callable[[str], object] | None = None
    """Parses text into the field's value, if its type does not define that; raises
    `ConfigError`."""
    as_text: Callable[[Any], str] = str
    """Writes text that `parse` reads back."""
    metavar: str | None = None
    """Placeholder for the value in the help, if the type does not define it."""
    default_text: str | None = None
    """The default as shown in the help, if it differs from the value."""
    negated: bool = False
    """Whether the setting is on when the field is false."""
    recorded: Recorded = Recorded.ALWAYS
    model: ModelParts | None = None
    """What of a model is needed, if the setting is a model's folder: a name of the hub is
    accepted too."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """One setting of a request."""

    field: str
    """Name in its dataclass; unique within a request."""
    group: str | None
    """Field of the request with that dataclass; `None` for the request itself."""
    kind: type
    """Type of a value that is not `None`."""
    is_nullable: bool
    is_repeated: bool
    """Whether the field is a tuple, and each of its values is passed on its own."""
    default: object
    """The default; `dataclasses.MISSING` if it is required."""
    spec: SettingSpec

    @property
    def name(self) -> str:
        """Key in a config file."""
        return self.spec.name or self.field

    @property
    def flag(self) -> str:
        """Flag on a command line."""
        return self.flags[0]

    @property
    def flags(self) -> tuple[str, ...]:
        """Every flag that sets it."""
        return self.spec.flags or (_as_flag(self.name),)

    @property
    def off_flag(self) -> str:
        """The flag that turns an on/off setting off."""
        name = self.name.replace("no_", "", 1) if self.spec.negated else f"no_{self.name}"
        return _as_flag(name)

    @property
    def takes_null(self) -> bool:
        """Whether `null` is allowed in a config file; some settings have a word for it."""
        return self.is_nullable and self.spec.parse is None

    def of(self, request: object) -> Any:
        """The value in a request."""
        holder = request if self.group is None else getattr(request, self.group)
        return getattr(holder, self.field)

    def asked(self, value: object) -> object:
        """A field's value as it is requested: text if `parse` reads it."""
        if self.spec.parse is not None:
            return self.spec.as_text(value)
        return not value if self.spec.negated else value

    def stored(self, asked: object) -> object:
        """The field's value for a requested one; the inverse of `asked`."""
        if self.is_repeated:
            return tuple(asked)  # type: ignore[arg-type] # as `asked` returned it
        if self.spec.parse is not None:
            return self.spec.parse(str(asked))
        return not asked if self.spec.negated else asked

    def is_recorded(self, value: object) -> bool:
        """Whether a record includes this setting."""
        rule = self.spec.recorded
        return rule is Recorded.ALWAYS or (rule is Recorded.IF_CHANGED and value != self.default)

    def record(self, value: object) -> object:
        """A field's value for a record, as JSON."""
        if self.spec.parse is not None:
            return self.spec.as_text(value)
        if isinstance(value, StrEnum):
            return value.value
        return float(value) if self.kind is float and isinstance(value, int) else value


def setting(default: ValueT, help_text: str, **details: Any) -> ValueT:
    """Declare a field that is a setting, with its default.

    Args:
        default: The field's default.
        help_text: One line.
        details: Other fields of `SettingSpec`.
    """
    declared: Any = field(default=default, metadata=setting_metadata(help_text, **details))
    return declared  # type: ignore[no-any-return] # a dataclass makes the default of it


def setting_metadata(help_text: str, **details: Any) -> Mapping[str, SettingSpec]:
    """Metadata of a field that is a setting; without a default it must be given."""
    return {_SPEC: SettingSpec(help=help_text, **details)}


def settings_in(group: type, **specs: SettingSpec) -> Mapping[str, Mapping[str, SettingSpec]]:
    """Metadata of a field with a dataclass of a lower layer, which has no settings itself.

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
    """Build a request from values by the names of fields, its own and those of its groups.

    If a group is passed as a whole, individual fields of it override its values.

    Raises:
        TypeError: For an unknown field.
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


def extended(request: type[RequestT], settings: object, **more: object) -> RequestT:
    """A request that adds fields to a class of settings, with the values of these settings."""
    given: Any = settings
    return request(**{each.name: getattr(given, each.name) for each in fields(given)}, **more)


def record_of(request: object) -> dict[str, object]:
    """The recorded settings of a request itself, by the names of fields, as JSON values."""
    return {
        each.field: each.record(each.of(request))
        for each in settings_of(type(request))
        if each.group is None and each.is_recorded(each.of(request))
    }


def in_order(
    record: Mapping[str, object], first: Sequence[str] = (), last: Sequence[str] = ()
) -> dict[str, object]:
    """The same record with some names first and some last, as files have always had them."""
    middle = (name for name in record if name not in (*first, *last))
    return {name: record[name] for name in (*first, *middle, *last)}


def out_of_range(
    request: object,
    settings: Iterable[Setting],
    narrower: Mapping[str, NumberRange] | None = None,
) -> Iterator[Problem]:
    """A problem for each number of a request that is out of range.

    Args:
        request: A dataclass with settings.
        settings: The settings to check.
        narrower: Ranges that depend on the rest of a request, by the names of fields.
    """
    for each in settings:
        allowed = (narrower or {}).get(each.field, each.spec.allowed)
        value = each.of(request)
        if allowed is not None and value is not None and not allowed.holds(value):
            yield say.setting_out_of_range(value, str(allowed)).at(each.flag)


def require_settings(request: object) -> None:
    """Refuse numbers of a request that are out of range.

    Raises:
        ConfigError: With every one of them.
    """
    problems = tuple(out_of_range(request, settings_of(type(request))))
    if problems:
        raise ConfigError(*problems)


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
    is_repeated = spec.parse is None and any(get_origin(each) is tuple for each in (hint, *members))
    is_wrapped = isinstance(hint, UnionType) or get_origin(hint) is tuple
    kind = next(member for member in members if member is not NoneType) if is_wrapped else hint
    return Setting(
        field=each.name,
        group=group,
        kind=kind,
        is_nullable=is_nullable,
        is_repeated=is_repeated,
        default=default,
        spec=spec,
    )


def _as_flag(name: str) -> str:
    return "--" + name.replace("_", "-")
