from __future__ import annotations

import json

import pytest

from vox_populi.hf.saved_path import without_saved_path


@pytest.mark.parametrize("value", ["/srv/ann/m", "C:\\ann\\m", "\\\\host\\m", "~/m"])
@pytest.mark.parametrize(
    ("name", "key"),
    [("config.json", "_name_or_path"), ("tokenizer_config.json", "name_or_path")],
)
def test_the_folder_that_a_model_was_saved_from_is_dropped(name: str, key: str, value: str) -> None:
    data = json.dumps({"a": 1, key: value, "b": [2]}).encode()
    assert json.loads(without_saved_path(name, data)) == {"a": 1, "b": [2]}


@pytest.mark.parametrize("value", ["org/model", "", 3, None])
def test_all_else_stays_to_the_byte(value: object) -> None:
    data = json.dumps({"_name_or_path": value}).encode()
    assert without_saved_path("config.json", data) == data
    path = b'{"_name_or_path":  "/srv/ann"}'
    assert without_saved_path("LICENSE", path) == path
    assert without_saved_path("config.json", path[:-1]) == path[:-1]
    assert without_saved_path("config.json", b'["_name_or_path"]') == b'["_name_or_path"]'
