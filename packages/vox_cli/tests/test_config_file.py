from __future__ import annotations

import os
from pathlib import Path

import pytest

from vox_cli.config_file import MAX_BYTES, read_config_file
from vox_populi.errors import ConfigError


def write(folder: Path, text: str | bytes) -> Path:
    path = folder / "run.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def refusals(path: Path) -> list[tuple[str, str | None]]:
    with pytest.raises(ConfigError) as caught:
        read_config_file(path)
    return [(problem.code, problem.where) for problem in caught.value.problems]


def test_values_are_the_text_as_written(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        "lr: 2e-4\nsystem_prompt: yes\nversion: 1.10\nquoted: '0x10'\ntargets: [q, v]\nbare:\n",
    )
    texts = {key: value.text for key, value in read_config_file(path).values.items()}
    assert texts == {
        "lr": "2e-4",
        "system_prompt": "yes",
        "version": "1.10",
        "quoted": "0x10",
        "targets": "q,v",
        "bare": None,
    }


def test_every_config_value_has_its_line(tmp_path: Path) -> None:
    path = write(tmp_path, "# a comment\nrank: 4\n\nbatch-size: 2\n")
    values = read_config_file(path).values
    assert {key: value.where for key, value in values.items()} == {
        "rank": f"{path}:2",
        "batch_size": f"{path}:4",
    }


@pytest.mark.parametrize("text", ["", "# nothing\n", "---\n"])
def test_an_empty_file_sets_nothing(tmp_path: Path, text: str) -> None:
    assert read_config_file(write(tmp_path, text)).values == {}


def test_a_byte_order_mark_and_windows_lines_are_fine(tmp_path: Path) -> None:
    path = write(tmp_path, b"\xef\xbb\xbfrank: 4\r\nalpha: 8\r\n")
    assert [value.text for value in read_config_file(path).values.values()] == ["4", "8"]


def test_a_key_given_twice_is_refused_also_with_another_hyphen(tmp_path: Path) -> None:
    path = write(tmp_path, "batch_size: 1\nrank: 2\nbatch-size: 4\nrank: 3\n")
    assert refusals(path) == [("MENS-U023", f"{path}:3"), ("MENS-U023", f"{path}:4")]


@pytest.mark.parametrize(
    "text",
    ["rank: {a: 1}", "rank: [[1]]", "rank: !!python/object/apply:os.system [ls]", "rank: [~]"],
)
def test_values_that_are_not_plain_are_refused(tmp_path: Path, text: str) -> None:
    path = write(tmp_path, f"alpha: 1\n{text}\n")
    assert refusals(path) == [("MENS-U024", f"{path}:2")]


def test_syntax_errors_name_their_line(tmp_path: Path) -> None:
    path = write(tmp_path, "rank: 4\nalpha: [1\n")
    (found,) = refusals(path)
    assert found[0] == "MENS-U021"
    assert str(found[1]).startswith(f"{path}:")


@pytest.mark.parametrize("text", ["- rank\n", "rank\n", "42\n"])
def test_only_a_mapping_is_a_config(tmp_path: Path, text: str) -> None:
    path = write(tmp_path, text)
    assert refusals(path) == [("MENS-U022", str(path))]


@pytest.mark.parametrize(
    "text", ["a: 1\n---\nb: 2\n", "\x01: 1\n", "[" * 2_000, "a: *missing\n", "\tb: 1\n"]
)
def test_malformed_yaml_is_refused(tmp_path: Path, text: str) -> None:
    assert refusals(write(tmp_path, text))[0][0] == "MENS-U021"


def test_aliases_are_not_blown_up(tmp_path: Path) -> None:
    lines = ["a: &a [x, x, x, x, x, x, x, x, x, x]"]
    lines += [
        f"{new}: &{new} [*{old}, *{old}, *{old}]"
        for old, new in zip("abcdefgh", "bcdefghi", strict=True)
    ]
    path = write(tmp_path, "\n".join(lines))
    assert {code for code, _ in refusals(path)} == {"MENS-U024"}


def test_unreadable_files_are_refused(tmp_path: Path) -> None:
    assert refusals(tmp_path / "absent.yaml")[0][0] == "MENS-U020"
    assert refusals(tmp_path)[0][0] == "MENS-U020"
    assert refusals(write(tmp_path, b"rank: \xff\xfe\n"))[0][0] == "MENS-U020"
    assert refusals(write(tmp_path, b"#" * (MAX_BYTES + 1)))[0][0] == "MENS-U020"


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no FIFOs on this system")
def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    path = tmp_path / "pipe.yaml"
    os.mkfifo(path)
    assert refusals(path) == [("MENS-U020", str(path))]
