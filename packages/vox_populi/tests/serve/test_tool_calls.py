"""Calls of tools in the forms that templates write, and texts that only look like them."""

from __future__ import annotations

import json

import pytest

from vox_populi.serve.tool_calls import FoundCall, ToolCallFinder

NAMES = ("weather", "add")
OSLO = FoundCall("weather", '{"city": "Oslo"}')
SUM = FoundCall("add", '{"a": 1, "b": 2}')
_OSLO = '{"name": "weather", "arguments": {"city": "Oslo"}}'
_SUM = '{"name": "add", "arguments": {"a": 1, "b": 2}}'


def found(text: str, size: int = 3) -> tuple[str, str, tuple[FoundCall, ...]]:
    """Text shown before the end, text at the end, and the calls, of an answer in pieces."""
    finder = ToolCallFinder(NAMES)
    pieces = [text[i : i + size] for i in range(0, len(text), size)]
    shown = "".join(finder.take(piece) for piece in pieces)
    return shown, *finder.finish()


@pytest.mark.parametrize(
    "text",
    [
        f"<tool_call>\n{_OSLO}\n</tool_call>",
        f"<tool_call>{_OSLO}",
        f"[TOOL_CALLS][{_OSLO}]",
        f"[TOOL_CALLS] [{_OSLO}]",
        'weather{"city": "Oslo"}',
        '[TOOL_CALLS]weather[ARGS]{"city": "Oslo"}',
        f"[{_OSLO}]",
        f"  {_OSLO} ",
        '<|python_tag|>{"name": "weather", "parameters": {"city": "Oslo"}}',
        '{"name": "weather", "parameters": {"city": "Oslo"}}',
        '{"type": "function", "function": {"name": "weather", "parameters": {"city": "Oslo"}}}',
        json.dumps({"name": "weather", "arguments": json.dumps({"city": "Oslo"})}),
    ],
)
@pytest.mark.parametrize("size", [1, 7, 1000])
def test_a_call_is_found_in_every_form_and_none_of_it_is_shown(text: str, size: int) -> None:
    assert found(text, size) == ("", "", (OSLO,))


@pytest.mark.parametrize(
    "text",
    [
        f"<tool_call>\n{_OSLO}\n</tool_call>\n<tool_call>\n{_SUM}\n</tool_call>",
        f"[TOOL_CALLS][{_OSLO}, {_SUM}]",
        f"{_OSLO}; {_SUM}",
        '[TOOL_CALLS]weather{"city": "Oslo"}[TOOL_CALLS]add{"a": 1, "b": 2}',
    ],
)
def test_several_calls_are_found(text: str) -> None:
    assert found(text) == ("", "", (OSLO, SUM))


def test_text_before_a_call_is_shown_as_it_comes() -> None:
    assert found(f"Let me see.\n<tool_call>{_OSLO}</tool_call>") == ("Let me see.\n", "", (OSLO,))


@pytest.mark.parametrize(
    "text",
    [
        "Hello there.",
        "a < b, and <tool",
        "<tool_call>not JSON</tool_call>",
        '<tool_call>{"name": "weather", "arguments": 3}</tool_call>',
        '{"name": "unknown", "arguments": {}}',
        '{"answer": 42}',
        "[1, 2, 3]",
        '{"name": "weather", "arguments": {"city": "Os',
        "weather is fine",
        "add",
        f"{_OSLO} and so on",
        "[" * 5000,
    ],
)
def test_what_is_no_call_stays_text(text: str) -> None:
    shown, rest, calls = found(text)
    assert (shown + rest, calls) == (text, ())


def test_plain_text_is_not_held_back() -> None:
    finder = ToolCallFinder(NAMES)
    assert [finder.take(each) for each in ("Good", " day", " [TOOL_", "X")] == [
        *("Good", " day", " ", "[TOOL_X"),
    ]
