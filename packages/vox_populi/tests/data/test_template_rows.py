from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from vox_populi.data.chat_template import ModelTemplate
from vox_populi.data.template_rows import History, TemplateEncoder
from vox_populi.errors import DataError, ModelError
from vox_tensor.records import (
    IGNORE_INDEX,
    Message,
    MessageExtras,
    Role,
    ToolCall,
    TrainingRecord,
)

pytest.importorskip("jinja2", reason="needs vox-populi[mens-gpu]")

CONTROLS = {"<s>": 1, "</s>": 2, "<u>": 3, "<a>": 4}
USER, ASSISTANT, SYSTEM = Role.USER, Role.ASSISTANT, Role.SYSTEM
PLAIN = (
    "{{ bos_token }}{% for m in messages %}"
    "{{ ('<a>' if m.role == 'assistant' else '<u>') + m.content + '</s>' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<a>' }}{% endif %}"
)


class MarkupTokenizer:
    """One id per character, and one for each control token that no typed character touches."""

    control_tokens: Collection[str] = CONTROLS
    control_ids: Collection[int] = frozenset(CONTROLS.values())

    bos_id: int | None = None

    def token_text(self, token_id: int) -> str:
        return next(text for text, known in CONTROLS.items() if known == token_id)

    def encode_rendered(
        self, text: str, typed: Sequence[tuple[int, int]] = ()
    ) -> tuple[list[int], list[tuple[int, int]]]:
        ids: list[int] = []
        offsets: list[tuple[int, int]] = []
        forged = {a for a, _ in typed}
        for match in re.finditer(r"<s>|</s>|<u>|<a>|(?s:.)", text):
            token = CONTROLS.get(match[0])
            if token is not None and forged.isdisjoint(range(*match.span())):
                ids.append(token)
                offsets.append(match.span())
                continue
            ids += [100 + ord(letter) for letter in match[0]]
            offsets += [(i, i + 1) for i in range(*match.span())]
        return ids, offsets


def encoder(
    text: str = PLAIN, history: History = History.ERROR, system_prompt: str | None = None
) -> TemplateEncoder:
    template = ModelTemplate(
        text=text, tokens={"bos_token": "<s>"}, now=datetime(2026, 3, 9, tzinfo=UTC)
    )
    return TemplateEncoder(
        template=template,
        tokenizer=MarkupTokenizer(),
        history=history,
        system_prompt=system_prompt,
    )


def record(*messages: Message) -> TrainingRecord:
    return TrainingRecord(messages=messages, line=7, weight=0.5)


def shown(ids: Sequence[int]) -> str:
    names = {token_id: token for token, token_id in CONTROLS.items()}
    return "".join(names.get(i) or chr(i - 100) for i in ids)


def learned(labels: Sequence[int]) -> str:
    return shown([label for label in labels if label != IGNORE_INDEX])


TWO_TURNS = (
    *(Message(USER, "q"), Message(ASSISTANT, "one")),
    *(Message(USER, "r"), Message(ASSISTANT, "two")),
)


def test_answers_and_their_ends_are_learned_once_each() -> None:
    row = encoder().row(record(*TWO_TURNS))
    assert shown(row.ids) == "<s><u>q</s><a>one</s><u>r</s><a>two</s>"
    assert learned(row.labels) == "one</s>two</s>"
    assert (row.line, row.weight) == (7, 0.5)


def test_an_answer_with_learn_off_is_not_learned() -> None:
    turns = (TWO_TURNS[0], Message(ASSISTANT, "one", learn=False), *TWO_TURNS[2:])
    row = encoder().row(record(*turns))
    assert learned(row.labels) == "two</s>"
    (row,) = encoder().split(record(*turns))
    assert learned(row.labels) == "two</s>"


def test_a_row_is_cut_from_its_end() -> None:
    row = encoder().row(record(*TWO_TURNS), max_tokens=7)
    assert (shown(row.ids), learned(row.labels)) == ("<s><u>q</s><a>on", "on")


def test_the_prompt_ends_where_an_answer_starts() -> None:
    assert shown(encoder().prompt(TWO_TURNS[:3])) == "<s><u>q</s><a>one</s><u>r</s><a>"


def test_a_system_prompt_is_put_before_conversations_that_have_none() -> None:
    ours = encoder(system_prompt="S")
    row = ours.row(record(*TWO_TURNS[:2]))
    assert shown(row.ids) == "<s><u>S</s><u>q</s><a>one</s>"
    assert learned(row.labels) == "one</s>"
    row = ours.row(record(Message(SYSTEM, "T"), *TWO_TURNS[:2]))
    assert shown(row.ids).startswith("<s><u>T</s><u>q")


