"""Recorded sessions as training rows: tool calls, corrected transcripts, code from speech.

| Record format | Required fields |
|---|---|
| `tool_trace` | `task_prompt`, `tool_name`, `arguments_json`, `result_json`, `success` |
| `asr_refine` | `noisy_text`, `corrected_text` |
| `speech_to_code` | `refined_transcript` or `transcript`, `vox_code` or `code` |

Only the mapping is here; `row_formats` decides whether the result can be trained on. As there, a
message about a row never quotes it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from enum import StrEnum

from vox_populi.data.row_fields import json_type
from vox_populi.data.trace_calls import TRACE_KEY
from vox_populi.errors import DataError
from vox_populi.operator_messages import data as say
from vox_tensor.errors import Problem
from vox_tensor.strict_json import parse_json

TOOL_TRACE_TAG = "[vox_tool_supervision]"
ASR_REFINE_TAG = "[vox_asr_refine]"
SPEECH_TO_CODE_TAG = "[vox_speech_to_code]"

TOOL_TRACE_ANSWER_KEYS = ("tool_name", "arguments", "result", "success")
_TOOL_TRACE_ORDER = (
    "Answer with one JSON object that has the keys "
    f"{', '.join(TOOL_TRACE_ANSWER_KEYS[:-1])} and {TOOL_TRACE_ANSWER_KEYS[-1]}."
)

CARRIED_KEYS = ("rating", "difficulty", "lane", "response_mode", "task_family", "origin")
"""Metadata keys of a record that are copied to its row."""


class RecordFormat(StrEnum):
    """Format of the lines of a source."""

    ROWS = "rows"
    """Any row format that the trainer reads."""
    TOOL_TRACE = "tool_trace"
    ASR_REFINE = "asr_refine"
    SPEECH_TO_CODE = "speech_to_code"


def row_of_record(value: Mapping[str, object], kind: RecordFormat, place: str) -> dict[str, object]:
    """Turn one line of a source into a row that the trainer reads.

    Args:
        value: The JSON object of the line.
        kind: Declared format of its source.
        place: File and line, for messages.

    Raises:
        DataError: With every field that is missing, blank or of the wrong type.
    """
    if kind is RecordFormat.ROWS:
        return dict(value)
    fields = _Fields(value, place)
    row = _MAPPINGS[kind](fields)
    if fields.problems:
        raise DataError(*fields.problems)
    return row | {key: value[key] for key in CARRIED_KEYS if value.get(key) is not None}


def parsed_or_text(text: str) -> object:
    """The value of a JSON text, or the text itself if it is not JSON."""
    try:
        return parse_json(text, "")
    except DataError:
        return text


class _Fields:
    """The fields of one record, and their problems so far."""

    def __init__(self, value: Mapping[str, object], place: str) -> None:
        self._value = value
        self._place = place
        self.problems: list[Problem] = []

    def has(self, key: str) -> bool:
        """Whether a field exists and is not null."""
        return self._value.get(key) is not None

    def raw(self, key: str) -> object:
        """A field as it is."""
        return self._value.get(key)

    def string(self, key: str) -> str:
        """A required string; it may be blank."""
        found = self._value.get(key)
        if isinstance(found, str):
            return found
        self._refuse(key, "a string")
        return ""

    def text(self, key: str) -> str:
        """A required string that is not blank."""
        found = self.string(key)
        if not found.strip() and isinstance(self._value.get(key), str):
            self.problems.append(say.row_field_blank(key).at(self._place))
        return found

    def first_text(self, *keys: str) -> str:
        """The first existing one of several fields; one is required."""
        return self.text(next(filter(self.has, keys), keys[0]))

    def optional_text(self, key: str) -> str:
        """An optional string; absent, null or blank gives an empty one."""
        found = self.string(key) if self.has(key) else ""
        return found if found.strip() else ""

    def optional_list(self, key: str) -> None:
        """Check an optional list of strings."""
        found = self._value.get(key)
        if found is None:
            return
        if not isinstance(found, list) or not all(isinstance(each, str) for each in found):
            self._refuse(key, "a list of strings")

    def truth(self, key: str) -> bool:
        """A required boolean; 0 and 1 are not accepted."""
        found = self._value.get(key)
        if not isinstance(found, bool):
            self._refuse(key, "a boolean")
        return found is True

    def _refuse(self, key: str, expected: str) -> None:
        found = json_type(self._value[key]) if key in self._value else "missing"
        self.problems.append(say.row_field_type(key, expected, found).at(self._place))


def _tool_trace(fields: _Fields) -> dict[str, object]:
    task, name = fields.text("task_prompt"), fields.text("tool_name")
    arguments = parsed_or_text(fields.string("arguments_json"))
    result, success = fields.string("result_json"), fields.truth("success")
    followup = fields.optional_text("followup_text")
    session = fields.optional_text("session_id")
    values = (name, arguments, parsed_or_text(result), success)
    call = dict(zip(TOOL_TRACE_ANSWER_KEYS, values, strict=True))
    return {
        "prompt": f"{TOOL_TRACE_TAG}\n{task}\n\n{_TOOL_TRACE_ORDER}",
        "response": followup or json.dumps(call, ensure_ascii=False, allow_nan=False),
        "category": "tool_trace",
        **({"source": f"tool_trace:{session}"} if session else {}),
        # The session itself, for a template that has tools: `data/trace_calls.py` reads it.
        TRACE_KEY: {
            "task_prompt": task,
            "tool_name": name,
            "arguments": arguments,
            "result_json": result,
            "success": success,
            **({"followup_text": followup} if followup else {}),
            **({"tools": fields.raw("tools")} if fields.has("tools") else {}),
        },
    }


def _asr_refine(fields: _Fields) -> dict[str, object]:
    if fields.has("prompt") and fields.has("response"):
        prompt, response = fields.text("prompt"), fields.text("response")
    else:
        noisy = fields.text("noisy_text")
        prompt = f"{ASR_REFINE_TAG}\n{noisy}\n\nAnswer with the corrected transcript."
        response = fields.text("corrected_text")
    return {"prompt": prompt, "response": response, **_labels(fields, "asr_refine")}


def _speech_to_code(fields: _Fields) -> dict[str, object]:
    transcript = fields.first_text("refined_transcript", "transcript")
    fields.optional_list("transcript_alternatives")
    kept = ("transcript_alternatives", "diagnostics_snapshot")
    return {
        "prompt": f"{SPEECH_TO_CODE_TAG}\n{transcript}\n\nAnswer with the code that was asked for.",
        "response": fields.first_text("vox_code", "code"),
        **_labels(fields, "speech_to_code"),
        **{key: fields.raw(key) for key in kept if fields.has(key)},
    }


def _labels(fields: _Fields, category: str) -> dict[str, object]:
    """Category and source of a speech record, which may set its own."""
    source = fields.optional_text("source")
    return {
        "category": fields.optional_text("category") or category,
        **({"source": source} if source else {}),
    }


_MAPPINGS: Mapping[RecordFormat, Callable[[_Fields], dict[str, object]]] = {
    RecordFormat.TOOL_TRACE: _tool_trace,
    RecordFormat.ASR_REFINE: _asr_refine,
    RecordFormat.SPEECH_TO_CODE: _speech_to_code,
}
