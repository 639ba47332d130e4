from __future__ import annotations

from vox_populi.data.control_spelling import ControlSpelling


def test_the_longest_name_at_a_place_is_found() -> None:
    spelling = ControlSpelling(["<s>", "<s>x", "[INST]"])
    text = "a<s>b<s>x[INST]<s"
    assert [text[a:b] for a, b in spelling.places(text)] == ["<s>", "<s>x", "[INST]"]
    assert list(spelling.places("<s [INST")) == []


def test_without_names_nothing_is_found() -> None:
    assert list(ControlSpelling([""]).places("<s>")) == []
