"""Flags of the server, the key from the environment, and the line that says it is ready."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from vox_populi.contract.choices import DeviceKind
from vox_populi.pipeline.serve import NamedAdapter, ServeRequest, Serving

Vox = Callable[..., Any]

READY = Serving(
    url="http://127.0.0.1:8000", models=("base", "first"), needs_key=True, notes=("a note",)
)


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[ServeRequest]:
    """The requests that a server was started with, which stops at once."""
    requests: list[ServeRequest] = []

    def run_server(
        request: ServeRequest,
        on_ready: Callable[[Serving], None],
        acknowledge: Callable[[str], None],
    ) -> None:
        requests.append(request)
        on_ready(READY)

    monkeypatch.setattr("vox_cli.commands.mens_serve.run_server", run_server)
    return requests


def test_flags_reach_the_request(vox: Vox, asked: list[ServeRequest]) -> None:
    words = ["mens", "serve", "my/runs/a", "base", "--adapter", "x=runs/x", "--adapter", "y=z=1"]
    flags = ["--port", "0", "--max-batch", "3", "--exact", "--device", "cpu"]
    outcome = vox(*words, *flags, "--allow-origin", "http://localhost:3000")
    assert outcome.out == "http://127.0.0.1:8000/v1 (with a key)\nmodels: base, first\n"
    assert "a note" in outcome.err
    (request,) = asked
    assert request.sources == (Path("my/runs/a"), Path("base"))
    assert request.adapters == (NamedAdapter("x", Path("runs/x")), NamedAdapter("y", Path("z=1")))
    assert (request.port, request.max_batch, request.is_exact) == (0, 3, True)
    assert request.compute.device is DeviceKind.CPU
    assert request.allow_origins == ("http://localhost:3000",)
    assert request.api_key is None


def test_the_key_comes_from_the_environment_and_is_never_shown(
    vox: Vox, asked: list[ServeRequest], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VOX_MENS_API_KEY", "0123456789abcdef")
    outcome = vox("mens", "serve", "--host", "0.0.0.0", "--json")
    assert outcome.document["url"] == READY.url
    assert outcome.document["models"] == ["base", "first"]
    assert asked[0].api_key == "0123456789abcdef"
    assert "0123456789abcdef" not in outcome.out + outcome.err
    assert "VOX_MENS_API_KEY" not in outcome.err, "it is a variable that is known"


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["--host", "0.0.0.0"], "MENS-S002"),
        (["--adapter", "runs/x"], "MENS-S006"),
        (["--adapter", "=runs/x"], "MENS-S006"),
        (["--allow-origin", "*"], "MENS-S008"),
        (["--port", "70000"], "MENS-U005"),
        (["--max-queue", "-1"], "MENS-U005"),
    ],
)
def test_what_cannot_be_meant_is_refused_before_anything_starts(
    vox: Vox, asked: list[ServeRequest], words: list[str], code: str
) -> None:
    outcome = vox("mens", "serve", *words)
    assert outcome.code == 2
    assert code in outcome.err
    assert asked == []
