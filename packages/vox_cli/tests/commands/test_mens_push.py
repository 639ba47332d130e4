from __future__ import annotations

from vox_cli.commands.mens_push import push_text
from vox_populi.hf.hub_name import HubName
from vox_populi.pipeline.push import PushReport


def report(**changes: object) -> PushReport:
    given: dict[str, object] = {
        "name": HubName("me/first"),
        "kind": "adapter",
        "base_name": "org/base",
        "files": (("README.md", 900), ("adapter_model.safetensors", 3 * 2**20)),
        "is_private": True,
    }
    return PushReport(**{**given, **changes})  # type: ignore[arg-type] # given by name


def test_a_plan_says_what_would_be_uploaded() -> None:
    text = push_text(report())
    assert "adapter_model.safetensors  3.0 MiB" in text
    assert "to upload" in text
    assert "commit" not in text


def test_an_upload_says_where_it_is_and_who_sees_it() -> None:
    done = report(is_private=False, url="https://hub/me/first", commit="c" * 40, notes=("so",))
    text = push_text(done)
    for part in ("https://hub/me/first", "everybody", "uploaded", "c" * 40, "so"):
        assert part in text
    assert done.as_json()["uploaded"] is True
    assert done.as_json()["bytes"] == 900 + 3 * 2**20
