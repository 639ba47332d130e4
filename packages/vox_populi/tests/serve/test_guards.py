"""Who may ask: the key, the host's name, and origins."""

from __future__ import annotations

from pathlib import Path

import pytest
from starlette.datastructures import Headers

from vox_populi.errors import ConfigError
from vox_populi.pipeline.serve import ServeRequest
from vox_populi.serve.address_text import is_loopback, is_origin, read_key
from vox_populi.serve.api_error import ApiError
from vox_populi.serve.guards import Access

LOCAL = Access(host="127.0.0.1")
KEYED = Access(host="0.0.0.0", key="0123456789abcdef")


def code(access: Access, path: str = "/v1/models", **headers: str) -> str | None:
    try:
        access.check(path, Headers(headers))
    except ApiError as error:
        return error.problem.code
    return None


@pytest.mark.parametrize(
    "host", ["127.0.0.1:8000", "localhost", "LOCALHOST:1", "[::1]:8000", "127.9.9.9", "localhost."]
)
def test_this_machine_may_ask_without_a_key(host: str) -> None:
    assert code(LOCAL, host=host) is None


@pytest.mark.parametrize(
    "host",
    ["", "evil.example:8000", "localhost.evil.example", "10.0.0.1", "[::2]:1", "127.0.0.1.x"],
)
def test_a_name_that_is_not_ours_may_not(host: str) -> None:
    assert code(LOCAL, host=host) == "MENS-S025"


def test_with_a_key_only_those_who_have_it_may_ask() -> None:
    assert code(KEYED, host="any.example", authorization="Bearer 0123456789abcdef") is None
    assert code(KEYED, authorization="bearer  0123456789abcdef") is None
    for wrong in ("", "Bearer", "Bearer 0123456789abcdeg", "Basic 0123456789abcdef", "Bearer é"):
        assert code(KEYED, authorization=wrong) == "MENS-S024"
    assert code(KEYED, path="/healthz") is None
    assert code(KEYED, path="/metrics") == "MENS-S024"


def test_other_machines_are_let_in_with_a_key_alone() -> None:
    for host in ("0.0.0.0", "::", "192.168.1.2", "box.example"):
        with pytest.raises(ConfigError) as caught:
            ServeRequest(host=host)
        assert caught.value.problems[0].code == "MENS-S002"
        ServeRequest(host=host, api_key="0123456789")
    assert "0123456789" not in repr(ServeRequest(api_key="0123456789"))
    assert is_loopback("::1")


def test_keys_and_origins_that_no_client_could_send_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "key"
    file.write_text("0123456789abcdef\n", encoding="utf-8")
    assert read_key(file, None) == "0123456789abcdef"
    assert read_key(None, None) is None
    for bad in ("short", "two words here", "", "x" * 600, "0123456789\nabcdefgh"):
        file.write_text(bad, encoding="utf-8")
        with pytest.raises(ConfigError) as caught:
            read_key(file, None)
        assert caught.value.problems[0].code == "MENS-S003"
    assert is_origin("http://localhost:3000")
    for bad in ("localhost", "http://a/b", "*", "file:///x", "http://a:999999"):
        assert not is_origin(bad)
        with pytest.raises(ConfigError):
            ServeRequest(allow_origins=(bad,))
