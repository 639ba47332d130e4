"""Rotary positions as configs describe them, in both spellings, as one value.

transformers 4 writes `rope_theta` and `rope_scaling`, transformers 5 one `rope_parameters`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum

from vox_populi.hf.config_fields import LARGEST, ConfigFields

DEFAULT_THETA = 10_000.0
MAX_POSITIONS = 2**31


class RopeKind(StrEnum):
    """The frequency rules that are built, by their name in configs."""

    DEFAULT = "default"
    DYNAMIC = "dynamic"
    """NTK-aware: transformers changes the frequencies of texts longer than the model's context;
    up to that length they are the default ones, and only that far such a model is run here."""
    LINEAR = "linear"
    LLAMA3 = "llama3"
    YARN = "yarn"
    LONGROPE = "longrope"
    """A divisor for each frequency: one list for rows within the context before scaling, one for
    longer rows."""


def _interpolations() -> dict[str, RopeKind]:
    return {kind.value: kind for kind in RopeKind if kind is not RopeKind.LONGROPE}


@dataclass(frozen=True, slots=True)
class UnrotatedLayers:
    """How a family's config says which layers leave queries and keys as they are."""

    flags: str
    """Field with a 1 for each layer that rotates and a 0 for each that does not."""
    interval: str
    """Field with n, where every n-th layer does not rotate; read where there are no flags."""
    default_interval: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RopeRule:
    """What a family's class in transformers makes of the settings."""

    kinds: Mapping[str, RopeKind] = field(default_factory=_interpolations)
    """The kinds it knows, by their names in configs."""
    partial: bool = False
    """Whether `partial_rotary_factor` may leave the end of each head unrotated."""
    original_positions: int | None = None
    """Context before scaling where the config does not say it outside of the rotary settings;
    `None`: what these say, or the whole context."""
    default_theta: float = DEFAULT_THETA
    default: Mapping[str, object] | None = None
    """Settings of a file that has none; `None`: plain rotation."""
    query_growth: str | None = None
    """Name of the setting `RopeSpec.query_growth`, which every file must have; `None`: queries do
    not grow. All `kinds` of the rule must have a context before scaling."""
    unrotated: UnrotatedLayers | None = None
    """`None`: every layer rotates."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalRope:
    """How layers with a sliding window rotate, where they rotate differently from the others.

    transformers 5 has one object for each type of layer in `rope_parameters`. Before, the fields of
    the config were those of the layers that attend to everything, and only the base differed.
    """

    theta: float
    """The base where the file says nothing."""
    theta_field: str | None = None
    """The older field with it; `None`: there is none, and other bases are refused."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RopeSpec:
    """How a position turns into angles. Fields that a kind does not read keep their defaults."""

    kind: RopeKind
    theta: float
    factor: float = 1.0
    low_freq_factor: float | None = None
    high_freq_factor: float | None = None
    original_max_positions: int | None = None
    """Context length before scaling; always set, but for `default` and `linear`."""
    beta_fast: float = 32.0
    beta_slow: float = 1.0
    attention_factor: float | None = None
    """Factor of cosine and sine; `None`: derived from `factor`, `mscale` and `mscale_all_dim`.
    Always set for `longrope`."""
    mscale: float | None = None
    mscale_all_dim: float | None = None
    truncate: bool = True
    """Whether YaRN rounds the borders of its ramp to whole dimensions."""
    partial_factor: float = 1.0
    """Part of each head that is rotated; the features behind it stay as they are."""
    short_factors: tuple[float, ...] = ()
    """Divisors of `longrope`, one per frequency, for rows within the original context."""
    long_factors: tuple[float, ...] = ()
    """The same for longer rows."""
    query_growth: float = 0.0
    """Queries at position p are multiplied by `1 + growth * log(1 + p // original_max_positions)`
    (Llama 4's scaling)."""

    @property
    def yarn_attention_factor(self) -> float:
        """YaRN's factor of cosine and sine."""
        if self.attention_factor is not None:
            return self.attention_factor

        def mscale(weight: float) -> float:
            return 1.0 if self.factor <= 1 else 0.1 * weight * math.log(self.factor) + 1.0

        if self.mscale and self.mscale_all_dim:
            return mscale(self.mscale) / mscale(self.mscale_all_dim)
        return mscale(1.0)

    def is_long(self, length: int) -> bool:
        """Whether a row of so many tokens is rotated otherwise than the start of it alone."""
        is_split = self.kind is RopeKind.LONGROPE
        return is_split and length > (self.original_max_positions or length)


