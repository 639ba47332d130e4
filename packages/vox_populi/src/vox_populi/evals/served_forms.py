"""What servers with OpenAI's API offer to be compared, each in its own form. No torch.

vLLM gives ids with `return_token_ids`, older versions write them into tokens
(`return_tokens_as_token_ids`); llama-server has an `id` beside each log-probability, and two routes
that lay out and encode a conversation. Other servers may give log-probabilities, or texts alone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from vox_populi.errors import ConfigError
from vox_populi.evals.server_client import Json, RefusedError, ServerClient
from vox_populi.operator_messages import check_served as say

_ID_WORD = "token_id:"
"""What vLLM puts in front of an id that stands for a token's text."""


class ServerKind(StrEnum):
    """Whose server it is, as `/v1/models` tells."""

    VOX = "vox mens serve"
    VLLM = "vLLM"
    LLAMA = "llama-server"
    OTHER = "a server with OpenAI's API"


_ASCII = 128
_OWNERS = {"vox-mens": ServerKind.VOX, "vllm": ServerKind.VLLM, "llamacpp": ServerKind.LLAMA}
_MORE: Mapping[ServerKind, Mapping[str, object]] = {
    ServerKind.VOX: {"return_token_ids": True, "repetition_penalty": 1.0},
    ServerKind.VLLM: {
        "return_token_ids": True,
        "return_tokens_as_token_ids": True,
        # Otherwise a folder's generation config decides.
        "repetition_penalty": 1.0,
    },
    ServerKind.LLAMA: {"cache_prompt": False, "repeat_penalty": 1.0},
    ServerKind.OTHER: {},
}
"""Fields of a request that only this server knows."""


@dataclass(frozen=True, slots=True)
class ServedModelName:
    """A model that a server lists."""

    name: str
    adapter_digest: str | None = None
    """Given by our own server only."""


