"""Our own tokenizer as llama.cpp's vocabulary. No torch here.

llama.cpp has no code for our pattern. `sarvam-moe` is the nearest: it cuts a text at line ends
only, and merges characters. Nothing is lost by that, as no merge makes a token of two kinds of our
pieces, with these exceptions, two of which are taken care of here:

- A line end with its indentation is written as a token that is found before anything is merged.
- Merges of spaces come first, so that a word takes the space before it only if that is left over.
- Numbers of more than three digits are not cut into threes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from vox_populi.export.gguf.sentencepiece import SPACE

PRE_TOKENIZER = "sarvam-moe"


def _byte_of_character() -> dict[str, int]:
    """The byte that each character of a byte-level token stands for (GPT-2's table)."""
    shown = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [value for value in range(256) if value not in shown]
    table = {chr(value): value for value in shown}
    return table | {chr(256 + place): value for place, value in enumerate(others)}


_BYTES = _byte_of_character()


def own_text(token: str) -> tuple[str, bool] | None:
    """A byte-level token as llama.cpp is given it, and whether it is found before merges.

    Returns:
        `None` for bytes that are not text; only single bytes may be such.
    """
    raw = bytes(_BYTES[character] for character in token)
    if not raw.isascii() or raw == b"\0":  # A NUL would end the token's text.
        return None
    text = raw.decode("ascii")
    is_found_first = len(text) > 1 and text[0] in "\r\n"
    return (text if is_found_first else text.replace(" ", SPACE)), is_found_first


def byte_name(token: str) -> str | None:
    """llama.cpp's name of a token of one byte; `None` for a longer one."""
    return f"<0x{_BYTES[token]:02X}>" if len(token) == 1 else None


def own_merges(
    merges: Iterable[tuple[str, str]], texts: Mapping[str, str]
) -> Iterator[tuple[str, str]]:
    """The merges with those of spaces in front, each of two tokens as llama.cpp is given them."""
    pairs = [(texts[left], texts[right]) for left, right in merges]
    yield from (pair for pair in pairs if not "".join(pair).strip(SPACE))
    yield from (pair for pair in pairs if "".join(pair).strip(SPACE))
