"""The base's own chat template, where a request means it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from vox_populi import extras
from vox_populi.data.chat_template import TEMPLATE_DATE, ModelTemplate
from vox_populi.data.template_rows import RenderTokenizer
from vox_populi.data.trained_layout import TemplateSource
from vox_populi.data.training_text import ChatTemplate, TextPolicy
from vox_populi.errors import ModelError
from vox_populi.hf.chat_template_files import FoundTemplate, find_chat_template
from vox_populi.hf.embedded import EMBEDDED_NAME
from vox_populi.operator_messages import chat_template as say
from vox_tensor.tokenizer import TextTokenizer


def choose_template(
    policy: TextPolicy, folder: Path | None, tokenizer: TextTokenizer
) -> tuple[TextPolicy, tuple[str, ...]]:
    """Complete a text policy with the base's template if it means that, and notes about it.

    Args:
        policy: What was requested.
        folder: Base model folder; `None` for the embedded base.
        tokenizer: Turns the rendered text into ids.

    Raises:
        ModelError: When the folder has no chat template, or the tokenizer is not its own.
        MissingExtraError: Without Jinja2 or the module `tokenizers`.
    """
    if policy.template is not ChatTemplate.MODEL:
        return policy, ()
    extras.require("tokenizers", "jinja2")
    where = EMBEDDED_NAME if folder is None else str(folder)
    found = None if folder is None else find_chat_template(folder)
    if found is None:
        raise ModelError(say.template_missing(where))
    if not isinstance(tokenizer, RenderTokenizer):
        raise ModelError(say.template_needs_own_tokenizer(where))
    own = _in_folder(found)
    day = TEMPLATE_DATE.date().isoformat()
    notes = (say.note_template_date(found.where, day),) if own.uses_date else ()
    return replace(policy, own=own), notes


def changed_template(folder: Path | None, trained: TemplateSource) -> str | None:
    """The file with a folder's chat template, if that is not the one of the training any more.

    Raises:
        ModelError: When it cannot be read.
        MissingExtraError: Without Jinja2.
    """
    found = None if folder is None else find_chat_template(folder)
    if found is None:
        return None
    now = _in_folder(found).source
    same = replace(now, day=trained.day) if now.day is not None else now
    return None if same.digest == trained.digest else found.where


def _in_folder(found: FoundTemplate) -> ModelTemplate:
    return ModelTemplate(text=found.text, tokens=found.tokens, now=TEMPLATE_DATE, where=found.where)
