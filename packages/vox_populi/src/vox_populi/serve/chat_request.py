"""The body of `/v1/chat/completions`. No torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from vox_populi.data.row_fields import RowFields
from vox_populi.data.row_tools import row_tools
from vox_populi.data.row_turns import parse_turns
from vox_populi.number_ranges import NumberRange
from vox_populi.operator_messages import serving as say
from vox_populi.serve.api_error import bad_request
from vox_populi.serve.body_fields import BodyFields
from vox_populi.serve.generation_request import (
    IGNORED_FIELDS,
    REFUSED_FIELDS,
    SHARED_FIELDS,
    GenerationSettings,
    read_max_new_tokens,
    read_settings,
)
from vox_tensor.records import Message

CHAT_FIELDS = (
    *SHARED_FIELDS,
    *("messages", "max_completion_tokens", "top_logprobs", "tools", "tool_choice"),
    *("parallel_tool_calls", "response_format"),
)
CHAT_REFUSED: Mapping[str, str] = {
    **REFUSED_FIELDS,
    "functions": "it was replaced by tools",
    "function_call": "it was replaced by tool_choice",
    "audio": "answers are text",
    "modalities": "answers are text",
    "prediction": "there is no speculative decoding",
    "reasoning_effort": "the template decides how a model reasons",
    "verbosity": "the model decides how long it answers",
    "web_search_options": "nothing is looked up",
    "chat_template": "the template is the one of the training",
    "chat_template_kwargs": "the template is the one of the training",
    "add_generation_prompt": "an answer is always opened",
    "continue_final_message": "an answer is always opened",
}
_MESSAGE_FIELDS = frozenset((
    *("role", "content", "name", "tool_calls", "tool_call_id", "reasoning_content", "reasoning"),
))  # fmt: skip
_TOP = NumberRange(lowest=0, highest=20)


@dataclass(frozen=True, slots=True, kw_only=True)
class ChatRequest:
    """A conversation to answer."""

    settings: GenerationSettings
    messages: tuple[Message, ...]
    tools: tuple[Mapping[str, object], ...]
    """Tools that the model may call; none if it must not."""
    one_call: bool
    """Whether at most one call may be made."""


def read_chat_request(
    raw: Mapping[str, object], *, most_tokens: int, random_seed: int
) -> ChatRequest:
    """Read a body.

    Args:
        raw: The body.
        most_tokens: Largest number of new tokens that the server gives.
        random_seed: The seed of a request without one.

    Raises:
        ApiError: For a field that is unknown, not supported or wrong.
    """
    body = BodyFields(raw)
    ignored = body.require_known(CHAT_FIELDS, IGNORED_FIELDS, CHAT_REFUSED)
    _require_text_format(body)
    messages, tools = _conversation(body)
    names = ("max_completion_tokens", "max_tokens")
    return ChatRequest(
        settings=read_settings(
            body,
            max_new_tokens=read_max_new_tokens(body, names, most_tokens),
            n_top=_n_top(body),
            random_seed=random_seed,
            ignored=ignored,
        ),
        messages=messages,
        tools=tools if _may_call(body) else (),
        one_call=not body.flag("parallel_tool_calls", default=True),
    )


def _conversation(
    body: BodyFields,
) -> tuple[tuple[Message, ...], tuple[Mapping[str, object], ...]]:
    turns, tools = body.get("messages"), body.get("tools")
    if turns is None:
        raise bad_request(say.field_missing("messages"), "messages")
    if not isinstance(turns, list) or not turns:
        expected = "a list with at least one message"
        raise bad_request(say.field_out_of_range("messages", expected), "messages")
    if tools is not None and not isinstance(tools, list):
        raise bad_request(say.field_out_of_range("tools", "a list of tools"), "tools")
    row = RowFields({"tools": tools}, "")
    messages = parse_turns(row, [_turn(turn, i) for i, turn in enumerate(turns)], "messages")
    definitions = row_tools(row) if tools else ()
    if row.problems:
        problem = row.problems[0]
        raise bad_request(problem, "messages" if "messages" in problem.what else "tools")
    return tuple(messages), definitions


def _turn(turn: object, index: int) -> object:
    """A message without what is null; the assistant's may be empty, since it is not learned."""
    if not isinstance(turn, dict):
        return turn
    given = {name: value for name, value in turn.items() if value is not None and value != []}
    for name in given:
        if name not in _MESSAGE_FIELDS:
            field = f"messages[{index}].{name}"
            raise bad_request(say.message_field_unknown(field), field)
    if given.get("role") == "assistant":
        return {"content": "", **given, "weight": 0}
    return given


def _require_text_format(body: BodyFields) -> None:
    wanted = body.fields("response_format")
    if wanted is not None and wanted.get("type") != "text":
        reason = "answers are not held to a grammar"
        raise bad_request(say.field_refused("response_format", reason), "response_format")


def _may_call(body: BodyFields) -> bool:
    choice = body.get("tool_choice")
    if choice in (None, "auto", "none"):
        return choice != "none"
    reason = "a call cannot be forced; only auto and none are known"
    raise bad_request(say.field_refused("tool_choice", reason), "tool_choice")


def _n_top(body: BodyFields) -> int | None:
    wants = body.flag("logprobs", default=False)
    top = body.whole("top_logprobs", _TOP, 0)
    if body.get("top_logprobs") is not None and not wants:
        reason = "logprobs is not true"
        raise bad_request(say.field_refused("top_logprobs", reason), "top_logprobs")
    return top if wants else None