@dataclass(frozen=True, slots=True)
class _Reader:
    """One spelling of the settings, and what of the rest of the config it depends on."""

    fields: ConfigFields
    """The whole config."""
    rope: ConfigFields
    """The nested object."""
    label: str
    """Its name."""
    rule: RopeRule
    max_positions: int
    head_dim: int

    def spec(self) -> RopeSpec:
        """Read it; problems go into `fields`."""
        lists = _LISTS if RopeKind.LONGROPE in self.rule.kinds.values() else ()
        for name, value in self.rope.raw.items():
            if isinstance(value, (dict, list)) and name not in lists:
                meaning = "per-layer and per-dimension rotation"
                self.fields.unsupported(f"{self.label}.{name}", None, meaning)
        partial = self._partial_factor()
        theta = self._inner_over_outer("rope_theta", self.rule.default_theta, above=1.0)
        kind = self._kind()
        spec = RopeSpec(kind=kind, theta=theta, partial_factor=partial)
        read = {
            RopeKind.DYNAMIC: self._dynamic,
            RopeKind.LINEAR: self._linear,
            RopeKind.LLAMA3: self._llama3,
            RopeKind.YARN: self._yarn,
            RopeKind.LONGROPE: self._longrope,
        }.get(kind)
        spec = spec if read is None else read(spec)
        return replace(spec, query_growth=self._query_growth())

    def _query_growth(self) -> float:
        name = self.rule.query_growth
        return 0.0 if name is None else self.rope.number(name, or_equal=True)

    def _partial_factor(self) -> float:
        name = "partial_rotary_factor"
        if self.rule.partial:
            return self._inner_over_outer(name, 1.0, at_most=1.0)
        for place in (self.fields, self.rope):
            place.must_be(name, (1, 1.0), "rotating a part of each head")
        return 1.0

    def _inner_over_outer(
        self, name: str, default: float, *, above: float = 0.0, at_most: float = LARGEST
    ) -> float:
        outer = self.fields.number(name, default=default, above=above, at_most=at_most)
        inner = self.rope.number(name, default=outer, above=above, at_most=at_most)
        if self.fields.value(name) is not None and inner != outer:
            self.fields.contradiction(name, f"{self.label}.{name}")
        return inner

    def _kind(self) -> RopeKind:
        # `type` is the older name of `rope_type`.
        name = self.rope.text("rope_type", "type", default=RopeKind.DEFAULT.value)
        if name in self.rule.kinds:
            return self.rule.kinds[name]
        known = ", ".join(self.rule.kinds)
        self.rope.unsupported("rope_type", name, f"a rule other than {known}")
        return RopeKind.DEFAULT

    def _original_positions(self) -> int:
        """The outer field wins over the nested one, and both over the context length."""
        name = "original_max_position_embeddings"
        inner = self.rule.original_positions or self.rope.count(
            name, default=self.max_positions, maximum=MAX_POSITIONS
        )
        return self.fields.count(name, default=inner, maximum=MAX_POSITIONS)

    def _dynamic(self, spec: RopeSpec) -> RopeSpec:
        factor = self.rope.number("factor")
        return replace(spec, factor=factor, original_max_positions=self.max_positions)

    def _linear(self, spec: RopeSpec) -> RopeSpec:
        return replace(spec, factor=self.rope.number("factor"))

    def _llama3(self, spec: RopeSpec) -> RopeSpec:
        rope = self.rope
        low, high = rope.number("low_freq_factor"), rope.number("high_freq_factor")
        if high <= low and not rope.problems:
            rope.contradiction("low_freq_factor", "high_freq_factor")
        return replace(
            spec,
            factor=rope.number("factor"),
            low_freq_factor=low,
            high_freq_factor=high,
            original_max_positions=self._original_positions(),
        )

    def _yarn(self, spec: RopeSpec) -> RopeSpec:
        rope, original = self.rope, self._original_positions()
        # A `factor` of null means the ratio of the two context lengths (DeepSeek's spelling).
        ratio = self.max_positions / original if rope.is_given("factor") else None
        return replace(
            spec,
            factor=rope.number("factor", default=ratio),
            original_max_positions=original,
            # Zero means "not set" to transformers.
            beta_fast=rope.number("beta_fast", default=32.0, or_equal=True) or 32.0,
            beta_slow=rope.number("beta_slow", default=1.0, or_equal=True) or 1.0,
            attention_factor=rope.optional_number("attention_factor", above=0.0),
            mscale=rope.optional_number("mscale", above=0.0, or_equal=True),
            mscale_all_dim=rope.optional_number("mscale_all_dim", above=0.0, or_equal=True),
            truncate=rope.flag("truncate", default=True),
        )

    def _longrope(self, spec: RopeSpec) -> RopeSpec:
        rope, original = self.rope, self._original_positions()
        count = int(self.head_dim * spec.partial_factor) // 2
        factor = rope.number("factor", default=self.max_positions / original)
        attention = rope.optional_number("attention_factor", above=0.0)
        if attention is None:
            attention = self._longrope_attention_factor(factor, original)
        return replace(
            spec,
            factor=factor,
            original_max_positions=original,
            attention_factor=attention,
            short_factors=rope.numbers("short_factor", count=count),
            long_factors=rope.numbers("long_factor", count=count),
        )

    def _longrope_attention_factor(self, factor: float, original: int) -> float:
        if factor <= 1.0:
            return 1.0
        if original == 1:
            self.fields.contradiction("original_max_position_embeddings", "factor")
            return 1.0
        return math.sqrt(1 + math.log(factor) / math.log(original))


