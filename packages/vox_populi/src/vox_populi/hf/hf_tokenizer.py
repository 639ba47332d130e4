"""A model folder's own `tokenizer.json`, through the `tokenizers` library, made safe for rows.

Text never becomes a control token, nothing is added, cut or padded, and a panic inside the
library becomes one of our errors. Code and templates in a folder are never run.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from vox_populi import extras
from vox_populi.errors import ModelError
from vox_populi.files.strict_json import read_json_object
from vox_populi.hf.older_tokenizers import older_tokenizer_files
from vox_populi.hf.rendered_text import RenderedTextEncoder
from vox_populi.hf.tokenizer_risk import MAX_GROWTH, growth_of, needs_trial
from vox_populi.hf.tokenizer_trial import require_trial
from vox_populi.hf.word_table import LazyTable
from vox_populi.operator_messages import model_folder as say
from vox_populi.operator_messages import tokenizer as say_tokenizer
from vox_populi.operator_messages.wording import clipped
from vox_tensor.token_places import Span

TOKENIZER_NAME = "tokenizer.json"
_SETTINGS_NAMES = ("tokenizer_config.json", "special_tokens_map.json")
_MAX_TOKENIZER_BYTES = 256 * 1024 * 1024
_MAX_SECONDS, _LEAST_SPEED = 20.0, 10_000.0
"""Time limit for one text, and minimum characters per second; a million per second is usual."""

# Some published files do not mark all of these as special, and some chat tokens would then be
# made by whoever types them. Words such as <think> or <tool_call> are content and stay as is.
_CONTROL_TOKEN = re.compile(r"<\|[^|<>\s]+\|>|</?s>")
_NAMED_TOKENS = ("bos_token", "eos_token", "pad_token", "unk_token")
# Long runs on which a pattern with nested repetitions gives up; ordinary ones take microseconds.
_PROBES = tuple(character * 200 + end for character in "aA1 \n.é_" for end in ("", "!"))
_ORDINARY_PROBE = "def f(x):\n    return x + 1  # naïve café, 東京 👋🏽\r\n"

_T = TypeVar("_T")


class HfTokenizer:
    """A `vox_tensor.tokenizer.TextTokenizer` over a loaded `tokenizers.Tokenizer`."""

    __slots__ = (
        *(
            "_control_ids",
            "_controls",
            "_digest",
            "_eos_id",
            "_rendered",
            "_table",
            "_tokenizer",
            "_vocab_size",
            "_where",
        ),
    )

    def __init__(self, tokenizer: Any, *, eos_id: int | None, digest: str, where: str) -> None:
        self._tokenizer = tokenizer
        self._eos_id = eos_id
        self._digest = digest
        self._where = where
        self._rendered: RenderedTextEncoder | None = None
        self._table = LazyTable(tokenizer)
        # The count of tokens is no bound of the ids: vocabularies have gaps.
        self._vocab_size: int = max(tokenizer.get_vocab(with_added_tokens=True).values()) + 1
        self._controls: Mapping[str, int] = {
            token.content: token_id
            for token_id, token in tokenizer.get_added_tokens_decoder().items()
            if token.special
        }
        end = None if eos_id is None else tokenizer.id_to_token(eos_id)
        if eos_id is not None and end is not None:
            # Some files keep it among the words; a server marks it as special by its name.
            self._controls = {**self._controls, end: eos_id}
        self._control_ids = frozenset(self._controls.values())

    def __repr__(self) -> str:
        return f"HfTokenizer({self._where}, {self._vocab_size} ids)"

    @property
    def vocab_size(self) -> int:
        """Largest id plus one: the rows an embedding must have."""
        return self._vocab_size

    @property
    def eos_id(self) -> int | None:
        """The id that ends a text, if the folder has one."""
        return self._eos_id

    @property
    def digest(self) -> str:
        """`sha256:` and the hash of everything that decides which ids come out."""
        return self._digest

    def portable(self) -> dict[str, object]:
        """What `of_portable` builds the same tokenizer from, in another process."""
        return {
            "kind": "hf",
            "definition": self._tokenizer.to_str(),
            "eos_id": self._eos_id,
            "digest": self._digest,
            "where": self._where,
        }

    @classmethod
    def of_portable(cls, raw: Mapping[str, Any]) -> HfTokenizer:
        """The tokenizer that `portable` described.

        Raises:
            MissingExtraError: Without the `tokenizers` library.
        """
        tokenizer = extras.load("tokenizers").Tokenizer.from_str(raw["definition"])
        tokenizer.encode_special_tokens = True
        return cls(tokenizer, **{name: raw[name] for name in ("eos_id", "digest", "where")})

    def control_id(self, token: str) -> int | None:
        """The id of a control token such as `<|im_end|>`, or `None`."""
        return self._controls.get(token)

    def token_text(self, token_id: int) -> str:
        """The text of one token as its vocabulary has it; empty for an id without a token."""
        return str(self._tokenizer.id_to_token(token_id) or "")

    @property
    def control_tokens(self) -> Collection[str]:
        """Text of every control token."""
        return self._controls.keys()

    @property
    def control_ids(self) -> Collection[int]:
        """Id of every control token."""
        return self._control_ids

    @property
    def bos_id(self) -> int | None:
        """The control token that the folder's own settings put in front of every text, if any."""
        with_added: list[int] = self._guarded(
            lambda: self._tokenizer.encode("a", add_special_tokens=True).ids
        )
        plain = self.encode("a")
        is_added = len(with_added) > len(plain) and with_added[0] in self._control_ids
        return with_added[0] if is_added and with_added[0] != plain[0] else None

    def encode_rendered(
        self, text: str, typed: Sequence[Span] = ()
    ) -> tuple[list[int], Sequence[Span]]:
        """Ids of a rendered conversation, and the characters that each id stands for.

        Args:
            text: Text with the template's control tokens.
            typed: Characters that came with a row; none of them makes a control token.

        Raises:
            ValueError: For a lone surrogate, which is not text.
            ModelError: When the tokenizer fails on this text.
        """
        if not text.isascii():
            text.encode()
        encoder = self._rendered
        if encoder is None:
            encoder = self._rendered = RenderedTextEncoder(self._tokenizer, self._controls)
        started = time.monotonic()
        ids, offsets = self._guarded(lambda: encoder.encode(text, typed))
        self._check_cost(len(text), len(ids), time.monotonic() - started)
        return ids, offsets

    def encode(self, text: str) -> list[int]:
        """Ids of a text, never a control token, with nothing added before or after.

        Raises:
            ValueError: For a lone surrogate, which is not text.
            ModelError: When the tokenizer fails on this text.
        """
        if not text.isascii():
            text.encode()  # UnicodeEncodeError is a ValueError
        started = time.monotonic()
        ids = self._guarded(lambda: self._ids(text))
        self._check_cost(len(text), len(ids), time.monotonic() - started)
        return ids

    def _ids(self, text: str) -> list[int]:
        table = self._table.after(len(text))
        ids = None if table is None else table.encode(text)
        if ids is None:
            ids = list(self._tokenizer.encode(text, add_special_tokens=False).ids)
        return ids

    def _check_cost(self, n_characters: int, n_ids: int, seconds: float) -> None:
        """Refuse a tokenizer that passed its trial but is too slow on a real text."""
        if n_ids > MAX_GROWTH * (n_characters + 1):
            reason = f"it makes {n_ids:,} tokens of {n_characters:,} characters"
            raise ModelError(say.hf_tokenizer_unbounded(reason).at(self._where))
        if seconds > _MAX_SECONDS + n_characters / _LEAST_SPEED:
            raise ModelError(say.hf_tokenizer_too_slow(n_characters, seconds).at(self._where))

    def decode(self, ids: Sequence[int]) -> str:
        """The text of ids; control tokens and ids without a token are left out.

        Raises:
            ModelError: When the tokenizer fails on these ids.
        """
        known = [token_id for token_id in ids if 0 <= token_id < self._vocab_size]
        text: str = self._guarded(lambda: self._tokenizer.decode(known, skip_special_tokens=True))
        return text

    def _guarded(self, call: Callable[[], _T]) -> _T:
        try:
            return call()
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException:  # noqa: BLE001 - a panic in Rust arrives as a BaseException
            raise ModelError(say.HF_TOKENIZER_FAILED.at(self._where)) from None


