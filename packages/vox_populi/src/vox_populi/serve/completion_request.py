"""The body of `/v1/completions`. No torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from vox_populi.number_ranges import NumberRange
from vox_populi.operator_messages import serving as say
from vox_populi.serve.api_error import bad_request
from vox_populi.serve.body_fields import BodyFields
from vox_populi.serve.generation_request import (
    IGNORED_FIELDS,
    REFUSED_FIELDS,
    SHARED_FIELDS,
    GenerationSettings,
    read_max_new_tokens,
    read_settings,
)

COMPLETION_FIELDS = (*SHARED_FIELDS, "prompt")
COMPLETION_REFUSED: Mapping[str, str] = {
    **REFUSED_FIELDS,
    "echo": "an answer does not repeat its prompt",
    "suffix": "the models were not trained to fill gaps",
}
_DEFAULT_TOKENS = 16
"""OpenAI's, for this route."""
_MOST_PROMPTS = 32
_TOP = NumberRange(lowest=0, highest=5)
TextOrIds = str | tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class CompletionRequest:
    """Texts to continue."""

    settings: GenerationSettings
    prompts: tuple[TextOrIds, ...]


def read_completion_request(
    raw: Mapping[str, object], *, most_tokens: int, random_seed: int
) -> CompletionRequest:
    """Read a body.

    Args:
        raw: The body.
        most_tokens: Largest number of new tokens that the server gives.
        random_seed: The seed of a request without one.

    Raises:
        ApiError: For a field that is unknown, not supported or wrong.
    """
    body = BodyFields(raw)
    ignored = body.require_known(COMPLETION_FIELDS, IGNORED_FIELDS, COMPLETION_REFUSED)
    has_limit = body.get("max_tokens") is not None
    most = most_tokens if has_limit else min(_DEFAULT_TOKENS, most_tokens)
    has_scores = body.get("logprobs") is not None
    return CompletionRequest(
        settings=read_settings(
            body,
            max_new_tokens=read_max_new_tokens(body, ("max_tokens",), most),
            n_top=body.whole("logprobs", _TOP, 0) if has_scores else None,
            random_seed=random_seed,
            ignored=ignored,
        ),
        prompts=_prompts(body),
    )


def _prompts(body: BodyFields) -> tuple[TextOrIds, ...]:
    found = body.get("prompt")
    if found is None:
        raise bad_request(say.field_missing("prompt"), "prompt")
    one = _prompt(found)
    if one is not None:
        return (one,)
    listed = found if isinstance(found, list) else []
    prompts = [each for each in map(_prompt, listed) if each is not None]
    if not prompts or len(prompts) < len(listed) or len(prompts) > _MOST_PROMPTS:
        expected = f"a text, a list of token ids, or a list of at most {_MOST_PROMPTS} of them"
        raise bad_request(say.field_out_of_range("prompt", expected), "prompt")
    return tuple(prompts)


def _prompt(value: object) -> TextOrIds | None:
    """A text, or the ids of one; `None` for anything else."""
    if isinstance(value, str):
        return value
    if isinstance(value, list) and value and all(type(each) is int for each in value):
        return tuple(value)
    return None
