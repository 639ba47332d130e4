"""A conversation: it remembers, it can be stopped, and it shows what it writes as it comes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from vox_populi.contract.choices import TokenizerKind
from vox_populi.contract.finetune_contract import FinetuneContract
from vox_populi.errors import ConfigError, DataError
from vox_populi.infer.cached_model import CachedModel
from vox_populi.pipeline.chat import Conversation, open_chat
from vox_populi.pipeline.generate import GenerateRequest, Prompt, generate
from vox_populi.pipeline.weights_choice import WeightsChoice

MakeContract = Callable[..., FinetuneContract]


def unheard(text: str) -> None:
    """Ignore a piece, for answers whose pieces do not matter."""


@pytest.fixture
def request_of(make_contract: MakeContract) -> Callable[..., GenerateRequest]:
    model_dir = make_contract().model_dir

    def make(**changes: Any) -> GenerateRequest:
        weights = WeightsChoice(model_dir=model_dir, tokenizer=TokenizerKind.VOX, threads=1)
        return GenerateRequest(weights=weights, **{"max_new_tokens": 6, **changes})

    return make


@pytest.fixture
def chat(request_of: Callable[..., GenerateRequest]) -> Conversation:
    return open_chat(request_of())


def test_the_first_answer_is_that_of_a_single_prompt(
    request_of: Callable[..., GenerateRequest], chat: Conversation
) -> None:
    (alone,) = generate(request_of(prompts=(Prompt("Say one."),)))
    pieces: list[str] = []
    first = chat.answer("Say one.", pieces.append)
    assert first.ids == alone.ids
    assert "".join(pieces) == first.text == alone.text
    assert chat.model == "base"


def test_a_conversation_is_remembered_until_reset(chat: Conversation) -> None:
    first = chat.answer("Say.", unheard)
    second = chat.answer("Say.", unheard)
    assert first.ids != second.ids
    chat.reset()
    assert chat.answer("Say.", unheard).ids == first.ids


def test_a_message_that_does_not_fit_is_refused_and_the_chat_continues(chat: Conversation) -> None:
    with pytest.raises(DataError, match=r"MENS-R013.*/reset"):
        chat.answer("x" * 90, unheard)
    assert chat.answer("Say.", unheard).ids


def test_an_interrupted_answer_stays_in_the_conversation(
    chat: Conversation, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = chat.answer("Say.", unheard)
    chat.reset()
    sound, calls = CachedModel.next_logits, iter(range(99))

    def interrupted(self: CachedModel, ids: list[int]) -> Any:
        if next(calls) == 3:
            raise KeyboardInterrupt
        return sound(self, ids)

    with monkeypatch.context() as patch:
        patch.setattr(CachedModel, "next_logits", interrupted)
        stopped = chat.answer("Say.", unheard)
    assert stopped.stop_reason == "interrupted"
    assert stopped.ids == whole.ids[:3]
    assert chat.answer("Go on.", unheard).stop_reason != "interrupted"


def test_settings_are_checked_before_anything_is_loaded(
    request_of: Callable[..., GenerateRequest],
) -> None:
    with pytest.raises(ConfigError, match="--repetition-penalty"):
        open_chat(request_of(repetition_penalty=-1.0))
