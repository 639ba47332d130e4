"""The text layout that a request means, for a base and its tokenizer."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from vox_populi import extras
from vox_populi.data.chat_template import TEMPLATE_DATE, ModelTemplate, joined_templates
from vox_populi.data.served_template import with_system_prompt
from vox_populi.data.supervision import borders_of
from vox_populi.data.template_rows import RenderTokenizer
from vox_populi.data.trained_layout import TemplateSource
from vox_populi.data.training_text import ChatTemplate, TextPolicy
from vox_populi.errors import DataError, ModelError
from vox_populi.hf.chat_template_files import FoundTemplate, find_chat_template
from vox_populi.hf.embedded import EMBEDDED_NAME
from vox_populi.hf.hf_tokenizer import TOKENIZER_NAME
from vox_populi.operator_messages import chat_template as say
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
    if policy.template in (ChatTemplate.MODEL, ChatTemplate.AUTO):
        is_asked = policy.template is ChatTemplate.MODEL
        found = _own_template(folder, tokenizer, is_asked=is_asked)
        if found is not None:
            return _with_own(policy, found)
    chosen, note = policy.template, None
    if chosen is ChatTemplate.AUTO:
        chosen, note = _without_own(folder, tokenizer)
    notes = () if note is None else (note,)
    if is_our_vocabulary(folder, tokenizer):
        return replace(policy, template=chosen), notes
    layout = borders_of(tokenizer, chosen)
    if layout is None and needs_end:
        raise ModelError(say.base_has_no_end(str(folder)))
    return replace(policy, template=chosen, layout=layout), notes


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
    where = EMBEDDED_NAME if folder is None else str(folder)
    found = None if folder is None else find_chat_template(folder)
    is_own = isinstance(tokenizer, RenderTokenizer)
    if is_asked and found is None:
        raise ModelError(say.template_missing(where))
    if is_asked and not is_own:
        raise ModelError(say.template_needs_own_tokenizer(where))
    return found if is_own else None


def _with_own(policy: TextPolicy, found: FoundTemplate) -> tuple[TextPolicy, tuple[str, ...]]:
    extras.require("tokenizers", "jinja2")
    own = _in_folder(found)
    day = TEMPLATE_DATE.date().isoformat() if own.uses_date else None
    notes = [say.note_own_template(Path(found.where).name, day)]
    if policy.template is ChatTemplate.MODEL and day is None:
        notes = []
    return replace(policy, template=ChatTemplate.MODEL, own=own), tuple(notes)


def _without_own(folder: Path | None, tokenizer: TextTokenizer) -> tuple[ChatTemplate, str | None]:
    """The layout for a base without a template of its own, and why."""
    if folder is None or not isinstance(tokenizer, RenderTokenizer):
        return ChatTemplate.CHATML, None
    if {IM_START, IM_END} <= set(tokenizer.control_tokens):
        return ChatTemplate.CHATML, say.note_chatml_chosen()
    return ChatTemplate.PLAIN, say.note_plain_chosen()


def _in_folder(found: FoundTemplate) -> ModelTemplate:
    text = _text_of(found)
    return ModelTemplate(text=text, tokens=found.tokens, now=TEMPLATE_DATE, where=found.where)


def _text_of(found: FoundTemplate) -> str:
    return (
        found.text if found.tools_text is None else joined_templates(found.text, found.tools_text)
    )