@dataclass(frozen=True, slots=True)
class ServedModels:
    """Whose server it is, and what can be asked."""

    kind: ServerKind
    models: tuple[ServedModelName, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """The names that requests choose."""
        return tuple(each.name for each in self.models)


@dataclass(frozen=True, slots=True, kw_only=True)
class ServedAnswer:
    """A greedy answer of a server."""

    text: str
    finish: str
    """`stop` if it ended by itself; `length` if it was cut off."""
    ids: tuple[int, ...] | None = None
    """The new ids, from the first on, as far as they are known."""
    has_all_ids: bool = True
    """Whether that is as far as the text goes."""
    logprobs: tuple[float, ...] | None = None
    """Natural logarithms of their probabilities; at least as many as ids."""
    prompt_ids: tuple[int, ...] | None = None
    n_prompt: int | None = None
    """How many tokens the server counted in the prompt."""


def read_models(client: ServerClient) -> ServedModels:
    """Ask what can be asked.

    Raises:
        EnvironmentFailure: When the server does not answer, or not as such a server does.
    """
    listed = client.ask("GET", "/v1/models").get("data")
    if not isinstance(listed, list):
        reason = "/v1/models has no list `data`"
        raise client.malformed(reason)
    models = [each for each in listed if isinstance(each, dict) and isinstance(each.get("id"), str)]
    owners = {str(each.get("owned_by")) for each in models}
    kind = next((kind for owner, kind in _OWNERS.items() if owner in owners), ServerKind.OTHER)
    names = (ServedModelName(str(each["id"]), _text(each.get("adapter_digest"))) for each in models)
    return ServedModels(kind, tuple(names))


def choose_served(
    models: ServedModels,
    asked: str | None,
    ours: str | None = None,
    adapter_digest: str | None = None,
) -> str:
    """The name to ask: the one passed, ours by its digest or name, or the only one.

    Args:
        models: What the server lists.
        asked: A name that was passed.
        ours: Name of our weights; `None` if there are none to look for.
        adapter_digest: Digest of our adapter; `None` for a base.

    Raises:
        ConfigError: When none of these is there.
    """
    names = models.names
    if asked is not None:
        if asked not in names:
            raise ConfigError(say.served_model_unknown(asked, names))
        return asked
    if ours is not None and models.kind is ServerKind.VOX:
        alike = [each.name for each in models.models if each.adapter_digest == adapter_digest]
        if alike:
            return alike[0]
    if ours in names:
        return str(ours)
    if len(names) == 1:
        return names[0]
    raise ConfigError(say.served_model_unclear(names))


def ask_answer(
    client: ServerClient, kind: ServerKind, model: str, chat: Json, most_tokens: int
) -> ServedAnswer:
    """A greedy answer to a conversation.

    Args:
        client: The server.
        kind: Whose it is.
        model: Name that it lists.
        chat: `messages`, and `tools` if there are any.
        most_tokens: Largest number of new tokens.

    Raises:
        EnvironmentFailure: As for `ServerClient.ask`.
    """
    body: Json = {**chat, "model": model, "temperature": 0, "top_p": 1, "max_tokens": most_tokens}
    scored = {**body, "logprobs": True, "top_logprobs": 1, **_MORE[kind]}
    try:
        raw = client.ask("POST", "/v1/chat/completions", scored)
    except RefusedError:
        if kind is not ServerKind.OTHER:
            raise
        raw = client.ask("POST", "/v1/chat/completions", body)
    answer = _read_answer(raw, client.malformed)
    if answer.prompt_ids is None:
        asked = _ASK_PROMPT_IDS.get(kind)
        prompt_ids = None if asked is None else asked(client, model, chat)
        return replace(answer, prompt_ids=prompt_ids)
    return answer


def _read_answer(raw: Json, malformed: Callable[[str], Exception]) -> ServedAnswer:
    choices = raw.get("choices")
    choice = choices[0] if isinstance(choices, list) and choices else None
    message = choice.get("message") if isinstance(choice, dict) else None
    if not isinstance(choice, dict) or not isinstance(message, dict):
        reason = "it has no choice with a message"
        raise malformed(reason)
    scored = choice.get("logprobs")
    content = scored.get("content") if isinstance(scored, dict) else None
    tokens = [each for each in content or () if isinstance(each, dict)]
    usage = raw.get("usage")
    ids, n_new = _ids(choice.get("token_ids")), _count(usage, "completion_tokens")
    found = _token_ids(tokens, n_new) if ids is None else ids
    return ServedAnswer(
        text=_text(message.get("content")) or "",
        finish=str(choice.get("finish_reason")),
        ids=found,
        has_all_ids=ids is not None or n_new in (None, len(found or ())),
        logprobs=_logprobs(tokens) or None,
        prompt_ids=_ids(raw.get("prompt_token_ids")),
        n_prompt=_count(usage, "prompt_tokens"),
    )


def _token_ids(tokens: Sequence[Mapping[str, object]], n_new: int | None) -> tuple[int, ...] | None:
    """Ids beside log-probabilities, up to the first token without one; `None` if none has one.

    llama-server leaves out a token that ends inside a character, and gives its bytes to the next
    one. What is certain then ends before the first character that can be so divided.
    """
    found: list[int] = []
    has_gaps = n_new is not None and n_new > len(tokens)
    for token in tokens:
        if has_gaps and not _is_ascii(token.get("bytes")):
            return tuple(found)
        token_id, text = token.get("id"), token.get("token")
        if isinstance(text, str) and text.startswith(_ID_WORD):
            number = text.removeprefix(_ID_WORD)
            token_id = int(number) if number.isascii() and number.isdigit() else None
        if type(token_id) is not int:
            break
        found.append(token_id)
    return tuple(found) or None


def _is_ascii(data: object) -> bool:
    return isinstance(data, list) and all(type(each) is int and each < _ASCII for each in data)


def _logprobs(tokens: Sequence[Mapping[str, object]]) -> tuple[float, ...]:
    values = [token.get("logprob") for token in tokens]
    numbers = [float(each) for each in values if isinstance(each, int | float)]
    return tuple(numbers) if len(numbers) == len(values) else ()


def _vllm_prompt_ids(client: ServerClient, model: str, chat: Json) -> tuple[int, ...] | None:
    body = {**chat, "model": model, "add_generation_prompt": True}
    return _optional_ids(lambda: client.ask("POST", "/tokenize", body))


def _llama_prompt_ids(client: ServerClient, model: str, chat: Json) -> tuple[int, ...] | None:
    """The chat endpoint's ids: laid out, then encoded with what starts a text."""

    def ask() -> Json:
        prompt = client.ask("POST", "/apply-template", chat).get("prompt")
        body = {"content": prompt, "add_special": True, "parse_special": True}
        return client.ask("POST", "/tokenize", body)

    return _optional_ids(ask)


_ASK_PROMPT_IDS = {ServerKind.VLLM: _vllm_prompt_ids, ServerKind.LLAMA: _llama_prompt_ids}


def _optional_ids(ask: Callable[[], Json]) -> tuple[int, ...] | None:
    """The `tokens` of an answer; `None` if the server does not have the route."""
    try:
        return _ids(ask().get("tokens"))
    except RefusedError:
        return None


def _ids(value: object) -> tuple[int, ...] | None:
    if not isinstance(value, list) or not all(type(each) is int for each in value):
        return None
    return tuple(value)


def _count(usage: object, name: str) -> int | None:
    found = usage.get(name) if isinstance(usage, dict) else None
    return found if isinstance(found, int) else None


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None