def load_hf_tokenizer(path: Path, eos_ids: Sequence[int] = ()) -> HfTokenizer:
    """Load `tokenizer.json` and try it on texts that make unsound patterns fail.

    Args:
        path: A model folder, or the file itself.
        eos_ids: Ids that end a text according to the model's config; used if the tokenizer's own
            settings have no valid end token.

    Raises:
        ModelError: When the file is missing, is not a tokenizer, or fails.
        MissingExtraError: Without the `tokenizers` library.
    """
    file = path / TOKENIZER_NAME if path.is_dir() else path
    extras.require("tokenizers")
    require_tokenizer_file(file)
    definition = read_json_object(file, _MAX_TOKENIZER_BYTES)
    return hf_tokenizer_of(definition, _read_settings(file.parent), str(file), eos_ids)


def require_tokenizer_file(file: Path) -> None:
    """Refuse a missing `tokenizer.json`, with the command that makes one of what is there instead.

    Raises:
        ModelError: When the file is missing.
    """
    if os.path.lexists(file):
        return
    beside = older_tokenizer_files(file.parent)
    if beside:
        where = str(file.parent)
        raise ModelError(say_tokenizer.tokenizer_json_missing(where, " and ".join(beside)))
    raise ModelError(say.MODEL_FILE_MISSING.at(str(file)))


