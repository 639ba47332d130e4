"""`VoxTokenizer`, a lossless byte-level BPE, and the protocol of any tokenizer. No torch.

Control tokens exist only as ids: `encode` turns text that looks like one into ordinary bytes,
so no row can open or close a turn.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Protocol

from vox_tensor import data_messages as say
from vox_tensor.atomic_file import replaced_file
from vox_tensor.bpe import N_BYTES, learn_merges, merge_symbols, pair_key
from vox_tensor.errors import DataError
from vox_tensor.regular_file import FileTooLargeError, open_regular_file, read_whole
from vox_tensor.strict_json import parse_json

CONTROL_TOKENS = ("<|pad|>", "<|unk|>", "<|endoftext|>", "<|im_start|>", "<|im_end|>")
"""Ids 0 to 4. PAD, UNK and EOS have the source system's ids."""

PIECE_PATTERN = r" ?[A-Za-z_]+| ?[0-9]{1,3}| ?[^A-Za-z0-9_ \t\r\n]+|[\r\n]+[ \t]*|[ \t]+"
"""Splits text into pieces that merges never cross: words, up to three digits, runs of anything
else, and a line end with the indentation after it. Every character is in one piece. Only ASCII
classes, because Python's `re` and Oniguruma (used by `tokenizers`) disagree on others.
"""

_FIRST_BYTE_ID = len(CONTROL_TOKENS)
_FIRST_MERGE_ID = _FIRST_BYTE_ID + N_BYTES
_MAX_FILE_BYTES = 64 * 2**20
# Pieces of a corpus repeat: the cache turns most of them into one look-up. Long ones rarely do.
_CACHE_PIECES = 2**17
_CACHE_PIECE_CHARS = 64


class TextTokenizer(Protocol):
    """What encoding rows and generating text need from a tokenizer."""

    @property
    def vocab_size(self) -> int:
        """Largest id plus one: the rows an embedding must have."""

    @property
    def eos_id(self) -> int | None:
        """The id that ends a text, if there is one."""

    @property
    def digest(self) -> str:
        """`sha256:` and the hash of everything that decides which ids come out."""

    def encode(self, text: str) -> list[int]:
        """Ids of a text, never a control token, whatever the text is.

        Raises:
            ValueError: For a lone surrogate, which is not text.
        """

    def decode(self, ids: Sequence[int]) -> str:
        """The text of ids; control tokens and ids without a token are left out."""

    def control_id(self, token: str) -> int | None:
        """The id of a control token such as `<|im_end|>`, or `None`."""


