"""What a request may say: every field is read, ignored by name or refused by name."""

from __future__ import annotations

from typing import Any

import pytest

from vox_populi.serve.api_error import ApiError
from vox_populi.serve.chat_request import ChatRequest, read_chat_request
from vox_populi.serve.completion_request import CompletionRequest, read_completion_request
from vox_tensor.records import Role

HELLO = [{"role": "user", "content": "Hello"}]
TOOL = {"type": "function", "function": {"name": "add", "parameters": {}}}


def chat(**fields: Any) -> ChatRequest:
    raw = {"model": "m", "messages": HELLO, **fields}
    return read_chat_request(raw, most_tokens=100, random_seed=11)


def completion(**fields: Any) -> CompletionRequest:
    raw = {"model": "m", "prompt": "Once", **fields}
    return read_completion_request(raw, most_tokens=100, random_seed=11)


def refusal(**fields: Any) -> ApiError:
    with pytest.raises(ApiError) as caught:
        chat(**fields)
    return caught.value


def test_a_request_without_settings_has_those_of_openai() -> None:
    settings = chat().settings
    assert (settings.sampling.temperature, settings.sampling.top_p) == (1.0, 1.0)
    assert (settings.sampling.seed, settings.max_new_tokens, settings.n) == (11, 100, 1)
    assert (settings.stream, settings.n_top, settings.stops) == (False, None, ())
    assert completion().settings.max_new_tokens == 16


def test_every_setting_is_read() -> None:
    asked = chat(
        temperature=0,
        top_p=0.5,
        top_k=7,
        repetition_penalty=1.5,
        presence_penalty=1,
        frequency_penalty=-2,
        seed=3,
        n=2,
        max_completion_tokens=5,
        stop=["a", "b"],
        stop_token_ids=[9],
        stream=True,
        stream_options={"include_usage": True},
        logprobs=True,
        top_logprobs=4,
        tools=[TOOL],
        parallel_tool_calls=False,
        user="me",
        response_format={"type": "text"},
    )
    settings, sampling = asked.settings, asked.settings.sampling
    assert (sampling.temperature, sampling.top_p, sampling.top_k, sampling.seed) == (0, 0.5, 7, 3)
    assert sampling.repetition_penalty == 1.5
    assert (sampling.presence_penalty, sampling.frequency_penalty) == (1, -2)
    assert (settings.n, settings.max_new_tokens, settings.stops) == (2, 5, ("a", "b"))
    assert (settings.stop_ids, settings.n_top, settings.ignored) == (frozenset([9]), 4, ("user",))
    assert (settings.stream, settings.include_usage, asked.one_call) == (True, True, True)
    assert asked.tools == (TOOL,)


def test_messages_have_text_parts_tool_calls_and_what_clients_send_as_null() -> None:
    call = {"id": "c1", "type": "function", "function": {"name": "add", "arguments": '{"a": 1}'}}
    asked = chat(
        messages=[
            {
                "role": "developer",
                "content": [{"type": "text", "text": "Be "}, {"type": "text", "text": "brief."}],
            },
            {"role": "user", "content": "1?", "name": "ann"},
            {"role": "assistant", "content": None, "tool_calls": [call], "refusal": None},
            {"role": "tool", "content": "2", "tool_call_id": "c1"},
            {"role": "assistant", "content": ""},
        ]
    )
    roles = [each.role for each in asked.messages]
    assert roles == [Role.SYSTEM, Role.USER, Role.ASSISTANT, Role.TOOL, Role.ASSISTANT]
    assert asked.messages[0].content == "Be brief."
    assert asked.messages[1].name == "ann"
    assert asked.messages[2].tool_calls[0].arguments == {"a": 1}
    assert asked.messages[3].tool_call_id == "c1"


def test_tools_that_must_not_be_called_are_left_out() -> None:
    assert chat(tools=[TOOL], tool_choice="none").tools == ()
    assert chat(tools=[TOOL], tool_choice="auto").tools == (TOOL,)
    assert refusal(tools=[TOOL], tool_choice="required").problem.code == "MENS-S014"


@pytest.mark.parametrize(
    ("fields", "code", "param"),
    [
        ({"model": None}, "MENS-S016", "model"),
        ({"model": 3}, "MENS-S015", "model"),
        ({"messages": None}, "MENS-S016", "messages"),
        ({"messages": []}, "MENS-S015", "messages"),
        ({"messages": ["hello"]}, "MENS-D031", "messages"),
        ({"messages": [{"role": "user", "content": "a", "cache": 1}]}, "MENS-S029", None),
        ({"made_up": 1}, "MENS-S013", "made_up"),
        ({"logit_bias": {"1": 1}}, "MENS-S014", "logit_bias"),
        ({"response_format": {"type": "json_object"}}, "MENS-S014", "response_format"),
        ({"stream_options": {"include_usage": True}}, "MENS-S014", "stream_options"),
        ({"stream": True, "stream_options": {"made_up": 1}}, "MENS-S013", "made_up"),
        ({"stream": True, "stream_options": 3}, "MENS-S015", "stream_options"),
        ({"stream": "yes"}, "MENS-S015", "stream"),
        ({"top_logprobs": 3}, "MENS-S014", "top_logprobs"),
        ({"temperature": -1}, "MENS-S015", "temperature"),
        ({"temperature": True}, "MENS-S015", "temperature"),
        ({"temperature": 10**400}, "MENS-S015", "temperature"),
        ({"top_p": 0}, "MENS-S015", "top_p"),
        ({"top_k": -2}, "MENS-S015", "top_k"),
        ({"seed": 1.5}, "MENS-S015", "seed"),
        ({"n": 17}, "MENS-S015", "n"),
        ({"n": 0}, "MENS-S015", "n"),
        ({"max_tokens": 101}, "MENS-S015", "max_tokens"),
        ({"max_tokens": 5, "max_completion_tokens": 6}, "MENS-S017", "max_tokens"),
        ({"stop": ["a"] * 17}, "MENS-S015", "stop"),
        ({"stop": [""]}, "MENS-S015", "stop"),
        ({"stop": 3}, "MENS-S015", "stop"),
        ({"stop_token_ids": [True]}, "MENS-S015", "stop_token_ids"),
        ({"tools": "add"}, "MENS-S015", "tools"),
        ({"functions": []}, "MENS-S014", "functions"),
    ],
)
def test_what_cannot_be_used_is_refused_by_name(
    fields: dict[str, Any], code: str, param: str | None
) -> None:
    error = refusal(**fields)
    assert (error.status, error.problem.code) == (400, code)
    assert param is None or error.param == param
    answer: Any = error.as_json()["error"]
    assert answer["type"] == "invalid_request_error"
    assert (answer["problem"], answer["code"]) == (code, code)


def test_a_text_completion_takes_texts_and_ids() -> None:
    assert completion().prompts == ("Once",)
    assert completion(prompt=[1, 2]).prompts == ((1, 2),)
    assert completion(prompt=["a", "b"]).prompts == ("a", "b")
    assert completion(prompt=[[1], [2, 3]]).prompts == ((1,), (2, 3))
    assert completion(logprobs=2).settings.n_top == 2
    assert completion(max_tokens=50).settings.max_new_tokens == 50
    refused: tuple[Any, ...] = ([], [[]], ["a"] * 33, {"a": 1}, 3, [True])
    for bad in refused:
        with pytest.raises(ApiError) as caught:
            completion(prompt=bad)
        assert caught.value.problem.code == "MENS-S015"
    with pytest.raises(ApiError) as caught:
        completion(echo=True)
    assert caught.value.problem.code == "MENS-S014"
