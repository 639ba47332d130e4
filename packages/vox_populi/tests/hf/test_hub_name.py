from __future__ import annotations

from pathlib import Path

import pytest

from vox_populi.hf.hub_name import HubName, folder_name, hub_name_of, hub_origin, parse_hub_name

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("org/name", HubName("org/name")),
        ("Qwen/Qwen2.5-0.5B@main", HubName("Qwen/Qwen2.5-0.5B")),
        ("org/name@v1.0", HubName("org/name", "v1.0")),
        ("org/name@refs/pr/1", HubName("org/name", "refs/pr/1")),
        (f"o_1/n.m@{COMMIT}", HubName("o_1/n.m", COMMIT)),
        *((text, None) for text in ("name", "a/b/c", "/a/b", "../b", "a/..", "a--b/c", "a/b@")),
        *(
            (text, None)
            for text in ("a/-b", "a/b@../x", "a/b@x/../y", "a/b@-x", "a b/c", "é/b", "a/b\n")
        ),
        (f"a/{'b' * 100}", None),
    ],
)
def test_names_of_the_hub(text: str, expected: HubName | None) -> None:
    assert parse_hub_name(text) == expected


def test_a_name_is_written_as_it_is_typed() -> None:
    assert [str(HubName("a/b")), str(HubName("a/b", "x"))] == ["a/b", "a/b@x"]
    assert [HubName("a/b").is_commit, HubName("a/b", COMMIT).is_commit] == [False, True]


def test_a_path_wins_over_a_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert hub_name_of(Path("org/name")) == HubName("org/name")
    Path("org").mkdir()
    assert hub_name_of(Path("org/name")) is None
    assert hub_name_of(Path("org/name@main")) == HubName("org/name")
    Path("org/name@main").mkdir()
    assert hub_name_of(Path("org/name@main")) is None


def test_a_folder_of_the_cache_tells_where_it_came_from(tmp_path: Path) -> None:
    snapshot = tmp_path / "models--org--name" / "snapshots" / COMMIT
    snapshot.mkdir(parents=True)
    (tmp_path / "link").symlink_to(snapshot)
    assert str(hub_origin(tmp_path / "link")) == f"org/name@{COMMIT}"
    assert folder_name(snapshot) == "org/name"
    assert hub_origin(tmp_path) is None
    assert folder_name(tmp_path / "base") == "base"
