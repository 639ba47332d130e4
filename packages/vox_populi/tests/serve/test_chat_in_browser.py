"""The chat page in a browser, by keys alone, over an engine that says what it is told."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from threading import Event, Thread
from typing import Any, NamedTuple

import pytest

from packages.vox_populi.tests.headless_browser import CHROMIUM, Page, browser_page
from vox_populi.data.training_text import ChatTemplate, TextPolicy
from vox_populi.serve.app import build_app
from vox_populi.serve.guards import Access
from vox_populi.serve.http_server import open_socket, serve_until
from vox_populi.serve.served_model import ServedModel
from vox_populi.serve.service import HttpLimits, Service
from vox_populi.serve.text_job import Ended, Piece, TextJob
from vox_tensor.tokenizer import VoxTokenizer

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium")

ANSWER = ["<b>bold</b>", "<img src=/x onerror=alert(1)>", "\n" * 60, "the end"]


class Score(NamedTuple):
    """A token's log-probability."""

    id: int
    logprob: float
    top: tuple[tuple[int, float], ...] = ()


class Engine:
    """Says the answer; until `may_end` is set it leaves every answer open."""

    def __init__(self) -> None:
        self.is_open, self.counts, self.may_end = True, (0, 0), False
        self.seen: list[TextJob] = []

    def submit(self, jobs: Sequence[TextJob]) -> None:
        self.seen += jobs
        for job in jobs:
            for n, text in enumerate(ANSWER):
                score = Score(n, -0.5 - n)
                job.on_event(Piece(text, None if job.n_top is None else score))
            if self.may_end:
                job.on_event(Ended(text="", stop_reason="stop_token", ids=(0, 1, 2, 3)))

    def cancel(self, jobs: Sequence[TextJob]) -> None:
        for job in jobs:
            job.is_cancelled = True

    def fits(self, n_tokens: int) -> bool:
        return n_tokens <= 2000


@contextmanager
def server(engine: Engine, heard: list[list[str]], key: str | None = None) -> Iterator[str]:
    """The address of a server with two models, which note the conversations that they are given."""

    class HeardModel(ServedModel):
        def encode_chat(self, messages: Any, tools: Any) -> list[int]:
            heard.append([each.content for each in messages])
            return [1, 2, 3]

    models = {
        name: HeardModel(
            name=name,
            tokenizer=VoxTokenizer([]),
            policy=TextPolicy(template=ChatTemplate.CHATML),
            max_positions=2000,
            vocab_size=261,
            facts={"id": name, "fingerprint": "f"},
        )
        for name in ("base", "tuned")
    }
    limits = HttpLimits(max_tokens=1000, max_body_bytes=100_000, timeout_secs=20)
    app = build_app(Service(models, engine, limits), Access(host="127.0.0.1", key=key))
    listening, stopped = open_socket("127.0.0.1", 0), Event()
    thread = Thread(target=serve_until, args=(app, listening, stopped.is_set, 1))
    thread.start()
    try:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
    finally:
        stopped.set()
        thread.join(10)


def say(page: Page, text: str, n_answers: int) -> None:
    """Send a message, and wait until this many answers stand there whole."""
    page.call("Input.insertText", text=text)
    page.call("Input.dispatchKeyEvent", type="keyDown", key="Enter", windowsVirtualKeyCode=13)
    texts = "[...document.querySelectorAll('.assistant')].map(each => each.textContent)"
    page.wait_for(f"{texts}.filter(each => each.includes('the end')).length === {n_answers}")


def test_a_conversation_with_keys_alone(tmp_path: Path) -> None:
    engine = Engine()
    heard: list[list[str]] = []
    busy = "document.querySelectorAll('[aria-busy=true]').length"
    with server(engine, heard) as address, browser_page(tmp_path / "profile") as page:
        page.open(f"{address}/", width=1280)
        page.wait_for("document.activeElement.id === 'prompt'")
        page.evaluate("document.querySelector('#logprobs').checked = true")
        say(page, "first", 2)
        assert page.evaluate("document.querySelectorAll('.column').length") == 2
        assert page.evaluate("document.querySelectorAll('.turn b, .turn img').length") == 0
        assert page.evaluate("document.querySelector('.assistant').textContent").startswith(
            "base<b>bold</b><img"
        )
        assert page.evaluate("isAtEnd()")
        assert page.evaluate(busy) == 2

        # A new chat during an answer: what came of it is no part of the next conversation.
        page.evaluate("document.querySelector('#new').click()")
        page.wait_for("!document.querySelector('#send').disabled")
        say(page, "second", 2)
        assert heard[2:] == [["second"], ["second"]]

        page.press("Escape")
        page.wait_for(f"{busy} === 0")
        assert page.evaluate("document.querySelectorAll('.assistant .problem').length") == 2
        assert page.evaluate("isAtEnd()")
        engine.may_end = True
        page.wait_for("!document.querySelector('#send').disabled")
        say(page, "third", 4)
        assert heard[4:] == [["second", "".join(ANSWER), "third"]] * 2
        assert {each.startswith(f"{address}/") for each in page.requests} == {True}
        assert page.errors == []


