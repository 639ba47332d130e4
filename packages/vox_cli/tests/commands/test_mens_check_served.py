"""Exit codes and lines of `vox mens check-served`, without weights."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread
from typing import Any

import pytest

from vox_cli.commands.mens_check_served import check_served_text
from vox_populi.evals.rounding import Rounding
from vox_populi.evals.served_forms import ServedAnswer
from vox_populi.evals.served_pairs import ServedPair
from vox_populi.evals.served_verdict import ServedVerdict
from vox_populi.infer.forced_text import ForcedText, ForcedToken
from vox_populi.pipeline.check_served import CheckServedReport

Vox = Callable[..., Any]
torch = pytest.importorskip("torch", reason="needs vox-tensor[gpu]")


def report(logprob: float, prompt_ids: tuple[int, ...] = (1, 2)) -> CheckServedReport:
    served = ServedAnswer(
        text="x\x1b[31m", finish="stop", ids=(7,), logprobs=(logprob,), prompt_ids=prompt_ids
    )
    ours = ForcedText(tokens=(ForcedToken(-0.5, 7, -0.5),), next_logprob=-0.1, stop_logprob=-0.1)
    pair = ServedPair(
        name="a question", prompt_ids=(1, 2), served=served, stop_ids=frozenset([9]), ours=ours
    )
    verdict = ServedVerdict(
        pairs=(pair,), allowed=Rounding.HALF, show=lambda ids: repr(ids), most_tokens=4
    )
    return CheckServedReport(
        url="http://127.0.0.1:1",
        server="vLLM",
        served_model="m",
        model="m",
        adapter=None,
        verdict=verdict,
        weights_notes=("a note",),
    )


def test_what_is_the_same_is_a_table_and_what_differs_is_a_missed_gate(
    vox: Vox, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = [report(-0.5001), report(-0.75), report(-9.0, (3, 1, 2))]
    monkeypatch.setattr("vox_cli.commands.mens_check_served.compare", lambda _: found.pop(0))
    command = ("mens", "check-served", "http://127.0.0.1:1", "none")
    outcome = vox(*command)
    assert (outcome.code, outcome.out.strip()) == (0, check_served_text(report(-0.5001)))
    assert "a note" in outcome.err
    outcome = vox(*command, "--json")
    assert (outcome.code, outcome.codes) == (6, ["MENS-S053"])
    assert outcome.document["ok"] is False
    outcome = vox(*command)
    assert (outcome.code, outcome.codes) == (6, ["MENS-S050", "MENS-S054"])
    assert "(3,) in front" in outcome.err


@contextmanager
def answering(document: object, status: int) -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            data = json.dumps(document).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *args: Any) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join(10)


def test_what_a_server_says_is_shown_escaped_and_on_one_line(vox: Vox) -> None:
    hostile = "bad\x1b[31m\nerror [MENS-X000] forged"
    with answering({"error": {"message": hostile}}, 500) as url:
        outcome = vox("mens", "check-served", url)
    assert (outcome.code, outcome.codes) == (5, ["MENS-S048"])
    assert "\x1b" not in outcome.err
    assert len(outcome.err.splitlines()) == 1


@pytest.mark.parametrize(
    ("words", "code", "problem"),
    [
        (["http://127.0.0.1:9"], 5, "MENS-S042"),
        (["127.0.0.1:9"], 2, "MENS-S041"),
        (["http://127.0.0.1:9", "made-up"], 3, "MENS-M001"),
        ([], 2, "MENS-U001"),
    ],
)
def test_what_cannot_be_asked_is_one_line(
    vox: Vox, words: list[str], code: int, problem: str
) -> None:
    outcome = vox("mens", "check-served", *words)
    assert outcome.code == code
    if problem.startswith("MENS-S"):
        assert outcome.codes == [problem]
    assert len(outcome.codes) == 1


def test_a_key_that_no_client_could_send_is_refused_and_not_shown(
    vox: Vox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VOX_MENS_API_KEY", "sécret key")
    outcome = vox("mens", "check-served", "http://127.0.0.1:9")
    assert (outcome.code, outcome.codes) == (2, ["MENS-S003"])
    assert "cret" not in outcome.err
