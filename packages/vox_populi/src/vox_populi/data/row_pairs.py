"""A prompt with its answer as messages: Alpaca, Dolly, question and answer, TRL's lists."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from vox_populi.data.row_fields import RowFields
from vox_populi.data.row_tools import tool_calls
from vox_populi.data.row_turns import parse_turns, reasoning_of
from vox_tensor.records import Message, MessageExtras, Role, ToolCall

FINISHED_PROMPT = "prompt"
"""Beside another prompt it is the finished text, with that one in it."""
PROMPT_KEYS = (FINISHED_PROMPT, "instruction", "question", "query")
ANSWER_KEYS = ("response", "output", "completion", "answer")
SYSTEM_KEYS = ("system", "system_prompt")
CALLS_KEY = "answers"
"""Calls in answer to a prompt, beside `tools`."""

_Text = str | list[object]
_Found = list[tuple[str, _Text]]
"""Keys with their values: a text, or a list of messages."""


def pair_messages(row: RowFields) -> list[Message]:
    """The messages of a row with a prompt and an answer."""
    prompts, answers = _present(row, PROMPT_KEYS), _present(row, ANSWER_KEYS)
    key, prompt = _finished(row, prompts)
    calls = () if answers else _answered_calls(row)
    answer = _same(row, answers)
    extra = _extra(row, key)
    if not row.problems:
        if not prompt and not extra:
            row.blank(" or ".join(PROMPT_KEYS))
        if not answer and not calls:
            row.blank(" or ".join(ANSWER_KEYS))
    system = "" if _SYSTEM.isdisjoint(row.value) else row.one_text(SYSTEM_KEYS)
    history = _history(row)
    if row.problems:
        return []
    asked = _asked(row, key, prompt, extra, has_instruction=len(prompts) > 1)
    if isinstance(answer, list):
        answered = parse_turns(row, answer, answers[0][0])
    else:
        reasoning = None if _REASONING.isdisjoint(row.value) else reasoning_of(row, row.value)
        extras = MessageExtras(tool_calls=calls, reasoning=reasoning)
        is_plain = not calls and reasoning is None
        answered = [Message(Role.ASSISTANT, answer, True, None if is_plain else extras)]
    messages = [*history, *asked, *answered]
    return [*system_message(row, system, messages), *messages] if system else messages


_SYSTEM = frozenset(SYSTEM_KEYS)


def system_message(row: RowFields, system: str, messages: Sequence[Message]) -> list[Message]:
    """The message of a row's own `system` field, if its conversation has none."""
    if not system:
        return []
    inside = [message.content for message in messages if message.role is Role.SYSTEM]
    if inside and inside[0] != system:
        row.system_conflict()
    return [] if inside else [Message(Role.SYSTEM, system)]


_REASONING = frozenset(("reasoning_content", "thinking"))
"""Keys that make an answer's reasoning; `reasoning` alone is often why a row was rated so."""


def _present(row: RowFields, keys: Sequence[str]) -> _Found:
    """The keys that hold something, with it."""
    # Every field is looked at, so that a wrong type is reported behind a good value too.
    found: _Found = []
    fields = row.value
    for key in keys:
        if key not in fields:
            continue
        value = fields[key]
        if isinstance(value, str):
            if value.strip():
                found.append((key, value))
        elif isinstance(value, list) and (not value or isinstance(value[0], dict)):
            if value:
                found.append((key, value))
        elif value is not None:
            row.wrong_type(key, "a string or a list of messages", value)
    return found


def _finished(row: RowFields, found: _Found) -> tuple[str, _Text]:
    """The prompt; of several, the one that contains the others."""
    if not found:
        return FINISHED_PROMPT, ""
    key, prompt = found[0]
    for other_key, other in found[1:]:
        is_in = isinstance(prompt, str) and isinstance(other, str) and other in prompt
        if not is_in and other != prompt:
            row.conflict(key, other_key)
    return key, prompt


def _same(row: RowFields, found: _Found) -> _Text:
    """The one answer, under whichever keys it is."""
    if not found:
        return ""
    for key, answer in found[1:]:
        if answer != found[0][1]:
            row.conflict(found[0][0], key)
    return found[0][1]


def _extra(row: RowFields, prompt_key: str) -> str:
    """What the prompt is about: Alpaca's `input`, Dolly's `context`."""
    if "input" not in row.value and "context" not in row.value:
        return ""
    if prompt_key != FINISHED_PROMPT:
        return row.one_text(("input", "context"))
    context = row.value.get("context")
    # Beside a finished prompt it may be anything; a text that is not in it is part of it.
    return row.one_text(("input", "context") if isinstance(context, str) else ("input",))


def _asked(
    row: RowFields, key: str, prompt: _Text, extra: str, *, has_instruction: bool
) -> list[Message]:
    if isinstance(prompt, list):
        if extra:
            other = "input" if row.text("input") else "context"
            row.wrong_type(other, f"a message of {key}, which is a list", extra)
        turns = parse_turns(row, prompt, key)
        return [replace(each, learn=False) for each in turns]
    if key == FINISHED_PROMPT and extra:
        is_context = not row.text("input")
        # A row with both prompts repeats itself: `prompt` is the finished text, input included.
        if has_instruction or (is_context and extra in prompt):
            extra = ""
    asked = f"{prompt}\n{extra}" if prompt and extra else prompt or extra
    return [Message(Role.USER, asked)]


def _answered_calls(row: RowFields) -> tuple[ToolCall, ...]:
    value = row.value.get(CALLS_KEY)
    return tool_calls(row, value, CALLS_KEY) if value and row.value.get("tools") else ()


def _history(row: RowFields) -> list[Message]:
    found = row.value.get("history")
    if found is None:
        return []
    pairs = found if isinstance(found, list) else [None]
    messages: list[Message] = []
    for pair in pairs:
        match pair:
            case [str(prompt), str(answer)]:
                messages += [Message(Role.USER, prompt), Message(Role.ASSISTANT, answer)]
            case _:
                row.wrong_type("history", "a list of [prompt, answer] pairs", found)
                return []
    return messages