def test_scores_are_shown_for_keys_and_for_the_pointer(tmp_path: Path) -> None:
    engine = Engine()
    engine.may_end = True
    shown = "document.querySelector('#scores').textContent"
    with server(engine, []) as address, browser_page(tmp_path / "profile") as page:
        page.open(f"{address}/")
        page.wait_for("document.activeElement.id === 'prompt'")
        page.evaluate("document.querySelector('#logprobs').checked = true")
        say(page, "first", 2)
        page.evaluate("document.querySelector('.assistant span').focus()")
        assert page.evaluate(shown).endswith("-0.5000")
        page.press("ArrowRight")
        assert page.evaluate(shown).endswith("-1.5000")
        page.press("ArrowLeft")
        assert page.evaluate(shown).endswith("-0.5000")
        for _ in ANSWER:
            page.press("ArrowRight")
        assert page.evaluate(shown).endswith("-3.5000")
        assert page.evaluate("document.querySelector('#scores').checkVisibility()")
        token = "document.activeElement.getBoundingClientRect()"
        scores = "document.querySelector('#scores').getBoundingClientRect()"
        assert page.evaluate(f"{token}.bottom <= {scores}.top")
        x, y = page.evaluate(f"[{token}.left + 5, {token}.top + 5]")
        page.evaluate("document.querySelector('#prompt').focus({preventScroll: true})")
        assert page.evaluate(shown) == ""
        page.move_to(x, y)
        page.wait_for(f"{shown}.endsWith('-3.5000')")
        page.move_to(1, 1)
        page.wait_for(f"{shown} === ''")


@pytest.mark.parametrize(("width", "dark"), [(1280, True), (390, False)])
def test_a_reader_who_scrolled_up_stays_there(tmp_path: Path, width: int, dark: bool) -> None:
    engine = Engine()
    with server(engine, []) as address, browser_page(tmp_path / "profile") as page:
        page.open(f"{address}/", width=width, dark=dark)
        page.wait_for("document.activeElement.id === 'prompt'")
        say(page, "first", 2)
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        for place in ("0", "document.documentElement.scrollHeight"):
            page.evaluate(f"window.scrollTo(0, {place})")
            before = page.evaluate("document.querySelector('#columns').textContent.length")
            for job in engine.seen:
                job.on_event(Piece("\nmore" * 9))
            whole = before + 2 * 9 * len("\nmore")
            page.wait_for(f"document.querySelector('#columns').textContent.length === {whole}")
            assert page.evaluate("isAtEnd()") == (place != "0")
            assert page.evaluate("window.scrollY === 0") == (place == "0")
        page.press("Escape")


def test_a_key_is_asked_for_once_and_kept_out_of_the_page(tmp_path: Path) -> None:
    engine = Engine()
    engine.may_end = True
    secret = "0123456789abcdef"
    access = "document.querySelector('#access')"
    with (
        server(engine, [], secret) as address,
        browser_page(tmp_path / "profile") as page,
    ):
        page.open(f"{address}/", width=390, dark=True)
        page.wait_for(f"{access}.checkVisibility() && document.activeElement.id === 'key'")
        assert page.evaluate("document.querySelector('#key').type") == "password"
        assert page.evaluate("document.querySelectorAll('.column').length") == 0
        for typed in ("not the key", secret):
            page.call("Input.insertText", text=typed)
            page.call(
                "Input.dispatchKeyEvent",
                type="keyDown", key="Enter", text="\r", windowsVirtualKeyCode=13,
            )  # fmt: skip
            page.wait_for("document.querySelector('#key').value === ''")
            page.wait_for(
                "document.querySelectorAll('.column').length === 2"
                if typed == secret
                else "document.querySelector('#problem').textContent.includes('key')"
            )
        page.wait_for(f"{access}.hidden && document.activeElement.id === 'prompt'")
        say(page, "first", 2)
        kept = "JSON.stringify([{...localStorage}, {...sessionStorage}, document.cookie])"
        assert secret not in page.evaluate(f"document.documentElement.outerHTML + {kept}")
        assert not any(secret in each for each in page.requests)
