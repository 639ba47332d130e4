"""What another program must lay out, and stop at, to serve what was trained. No torch here.

The base's tokenizer files are copied; where they say something else than the training, the chat
template, the end token and the ids that end a text become those of the training.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from vox_populi.adapters.header import AdapterHeader
from vox_populi.contract.choices import TokenizerKind
from vox_populi.data.served_template import served_template, with_system_prompt
from vox_populi.data.trained_layout import TokenName
from vox_populi.data.training_text import END_OF_TEXT, ChatTemplate
from vox_populi.errors import DataError
from vox_populi.files.json_numbers import JsonObject
from vox_populi.files.strict_json import parse_json_object
from vox_populi.files.whole_file import pretty_json
from vox_populi.hf.chat_template_files import (
    CONFIG_FILE,
    DEFAULT_NAME,
    PROCESSOR_FILE,
    TEMPLATE_FILE,
    TOKEN_FILES,
    chat_templates,
)
from vox_populi.hf.companion_files import TEMPLATES_FOLDER
from vox_populi.hf.generation_config import GENERATION_CONFIG_NAME
from vox_populi.hf.hf_tokenizer import TOKENIZER_NAME, is_control_by_name
from vox_populi.hf.inventory import ModelInventory
from vox_populi.operator_messages import served_text as say
from vox_tensor.chat_markup import IM_END
from vox_tensor.tokenizer import CONTROL_TOKENS, VoxTokenizer

_EOS = "eos_token"


@dataclass(frozen=True, slots=True, kw_only=True)
class ServedText:
    """The layout of a training, as other programs take it."""

    template: str
    """Jinja text."""
    end: TokenName
    """The token that ends an answer."""
    ends: tuple[int, ...]
    """Every id that ends a text: the trained one first, then the base's."""
    lacks_system_prompt: bool
    """Whether training used a system prompt that is not published."""
    day: str | None = None
    """The date that the template printed in training."""

    @property
    def names_end(self) -> bool:
        """Whether the template writes `eos_token`, which must stay what it was in training."""
        return _EOS in self.template


@dataclass(frozen=True, slots=True, kw_only=True)
class ServedFiles:
    """The small files of an output, and how they differ from the base's."""

    files: Mapping[str, bytes]
    receipt: JsonObject | None = None
    """The receipt's `served_text`; `None` for copies of the base's files."""
    end: str = ""
    """Text of the token that ends an answer, if the files are those of a training."""
    notes: tuple[str, ...] = ()

    @classmethod
    def of_base(cls, files: Mapping[str, bytes], *notes: str) -> ServedFiles:
        """Copies of the base's files."""
        return cls(files=files, notes=notes)


def served_text(header: AdapterHeader, base_ends: Sequence[int], base: Path) -> ServedText | None:
    """The layout that an adapter was trained with; `None` if it does not record it.

    Args:
        header: The adapter's header, as it may be published.
        base_ends: Ids that end a text according to the base.
        base: Its folder; where our vocabulary is the base's own, its layouts are not recorded.
    """
    is_ours = header.tokenizer is TokenizerKind.VOX or (
        header.layout is None and is_our_vocabulary(base / TOKENIZER_NAME)
    )
    if not is_ours and header.layout is None:
        return None
    end = _own_end(header.template) if header.layout is None else header.layout.end
    template, day = _template(header, end.text)
    if template is None:
        return None
    own_ends = (CONTROL_TOKENS.index(END_OF_TEXT),)
    return ServedText(
        template=template,
        end=end,
        ends=tuple(dict.fromkeys((end.id, *(own_ends if is_ours else base_ends)))),
        lacks_system_prompt=header.withholds_system_prompt,
        day=day,
    )


def is_our_vocabulary(path: Path) -> bool:
    """Whether a `tokenizer.json` is that of our own tokenizer."""
    try:
        VoxTokenizer.load(path)
    except DataError:
        return False
    return True


def _own_end(template: ChatTemplate) -> TokenName:
    text = IM_END if template is ChatTemplate.CHATML else END_OF_TEXT
    return TokenName(CONTROL_TOKENS.index(text), text)


def _template(header: AdapterHeader, end: str) -> tuple[str | None, str | None]:
    """The template's text and the date it printed."""
    if not header.template.is_rendered:
        bos = None if header.layout is None else header.layout.bos
        start = "" if bos is None else bos.text
        return served_template(header.template, end, header.system_prompt, start), None
    source = None if header.layout is None else header.layout.template
    if source is None:
        return None, None
    prompt = header.system_prompt
    return with_system_prompt(source.text, prompt) if prompt else source.text, source.day


def base_ends_of(files: Mapping[str, bytes], config_ends: Sequence[int]) -> tuple[int, ...]:
    """The ids that end a text: of `generation_config.json` if it names some, else the config's."""
    data = files.get(GENERATION_CONFIG_NAME)
    raw = {} if data is None else parse_json_object(data, GENERATION_CONFIG_NAME)
    value = raw.get("eos_token_id")
    ids = value if isinstance(value, list) else [value]
    found = tuple(each for each in ids if isinstance(each, int) and not isinstance(each, bool))
    return found or tuple(config_ends)


