"""Texts that a template can write but not read, and templates that say when they read one.

Rendering with such stand-ins shows whether the words that a template writes depend on the letters
of the texts that it is given. Imports Jinja2.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from functools import partial, update_wrapper
from typing import Any, NoReturn

import jinja2
from jinja2 import nodes
from jinja2.visitor import NodeTransformer

from vox_populi.data.jinja_sandbox import Sandbox, furnished


class TextReadError(Exception):
    """A template did more with a text than to write it."""


def _read(*_args: object, **_kwargs: object) -> NoReturn:
    raise TextReadError


class UnreadText(str):
    """A text that can be joined, stripped of the blanks it does not have, and asked if it is empty.

    Everything else that could depend on its letters is an error.
    """

    __slots__ = ("ends",)
    ends: tuple[bool, bool]
    """Whether its first and its last letter are known not to be blanks."""

    @classmethod
    def of(cls, text: str, ends: tuple[bool, bool]) -> UnreadText:
        """A text with what is known of its ends."""
        made = cls(text)
        made.ends = ends
        return made

    def __add__(self, other: object) -> UnreadText:
        return _with_ends((self, other)) if isinstance(other, str) else _read()

    def __radd__(self, other: object) -> UnreadText:
        return _with_ends((other, self)) if isinstance(other, str) else _read()

    def strip(self, chars: str | None = None, /) -> UnreadText:
        """The text itself, if it has no blanks at its ends."""
        return self if chars is None and all(self.ends) else _read()

    __contains__ = __eq__ = __ne__ = __lt__ = __le__ = __gt__ = __ge__ = _read
    __getitem__ = __iter__ = __hash__ = __repr__ = __format__ = _read
    __mul__ = __rmul__ = __mod__ = __rmod__ = _read


def _with_ends(parts: Sequence[str]) -> UnreadText:
    """Texts joined, at least one of which is unread."""
    written = [part for part in parts if str.__len__(part)]
    first, last = written[0], written[-1]
    opens = first.ends[0] if isinstance(first, UnreadText) else not first[0].isspace()
    closes = last.ends[1] if isinstance(last, UnreadText) else not last[-1].isspace()
    return UnreadText.of("".join(map(str, parts)), (opens, closes))


def _written(parts: Sequence[object]) -> str:
    """What `~` makes of its parts."""
    texts = [part if isinstance(part, UnreadText) else _as_text(part) for part in parts]
    is_unread = any(isinstance(text, UnreadText) for text in texts)
    return _with_ends(texts) if is_unread else "".join(texts)


def _as_text(part: object) -> str:
    return _read() if _could_hold_text(part) else str(part)


def _could_hold_text(value: object) -> bool:
    """Whether something is, or may have in it, a text of a message."""
    if isinstance(value, UnreadText):
        return True
    if isinstance(value, list | tuple):
        return any(map(_could_hold_text, value))
    if isinstance(value, dict):
        return any(map(_could_hold_text, (*value, *value.values())))
    return not isinstance(value, str | int | float | bool | None | jinja2.Undefined)


class _TracingSandbox(Sandbox):
    """The sandbox, in which no function, filter or test sees a text of a message."""

    def getattr(self, obj: Any, attribute: str) -> Any:
        """An attribute; of a text only `strip`."""
        if isinstance(obj, UnreadText) and attribute != "strip":
            _read()
        return super().getattr(obj, attribute)

    def getitem(self, obj: Any, argument: Any) -> Any:
        """An item; a text has none and is no key."""
        if isinstance(obj, UnreadText) or isinstance(argument, UnreadText):
            _read()
        return super().getitem(obj, argument)

    def call(self, context: Any, function: Any, /, *args: Any, **kwargs: Any) -> Any:
        """A call; `_loop_vars` and `_block_vars` are Jinja's own."""
        own = {key: value for key, value in kwargs.items() if not key.startswith("_")}
        if _could_hold_text([*args, own]):
            _read()
        return super().call(context, function, *args, **kwargs)


_OF_TYPES = frozenset(
    (
        *("defined", "undefined", "none", "string", "mapping", "iterable", "sequence"),
        *("number", "boolean", "integer", "float", "callable"),
    )
)
"""Tests that look at a type only."""
_OF_LISTS = frozenset({"length", "count", "first", "last", "list"})
"""Filters that take a list apart, or count it, without a look at its items."""


def _test(name: str, function: Callable[..., Any], value: object, *args: object) -> Any:
    if name in _OF_TYPES:
        return function("text" if isinstance(value, UnreadText) else value, *args)
    return _read() if _could_hold_text([value, *args]) else function(value, *args)


def _filter(name: str, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    own = args[hasattr(function, "jinja_pass_arg") :]
    if name == "trim" and isinstance(own[0], UnreadText) and len(own) == 1 and not kwargs:
        return own[0].strip()
    if name in _OF_LISTS and isinstance(own[0], list):
        return function(*args, **kwargs)
    return _read() if _could_hold_text([*own, kwargs]) else function(*args, **kwargs)


def traced_template(text: str, now: datetime) -> jinja2.Template | None:
    """A template that ends with `TextReadError` where it reads a text.

    `None` for one with a construct in which that could go unseen: those that collect what they
    write as a text, `%` with texts, and a search in something that may be a text.
    """
    environment = furnished(_TracingSandbox, now)
    environment.tests.update(_watched(_test, environment.tests))
    environment.filters.update(_watched(_filter, environment.filters))
    environment.filters[_JOIN] = _written
    parsed = environment.parse(text)
    if any(map(parsed.find, _COLLECTING)) or not all(map(_is_open, parsed.find_all(nodes.Expr))):
        return None
    joined = _ConcatAsFilter().visit(parsed).set_environment(environment)
    code = environment.compile(joined)
    return jinja2.Template.from_code(environment, code, environment.globals)


def _watched(watch: Callable[..., Any], functions: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: update_wrapper(partial(watch, name, function), function)
        for name, function in functions.items()
    }


_JOIN = "written_together"
_COLLECTING = (
    *(nodes.Macro, nodes.CallBlock, nodes.FilterBlock, nodes.AssignBlock, nodes.Block),
    *(nodes.Extends, nodes.Include, nodes.Import, nodes.FromImport),
    *(nodes.EvalContextModifier, nodes.ScopedEvalContextModifier),
)


def _is_open(node: nodes.Expr) -> bool:
    """Whether a text cannot be read unseen in an expression, aside from its parts."""
    if isinstance(node, nodes.Mod):
        return isinstance(node.right, nodes.Const) and isinstance(node.right.value, int)
    if isinstance(node, nodes.Compare):
        sought = [node.expr, *(operand.expr for operand in node.ops)]
        return all(
            operand.op not in ("in", "notin")
            or isinstance(each, nodes.Const)
            or isinstance(operand.expr, nodes.List | nodes.Tuple)
            for each, operand in zip(sought, node.ops, strict=False)
        )
    return True


class _ConcatAsFilter(NodeTransformer):
    """Makes a filter of each `~`, which otherwise gives a text that anyone can read."""

    def visit_Concat(self, node: nodes.Concat) -> nodes.Filter:
        """The filter over the same parts."""
        parts = nodes.List([self.visit(each) for each in node.nodes])
        joined = nodes.Filter(parts, _JOIN, [], [], None, None)
        joined.set_lineno(node.lineno)
        return joined
