"""What chat and text completions have in common: the fields that decide how tokens are chosen.

No torch.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from vox_populi import number_ranges
from vox_populi.infer.sampling_spec import SamplingSpec
from vox_populi.number_ranges import NumberRange
from vox_populi.operator_messages import serving as say
from vox_populi.serve.api_error import bad_request
from vox_populi.serve.body_fields import BodyFields

SHARED_FIELDS = (
    *("model", "temperature", "top_p", "top_k", "seed", "n", "max_tokens", "stop"),
    *("stop_token_ids", "stream", "stream_options", "presence_penalty", "frequency_penalty"),
    *("repetition_penalty", "logprobs", "return_token_ids"),
)
IGNORED_FIELDS = (
    *("user", "metadata", "service_tier", "store", "safety_identifier", "prompt_cache_key"),
    *("prompt_cache_retention",),
)
"""Fields about accounts and bills, which change nothing of an answer."""
REFUSED_FIELDS: Mapping[str, str] = {
    "logit_bias": "scores of single tokens cannot be changed",
    "guided_json": "answers are not held to a grammar",
    "guided_regex": "answers are not held to a grammar",
    "best_of": "there is no search over several answers; n gives several",
    "min_p": "tokens are cut off by top_k and top_p",
    "ignore_eos": "a model's own end ends its answer",
    "min_tokens": "a model's own end ends its answer",
}

TEMPERATURE = NumberRange(lowest=0.0, highest=1e6, is_whole=False)
PENALTY = NumberRange(lowest=-2.0, highest=2.0, is_whole=False)
ANSWERS = NumberRange(lowest=1, highest=16)
_MOST_STOPS = 16
_LONGEST_STOP = 256


@dataclass(frozen=True, slots=True, kw_only=True)
class GenerationSettings:
    """The settings of a request, whatever its prompt."""

    model: str
    sampling: SamplingSpec
    n: int
    max_new_tokens: int
    stops: tuple[str, ...]
    stop_ids: frozenset[int]
    n_top: int | None
    """How many of the most likely tokens to list with each; `None`: no log-probabilities."""
    stream: bool
    include_usage: bool
    """Whether a stream ends with its usage."""
    return_ids: bool
    """Whether the answer has the ids of prompt and text, as vLLM's has them."""
    ignored: tuple[str, ...]
    """Fields of the request without an effect."""


def read_settings(
    body: BodyFields,
    *,
    max_new_tokens: int,
    n_top: int | None,
    random_seed: int,
    ignored: tuple[str, ...],
) -> GenerationSettings:
    """Read the shared fields.

    Args:
        body: The request.
        max_new_tokens: Largest number of tokens of an answer.
        n_top: As the kind of request says.
        random_seed: The seed of a request without one.
        ignored: Fields without an effect.

    Raises:
        ApiError: For a value that a field cannot have.
    """
    stream = body.flag("stream", default=False)
    return GenerationSettings(
        model=body.text("model"),
        sampling=SamplingSpec(
            temperature=body.real("temperature", TEMPERATURE, 1.0),
            top_k=_top_k(body),
            top_p=body.real("top_p", number_ranges.POSITIVE_SHARE, 1.0),
            repetition_penalty=body.real("repetition_penalty", number_ranges.PENALTY, 1.0),
            presence_penalty=body.real("presence_penalty", PENALTY, 0.0),
            frequency_penalty=body.real("frequency_penalty", PENALTY, 0.0),
            seed=body.whole("seed", number_ranges.SEED, random_seed),
        ),
        n=body.whole("n", ANSWERS, 1),
        max_new_tokens=max_new_tokens,
        stops=_stops(body),
        stop_ids=_stop_ids(body),
        n_top=n_top,
        stream=stream,
        include_usage=_include_usage(body, stream=stream),
        return_ids=_return_ids(body, stream=stream),
        ignored=ignored,
    )


def _top_k(body: BodyFields) -> int:
    """0 and -1 keep all tokens, as in other servers."""
    return 0 if body.get("top_k") in (0, -1) else body.whole("top_k", number_ranges.TOP_K, 0)


def read_max_new_tokens(body: BodyFields, names: tuple[str, ...], most: int) -> int:
    """Largest number of new tokens: as asked for under any of its names, or the server's.

    Raises:
        ApiError: When it is beyond the server's limit, or two names say different things.
    """
    allowed = NumberRange(lowest=1, highest=most)
    given = [name for name in names if body.get(name) is not None]
    asked = [body.whole(name, allowed, most) for name in given]
    if len(set(asked)) > 1:
        raise bad_request(say.fields_contradict(*given[:2]), given[1])
    return asked[0] if asked else most


def _stops(body: BodyFields) -> tuple[str, ...]:
    found = body.get("stop")
    listed = found if isinstance(found, list) else [] if found is None else [found]
    stops = tuple(
        each for each in listed if isinstance(each, str) and 0 < len(each) <= _LONGEST_STOP
    )
    if len(stops) < len(listed) or len(stops) > _MOST_STOPS:
        expected = (
            f"a string or at most {_MOST_STOPS} in a list, of 1 to {_LONGEST_STOP} characters"
        )
        raise bad_request(say.field_out_of_range("stop", expected), "stop")
    return stops


def _stop_ids(body: BodyFields) -> frozenset[int]:
    found = body.get("stop_token_ids")
    listed = found if isinstance(found, list) else [] if found is None else [found]
    ids = [each for each in listed if type(each) is int and each >= 0]
    if len(ids) < len(listed) or len(ids) > _MOST_STOPS:
        expected = f"a list of at most {_MOST_STOPS} token ids"
        raise bad_request(say.field_out_of_range("stop_token_ids", expected), "stop_token_ids")
    return frozenset(ids)


def _return_ids(body: BodyFields, *, stream: bool) -> bool:
    wants = body.flag("return_token_ids", default=False)
    if wants and stream:
        reason = "a stream has text alone"
        raise bad_request(say.field_refused("return_token_ids", reason), "return_token_ids")
    return wants


def _include_usage(body: BodyFields, *, stream: bool) -> bool:
    options = body.fields("stream_options")
    if options is None:
        return False
    if not stream:
        raise bad_request(
            say.field_refused("stream_options", "stream is not true"), "stream_options"
        )
    options.require_known(("include_usage",), ("include_obfuscation",), {})
    return options.flag("include_usage", default=False)
