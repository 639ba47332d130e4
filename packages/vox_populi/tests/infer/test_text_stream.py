"""Text as it comes: whole characters, and nothing after a stop string."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from vox_populi.infer.text_stream import StopFinder, TextStream
from vox_tensor.tokenizer import VoxTokenizer

TOKENIZER = VoxTokenizer([])


@given(st.text())
def test_pieces_are_the_text_and_each_is_whole(text: str) -> None:
    stream = TextStream(TOKENIZER.decode)
    pieces = [stream.take(token) for token in TOKENIZER.encode(text)]
    assert "".join(pieces) == text == stream.text
    assert stream.finish() == ""


@given(st.lists(st.integers(0, 260)))
def test_ids_that_make_no_text_come_out_as_they_decode(ids: list[int]) -> None:
    stream = TextStream(TOKENIZER.decode)
    pieces = [stream.take(token) for token in ids]
    assert "".join([*pieces, stream.finish()]) == TOKENIZER.decode(ids)


def test_the_space_of_a_first_token_is_dropped_once() -> None:
    words = {0: "▁Hello", 1: "▁world", 2: ""}

    def decode(ids: object) -> str:
        assert isinstance(ids, list)
        return "".join(words[each] for each in ids).replace("▁", " ").removeprefix(" ")

    stream = TextStream(decode)
    assert [stream.take(each) for each in (0, 1, 2, 1)] == ["Hello", " world", "", " world"]


@given(st.lists(st.text("ab\n", max_size=3)), st.lists(st.text("ab\n", min_size=1, max_size=3)))
def test_a_stop_string_ends_the_text_wherever_the_pieces_are_cut(
    pieces: list[str], stops: list[str]
) -> None:
    finder = StopFinder(stops)
    shown = "".join([*(finder.take(piece) for piece in pieces), finder.finish()])
    text = "".join(pieces)
    places = [text.find(stop) for stop in stops if stop in text]
    if finder.found is None:
        assert shown == text
        assert not places
    else:
        # The first that is complete ends the text, so a longer one may begin before it.
        assert shown + finder.found == text[: len(shown) + len(finder.found)]
        assert not any(stop in shown for stop in stops)


def test_only_what_could_start_a_stop_string_is_held_back() -> None:
    finder = StopFinder(["\n\nUser"])
    assert [finder.take(each) for each in ("a\n", "\nUs", "a", "b\n\nUser: c", "d")] == [
        *("a", "", "\n\nUsa", "b", ""),
    ]
    assert finder.finish() == ""
