"""Tools, calls and reasoning under templates that have them, against `apply_chat_template`."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("transformers", reason="needs vox-populi[mens-train]")

from tokenizers.processors import ByteLevel
from transformers import AutoTokenizer

from tests_integration.tier_a.chat_tokenizers import KINDS, write_folder
from vox_populi.data.chat_template import ModelTemplate
from vox_populi.data.row_formats import parse_row
from vox_populi.data.template_rows import History, TemplateEncoder
from vox_populi.data.training_text import ChatTemplate, TextPolicy
from vox_populi.hf.chat_template_files import find_chat_template
from vox_populi.hf.hf_tokenizer import load_hf_tokenizer
from vox_populi.plan.template_choice import choose_template
from vox_tensor.records import IGNORE_INDEX, Role, TrainingRecord

HERE = Path(__file__).parent / "tool_templates"
TEMPLATES = tuple(sorted(path.stem for path in HERE.glob("*.jinja")))
ROWS = 18
SPLIT = ("qwen3", "mistral")
"""They write earlier turns differently once a user says more; each answer is compared alone."""
ONE_CALL = ("llama31",)
CALLS_ALONE = ("llama31", "mistral", "hermes")
"""They write a message's calls or its text, not both."""
REASONING = ("qwen3", "generation_blocks")
WITHOUT_SYSTEM = ("mistral",)
TEXTS = (
    "What?",
    "Zażółć gęślą",
    "東京 は 晴れ。",
    "a\nb",
    "{% x %}",
    '"quoted" \\n',
    "x" * 30,
    "1 < 2",
)
NAMES = ("weather", "get_time", "suche", "run")


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("tokenizers")


@cache
def ours_and_theirs(root: Path, kind: str, name: str) -> tuple[TemplateEncoder, Any]:
    template = (HERE / f"{name}.jinja").read_text(encoding="utf-8").removesuffix("\n")
    folder = write_folder(root / f"{kind}-{name}", kind, template)
    theirs = AutoTokenizer.from_pretrained(folder)
    if kind == "byte_level":
        # With trimmed offsets transformers finds no token for an answer's leading blank.
        theirs.backend_tokenizer.post_processor = ByteLevel(trim_offsets=False)
    found = find_chat_template(folder)
    assert found is not None
    own = ModelTemplate(text=found.text, tokens=found.tokens, now=datetime(2026, 3, 9))
    return TemplateEncoder(template=own, tokenizer=load_hf_tokenizer(folder)), theirs


class Rows:
    """Conversations with tools as the rows of a file, the same in every run."""

    def __init__(self, name: str, seed: str) -> None:
        self._name = name
        self._draw = random.Random(seed)

    def row(self) -> dict[str, Any]:
        """One row in OpenAI's form."""
        draw = self._draw
        turns = [] if self._name in WITHOUT_SYSTEM else [self._said("system")][: draw.randint(0, 1)]
        for _ in range(draw.randint(1, 2)):
            turns.append(self._said("user"))
            for _ in range(draw.randint(0, 2)):
                turns += self._called()
            turns.append(self._thought(self._said("assistant")))
        return {
            "messages": turns,
            "tools": [self._tool(each) for each in NAMES[: draw.randint(0, 3)]],
        }

    def _text(self) -> str:
        return "".join(self._draw.choices(TEXTS, k=self._draw.randint(1, 3)))

    def _said(self, role: str) -> dict[str, Any]:
        return {"role": role, "content": self._text()}

    def _thought(self, turn: dict[str, Any]) -> dict[str, Any]:
        if self._name in REASONING and self._draw.random() < 0.5:
            turn["reasoning_content"] = self._text()
        return turn

    def _tool(self, name: str) -> dict[str, Any]:
        properties = {"city": {"type": "string", "description": self._text()}}
        parameters = {"type": "object", "properties": properties, "required": ["city"]}
        function = {"name": name, "description": self._text(), "parameters": parameters}
        return {"type": "function", "function": function}

    def _called(self) -> list[dict[str, Any]]:
        draw = self._draw
        calls = [self._call() for _ in range(1 if self._name in ONE_CALL else draw.randint(1, 2))]
        beside = self._name not in CALLS_ALONE and draw.random() < 0.5
        content = self._text() if beside else "" if self._name == "text_arguments" else None
        asked = self._thought({"role": "assistant", "content": content, "tool_calls": calls})
        answers = [
            {
                "role": "tool",
                "tool_call_id": call["id"],
                "name": call["function"]["name"],
                "content": self._text(),
            }
            for call in calls
        ]
        return [asked, *answers]

    def _call(self) -> dict[str, Any]:
        draw = self._draw
        arguments: dict[str, object] = {
            "city": self._text(),
            self._text(): draw.choice((3, 2.5, None, True, ["a", {"b": self._text()}], {})),
        }
        shown = json.dumps(arguments, ensure_ascii=False)
        function = {
            "name": draw.choice(NAMES),
            "arguments": shown if self._name == "text_arguments" else arguments,
        }
        length = 9 if self._name == "mistral" else 14
        call_id = "".join(draw.choices("abcdefXYZ0123456789", k=length))
        return {"id": call_id, "type": "function", "function": function}


