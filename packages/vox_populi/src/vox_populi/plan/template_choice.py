"""The base's own chat template, where a request means it."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from vox_populi import extras
from vox_populi.data.chat_template import ModelTemplate
from vox_populi.data.template_rows import RenderTokenizer
from vox_populi.data.training_text import ChatTemplate, TextPolicy
from vox_populi.errors import ModelError
from vox_populi.hf.chat_template_files import find_chat_template
from vox_populi.hf.embedded import EMBEDDED_NAME
from vox_populi.operator_messages import chat_template as say
from vox_tensor.tokenizer import TextTokenizer

TEMPLATE_DATE = datetime(2024, 7, 26, tzinfo=UTC)
"""The date that templates print: always the same, so that a run can be repeated and a prompt is
that of the training. It is the one that Llama's templates print if they are told none."""


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
    own = ModelTemplate(text=found.text, tokens=found.tokens, now=TEMPLATE_DATE, where=found.where)
    day = TEMPLATE_DATE.date().isoformat()
    notes = (say.note_template_date(found.where, day),) if own.uses_date else ()
    return replace(policy, own=own), notes
