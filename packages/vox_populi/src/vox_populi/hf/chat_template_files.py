"""The chat template of a model folder and its named tokens, found where transformers finds them.

A folder may keep its templates in `chat_template.jinja` and `additional_chat_templates/`, in
`tokenizer_config.json` (one text, a list of named ones or an object of them), or in
`chat_template.json`, which older processors write. Files of their own win over the config.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from vox_populi.errors import ModelError
from vox_populi.files.model_file import read_model_file
from vox_populi.files.strict_json import read_json_object
from vox_populi.operator_messages import chat_template as say

DEFAULT_NAME = "default"
TOOLS_NAME = "tool_use"
"""Name of the template that transformers takes instead of the default one if there are tools."""
MAX_TEMPLATE_BYTES = 2**20
TEMPLATE_FILE = "chat_template.jinja"
_NAMED_FOLDER = "additional_chat_templates"
CONFIG_FILE = "tokenizer_config.json"
PROCESSOR_FILE = "chat_template.json"
TOKEN_FILES = (CONFIG_FILE, "special_tokens_map.json")
_TOKEN_NAMES = tuple(f"{name}_token" for name in ("bos", "eos", "unk", "sep", "pad", "cls", "mask"))


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundTemplate:
    """A template's text, as it is in the folder."""

    text: str
    where: str
    """The file that has it."""
    names: tuple[str, ...]
    """Names of all templates of the folder."""
    tools_text: str | None = None
    """The template for conversations with tools, if the folder has one of its own for them."""
    tokens: Mapping[str, str]
    """Text of `bos_token`, `eos_token` and the others that the folder names."""


def find_chat_template(folder: Path, name: str = DEFAULT_NAME) -> FoundTemplate | None:
    """The template with a name, or `None` if the folder has no template.

    Raises:
        ModelError: When a file cannot be read, or the folder has only templates of other names.
    """
    templates = chat_templates(folder)
    if not templates:
        return None
    if name not in templates:
        raise ModelError(say.template_name_unknown(name, sorted(templates)).at(str(folder)))
    where, text = templates[name]
    _, tools_text = templates.get(TOOLS_NAME, (where, None)) if name == DEFAULT_NAME else ("", None)
    return FoundTemplate(
        text=text,
        where=where,
        names=tuple(templates),
        tools_text=tools_text,
        tokens=named_tokens(folder),
    )


def chat_templates(folder: Path) -> dict[str, tuple[str, str]]:
    """Every template of a folder by its name, with the file that has it.

    Raises:
        ModelError: When a file cannot be read.
    """
    for find in (_own_files, _in_config, _in_processor_file):
        templates = dict(find(folder))
        if templates:
            return templates
    return {}


def read_template_file(path: Path) -> str:
    """The text of a Jinja file.

    Raises:
        ModelError: When it cannot be read, is larger than 1 MiB or is not UTF-8.
    """
    try:
        return read_model_file(path, MAX_TEMPLATE_BYTES).decode("utf-8")
    except UnicodeDecodeError:
        raise ModelError(say.template_unusable("it is not UTF-8").at(str(path))) from None


def named_tokens(folder: Path) -> dict[str, str]:
    """The text of each token that the folder names; the first file that names one wins.

    Raises:
        ModelError: When a file cannot be read.
    """
    tokens: dict[str, str] = {}
    for path in (folder / name for name in TOKEN_FILES):
        raw = read_json_object(path) if path.is_file() else {}
        for name in _TOKEN_NAMES:
            value = raw.get(name)
            content = value.get("content") if isinstance(value, dict) else value
            if isinstance(content, str):
                tokens.setdefault(name, content)
    return tokens


_Named = Iterator[tuple[str, tuple[str, str]]]
"""Names of templates, each with its file and its text."""


def _own_files(folder: Path) -> _Named:
    main = folder / TEMPLATE_FILE
    if main.is_file():
        yield DEFAULT_NAME, (str(main), read_template_file(main))
    for path in sorted((folder / _NAMED_FOLDER).glob("*.jinja")):
        yield path.stem, (str(path), read_template_file(path))


def _in_config(folder: Path) -> _Named:
    return _in_json(folder / CONFIG_FILE)


def _in_processor_file(folder: Path) -> _Named:
    return _in_json(folder / PROCESSOR_FILE)


def _in_json(path: Path) -> _Named:
    value = read_json_object(path).get("chat_template") if path.is_file() else None
    if isinstance(value, list):
        value = {_field(each, "name"): _field(each, "template") for each in value}
    elif isinstance(value, str):
        value = {DEFAULT_NAME: value}
    if value is None:
        return
    if not isinstance(value, dict):
        raise ModelError(say.template_unusable("chat_template has another type").at(str(path)))
    for name, text in value.items():
        if not isinstance(name, str) or not isinstance(text, str):
            reason = "chat_template has an entry without a name or a text"
            raise ModelError(say.template_unusable(reason).at(str(path)))
        yield name, (str(path), text)


def _field(entry: object, key: str) -> object:
    return entry.get(key) if isinstance(entry, dict) else None