_LISTS = ("short_factor", "long_factor")


def parse_rope(fields: ConfigFields, max_positions: int, rule: RopeRule, head_dim: int) -> RopeSpec:
    """Read the rotary settings of a config; problems go into `fields`.

    Both spellings in one file must mean the same: transformers versions differ in which wins.
    """
    names = ("rope_parameters", "rope_scaling")
    given = [name for name in names if fields.mapping(name)]
    specs = [
        _Reader(
            fields,
            ConfigFields(
                fields.mapping(name) or rule.default or {},
                f"{fields.where}: {name}",
                fields.problems,
            ),
            name,
            rule,
            max_positions,
            head_dim,
        ).spec()
        for name in given or names[:1]
    ]
    if specs[0] != specs[-1]:
        fields.contradiction(*given)
    return specs[0]


_FULL, _SLIDING = "full_attention", "sliding_attention"


def parse_ropes(
    fields: ConfigFields, max_positions: int, rule: RopeRule, head_dim: int, local: LocalRope | None
) -> tuple[RopeSpec, RopeSpec | None]:
    """Read the rotation of layers that attend to everything, and of those that slide.

    The second is `None` where `local` is, for a family whose layers all rotate alike.
    """
    if local is None:
        return parse_rope(fields, max_positions, rule, head_dim), None
    nested = fields.mapping("rope_parameters")
    if nested is None:
        full = parse_rope(fields, max_positions, rule, head_dim)
        return full, RopeSpec(kind=RopeKind.DEFAULT, theta=_local_theta(fields, local))
    if fields.mapping("rope_scaling"):
        fields.contradiction("rope_parameters", "rope_scaling")
    inner = ConfigFields(nested, f"{fields.where}: rope_parameters", fields.problems)
    for name in sorted(nested.keys() - {_FULL, _SLIDING}):
        inner.unsupported(name, nested[name], "a rotation of no type of layers")
    theta = None if local.theta_field is None else fields.value(local.theta_field)
    # Its frequencies follow from the text's length, which is beyond what a window sees.
    kinds = {name: kind for name, kind in rule.kinds.items() if kind is not RopeKind.DYNAMIC}
    of_local = replace(rule, default_theta=local.theta, kinds=kinds)
    return (
        parse_rope(_with_rope(fields, inner.mapping(_FULL), {}), max_positions, rule, head_dim),
        parse_rope(
            _with_rope(fields, inner.mapping(_SLIDING), {"rope_theta": theta}),
            max_positions,
            of_local,
            head_dim,
        ),
    )


def _with_rope(
    fields: ConfigFields, rope: Mapping[str, object] | None, changes: Mapping[str, object]
) -> ConfigFields:
    """The config as if its only rotary settings were those of one type of layers."""
    changed = {**fields.raw, "rope_scaling": None, "rope_parameters": rope, **changes}
    return ConfigFields(changed, fields.where, fields.problems)


def _local_theta(fields: ConfigFields, local: LocalRope) -> float:
    if local.theta_field is not None:
        return fields.number(local.theta_field, default=local.theta, above=1.0)
    value = fields.value("rope_theta")
    if value not in (None, local.theta):
        meaning = "a base that versions of transformers do not read alike for layers that slide"
        fields.unsupported("rope_theta", value, meaning)
    return local.theta


def rotary_layers(fields: ConfigFields, rule: RopeRule | None, n_layers: int) -> tuple[bool, ...]:
    """Which layers rotate queries and keys; problems go into `fields`."""
    layers = None if rule is None else rule.unrotated
    if layers is None:
        return (rule is not None,) * n_layers
    flags = fields.flags(layers.flags)
    if flags is None:
        interval = fields.count(
            layers.interval, default=layers.default_interval, maximum=MAX_POSITIONS
        )
        return tuple((layer + 1) % interval != 0 for layer in range(n_layers))
    if len(flags) < n_layers:
        fields.contradiction(layers.flags, "num_hidden_layers")
        return (True,) * n_layers
    return flags[:n_layers]