class VoxTokenizer:
    """Byte-level BPE whose `decode(encode(text)) == text` for every string.

    Ids: 0 to 4 `CONTROL_TOKENS`, 5 to 260 the bytes in byte order, then one per merge.

    Args:
        merges: Pairs of byte strings, in rank order; each part is a byte or an earlier result.

    Raises:
        ValueError: For a merge of an unknown part, or one that makes an existing token.
    """

    __slots__ = ("_cache", "_digest", "_find_pieces", "_merges", "_table", "_token_bytes")

    def __init__(self, merges: Sequence[tuple[bytes, bytes]] = ()) -> None:
        self._merges = tuple(merges)
        self._token_bytes = [b""] * _FIRST_BYTE_ID + [bytes([value]) for value in range(N_BYTES)]
        self._table = _merge_table(self._merges, self._token_bytes)
        self._find_pieces = re.compile(PIECE_PATTERN).findall
        self._cache: dict[str, tuple[int, ...]] = {}
        self._digest: str | None = None

    def __repr__(self) -> str:
        return f"VoxTokenizer({len(self._merges)} merges, {self.vocab_size} ids)"

    @property
    def merges(self) -> tuple[tuple[bytes, bytes], ...]:
        """The merges in rank order."""
        return self._merges

    @property
    def vocab_size(self) -> int:
        """Largest id plus one."""
        return len(self._token_bytes)

    @property
    def eos_id(self) -> int:
        """The id of `<|endoftext|>`."""
        return CONTROL_TOKENS.index("<|endoftext|>")

    @property
    def digest(self) -> str:
        """`sha256:` and the hash of `to_json()`, hence of the file that `save` writes."""
        if self._digest is None:
            self._digest = "sha256:" + hashlib.sha256(self.to_json().encode()).hexdigest()
        return self._digest

    def control_id(self, token: str) -> int | None:
        """The id of a control token, or `None` for any other string."""
        return CONTROL_TOKENS.index(token) if token in CONTROL_TOKENS else None

    def encode(self, text: str) -> list[int]:
        """Ids of a text; never a control token.

        Raises:
            ValueError: For a lone surrogate, which UTF-8 cannot hold.
        """
        ids: list[int] = []
        extend, cached = ids.extend, self._cache.get
        for piece in self._find_pieces(text):
            extend(cached(piece) or self._encode_piece(piece))
        return ids

    def decode(self, ids: Sequence[int]) -> str:
        """The text of ids. Bytes that are not UTF-8 become U+FFFD; control tokens are left out."""
        known = range(_FIRST_BYTE_ID, len(self._token_bytes))
        table = self._token_bytes
        return b"".join([table[i] for i in ids if i in known]).decode("utf-8", errors="replace")

    def token_bytes(self, token_id: int) -> bytes:
        """The bytes of a token; empty for a control token."""
        return self._token_bytes[token_id]

    def _encode_piece(self, piece: str) -> tuple[int, ...]:
        try:
            symbols = [value + _FIRST_BYTE_ID for value in piece.encode("utf-8")]
        except UnicodeEncodeError:
            message = "text with a lone surrogate cannot be tokenised"
            raise ValueError(message) from None
        ids = tuple(merge_symbols(symbols, self._table))
        if len(piece) <= _CACHE_PIECE_CHARS:
            if len(self._cache) >= _CACHE_PIECES:
                self._cache.clear()
            self._cache[piece] = ids
        return ids

    @classmethod
    def train(cls, texts: Iterable[str], vocab_size: int) -> VoxTokenizer:
        """Learn merges from texts; the same texts give the same tokenizer.

        Args:
            texts: The corpus; read once, only the counts of its pieces are kept.
            vocab_size: Total number of ids wanted. A corpus without enough repeated pairs gives
                fewer.

        Raises:
            ValueError: For a `vocab_size` below the 261 ids of control tokens and bytes, or a
                text with a lone surrogate.
        """
        if vocab_size < _FIRST_MERGE_ID:
            message = f"vocab_size must be at least {_FIRST_MERGE_ID}, got {vocab_size}"
            raise ValueError(message)
        counts: Counter[str] = Counter()
        find_pieces = re.compile(PIECE_PATTERN).findall
        for text in texts:
            counts.update(find_pieces(text))
        pieces = {piece.encode("utf-8"): count for piece, count in counts.items()}
        return cls(learn_merges(pieces, vocab_size - _FIRST_MERGE_ID))

    def to_json(self) -> str:
        """A `tokenizer.json` that `tokenizers.Tokenizer.from_str` reads.

        It gives the same ids once the reader sets `encode_special_tokens = True`; that switch is
        not part of the format, and without it text such as `<|im_end|>` becomes a control id.
        """
        return json.dumps(self._as_dict(), ensure_ascii=False, indent=1) + "\n"

    @classmethod
    def from_json(cls, text: str, where: str = "tokenizer.json") -> VoxTokenizer:
        """Read what `to_json` wrote, or what `tokenizers` saved after loading it.

        Args:
            text: Content of a `tokenizer.json`.
            where: The file's name, for messages.

        Raises:
            DataError: When it is anything else; the error names the first field that differs.
        """
        content = parse_json(text, where)
        merges = _merges_of(content)
        if not isinstance(content, dict) or merges is None:
            raise DataError(say.not_a_vox_tokenizer("it has no BPE merges of bytes").at(where))
        try:
            tokenizer = cls(merges)
        except ValueError as error:
            raise DataError(say.not_a_vox_tokenizer(str(error)).at(where)) from None
        # Both spellings of merges were read; only what they say is compared.
        model = content["model"] | {"merges": list(map(_spelled, merges))}
        difference = _first_difference(tokenizer._as_dict(), content | {"model": model})
        if difference is not None:
            raise DataError(say.not_a_vox_tokenizer(f"its {difference} differs").at(where))
        return tokenizer

    def save(self, path: Path) -> None:
        """Write `to_json()` atomically.

        Raises:
            OSError: When the file cannot be written; the old content stays.
        """
        with replaced_file(path) as handle:
            handle.write(self.to_json().encode("utf-8"))

    @classmethod
    def load(cls, path: Path) -> VoxTokenizer:
        """Read a file that `save` wrote.

        Raises:
            DataError: When the file is missing, not a regular file, too large or in another format.
        """
        where = str(path)
        with open_regular_file(path) as handle:
            try:
                text = read_whole(handle, _MAX_FILE_BYTES).decode("utf-8")
            except FileTooLargeError:
                raise DataError(
                    say.not_a_vox_tokenizer("it is too large for one").at(where)
                ) from None
            except UnicodeDecodeError:
                raise DataError(say.not_a_vox_tokenizer("it is not UTF-8").at(where)) from None
        return cls.from_json(text, where)

    def _as_dict(self) -> dict[str, object]:
        names = [*CONTROL_TOKENS, *map(_as_letters, self._token_bytes[_FIRST_BYTE_ID:])]
        return {
            "version": "1.0",
            "truncation": None,
            "padding": None,
            "added_tokens": [_added_token(i, name) for i, name in enumerate(CONTROL_TOKENS)],
            "normalizer": None,
            "pre_tokenizer": {
                "type": "Sequence",
                "pretokenizers": [
                    {
                        "type": "Split",
                        "pattern": {"Regex": PIECE_PATTERN},
                        "behavior": "Isolated",
                        "invert": False,
                    },
                    _byte_level(use_regex=False),
                ],
            },
            "post_processor": None,
            "decoder": _byte_level(use_regex=True),
            "model": {
                "type": "BPE",
                "dropout": None,
                "unk_token": None,
                "continuing_subword_prefix": None,
                "end_of_word_suffix": None,
                "fuse_unk": False,
                "byte_fallback": False,
                "ignore_merges": False,
                "vocab": {name: i for i, name in enumerate(names)},
                "merges": list(map(_spelled, self._merges)),
            },
        }