def test_generation_blocks_decide_and_the_end_after_one_is_learned() -> None:
    block = (
        "{% for m in messages %}{% if m.role == 'assistant' %}<a>!"
        "{% generation %}{{ m.content }}{% endgeneration %}</s>{% else %}"
        "<u>{{ m.content }}</s>{% endif %}{% endfor %}"
    )
    row = encoder(block).row(record(*TWO_TURNS))
    assert learned(row.labels) == "one</s>two</s>"
    silent = (TWO_TURNS[0], Message(ASSISTANT, "one", learn=False), *TWO_TURNS[2:])
    row = encoder(block).row(record(*silent))
    assert learned(row.labels) == "two</s>"


def test_blocks_that_are_not_one_for_each_answer_are_refused() -> None:
    first = (
        "{% for m in messages %}{% if loop.index == 2 %}{% generation %}{{ m.content }}</s>"
        "{% endgeneration %}{% else %}{{ m.content }}{% endif %}{% endfor %}"
    )
    with pytest.raises(DataError, match="MENS-D144"):
        encoder(first).row(record(*TWO_TURNS))
    row = encoder(first).row(record(*TWO_TURNS[:2]))
    assert learned(row.labels) == "one</s>"


def test_a_template_that_drops_history_is_refused_unless_each_answer_is_a_row() -> None:
    forgets = (
        "{% for m in messages %}{% if m.role == 'assistant' and not loop.last %}<a>-</s>"
        "{% else %}{{ ('<a>' if m.role == 'assistant' else '<u>') + m.content + '</s>' }}"
        "{% endif %}{% endfor %}{% if add_generation_prompt %}<a>{% endif %}"
    )
    with pytest.raises(DataError, match=r"train.jsonl:7.*MENS-D143|MENS-D143.*train.jsonl:7"):
        encoder(forgets).row(record(*TWO_TURNS), where="train.jsonl")
    rows = encoder(forgets).split(record(*TWO_TURNS))
    assert [shown(row.ids) for row in rows] == [
        "<u>q</s><a>one</s>",
        "<u>q</s><a>-</s><u>r</s><a>two</s>",
    ]
    assert [learned(row.labels) for row in rows] == ["one</s>", "two</s>"]
    row = encoder(forgets, History.LAST).row(record(*TWO_TURNS))
    assert shown(row.ids) == shown(rows[-1].ids)
    assert learned(row.labels) == "two</s>"
    row = encoder(history=History.LAST).row(record(*TWO_TURNS))
    assert learned(row.labels) == "one</s>two</s>"


def test_a_token_that_closes_the_whole_text_does_not_hide_an_earlier_answer() -> None:
    closed = PLAIN + "{% if not add_generation_prompt %}<s>{% endif %}"
    row = encoder(closed).row(record(*TWO_TURNS))
    assert shown(row.ids).endswith("<a>two</s><s>")
    assert learned(row.labels) == "one</s>two</s><s>"


def test_a_template_that_always_opens_an_answer_does_not_teach_it() -> None:
    opens = PLAIN.replace("{% if add_generation_prompt %}{{ '<a>' }}{% endif %}", "<a>")
    row = encoder(opens).row(record(*TWO_TURNS))
    assert shown(row.ids).endswith("<a>two</s><a>")
    assert learned(row.labels) == "one</s>two</s>"
    assert encoder(opens).end_of_answer_id() == CONTROLS["</s>"]


def test_text_that_spells_a_control_token_stays_text() -> None:
    turns = (Message(USER, "a</s>b<u>"), Message(ASSISTANT, "<a>c</s>"))
    row = encoder().row(record(*turns))
    assert shown(row.ids) == "<s><u>a</s>b<u></s><a><a>c</s></s>"
    assert [i for i in row.ids if i in CONTROLS.values()] == [1, 3, 2, 4, 2]
    prompt = encoder().prompt(turns[:1])
    assert [i for i in prompt if i in CONTROLS.values()] == [1, 3, 2, 4]


def test_kept_control_text_has_the_ids_of_a_server() -> None:
    turns = (Message(USER, "a</s>b<u>"), Message(ASSISTANT, "<a>c</s>"))
    kept = replace(encoder(), keeps_control_text=True)
    row = kept.row(record(*turns))
    assert [i for i in row.ids if i in CONTROLS.values()] == [1, 3, 2, 3, 2, 4, 4, 2, 2]
    assert learned(row.labels) == "<a>c</s></s>"
    assert kept.prompt(turns[:1]) == list(row.ids[:8])
    acts = "{% for m in messages %}{{ m.content.split('</s>')[0] }}</s>{% endfor %}"
    assert replace(encoder(acts), keeps_control_text=True).row(record(*turns)).ids


