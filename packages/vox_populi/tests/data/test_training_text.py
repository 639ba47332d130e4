from __future__ import annotations

import pytest

from packages.vox_populi.tests.data.rendered_text import render_training_text
from vox_populi.data.training_text import (
    END_OF_TEXT,
    ChatTemplate,
    TextPolicy,
    template_digest,
    training_pieces,
)
from vox_tensor.chat_markup import (
    chatml_prefix_open_assistant,
    chatml_supervised_text,
    plain_system_prompt_response,
)
from vox_tensor.records import Message, Role

pytestmark = pytest.mark.requirement("1c")

PROMPT = (Message(Role.SYSTEM, "S"), Message(Role.USER, "U"))
ROW = (*PROMPT, Message(Role.ASSISTANT, "A"))
CHATML = TextPolicy()
PLAIN = TextPolicy(template=ChatTemplate.PLAIN)


def test_training_text_of_a_chatml_row_is_the_source_systems() -> None:
    assert render_training_text(ROW, CHATML) == chatml_supervised_text("S", "U", "A")
    assert render_training_text(ROW, CHATML) == (
        "<|im_start|>system\nS<|im_end|>\n<|im_start|>user\nU<|im_end|>\n"
        "<|im_start|>assistant\nA<|im_end|>"
    )


def test_training_text_of_a_plain_row_is_the_source_systems_and_an_end() -> None:
    text = render_training_text(ROW, PLAIN)
    assert text == plain_system_prompt_response("S", "U", "A") + END_OF_TEXT
    assert render_training_text(ROW[1:], PLAIN) == "U\nA" + END_OF_TEXT


@pytest.mark.parametrize("template", [ChatTemplate.CHATML, ChatTemplate.PLAIN])
def test_training_text_starts_with_the_open_prompt(template: ChatTemplate) -> None:
    policy = TextPolicy(template=template)
    prompt = render_training_text(PROMPT, policy, open_assistant=True)
    assert render_training_text(ROW, policy).startswith(prompt + "A")


def test_open_chatml_prompt_is_the_source_systems() -> None:
    text = render_training_text(PROMPT, CHATML, open_assistant=True)
    assert text == chatml_prefix_open_assistant("S", "U")


@pytest.mark.parametrize("template", [ChatTemplate.CHATML, ChatTemplate.PLAIN])
def test_system_prompt_opens_rows_without_one(template: ChatTemplate) -> None:
    bare, with_prompt = (
        TextPolicy(template=template),
        TextPolicy(template=template, system_prompt="S"),
    )
    assert render_training_text(ROW[1:], with_prompt) == render_training_text(ROW, bare)
    assert render_training_text(ROW[1:], with_prompt) != render_training_text(ROW[1:], bare)


def test_a_rows_own_system_message_wins_over_the_system_prompt() -> None:
    policy = TextPolicy(system_prompt="other")
    assert render_training_text(ROW, policy) == render_training_text(ROW, CHATML)


@pytest.mark.parametrize("template", [ChatTemplate.CHATML, ChatTemplate.PLAIN])
def test_learned_are_answers_and_their_ends(template: ChatTemplate) -> None:
    talk = (
        *PROMPT,
        Message(Role.ASSISTANT, "unlearned", learn=False),
        Message(Role.TOOL, "T"),
        Message(Role.ASSISTANT, "first"),
        Message(Role.USER, "U"),
        Message(Role.ASSISTANT, "second"),
    )
    pieces = list(training_pieces(talk, TextPolicy(template=template)))
    end = pieces[-1].text
    assert [p.text for p in pieces if p.learn] == ["first", end, "second", end]
    assert end in ("<|im_end|>", END_OF_TEXT)


def test_digest_names_layout_and_system_prompt() -> None:
    assert template_digest(ChatTemplate.CHATML) != template_digest(ChatTemplate.PLAIN)
    assert TextPolicy(system_prompt="a").digest != TextPolicy(system_prompt="b").digest
    assert TextPolicy(system_prompt="a").digest == TextPolicy(system_prompt="a").digest
    assert TextPolicy().digest.startswith("sha256:")


def test_chatml_layout_has_not_changed() -> None:
    """Adapters on disk name this digest: a change of layout needs a template of another name."""
    assert template_digest(ChatTemplate.CHATML) == GOLDEN[ChatTemplate.CHATML]
    assert template_digest(ChatTemplate.PLAIN) == GOLDEN[ChatTemplate.PLAIN]


GOLDEN = {
    ChatTemplate.CHATML: "sha256:f3be18d876af90dd9b641b9046aa876eb2ffed8453b25a247c484248842539c8",
    ChatTemplate.PLAIN: "sha256:bed01243869f89764ead1d581014b90fa066234251cde769448c31dc1aee78e6",
}
