"""What a row has besides what it says: its metadata, and keys of turns that nothing reads."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from vox_populi.data.row_formats import CONVERSATION_KEYS, RowShape, row_shape
from vox_populi.data.row_pairs import ANSWER_KEYS, CALLS_KEY, PROMPT_KEYS, SYSTEM_KEYS
from vox_populi.data.row_tools import TOOLS_KEYS
from vox_populi.data.row_turns import LEARN_KEYS, REASONING_KEYS
from vox_tensor.records import Role, TrainingRecord

ORIGINAL_FIELDS = "original_fields"
"""Key for metadata that would mean something in the new layout, by its old name."""
_PAIR_FIELDS = frozenset(
    (*PROMPT_KEYS, *ANSWER_KEYS, *SYSTEM_KEYS, *TOOLS_KEYS, "input", "context", "history")
)
_TURN_FIELDS = frozenset(
    ("role", "from", "content", "value", "tool_calls", "function_call", *LEARN_KEYS)
)


@dataclass(frozen=True, slots=True)
class RowRest:
    """What is left of a row when its messages and tools are taken out."""

    metadata: Mapping[str, object]
    turns: tuple[Mapping[str, object], ...] = ()
    """The keys of each turn that are not read; empty if no turn has any."""
    place: str = "messages"
    """Name of the list that the turns were in."""

    def beside(self, taken: Collection[str], *, keeps_turns: bool = False) -> dict[str, object]:
        """Metadata for a layout.

        Args:
            taken: Keys with a meaning in the layout; metadata moves to `original_fields`.
            keeps_turns: Whether keys of turns move there too, as there are no turns to have them.
        """
        moved = {key: value for key, value in self.metadata.items() if key in taken}
        if keeps_turns:
            moved |= {
                f"{self.place}[{number}]": dict(turn)
                for number, turn in enumerate(self.turns)
                if turn
            }
        kept = {key: value for key, value in self.metadata.items() if key not in taken}
        if not moved:
            return kept
        earlier = kept.get(ORIGINAL_FIELDS)
        before = earlier if isinstance(earlier, dict) else {}
        return {**kept, ORIGINAL_FIELDS: {**before, **moved}}


def rest_of(value: Mapping[str, object], record: TrainingRecord) -> RowRest:
    """Everything of a row that the record was not made from."""
    shape = row_shape(value)
    if shape is RowShape.TEXT:
        return RowRest({key: each for key, each in value.items() if key != shape.value})
    if shape is RowShape.PROMPT_RESPONSE:
        return RowRest(_rest_of_pair(value, record))
    read = frozenset((*CONVERSATION_KEYS, *SYSTEM_KEYS, *TOOLS_KEYS))
    metadata = {key: each for key, each in value.items() if key not in read}
    place = next(key.value for key in CONVERSATION_KEYS if value.get(key.value))
    turns = value[place]
    if not isinstance(turns, list):
        return RowRest(metadata)  # the list was a JSON text
    messages = record.messages[-len(turns) :]
    rest = tuple(
        _rest_of_turn(turn, message.role) for turn, message in zip(turns, messages, strict=True)
    )
    return RowRest(metadata, rest if any(rest) else (), place)


def _rest_of_pair(value: Mapping[str, object], record: TrainingRecord) -> dict[str, object]:
    """Everything of a row with a prompt and an answer that its messages do not say."""
    contents = [message.content for message in record.messages]
    last = record.messages[-1]
    rest: dict[str, object] = {}
    turns: dict[str, object] = {}
    for key, found in value.items():
        if key in CONVERSATION_KEYS and not found:
            continue  # an empty list beside the pair says nothing
        if key in REASONING_KEYS and found is not None and found == last.reasoning:
            continue
        if key == CALLS_KEY and last.tool_calls and not any(map(value.get, ANSWER_KEYS)):
            continue
        if key not in _PAIR_FIELDS or not _is_said(key, found, contents):
            rest[key] = found
        elif isinstance(found, list) and key in (*PROMPT_KEYS, *ANSWER_KEYS):
            turns |= _rest_of_list(key, found)
    return {**rest, ORIGINAL_FIELDS: turns} if turns else rest


def _is_said(key: str, found: object, contents: Sequence[str]) -> bool:
    """Whether the messages have what is under a key of a prompt and an answer."""
    if isinstance(found, str) and key not in TOOLS_KEYS:
        return not found.strip() or any(found in content for content in contents)
    is_list = isinstance(found, list) and key not in ("input", "context")
    return found is None or is_list or isinstance(found, str)


def _rest_of_list(key: str, turns: Iterable[object]) -> dict[str, object]:
    rest = {f"{key}[{number}]": _rest_of_turn(turn, None) for number, turn in enumerate(turns)}
    return {place: each for place, each in rest.items() if each}


def _rest_of_turn(turn: object, role: Role | None) -> dict[str, object]:
    """The keys of a turn that nothing reads."""
    if not isinstance(turn, dict):
        return {}
    read = set(_TURN_FIELDS)
    texts = ["name"]
    if role in (Role.TOOL, None):
        texts.append("tool_call_id")
    if role in (Role.ASSISTANT, None):
        texts += REASONING_KEYS
    read |= {key for key in texts if isinstance(turn.get(key), str)}
    # A Parquet file has null under every key that another turn has.
    read |= {key for key in ("name", "tool_call_id", *REASONING_KEYS) if turn.get(key) is None}
    return {key: value for key, value in turn.items() if key not in read}
