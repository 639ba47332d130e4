"""Sliding windows of a config: how many keys a query sees, and in which layers."""

from __future__ import annotations

from vox_populi.hf.config_fields import ConfigFields
from vox_populi.hf.model_family import SlidingRule
from vox_populi.hf.rope_config import MAX_POSITIONS


def sliding_layers(
    fields: ConfigFields, rule: SlidingRule | None, rotates: tuple[bool, ...]
) -> tuple[int | None, tuple[bool, ...]]:
    """The window and which layers have it, by the family's own rule.

    Args:
        fields: The config; problems go into it.
        rule: The family's; `None` for one without windows.
        rotates: Which layers rotate queries and keys.
    """
    if rule is None:
        return None, (False,) * len(rotates)
    window = _window(fields, rule)
    places, first, every = range(len(rotates)), 0, rule.full_every
    if rule.full_every_field is not None:
        every = fields.count(rule.full_every_field, default=every, maximum=MAX_POSITIONS)
    if (rule.by_layer or rule.by_flag) and not fields.flag("use_sliding_window", default=False):
        window = None
    if rule.by_layer:
        first = 0 if rule.where_unrotated else _first_sliding_layer(fields)
    slides = [layer >= first and (every is None or (layer + 1) % every != 0) for layer in places]
    if rule.where_unrotated:
        slides = [not is_rotated for is_rotated in rotates]
    by_rule = tuple(window is not None and each for each in slides)
    return window, _layer_types(fields, rule, by_rule, has_window=window is not None)


def _window(fields: ConfigFields, rule: SlidingRule) -> int | None:
    if rule.window is None:
        return None
    if not fields.is_given(rule.window):
        return rule.default_window
    if fields.value(rule.window) is None:
        return None
    return fields.count(rule.window, maximum=MAX_POSITIONS)


def _first_sliding_layer(fields: ConfigFields) -> int:
    value = fields.value("max_window_layers")
    if value == 0 and type(value) is int:
        return 0
    return fields.count("max_window_layers", default=28, maximum=MAX_POSITIONS)


_SLIDES = {"full_attention": False, "attention": False, "sliding_attention": True}


def _layer_types(
    fields: ConfigFields, rule: SlidingRule, by_rule: tuple[bool, ...], *, has_window: bool
) -> tuple[bool, ...]:
    """The file's `layer_types` where it has them; a class that ignores them must agree."""
    names = fields.texts("layer_types")
    if not names:
        return by_rule
    unknown = next((name for name in names if name not in _SLIDES), None)
    if unknown is not None:
        fields.unsupported("layer_types", unknown, "a layer other than full or sliding attention")
        return by_rule
    listed = tuple(_SLIDES[name] for name in names)
    if len(listed) != len(by_rule):
        fields.contradiction("layer_types", "num_hidden_layers")
    elif (any(listed) and not has_window) or (not rule.is_listed and listed != by_rule):
        fields.contradiction("layer_types", "sliding_window")
    return listed