def _merge_table(merges: Sequence[tuple[bytes, bytes]], token_bytes: list[bytes]) -> dict[int, int]:
    """The resulting id of each pair of ids; new tokens are appended to `token_bytes`."""
    id_of = {token: i for i, token in enumerate(token_bytes) if token}
    table: dict[int, int] = {}
    for rank, (left, right) in enumerate(merges):
        if left not in id_of or right not in id_of:
            message = f"merge {rank} joins a part that no earlier merge makes"
            raise ValueError(message)
        if left + right in id_of:
            message = f"merge {rank} makes a token that there is already"
            raise ValueError(message)
        table[pair_key(id_of[left], id_of[right])] = id_of[left + right] = len(token_bytes)
        token_bytes.append(left + right)
    return table


def _byte_letters() -> str:
    """The printable character for each byte in GPT-2's vocabulary files, in byte order."""
    own = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    spare = iter(range(0x100, 0x200))
    return "".join(chr(byte if byte in own else next(spare)) for byte in range(N_BYTES))


_LETTERS = _byte_letters()
_BYTE_OF_LETTER = {letter: byte for byte, letter in enumerate(_LETTERS)}


def _as_letters(token: bytes) -> str:
    return "".join(_LETTERS[byte] for byte in token)


def _as_bytes(letters: str) -> bytes:
    return bytes(_BYTE_OF_LETTER[letter] for letter in letters)


def _spelled(merge: tuple[bytes, bytes]) -> str:
    """A merge in the form that every version of `tokenizers` reads; older ones reject lists."""
    return " ".join(map(_as_letters, merge))


def _merges_of(content: object) -> list[tuple[bytes, bytes]] | None:
    """The merges of a `tokenizer.json`, spelled `"a b"` or `["a", "b"]`; `None` if malformed."""
    model = content.get("model") if isinstance(content, dict) else None
    listed = model.get("merges") if isinstance(model, dict) else None
    if not isinstance(listed, list):
        return None
    try:
        parts = [merge.split(" ") if isinstance(merge, str) else merge for merge in listed]
        return [(_as_bytes(left), _as_bytes(right)) for left, right in parts]
    except (KeyError, TypeError, ValueError):
        return None


def _added_token(token_id: int, content: str) -> dict[str, object]:
    return {
        "id": token_id,
        "content": content,
        "single_word": False,
        "lstrip": False,
        "rstrip": False,
        "normalized": False,
        "special": True,
    }


def _byte_level(*, use_regex: bool) -> dict[str, object]:
    return {
        "type": "ByteLevel",
        "add_prefix_space": False,
        "trim_offsets": True,
        "use_regex": use_regex,
    }


def _first_difference(ours: dict[str, object], theirs: dict[str, object]) -> str | None:
    """The first field in which a file is not what this tokenizer would write."""
    for name in (*ours, *theirs):
        mine, other = ours.get(name), theirs.get(name)
        if mine == other:
            continue
        if isinstance(mine, dict) and isinstance(other, dict):
            return f"{name}.{_first_difference(mine, other)}"
        return name
    return None