def served(theirs: Any, row: dict[str, Any], end: int | None = None, **options: Any) -> Any:
    return theirs.apply_chat_template(
        row["messages"][:end], tools=row["tools"] or None, **{"return_dict": True, **options}
    )


def ids_of(theirs: Any, row: dict[str, Any], end: int | None = None, **options: Any) -> list[int]:
    return list(served(theirs, row, end, **options)["input_ids"])


def common(one: Sequence[int], other: Sequence[int]) -> int:
    differ = (i for i, (a, b) in enumerate(zip(one, other, strict=False)) if a != b)
    return next(differ, min(len(one), len(other)))


def mask_of(theirs: Any, row: dict[str, Any], end: int | None, turns: Sequence[int]) -> list[bool]:
    """What each answer adds to its prompt, by ids as TRL splits, or by characters at a border."""
    ids = ids_of(theirs, row, end)
    text = served(theirs, row, end, tokenize=False)
    offsets = theirs(text, add_special_tokens=False, return_offsets_mapping=True).offset_mapping
    mask = [False] * len(ids)
    for turn in turns:
        prompt = ids_of(theirs, row, turn, add_generation_prompt=True)
        last = common(ids_of(theirs, row, turn + 1), ids)
        first = len(prompt)
        if ids[:first] != prompt:
            border = border_of(theirs, row, turn)
            first = next(i for i, (_, stop) in enumerate(offsets) if stop > border)
        mask[first:last] = [True] * (last - first)
    return mask


def border_of(theirs: Any, row: dict[str, Any], turn: int) -> int:
    """The character at which an answer starts: where a character in its place would be."""
    opened = served(theirs, row, turn, add_generation_prompt=True, tokenize=False)
    if served(theirs, row, turn + 1, tokenize=False).startswith(opened):
        return len(opened)
    probe = [*row["messages"][:turn], {"role": "assistant", "content": "\ue000"}]
    return int(served(theirs, {**row, "messages": probe}, tokenize=False).index("\ue000"))


def learned(labels: Sequence[int]) -> list[bool]:
    return [label != IGNORE_INDEX for label in labels]


def answers(record: TrainingRecord) -> list[int]:
    return [i for i, message in enumerate(record.messages) if message.role is Role.ASSISTANT]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", TEMPLATES)
def test_ids_and_masks_of_rows_with_tools_are_those_of_transformers(
    folders: Path, kind: str, name: str
) -> None:
    ours, theirs = ours_and_theirs(folders, kind, name)
    rows = Rows(name, f"{kind}-{name}")
    n_calls = n_tools = 0
    for _ in range(ROWS):
        value = rows.row()
        record = parse_row(value, 1, "rows.jsonl")
        turns = answers(record)
        n_calls += sum(bool(message.tool_calls) for message in record.messages)
        n_tools += len(record.tools)
        if name in SPLIT:
            parts = ours.split(record)
            assert len(parts) == len(turns)
            for part, turn in zip(parts, turns, strict=True):
                assert list(part.ids) == ids_of(theirs, value, turn + 1), value
                assert learned(part.labels) == mask_of(theirs, value, turn + 1, [turn]), value
            continue
        row = ours.row(record)
        assert list(row.ids) == ids_of(theirs, value), value
        if ours.template.marks_generated:
            theirs_mask = served(theirs, value, return_assistant_tokens_mask=True)
            assert learned(row.labels) == list(map(bool, theirs_mask["assistant_masks"])), value
        else:
            assert learned(row.labels) == mask_of(theirs, value, None, turns), value
        last = turns[-1]
        prompt = ours.prompt(record.messages[:last], record.tools)
        assert prompt == ids_of(theirs, value, last, add_generation_prompt=True)
    assert n_calls > ROWS / 2
    assert n_tools > ROWS / 2


