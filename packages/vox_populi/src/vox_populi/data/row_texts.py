"""Every text of a row that a template may write into what a model reads."""

from __future__ import annotations

import json
from collections.abc import Iterator

from vox_tensor.records import TrainingRecord


def row_texts(record: TrainingRecord) -> Iterator[str]:
    """Contents, names, reasoning, tool calls and definitions; a text may be empty."""
    for message in record.messages:
        yield message.content
        if message.extras is None:
            continue
        yield message.name or ""
        yield message.reasoning or ""
        for call in message.tool_calls:
            yield call.name
            yield json.dumps(call.arguments, ensure_ascii=False)
    if record.tools:
        yield json.dumps(record.tools, ensure_ascii=False)