@pytest.mark.parametrize("content", ["</", "u>", "</s", " </ ", "/s"])
def test_text_and_markup_do_not_join_into_a_control_token(content: str) -> None:
    joins = "{% for m in messages %}{{ '<' + (m.content | trim) + 's>' }}{{ '>' }}</s>{% endfor %}"
    turns = (Message(USER, "q"), Message(ASSISTANT, content))
    row = encoder(joins).row(record(*turns))
    assert [i for i in row.ids if i in CONTROLS.values()] == [2, 2]


def test_spelled_tokens_that_the_template_acts_on_are_refused() -> None:
    acts = "{% for m in messages %}{{ m.content.split('</s>')[0] }}</s>{% endfor %}"
    row = encoder(acts).row(record(*TWO_TURNS[:2]))
    assert learned(row.labels) == "one</s>"
    with pytest.raises(DataError, match="MENS-D142"):
        encoder(acts).row(record(Message(USER, "a</s>b"), TWO_TURNS[1]))


def test_a_template_without_an_end_is_refused() -> None:
    endless = "{% for m in messages %}{{ m.role + ': ' + m.content + '\n' }}{% endfor %}"
    with pytest.raises(DataError, match="MENS-D145"):
        encoder(endless).row(record(*TWO_TURNS[:2]))
    with pytest.raises(ModelError, match="MENS-H112"):
        encoder(endless).end_of_answer_id()
    assert encoder().end_of_answer_id() == CONTROLS["</s>"]


WITH_TOOLS = (
    "{% for t in tools or [] %}[{{ t.function.name + t.function.description }}]{% endfor %}"
    "{% for m in messages %}"
    "{{ ('<a>' if m.role == 'assistant' else '<u>') + (m.content or '') }}"
    "{% for c in m.tool_calls or [] %}{{ c.function.name + (c.function.arguments | tojson) }}"
    "{% endfor %}</s>{% endfor %}{% if add_generation_prompt %}<a>{% endif %}"
)


def tool_record(argument: str, description: str = "d", result: str = "rain") -> TrainingRecord:
    call = MessageExtras(tool_calls=(ToolCall("f", {argument: argument}),))
    messages = (
        Message(USER, "q"),
        Message(ASSISTANT, "", extras=call),
        Message(Role.TOOL, result),
        Message(ASSISTANT, "done"),
    )
    function = {"name": "f", "description": description, "parameters": {"type": "object"}}
    tools = ({"type": "function", "function": function},)
    return TrainingRecord(messages=messages, line=7, tools=tools)


def test_a_call_is_learned_and_the_answer_of_the_tool_is_not() -> None:
    record = tool_record("k")
    row = encoder(WITH_TOOLS).row(record)
    assert shown(row.ids) == '[fd]<u>q</s><a>f{"k": "k"}</s><u>rain</s><a>done</s>'
    assert learned(row.labels) == 'f{"k": "k"}</s>done</s>'
    prompt = encoder(WITH_TOOLS).prompt(record.messages[:1], record.tools)
    assert shown(prompt) == "[fd]<u>q</s><a>"


@pytest.mark.parametrize("spelled", ["</s>", "a</s>b", "<a>"])
def test_tools_never_make_a_control_token(spelled: str) -> None:
    plain = encoder(WITH_TOOLS).row(tool_record("k"))
    row = encoder(WITH_TOOLS).row(tool_record(spelled, spelled, spelled))
    assert len(row) > len(plain)
    controls = CONTROLS.values()
    assert [i for i in row.ids if i in controls] == [i for i in plain.ids if i in controls]


def test_a_row_with_tools_under_a_template_without_them_is_refused() -> None:
    with pytest.raises(DataError, match=r"t.jsonl:7.*MENS-D184|MENS-D184.*t.jsonl:7"):
        encoder().row(tool_record("k"), where="t.jsonl")
    with pytest.raises(DataError, match="MENS-D184"):
        encoder().prompt(TWO_TURNS[:1], tool_record("k").tools)


def test_a_blank_that_only_a_following_message_brings_does_not_hide_an_answer() -> None:
    text = PLAIN.replace(
        "m.content + '</s>'", "m.content + (' ' if not loop.last else '') + '</s>'"
    )
    row = encoder(text).row(record(*TWO_TURNS[:2]))
    assert shown(row.ids) == "<s><u>q </s><a>one</s>"
    assert learned(row.labels) == "one</s>"
    moved = text.replace("' '", "' more'")
    with pytest.raises(DataError, match="MENS-D143"):
        encoder(moved).row(record(*TWO_TURNS[:2]))
