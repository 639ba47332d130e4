"""The text layout that a request means, for a base and its tokenizer."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from vox_populi import extras
from vox_populi.data.chat_template import DEFAULT_DAY, ModelTemplate, joined_templates
from vox_populi.data.control_text import ControlText
from vox_populi.data.served_template import with_system_prompt
from vox_populi.data.supervision import borders_of
from vox_populi.data.template_rows import RenderTokenizer
from vox_populi.data.trained_layout import TemplateSource
from vox_populi.data.training_text import ChatTemplate, TemplatePlace, TextPolicy
from vox_populi.errors import DataError, ModelError
from vox_populi.hf.chat_template_files import (
    FoundTemplate,
    find_chat_template,
    named_tokens,
    read_template_file,
)
from vox_populi.hf.embedded import EMBEDDED_NAME
from vox_populi.hf.hf_tokenizer import TOKENIZER_NAME
from vox_populi.operator_messages import chat_template as say
from vox_populi.operator_messages import plan as say_plan
from vox_tensor.chat_markup import IM_END, IM_START
from vox_tensor.tokenizer import CONTROL_TOKENS, TextTokenizer, VoxTokenizer


def choose_template(
    policy: TextPolicy, folder: Path | None, tokenizer: TextTokenizer, *, needs_end: bool = True
) -> tuple[TextPolicy, tuple[str, ...]]:
    """Complete a text policy from the base, and notes about it.

    Args:
        policy: What was requested.
        folder: Base model folder; `None` for the embedded base.
        tokenizer: Turns the text into ids.
        needs_end: Whether answers are learned or made, so that something must end them.

    Raises:
        ModelError: When the folder has no chat template, the tokenizer is not its own, or nothing
            could end an answer.
        MissingExtraError: Without Jinja2 or the module `tokenizers`.
    """
    if isinstance(policy.template, TemplatePlace):
        return _with_own(policy, _placed(policy.template, folder, tokenizer))
    if policy.template in (ChatTemplate.MODEL, ChatTemplate.AUTO):
        is_asked = policy.template is ChatTemplate.MODEL
        found = _own_template(folder, tokenizer, is_asked=is_asked)
        if found is not None:
            return _with_own(policy, found)
    chosen, note = policy.template, None
    if chosen is ChatTemplate.AUTO:
        chosen, note = _without_own(folder, tokenizer)
    notes = tuple(_without_date(policy, note))
    is_kept = policy.on_control_text is ControlText.KEEP
    if is_our_vocabulary(folder, tokenizer):
        if is_kept:
            raise ModelError(say.CONTROL_TEXT_NEEDS_OWN_TOKENIZER.at(_name_of(folder)))
        return replace(policy, template=chosen), notes
    layout = borders_of(tokenizer, chosen)
    if layout is None and needs_end:
        raise ModelError(say.BASE_HAS_NO_END.at(str(folder)))
    if layout is not None and is_kept:
        layout = replace(layout, keeps_control_text=True)
    return replace(policy, template=chosen, layout=layout), notes


def _name_of(folder: Path | None) -> str:
    return EMBEDDED_NAME if folder is None else str(folder)


def changed_template(
    folder: Path | None, trained: TemplateSource, system_prompt: str | None = None
) -> str | None:
    """The file with a folder's chat template, if that is not the one of the training any more.

    Args:
        folder: The base, or a merged folder, whose template may have the system prompt in it.
        trained: The template of the training. Tokens that it does not write do not count.
        system_prompt: The training's system prompt, if known.

    Raises:
        ModelError: When it cannot be read.
    """
    found = None if folder is None else find_chat_template(folder)
    if found is None:
        return None
    texts = [trained.text]
    if system_prompt:
        texts.append(with_system_prompt(trained.text, system_prompt))
    written = [name for name in {**trained.tokens, **found.tokens} if name in trained.text]
    is_same = all(trained.tokens.get(name) == found.tokens.get(name) for name in written)
    return None if is_same and _text_of(found) in texts else found.where


def is_our_vocabulary(folder: Path | None, tokenizer: TextTokenizer) -> bool:
    """Whether ids are made by our own vocabulary, whose layouts are encoded piece by piece."""
    if folder is None or not isinstance(tokenizer, RenderTokenizer):
        return True
    if set(tokenizer.control_tokens) != set(CONTROL_TOKENS):
        return False
    try:
        VoxTokenizer.load(folder / TOKENIZER_NAME)
    except DataError:
        return False
    return True


def _own_template(
    folder: Path | None, tokenizer: TextTokenizer, *, is_asked: bool
) -> FoundTemplate | None:
    """The base's own template if the request can mean it.

    Raises:
        ModelError: If it was asked for by name and cannot be used.
    """
    where = _name_of(folder)
    found = None if folder is None else find_chat_template(folder)
    is_own = isinstance(tokenizer, RenderTokenizer)
    if is_asked and found is None:
        raise ModelError(say.TEMPLATE_MISSING.at(where))
    if is_asked and not is_own:
        raise ModelError(say.TEMPLATE_NEEDS_OWN_TOKENIZER.at(where))
    return found if is_own else None


def _with_own(policy: TextPolicy, found: FoundTemplate) -> tuple[TextPolicy, tuple[str, ...]]:
    extras.require("tokenizers", "jinja2")
    own = _template_of(found, policy.template_date)
    day = own.source.day
    is_placed = isinstance(policy.template, TemplatePlace)
    note = None
    if policy.template is ChatTemplate.AUTO or day is not None:
        named = say.note_given_template if is_placed else say.note_own_template
        note = named(Path(found.where).name, day)
    template = ChatTemplate.FILE if is_placed else ChatTemplate.MODEL
    notes = _without_date(policy, note) if day is None else (note,)
    return replace(policy, template=template, own=own), tuple(filter(None, notes))


def _without_date(policy: TextPolicy, note: str | None) -> Iterator[str]:
    """Notes about a text that prints no date."""
    if note is not None:
        yield note
    if policy.template_date != DEFAULT_DAY:
        yield say_plan.note_no_effect("--template-date", "the text has no date")


def _placed(place: TemplatePlace, folder: Path | None, tokenizer: TextTokenizer) -> FoundTemplate:
    """The template of a file, or the base's own of a name.

    Raises:
        ModelError: When there is none, or it cannot be read.
    """
    where = _name_of(folder)
    if not isinstance(tokenizer, RenderTokenizer):
        raise ModelError(say.TEMPLATE_NEEDS_OWN_TOKENIZER.at(where))
    if place.file is None:
        assert place.name is not None, "a place has one of the two"
        found = None if folder is None else find_chat_template(folder, place.name)
        if found is None:
            raise ModelError(say.TEMPLATE_MISSING.at(where))
        return replace(found, tools_text=None)
    if not place.file.is_file():
        raise ModelError(say.TEMPLATE_FILE_MISSING.at(str(place.file)))
    return FoundTemplate(
        text=read_template_file(place.file),
        where=str(place.file),
        names=(),
        tokens={} if folder is None else named_tokens(folder),
    )


def _without_own(folder: Path | None, tokenizer: TextTokenizer) -> tuple[ChatTemplate, str | None]:
    """The layout for a base without a template of its own, and why."""
    if folder is None or not isinstance(tokenizer, RenderTokenizer):
        return ChatTemplate.CHATML, None
    if {IM_START, IM_END} <= set(tokenizer.control_tokens):
        return ChatTemplate.CHATML, say.NOTE_CHATML_CHOSEN
    return ChatTemplate.PLAIN, say.NOTE_PLAIN_CHOSEN


def _template_of(found: FoundTemplate, day: str) -> ModelTemplate:
    now = datetime.fromisoformat(day).replace(tzinfo=UTC)
    return ModelTemplate(text=_text_of(found), tokens=found.tokens, now=now, where=found.where)


def _text_of(found: FoundTemplate) -> str:
    return (
        found.text if found.tools_text is None else joined_templates(found.text, found.tools_text)
    )
