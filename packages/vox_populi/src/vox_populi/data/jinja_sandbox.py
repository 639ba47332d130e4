"""The Jinja environment of chat templates: what transformers offers to them, and limits.

Imports Jinja2, so it is loaded only when a model's own template is used. A template is a program
of a stranger: it runs in the immutable sandbox, sees plain values only, cannot repeat text at
will, and is stopped once it has written too much or run for too long.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from typing import Any

import jinja2
import jinja2.ext
from jinja2 import nodes, pass_eval_context
from jinja2.exceptions import SecurityError
from jinja2.parser import Parser
from jinja2.runtime import LoopContext
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.utils import Namespace

MAX_CHARACTERS = 16 * 2**20
"""Largest rendered conversation."""
_MAX_SECONDS = 20.0
_MAX_POWER = 64
_OF_A_LOOP = frozenset({"first", "last", "index", "index0", "length", "previtem", "nextitem"})

Rendered = tuple[str, tuple[tuple[int, int], ...]]
"""A text, and where each generation block starts and ends in it."""


class RenderedTooLargeError(Exception):
    """A template wrote more than `MAX_CHARACTERS`, or did not come to an end."""


class GenerationBlocks(jinja2.ext.Extension):
    """`{% generation %}` to `{% endgeneration %}`: the text in between is the assistant's."""

    tags = {"generation"}  # noqa: RUF012 - the name and type are Jinja's

    def __init__(self, environment: jinja2.Environment) -> None:
        super().__init__(environment)
        self._written: list[str] | None = None
        self._spans: list[tuple[int, int]] = []
        environment.extend(recorded_spans=self.recorded_spans)

    def parse(self, parser: Parser) -> nodes.Node:
        """The block as a call of `_block` with its body."""
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        return nodes.CallBlock(self.call_method("_block"), [], [], body).set_lineno(line)

    @pass_eval_context
    def _block(self, context: nodes.EvalContext, caller: Callable[[], str]) -> str:
        text = caller()
        if self._written is not None:
            start = sum(map(len, self._written))
            self._spans.append((start, start + len(text)))
        return text

    @contextmanager
    def recorded_spans(self, written: list[str]) -> Iterator[list[tuple[int, int]]]:
        """Record the spans of blocks; `written` is the text so far, in parts."""
        self._written, self._spans = written, []
        try:
            yield self._spans
        finally:
            self._written = None


class Sandbox(ImmutableSandboxedEnvironment):
    """The sandbox, in which a product of text and number stays small."""

    intercepted_binops = frozenset({"*", "**"})

    def getattr(self, obj: Any, attribute: str) -> Any:
        """An attribute, if it is safe; those of a loop are, and are asked for in every turn."""
        if type(obj) is LoopContext and attribute in _OF_A_LOOP:
            return getattr(obj, attribute)
        return super().getattr(obj, attribute)

    def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
        """Multiply, or raise to a power, within the limits."""
        if operator == "**" and (abs(left) > MAX_CHARACTERS or abs(right) > _MAX_POWER):
            raise RenderedTooLargeError
        for sequence, count in ((left, right), (right, left)):
            if isinstance(sequence, str | list | tuple) and len(sequence) * count > MAX_CHARACTERS:
                raise RenderedTooLargeError
        return super().call_binop(context, operator, left, right)


class _OpenNamespace(Namespace):
    """`namespace()` without names that begin with an underscore, as transformers has it."""

    def __setitem__(self, name: str, value: object) -> None:
        if name.startswith("_"):
            message = f"a namespace cannot store {name}"
            raise SecurityError(message)
        super().__setitem__(name, value)


class _OpenDict:
    """`dict()` and `dict.fromkeys()`, without the other attributes of the type."""

    def __call__(self, *args: Any, **kwargs: Any) -> dict[Any, Any]:
        return dict(*args, **kwargs)

    def fromkeys(self, *args: Any) -> dict[Any, Any]:
        """`dict.fromkeys`."""
        return dict.fromkeys(*args)


def furnished(kind: type[Sandbox], now: datetime) -> Sandbox:
    """A sandbox with what transformers offers to templates; `now` is what they format as a date."""
    environment = kind(
        trim_blocks=True,
        lstrip_blocks=True,
        extensions=[GenerationBlocks, jinja2.ext.loopcontrols],
    )
    environment.filters["tojson"] = _to_json
    environment.globals |= {
        "raise_exception": _raise_exception,
        "strftime_now": now.strftime,
        "dict": _OpenDict(),
        "namespace": _OpenNamespace,
    }
    return environment


class CompiledTemplate:
    """A template, ready to render.

    Args:
        text: Its source.
        now: What `strftime_now` formats.

    Raises:
        ValueError: When it is not a template.
    """

    def __init__(self, text: str, now: datetime) -> None:
        self._environment = furnished(Sandbox, now)
        try:
            self._template = self._environment.from_string(text)
            # A chain of mappings would be walked through for every conversation.
            self._template.globals = dict(self._template.globals)
            parsed = self._environment.parse(text)
        except (jinja2.TemplateError, RecursionError) as error:
            message = str(error) or type(error).__name__
            raise ValueError(message) from None
        self.marks_generated = any(
            isinstance(call.node, nodes.ExtensionAttribute)
            and call.node.identifier == GenerationBlocks.identifier
            for call in parsed.find_all(nodes.Call)
        )

    def render(self, variables: Mapping[str, object]) -> Rendered:
        """Text and spans of generation blocks.

        Raises:
            RenderedTooLargeError: When it writes too much or takes too long.
            ValueError: When the template refuses, or fails on, these variables.
        """
        written: list[str] = []
        size, deadline = 0, time.monotonic() + _MAX_SECONDS
        recorded = getattr(self._environment, "recorded_spans")  # noqa: B009 - set by `extend`
        try:
            with recorded(written) as spans:
                for part in self._template.generate(**variables):
                    size += len(part)
                    if size > MAX_CHARACTERS or time.monotonic() > deadline:
                        raise RenderedTooLargeError
                    written.append(part)
        except FAILURES as error:
            message = str(error) or type(error).__name__
            raise ValueError(message) from None
        return "".join(written), tuple(spans)


FAILURES = (
    *(jinja2.TemplateError, TypeError, ValueError, LookupError, AttributeError),
    *(ArithmeticError, RecursionError, MemoryError),
)
"""What a template's own mistakes raise."""


def _raise_exception(message: str) -> None:
    raise jinja2.TemplateError(message)


def _to_json(
    value: object,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    """JSON without the HTML escapes of Jinja's own filter, as templates expect it."""
    return json.dumps(
        value,
        ensure_ascii=ensure_ascii,
        indent=indent,
        separators=separators,
        sort_keys=sort_keys,
    )
