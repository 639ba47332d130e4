from __future__ import annotations

import json
from pathlib import Path

import pytest

from vox_populi.errors import ModelError
from vox_populi.hf.chat_template_files import find_chat_template


def write(folder: Path, name: str, value: object) -> None:
    path = folder / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(value if isinstance(value, str) else json.dumps(value), encoding="utf-8")


def test_a_folder_without_a_template_has_none(tmp_path: Path) -> None:
    assert find_chat_template(tmp_path) is None
    write(tmp_path, "tokenizer_config.json", {"eos_token": "</s>"})
    assert find_chat_template(tmp_path) is None


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("chat_template.jinja", "T"),
        ("tokenizer_config.json", {"chat_template": "T"}),
        ("chat_template.json", {"chat_template": "T"}),
        ("tokenizer_config.json", {"chat_template": {"default": "T", "tool_use": "U"}}),
        (
            "tokenizer_config.json",
            {
                "chat_template": [
                    {"name": "tool_use", "template": "U"},
                    {"name": "default", "template": "T"},
                ]
            },
        ),
    ],
)
def test_every_place_of_a_template_is_read(tmp_path: Path, name: str, value: object) -> None:
    write(tmp_path, name, value)
    found = find_chat_template(tmp_path)
    assert found is not None
    assert (found.text, found.where) == ("T", str(tmp_path / name))


def test_files_of_their_own_win_over_the_config(tmp_path: Path) -> None:
    write(tmp_path, "chat_template.json", {"chat_template": "processor"})
    write(tmp_path, "tokenizer_config.json", {"chat_template": "config"})
    assert getattr(find_chat_template(tmp_path), "text", None) == "config"
    write(tmp_path, "chat_template.jinja", "file")
    write(tmp_path, "additional_chat_templates/tool_use.jinja", "tools")
    found = find_chat_template(tmp_path)
    assert found is not None
    assert (found.text, found.names) == ("file", ("default", "tool_use"))
    assert getattr(find_chat_template(tmp_path, "tool_use"), "text", None) == "tools"


def test_named_tokens_are_texts_and_the_first_file_wins(tmp_path: Path) -> None:
    write(tmp_path, "chat_template.jinja", "T")
    write(tmp_path, "tokenizer_config.json", {"bos_token": {"content": "<s>"}, "eos_token": None})
    write(tmp_path, "special_tokens_map.json", {"bos_token": "<b>", "eos_token": "</s>"})
    found = find_chat_template(tmp_path)
    assert found is not None
    assert found.tokens == {"bos_token": "<s>", "eos_token": "</s>"}


@pytest.mark.parametrize(
    ("value", "code"),
    [
        ({"chat_template": [{"name": "rag", "template": "T"}]}, "MENS-H111"),
        ({"chat_template": [{"name": "default"}]}, "MENS-H110"),
        ({"chat_template": ["T"]}, "MENS-H110"),
        ({"chat_template": 3}, "MENS-H110"),
    ],
)
def test_a_malformed_template_is_refused(tmp_path: Path, value: object, code: str) -> None:
    write(tmp_path, "tokenizer_config.json", value)
    with pytest.raises(ModelError) as caught:
        find_chat_template(tmp_path)
    assert [problem.code for problem in caught.value.problems] == [code]


def test_a_template_that_is_not_utf8_is_refused(tmp_path: Path) -> None:
    (tmp_path / "chat_template.jinja").write_bytes(b"\xff\xfe")
    with pytest.raises(ModelError, match="MENS-H110"):
        find_chat_template(tmp_path)