def served_files(
    files: Mapping[str, bytes], header: AdapterHeader, base: ModelInventory
) -> ServedFiles:
    """The files of a folder that serves what was trained.

    Args:
        files: Copies of the base's files.
        header: The adapter's header, as it may be published.
        base: The inventory of the base.

    Raises:
        ModelError: When the base's template or settings cannot be read.
    """
    ends = base_ends_of(files, base.config.eos_ids)
    served = served_text(header, ends, base.model_dir)
    if served is None:
        return ServedFiles.of_base(files, say.NOTE_LAYOUT_NOT_RECORDED)
    writer = _Writer(dict(files))
    if served.template != _base_template(base.model_dir):
        writer.replace_template(served.template)
    writer.name_ends(served.ends)
    if not served.names_end:
        writer.name_end_token(served.end.text)
    receipt: JsonObject = {
        "end": {"id": served.end.id, "text": served.end.text},
        "eos_token_ids": list(served.ends),
        "changed": dict(sorted(writer.changed.items())),
    }
    changed = (say.note_served_text(writer.changed, served.end.text),) if writer.changed else ()
    notes = (*changed, *serving_notes(served))
    return ServedFiles(files=writer.files, receipt=receipt, end=served.end.text, notes=notes)


def _base_template(folder: Path) -> str | None:
    _, text = chat_templates(folder).get(DEFAULT_NAME, (None, None))
    return text


def serving_notes(served: ServedText) -> Iterator[str]:
    """What a server must be told, as no file can say it."""
    if served.lacks_system_prompt:
        yield say.NOTE_SERVED_WITHOUT_PROMPT
    if served.day is not None:
        yield say.note_served_date(served.day)


class _Writer:
    """Changes files; a file that already says the right thing keeps its bytes."""

    def __init__(self, files: dict[str, bytes]) -> None:
        self.files = files
        self.changed: dict[str, str] = {}

    def replace_template(self, template: str) -> None:
        """Leave exactly one template, in the file where transformers looks first."""
        named = [name for name in self.files if name.startswith(TEMPLATES_FOLDER)]
        others = (PROCESSOR_FILE, *named)
        for name in others:
            if self.files.pop(name, None) is not None:
                self.changed[name] = say.SERVED_LEFT_OUT
        raw = self._object(CONFIG_FILE)
        if raw is not None and "chat_template" in raw:
            del raw["chat_template"]
            self._write(CONFIG_FILE, raw, say.SERVED_TEMPLATE_MOVED)
        self.files[TEMPLATE_FILE] = template.encode()
        self.changed[TEMPLATE_FILE] = say.SERVED_TEMPLATE

    def name_ends(self, ends: Sequence[int]) -> None:
        """Put the trained end first in `generation_config.json`."""
        raw = self._object(GENERATION_CONFIG_NAME) or {}
        before = raw.get("eos_token_id")
        if (before if isinstance(before, list) else [before])[:1] == [ends[0]]:
            return
        raw["eos_token_id"] = list(ends)
        self._write(GENERATION_CONFIG_NAME, raw, say.served_ends(ends, before))

    def name_end_token(self, end: str) -> None:
        """Name the trained end in every file that names an end."""
        if CONFIG_FILE not in self.files:
            self._write(CONFIG_FILE, _PLAIN_CONFIG | {_EOS: end}, say.served_end_token(end, None))
        for name in TOKEN_FILES:
            raw = self._object(name)
            before = None if raw is None else _content(raw.get(_EOS))
            if raw is None or before == end or (before is None and name != CONFIG_FILE):
                continue
            if before is not None and not self._stays_control(before):
                continue
            raw[_EOS] = end
            self._write(name, raw, say.served_end_token(end, before))

    def _stays_control(self, token: str) -> bool:
        """Whether a token is a control token even if no file names it."""
        raw = self._object(TOKENIZER_NAME) or {}
        added = raw.get("added_tokens")
        entries = added if isinstance(added, list) else []
        marked = (each for each in entries if isinstance(each, dict) and each.get("special"))
        return is_control_by_name(token) or any(each.get("content") == token for each in marked)

    def _object(self, name: str) -> dict[str, object] | None:
        data = self.files.get(name)
        return None if data is None else dict(parse_json_object(data, name))

    def _write(self, name: str, raw: Mapping[str, object], what: str) -> None:
        self.files[name] = pretty_json(dict(raw))
        self.changed[name] = f"{self.changed[name]}; {what}" if name in self.changed else what


_PLAIN_CONFIG: dict[str, object] = {
    "clean_up_tokenization_spaces": False,
    "tokenizer_class": "PreTrainedTokenizerFast",
}
"""Settings for a base that has only `tokenizer.json`."""


def _content(value: object) -> str | None:
    found = value.get("content") if isinstance(value, dict) else value
    return found if isinstance(found, str) else None
