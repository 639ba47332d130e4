"""The chat's two sides: lines of a pipe, and a terminal."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from vox_cli.commands import mens_generate
from vox_populi.errors import DataError
from vox_populi.operator_messages import run as say
from vox_populi.pipeline.generate import GenerateRequest, GenerateResult

Vox = Callable[..., Any]
CTRL_C = "\x03"


class Parrot:
    """Says what it hears, in two pieces, and cannot hear "too long"."""

    model = "parrot"
    notes = ("a note.",)

    def __init__(self) -> None:
        self.heard: list[str] = []
        self.request: GenerateRequest | None = None

    def answer(self, text: str, on_text: Callable[[str], None]) -> GenerateResult:
        if text == "too long":
            raise DataError(say.conversation_too_long(9, 8))
        self.heard.append(text)
        if text == "say nothing":
            return GenerateResult(prompt=text, text="", ids=(), stop_reason="stop_token")
        on_text(text[:1])
        on_text(text[1:])
        reason = "length" if text == "at length" else "stop_token"
        return GenerateResult(prompt=text, text=text, ids=(1, 2), stop_reason=reason)

    def reset(self) -> None:
        self.heard.append("(reset)")


@pytest.fixture
def parrot(monkeypatch: pytest.MonkeyPatch) -> Parrot:
    bird = Parrot()

    def opened(request: GenerateRequest) -> Parrot:
        bird.request = request
        return bird

    monkeypatch.setattr(mens_generate, "open_chat", opened)
    return bird


@pytest.fixture
def typed(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Put a terminal in front of the command, on which these lines are typed."""

    def lines(*texts: str) -> None:
        left: Iterator[str] = iter(texts)

        def read(prompt: str) -> str:
            try:
                text = next(left)
            except StopIteration:
                raise EOFError from None
            if text == CTRL_C:
                raise KeyboardInterrupt
            return text

        monkeypatch.setattr("builtins.input", read)
        for stream in (sys.stdin, sys.stdout):
            monkeypatch.setattr(stream, "isatty", lambda: True, raising=False)

    return lines


def test_each_line_of_a_pipe_is_a_message(
    vox: Vox, parrot: Parrot, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO("one\n\n two \n/reset\nthree\n/quit\nfour\n"))
    outcome = vox("mens", "generate", "--interactive", "--max-new-tokens", 7)
    assert outcome.out == "one\ntwo\nthree\n"
    assert outcome.err == "note: a note.\n"
    assert parrot.heard == ["one", "two", "(reset)", "three"]
    assert parrot.request == GenerateRequest(max_new_tokens=7)


def test_json_is_a_line_an_answer(
    vox: Vox, parrot: Parrot, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO("one\ntwo"))
    outcome = vox("mens", "generate", "-i", "--json")
    assert [json.loads(line)["text"] for line in outcome.out.splitlines()] == ["one", "two"]


def test_a_message_from_a_pipe_that_does_not_fit_ends_the_chat(
    vox: Vox, parrot: Parrot, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO("one\ntoo long\nthree\n"))
    outcome = vox("mens", "generate", "-i")
    assert (outcome.code, outcome.codes) == (3, ["MENS-R013"])
    assert outcome.out == "one\n"


def test_a_terminal_sees_pieces_and_is_told_what_does_not_fit(
    vox: Vox, parrot: Parrot, typed: Callable[..., None]
) -> None:
    typed("one", "too long", "", "/tmp is a folder")
    outcome = vox("mens", "generate", "-i")
    assert outcome.code == 0
    assert outcome.out == "one\n/tmp is a folder\n"
    assert "parrot" in outcome.err
    assert "MENS-R013" in outcome.err
    assert parrot.heard == ["one", "/tmp is a folder"]


def test_a_terminal_can_be_left_by_a_word(
    vox: Vox, parrot: Parrot, typed: Callable[..., None]
) -> None:
    typed("one", "/quit", "two")
    assert vox("mens", "generate", "-i").out == "one\n"


@pytest.mark.parametrize("word", ["/help", "/exit", "/Reset", "/?"])
def test_a_word_with_a_slash_is_not_sent_to_the_model(
    vox: Vox, parrot: Parrot, typed: Callable[..., None], word: str
) -> None:
    typed(word, "one")
    outcome = vox("mens", "generate", "-i")
    assert (outcome.code, outcome.out) == (0, "one\n")
    assert parrot.heard == ["one"]
    assert ("MENS-U050" in outcome.err) is (word != "/help")
    assert "/reset" in outcome.err


def test_an_unknown_command_of_a_pipe_ends_the_chat(
    vox: Vox, parrot: Parrot, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO("/help\n/exit\none\n"))
    outcome = vox("mens", "generate", "-i")
    assert (outcome.code, outcome.codes, parrot.heard) == (3, ["MENS-U050"], [])


def test_ctrl_c_at_the_prompt_says_how_to_leave_and_twice_leaves(
    vox: Vox, parrot: Parrot, typed: Callable[..., None]
) -> None:
    typed(CTRL_C, "one", CTRL_C, CTRL_C, "two")
    outcome = vox("mens", "generate", "-i")
    assert outcome.code == 0
    assert parrot.heard == ["one"]
    assert outcome.err.count("Ctrl-D") == 3, "the greeting and two hints"
    assert "MENS-" not in outcome.err


def test_a_blank_answer_and_a_cut_one_say_so(
    vox: Vox, parrot: Parrot, typed: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    typed("say nothing", "at length", "one")
    outcome = vox("mens", "generate", "-i")
    remarks = outcome.err.splitlines()[-2:]
    assert "wrote nothing" in remarks[0]
    assert "cut at 2 tokens" in remarks[1]
    assert outcome.out == "\nat length\none\n"
    monkeypatch.setattr(sys, "stdin", io.StringIO("say nothing\n"))
    assert "wrote nothing" in vox("mens", "generate", "-i").err
    monkeypatch.setattr(sys, "stdin", io.StringIO("say nothing\n"))
    assert "wrote nothing" not in vox("mens", "generate", "-i", "--json").err
