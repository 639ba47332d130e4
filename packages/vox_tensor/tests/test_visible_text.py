from __future__ import annotations

import json
import unicodedata

import pytest

from vox_tensor.visible_text import json_safe, one_line, visible, visible_line

ACTING = ["\x00", "\x07", "\x08", "\r", "\x1b", "\x7f", "\x85", "\x9b", "\x9d", "\u2028", "\u2029"]
ACTING += ["\u202a", "\u202e", "\u2066", "\u2069", "\ud800", "\udcff"]
LEGITIMATE = "données 日本\u3000語 שלום\u200f \u0646\u200c\u062e 👩\u200d💻 a\u00a0b e\u0301 \ue000"


@pytest.mark.parametrize("character", ACTING)
def test_what_acts_on_a_terminal_is_spelled_out(character: str) -> None:
    for show in (visible, visible_line, one_line):
        shown = show(f"a{character}b")
        assert character not in shown
        assert shown.startswith("a\\")
        assert shown.endswith("b")
    document = json_safe(json.dumps(character, ensure_ascii=False))
    assert character not in document
    assert json.loads(document) == character


@pytest.mark.any_install
def test_no_control_character_is_left() -> None:
    everything = "".join(map(chr, range(0x110000)))
    left = {c for c in visible(everything) if unicodedata.category(c) in ("Cc", "Cs", "Zl", "Zp")}
    assert left == {"\n", "\t"}
    assert "\n" not in visible_line(everything)
    assert one_line(everything).isprintable()


def test_text_of_every_script_stays_as_it_is() -> None:
    text = f"{LEGITIMATE}\n\t{LEGITIMATE}"
    assert visible(text) == text
    assert visible_line(text) == text.replace("\n\t", "\\n\\t")
    assert json_safe(json.dumps(text, ensure_ascii=False)) == json.dumps(text, ensure_ascii=False)


def test_a_name_shows_what_cannot_be_seen() -> None:
    assert one_line("a\u00a0b\u200cc\nd") == "a\\xa0b\\u200cc\\nd"
    assert one_line("données/日本.jsonl") == "données/日本.jsonl"


def test_a_sequence_in_two_pieces_is_spelled_out_as_well() -> None:
    text = "a\x1b]0;title\x07\x1b[2Jb"
    for at in range(len(text) + 1):
        assert visible(text[:at]) + visible(text[at:]) == visible(text)