@pytest.mark.parametrize("content", ["", " ", "\n\n"])
@pytest.mark.parametrize("name", TEMPLATES)
def test_blank_text_beside_a_call_is_written_as_a_server_writes_it(
    folders: Path, name: str, content: str
) -> None:
    ours, theirs = ours_and_theirs(folders, "byte_level", name)
    row = Rows(name, "blank").row()
    arguments: Any = {"city": "Rome"}
    if name == "text_arguments":
        arguments = json.dumps(arguments)
    function = {"name": "weather", "arguments": arguments}
    call = {"id": "abcdef012", "type": "function", "function": function}
    row["messages"] = [
        {"role": "user", "content": "Where?"},
        {"role": "assistant", "content": content, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "abcdef012", "name": "weather", "content": "rain"},
        {"role": "assistant", "content": "It rains."},
    ]
    record = parse_row(row, 1, "rows.jsonl")
    last = replace(ours, history=History.LAST)
    assert list(last.row(record).ids) == ids_of(theirs, row)


@pytest.mark.parametrize("name", TEMPLATES)
def test_a_call_is_learned_and_the_answer_of_the_tool_is_not(folders: Path, name: str) -> None:
    ours, theirs = ours_and_theirs(folders, "byte_level_with_bos", name)
    function = {"name": "weather", "arguments": {"city": "Oslo"}}
    value = {
        "messages": [
            {"role": "user", "content": "Rain?"},
            {"role": "assistant", "tool_calls": [{"type": "function", "function": function}]},
            {"role": "tool", "content": "zzzz"},
            {"role": "assistant", "content": "Yes."},
        ]
    }
    rows = ours.split(parse_row(value, 1, "rows.jsonl"))
    shown = [
        theirs.decode([label for label in row.labels if label != IGNORE_INDEX]) for row in rows
    ]
    assert "weather" in shown[0]
    assert "Oslo" in shown[0]
    assert "Yes." in shown[1]
    assert not any("zzzz" in each or "Rain" in each for each in shown)
    assert all("zzzz" in theirs.decode(row.ids) for row in rows[1:])


@pytest.mark.parametrize("name", TEMPLATES)
def test_a_second_template_for_tools_is_used_as_transformers_uses_it(
    tmp_path: Path, name: str
) -> None:
    default = (HERE.parent / "chat_templates" / "chatml.jinja").read_text(encoding="utf-8")
    folder = write_folder(tmp_path / "base", "byte_level_with_bos", default)
    named = folder / "additional_chat_templates"
    named.mkdir()
    (named / "tool_use.jinja").write_text((HERE / f"{name}.jinja").read_text(encoding="utf-8"))
    theirs, tokenizer = AutoTokenizer.from_pretrained(folder), load_hf_tokenizer(folder)
    asked = TextPolicy(template=ChatTemplate.MODEL)
    own = choose_template(asked, folder, tokenizer)[0].own
    assert own is not None
    ours = TemplateEncoder(template=own, tokenizer=tokenizer)
    rows = Rows(name, name)
    n_tools = 0
    for _ in range(ROWS):
        value = rows.row()
        if not value["tools"]:
            value["messages"] = [m for m in value["messages"] if "tool_calls" not in m]
            value["messages"] = [m for m in value["messages"] if m["role"] != "tool"]
            for message in value["messages"]:
                message.pop("reasoning_content", None)
        n_tools += bool(value["tools"])
        record = parse_row(value, 1, "rows.jsonl")
        turn = answers(record)[-1]
        assert ours.prompt(record.messages[:turn], record.tools) == ids_of(
            theirs, value, turn, add_generation_prompt=True
        )
    assert 0 < n_tools < ROWS
