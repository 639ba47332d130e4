"""The objects of OpenAI's API that answers are made of. No torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from vox_populi.serve.served_model import ServedModel
from vox_populi.serve.text_job import STOP_TEXT, ScoredToken

Json = dict[str, object]
_FINISH = {"stop_token": "stop", STOP_TEXT: "stop", "length": "length", "context": "length"}


@dataclass(frozen=True, slots=True, kw_only=True)
class AnswerHead:
    """What all objects of an answer share."""

    id: str
    created: int
    """Seconds since 1970."""
    model: ServedModel
    is_chat: bool

    def whole(
        self, choices: Sequence[Json], usage: Json, prompt_ids: Sequence[int] | None = None
    ) -> Json:
        """An answer that is sent at once.

        Args:
            choices: All of them.
            usage: `usage_json`.
            prompt_ids: Ids of the prompt, if the client asked for them.
        """
        kind = "chat.completion" if self.is_chat else "text_completion"
        more = {} if prompt_ids is None else {"prompt_token_ids": list(prompt_ids)}
        return {**self._fields(kind), "choices": list(choices), "usage": usage, **more}

    def chunk(self, choices: Sequence[Json], usage: Mapping[str, object] | None = None) -> Json:
        """A part of a streamed answer.

        Args:
            choices: One, or none in the chunk with the usage.
            usage: `{"usage": ...}` if the client asked for it.
        """
        kind = "chat.completion.chunk" if self.is_chat else "text_completion"
        return {**self._fields(kind), "choices": list(choices), **(usage or {})}

    def _fields(self, kind: str) -> Json:
        return {
            "id": self.id,
            "object": kind,
            "created": self.created,
            "model": self.model.name,
            "system_fingerprint": self.model.facts["fingerprint"],
        }


def usage_json(prompt_tokens: int, new_tokens: int) -> Json:
    """How many tokens were read and written."""
    return {
        "prompt_tokens": prompt_tokens,
        "completion_tokens": new_tokens,
        "total_tokens": prompt_tokens + new_tokens,
    }


def finish_word(stop_reason: str) -> str:
    """OpenAI's word for why a text ended."""
    return _FINISH[stop_reason]


def chat_logprobs(model: ServedModel, scores: Sequence[ScoredToken]) -> Json:
    """`logprobs` of a chat's choice."""

    def entry(token_id: int, logprob: float) -> Json:
        text, data = model.token(token_id)
        return {"token": text, "logprob": logprob, "bytes": data}

    content = [
        {**entry(each.id, each.logprob), "top_logprobs": [entry(*top) for top in each.top]}
        for each in scores
    ]
    return {"content": content, "refusal": None}


def text_logprobs(model: ServedModel, scores: Sequence[ScoredToken], offset: int) -> Json:
    """`logprobs` of a text completion's choice.

    Args:
        model: Whose tokens these are.
        scores: Of each token.
        offset: Characters of the text before them.
    """
    tokens = [model.token(each.id)[0] for each in scores]
    offsets = [offset + sum(map(len, tokens[:i])) for i in range(len(tokens))]
    return {
        "tokens": tokens,
        "token_logprobs": [each.logprob for each in scores],
        "top_logprobs": [
            {model.token(token_id)[0]: logprob for token_id, logprob in each.top} for each in scores
        ],
        "text_offset": offsets,
    }
