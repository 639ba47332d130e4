"""Templates for other programs render the text that training saw."""

from __future__ import annotations

from datetime import UTC, datetime
from itertools import product

import pytest

from vox_populi.data.chat_template import ModelTemplate
from vox_populi.data.served_template import served_template, with_system_prompt
from vox_populi.data.training_text import ChatTemplate, TextPolicy, training_pieces
from vox_tensor.chat_markup import IM_END
from vox_tensor.records import Message, MessageExtras, Role

pytest.importorskip("jinja2", reason="needs vox-populi[mens-gpu]")


TRICKY = 'It\'s "quoted" {{ not }} {% code %} \\n \\ backslash\nline é 東 {# c #}'
CONVERSATIONS = (
    (Message(Role.USER, "U"),),
    (Message(Role.SYSTEM, TRICKY), Message(Role.USER, " U "), Message(Role.ASSISTANT, TRICKY)),
    (
        Message(Role.USER, "U\n"),
        Message(Role.ASSISTANT, "A", extras=MessageExtras(reasoning="R")),
        Message(Role.TOOL, "T"),
        Message(Role.ASSISTANT, "", learn=False),
        Message(Role.SYSTEM, "late"),
        Message(Role.USER, TRICKY),
    ),
)


def as_template(message: Message) -> dict[str, str]:
    turn = {"role": message.role.value, "content": message.content}
    reasoning = message.extras.reasoning if message.extras else None
    return turn if reasoning is None else turn | {"reasoning_content": reasoning}


@pytest.mark.parametrize("prompt", [None, TRICKY])
@pytest.mark.parametrize("layout", [ChatTemplate.CHATML, ChatTemplate.PLAIN])
def test_it_renders_what_was_trained(layout: ChatTemplate, prompt: str | None) -> None:
    end = IM_END if layout is ChatTemplate.CHATML else "<|endoftext|>"
    text = served_template(layout, end, prompt)
    template = ModelTemplate(text=text, now=datetime(2024, 7, 26, tzinfo=UTC))
    policy = TextPolicy(template=layout, system_prompt=prompt)
    for messages, is_open in product(CONVERSATIONS, (False, True)):
        pieces = training_pieces(messages, policy, open_assistant=is_open)
        turns = [as_template(message) for message in messages]
        rendered = template.render(turns, open_assistant=is_open)
        assert rendered.text == "".join(piece.text for piece in pieces)


def test_an_end_of_another_name_is_written_in_its_place() -> None:
    text = served_template(ChatTemplate.CHATML, "</s>", None)
    template = ModelTemplate(text=text, now=datetime(2024, 7, 26, tzinfo=UTC))
    rendered = template.render([{"role": "user", "content": "U"}])
    assert rendered.text == "<|im_start|>user\nU</s>"


def test_a_bos_of_the_base_comes_first() -> None:
    text = served_template(ChatTemplate.PLAIN, "</s>", "P", "<s>")
    template = ModelTemplate(text=text, now=datetime(2024, 7, 26, tzinfo=UTC))
    rendered = template.render([{"role": "user", "content": "U"}], open_assistant=True)
    assert rendered.text == "<s>P\nU\n"


def test_a_developer_counts_as_system() -> None:
    text = with_system_prompt(served_template(ChatTemplate.CHATML, IM_END, None), "P")
    template = ModelTemplate(text=text, now=datetime(2024, 7, 26, tzinfo=UTC))
    rendered = template.render([{"role": "developer", "content": "D"}])
    assert rendered.text == "<|im_start|>system\nD<|im_end|>"
