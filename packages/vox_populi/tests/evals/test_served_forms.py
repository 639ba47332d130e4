"""Answers in the forms of servers, read as they are."""

from __future__ import annotations

from typing import Any

import pytest

from vox_populi.errors import ConfigError
from vox_populi.evals.served_forms import (
    ServedAnswer,
    ServedModelName,
    ServedModels,
    ServerKind,
    ask_answer,
    choose_served,
    read_models,
)
from vox_populi.evals.server_client import Json


class Scripted:
    """A client whose server answers each path with the same object."""

    url = "http://127.0.0.1:1"

    def __init__(self, **answers: Json) -> None:
        self.answers = answers
        self.asked: list[tuple[str, Any]] = []

    def ask(self, method: str, path: str, body: Any = None) -> Json:
        self.asked.append((path, body))
        return self.answers[path.rpartition("/")[2].replace("-", "_")]

    def malformed(self, reason: str) -> Exception:
        return ValueError(reason)


def answer(kind: ServerKind, choice: Json, n_new: int | None = None, **more: Json) -> ServedAnswer:
    whole: Json = {
        "choices": [choice],
        "usage": {"prompt_tokens": 2, "completion_tokens": n_new},
    }
    client: Any = Scripted(completions=whole, **more)
    return ask_answer(client, kind, "m", {"messages": []}, 8)


def llama_token(token_id: int, text: bytes) -> Json:
    return {"id": token_id, "token": "?", "bytes": list(text), "logprob": -0.5}


def test_ids_of_llama_server_end_where_it_leaves_tokens_out() -> None:
    """It gives all bytes of a character to the token that completes it."""
    tokens = [llama_token(1, b"Hi"), llama_token(2, b" "), llama_token(5, "\U0001f44b".encode())]
    choice: Json = {
        "message": {"content": "Hi \U0001f44b"},
        "finish_reason": "stop",
        "logprobs": {"content": tokens},
    }
    more: dict[str, Json] = {"apply_template": {"prompt": "x"}, "tokenize": {"tokens": [7, 8]}}
    gap = answer(ServerKind.LLAMA, choice, 5, **more)
    assert (gap.ids, gap.has_all_ids, gap.prompt_ids) == ((1, 2), False, (7, 8))
    choice["logprobs"] = {"content": tokens[2:]}
    gap = answer(ServerKind.LLAMA, choice, 5, **more)
    assert (gap.ids, gap.has_all_ids) == ((), False)
    choice["logprobs"] = {"content": tokens}
    whole = answer(ServerKind.LLAMA, choice, 3, **more)
    assert (whole.ids, whole.has_all_ids) == ((1, 2, 5), True)


def test_ids_of_vllm_are_read_in_both_of_its_forms() -> None:
    tokens = [{"token": f"token_id:{each}", "logprob": -0.5} for each in (4, 5)]
    older: Json = {"message": {"content": "a b"}, "finish_reason": "length"}
    older["logprobs"] = {"content": tokens}
    found = answer(ServerKind.VLLM, older, tokenize={"tokens": [1, 2]})
    assert (found.ids, found.prompt_ids, found.logprobs) == ((4, 5), (1, 2), (-0.5, -0.5))
    newer: Json = {**older, "token_ids": [4, 5, 6]}
    assert answer(ServerKind.VLLM, newer, tokenize={}).ids == (4, 5, 6)


@pytest.mark.parametrize("choice", [{}, {"message": None}, {"message": "text"}])
def test_what_is_no_answer_is_refused(choice: Json) -> None:
    with pytest.raises(ValueError, match="no choice with a message"):
        answer(ServerKind.OTHER, choice)


def test_values_of_other_types_are_as_if_they_were_not_there() -> None:
    odd: Json = {
        "message": {"content": None},
        "finish_reason": 3,
        "logprobs": {"content": [{"token": 1, "logprob": "x", "id": True, "bytes": [999]}]},
        "token_ids": ["a"],
    }
    found = answer(ServerKind.OTHER, odd)
    assert (found.text, found.ids, found.logprobs, found.prompt_ids) == ("", None, None, None)


def test_the_model_to_ask_is_the_one_named_ours_or_the_only_one() -> None:
    def models(*names: str, kind: ServerKind = ServerKind.VLLM) -> ServedModels:
        return ServedModels(kind, tuple(ServedModelName(name) for name in names))

    assert choose_served(models("a", "b"), "b") == "b"
    assert choose_served(models("a", "run"), None, "run", "d") == "run"
    assert choose_served(models("a"), None, "run", "d") == "a"
    ours = ServedModels(
        ServerKind.VOX, (ServedModelName("base"), ServedModelName("other", "digest"))
    )
    assert choose_served(ours, None, "run", "digest") == "other"
    assert choose_served(ours, None, "run", None) == "base"
    unclear = [(None, models("a", "b"), "049"), (None, models(), "049")]
    for asked, known, code in (("c", models("a"), "059"), *unclear):
        with pytest.raises(ConfigError) as caught:
            choose_served(known, asked, "run")
        assert caught.value.problems[0].code == f"MENS-S{code}"


def test_whose_server_it_is_follows_from_its_list() -> None:
    def kind(*models: object) -> ServedModels:
        client: Any = Scripted(models={"data": list(models)})
        return read_models(client)

    assert kind({"id": "m", "owned_by": "vllm"}).kind is ServerKind.VLLM
    assert kind({"id": "m", "owned_by": "llamacpp"}).kind is ServerKind.LLAMA
    assert kind({"id": "m", "owned_by": ["x"]}, 3, {"id": 4}).names == ("m",)
    with pytest.raises(ValueError, match="no list"):
        read_models(Scripted(models={"data": {}}))  # type: ignore[arg-type]  # a client's part
