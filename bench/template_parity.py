"""Ids and masks under chat templates beside transformers', over many generated conversations.

A template that opens an answer after every conversation (the first one of Llama 3) has other masks
in every row: we do not learn that opening.

    .venv/bin/python -m bench.template_parity [--conversations 500]
    .venv/bin/python -m bench.template_parity [--conversations 500] FOLDER|FILE.jinja[=LIKE] ...

Without folders: every template of the parity tests with every kind of tokenizer. With folders:
published tokenizers with their own templates. With a file: a published template with every kind of
tokenizer. LIKE is the template of `tool_templates` whose rows suit it (`none`: it has no tools).
The tests run the same comparison on fewer conversations.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import jinja2
from tokenizers.processors import ByteLevel
from transformers import AutoTokenizer
from transformers.utils import chat_template_utils

from tests_integration.tier_a import test_chat_template_parity as talks
from tests_integration.tier_a import test_tool_template_parity as tools
from tests_integration.tier_a.chat_tokenizers import KINDS, write_folder
from vox_populi.data.row_formats import parse_row
from vox_populi.data.template_rows import TemplateEncoder
from vox_populi.errors import DataError
from vox_tensor.records import EncodedRow

Row = dict[str, Any]


def main() -> None:
    """Compare, and write one line for each template and tokenizer."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--conversations", type=int, default=500)
    parser.add_argument("folders", nargs="*")
    options = parser.parse_args()
    setattr(chat_template_utils, "datetime", talks.Clock)  # noqa: B010 - a fixed day
    talks.CONVERSATIONS = options.conversations
    counted: Counter[str] = Counter()
    for name, ours, theirs, rows in cases(options.folders, options.conversations):
        counts = compared(ours, theirs, rows)
        counted += counts
        sys.stdout.write(f"{name}: {summary(counts)}\n")
        sys.stdout.flush()
    sys.stdout.write(f"all: {summary(counted)}\n")


def cases(
    folders: Sequence[str], count: int
) -> Iterator[tuple[str, TemplateEncoder, Any, Iterator[Row]]]:
    """Name, our encoder, their tokenizer and conversations."""
    root = Path(tempfile.mkdtemp())
    for each in folders:
        place, _, like = each.partition("=")
        if place.endswith(".jinja"):
            yield from with_every_kind(Path(place), root, like or "none", count)
            continue
        theirs = AutoTokenizer.from_pretrained(place)
        yield each, talks.encoder_of(Path(place)), theirs, published(like or "none", count)
    if folders:
        return
    for kind in KINDS:
        for name in talks.TEMPLATES:
            yield f"{kind} {name}", *talks.ours_and_theirs(root, kind, name), chats(name, kind)
        for name in tools.TEMPLATES:
            rows = tool_rows(name, f"{kind}-{name}", count)
            yield f"{kind} tools/{name}", *tools.ours_and_theirs(root / "t", kind, name), rows


def with_every_kind(
    file: Path, root: Path, like: str, count: int
) -> Iterator[tuple[str, TemplateEncoder, Any, Iterator[Row]]]:
    """A template of a file with tokenizers that are made for the tests."""
    text = file.read_text(encoding="utf-8")
    for kind in KINDS:
        folder = write_folder(root / f"{kind}-{file.stem}", kind, text)
        theirs = AutoTokenizer.from_pretrained(folder)
        if kind == "byte_level":
            # With trimmed offsets transformers finds no token for an answer's leading blank.
            theirs.backend_tokenizer.post_processor = ByteLevel(trim_offsets=False)
        ours = talks.encoder_of(folder)
        yield f"{kind} {file.stem}", ours, theirs, published(like, count)


def chats(name: str, seed: str) -> Iterator[Row]:
    """Conversations of text alone."""
    for messages in talks.conversations(name, f"{seed}-{name}"):
        yield {"messages": talks.as_dicts(messages), "tools": []}


def tool_rows(name: str, seed: str, count: int) -> Iterator[Row]:
    """Conversations with tools."""
    made = tools.Rows(name, seed)
    return (made.row() for _ in range(count))


def published(like: str, count: int) -> Iterator[Row]:
    """Conversations for a published template, half of them with tools if it has any."""
    without_system = like == "mistral"
    yield from chats("gemma" if without_system else "chatml", like)
    if like != "none":
        yield from tool_rows(like, like, count)


def compared(ours: TemplateEncoder, theirs: Any, rows: Iterator[Row]) -> Counter[str]:
    """What agrees and what does not."""
    counts: Counter[str] = Counter()
    controls = set(ours.tokenizer.control_tokens)
    for value in rows:
        text = str(value)
        if any(each in text for each in controls):
            # Theirs makes a control token of it, ours never does: that has tests of its own.
            counts["spells a control token"] += 1
            continue
        try:
            record = parse_row(value, 1, "rows.jsonl")
        except DataError:
            counts["with a blank message"] += 1
            continue
        counts["conversations"] += 1
        turns = tools.answers(record)
        try:
            expected: list[tuple[EncodedRow, int | None, list[int]]]
            expected = [(ours.row(record), None, turns)]
        except DataError as error:
            counts[f"split for {error.problems[0].code}"] += 1
            parts = zip(ours.split(record), turns, strict=True)
            expected = [(row, turn + 1, [turn]) for row, turn in parts]
        for row, end, learned in expected:
            compare_row(counts, ours, theirs, (value, row, end, learned))
    return counts


def compare_row(
    counts: Counter[str],
    ours: TemplateEncoder,
    theirs: Any,
    case: tuple[Row, EncodedRow, int | None, list[int]],
) -> None:
    """Compare one row's ids and mask."""
    value, row, end, learned = case
    try:
        ids = tools.ids_of(theirs, value, end)
    except jinja2.TemplateError:
        counts["refused by theirs alone"] += 1
        return
    counts["rows"] += 1
    counts["tokens"] += len(ids)
    if list(row.ids) != ids:
        counts["other ids"] += 1
        return
    if ours.template.marks_generated and end is None:
        shown = tools.served(theirs, value, return_assistant_tokens_mask=True)
        mask = list(map(bool, shown["assistant_masks"]))
    else:
        mask = tools.mask_of(theirs, value, end, learned)
    counts["learned"] += sum(mask)
    if tools.learned(row.labels) != mask:
        counts["other masks"] += 1


def summary(counts: Counter[str]) -> str:
    """The counts in words; differences always, the rest if there are any."""
    wanted = {name: counts[name] for name in ("other ids", "other masks")}
    return ", ".join(f"{count:,} {name}" for name, count in {**counts, **wanted}.items())


if __name__ == "__main__":
    main()