def hf_tokenizer_of(
    definition: dict[str, object],
    settings: Mapping[str, str],
    where: str,
    eos_ids: Sequence[int] = (),
) -> HfTokenizer:
    """Build and try the tokenizer of a definition, which is changed.

    Args:
        definition: The content of a `tokenizer.json`.
        settings: Named tokens.
        where: Its file, for messages.
        eos_ids: As in `load_hf_tokenizer`.

    Raises:
        ModelError: When it is not a tokenizer, or fails.
    """
    _close_control_tokens(definition, settings)
    # Both would change the ids of a row behind the trainer's back.
    definition["truncation"] = definition["padding"] = None
    text = json.dumps(definition, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
    _require_bounds(definition, text, where)
    tokenizer = _build(text, where)
    own_eos = settings.get("eos_token")
    own_eos_id = tokenizer.token_to_id(own_eos) if own_eos is not None else None
    named = eos_ids[0] if eos_ids else None
    return HfTokenizer(
        tokenizer,
        eos_id=own_eos_id if own_eos_id is not None else named,
        digest=f"sha256:{hashlib.sha256(text.encode()).hexdigest()}",
        where=where,
    )


def _require_bounds(definition: Mapping[str, object], text: str, where: str) -> None:
    growth = growth_of(definition)
    if growth > MAX_GROWTH:
        reason = f"its replacements make {growth:.3g} characters of one"
        raise ModelError(say.hf_tokenizer_unbounded(reason).at(where))
    if needs_trial(definition):
        require_trial(text, where)


def _read_settings(folder: Path) -> dict[str, str]:
    """Named tokens, from the other tokenizer files; the first file that has one wins."""
    settings: dict[str, str] = {}
    for name in _SETTINGS_NAMES:
        path = folder / name
        raw = read_json_object(path) if path.exists() or path.is_symlink() else {}
        for key in _NAMED_TOKENS:
            value = raw.get(key)
            content = value.get("content") if isinstance(value, dict) else value
            if isinstance(content, str):
                settings.setdefault(key, content)
    return settings


def is_control_by_name(token: str) -> bool:
    """Whether a token is a control token even where its file does not mark it as one."""
    return _CONTROL_TOKEN.fullmatch(token) is not None


def _close_control_tokens(definition: dict[str, object], settings: Mapping[str, str]) -> None:
    """Mark every control token as special, so that text cannot spell it."""
    added = definition.get("added_tokens")
    for entry in added if isinstance(added, list) else ():
        content = entry.get("content") if isinstance(entry, dict) else None
        if isinstance(content, str) and (
            is_control_by_name(content) or content in settings.values()
        ):
            entry["special"] = True


def _build(definition: str, where: str) -> Any:
    """Build the library's object and probe it; its panic messages do not reach the terminal."""
    library = extras.load("tokenizers")
    try:
        with _silenced_standard_error():
            tokenizer = library.Tokenizer.from_str(definition)
            tokenizer.encode_special_tokens = True
            for probe in (*_PROBES, _ORDINARY_PROBE):
                tokenizer.decode(tokenizer.encode(probe, add_special_tokens=False).ids)
            n_tokens = len(tokenizer.get_vocab(with_added_tokens=True))
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:  # noqa: BLE001 - a panic in Rust arrives as a BaseException
        reason = clipped(str(error) or type(error).__name__)
        raise ModelError(say.hf_tokenizer_unusable(reason).at(where)) from None
    if n_tokens == 0:
        raise ModelError(say.hf_tokenizer_unusable("it has no token").at(where))
    return tokenizer


@contextmanager
def _silenced_standard_error() -> Iterator[None]:
    """Discard output to file descriptor 2, where a panic hook in Rust writes before Python."""
    try:
        saved = os.dup(2)
    except OSError:
        # No standard error to protect.
        yield
        return
    try:
        with open(os.devnull, "wb") as nowhere:  # noqa: PTH123 - a device, by its name
            os.dup2(nowhere.fileno(), 2)
        yield
    finally:
        os.dup2(saved, 2)
        os.close(saved)
