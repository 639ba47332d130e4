"""Chat templates: the template itself (MENS-H110 to H119, H166), a row (MENS-D140 to D159)."""

from __future__ import annotations

from collections.abc import Sequence

from vox_populi.operator_messages.wording import clipped
from vox_tensor.errors import Problem


def template_unusable(reason: str) -> Problem:
    """A template that cannot be read or compiled."""
    return Problem(
        code="MENS-H110",
        what=f"the chat template cannot be used: {clipped(reason)}.",
        fix="Restore the file of the model, or correct it.",
    )


def template_name_unknown(name: str, known: Sequence[str]) -> Problem:
    """A folder with several templates, none of which has the name."""
    return Problem(
        code="MENS-H111",
        what=f"the folder has no chat template named {name}.",
        fix=f"It has: {', '.join(known)}. Pass one with --template model:NAME.",
    )


TEMPLATE_HAS_NO_END = Problem(
    code="MENS-H112",
    what="the chat template ends an assistant's message without a control token.",
    fix="A model that learns no end never stops. Add eos_token after the content of an"
    " assistant's message in the template.",
)
"""An answer's end is not a token, so a model could not learn to stop."""

TEMPLATE_MISSING = Problem(
    code="MENS-H113",
    what="the model has no chat template of its own.",
    fix="Use --template chatml or --template plain.",
)
"""The model's own template was requested, and it has none."""

TEMPLATE_NEEDS_OWN_TOKENIZER = Problem(
    code="MENS-H114",
    what="the model's own chat template needs the model's own tokenizer.",
    fix="Pass --tokenizer hf, or use --template chatml.",
)
"""The model's template with another vocabulary, whose ids it was not made for."""

BASE_HAS_NO_END = Problem(
    code="MENS-H115",
    what="neither tokenizer nor config names a token that ends a text.",
    fix='A model that learns no end never stops. Write a token of the vocabulary as "eos_token"'
    ' into tokenizer_config.json, or its id as "eos_token_id" into config.json.',
)
"""Nothing in tokenizer and config ends a text, so a model could not learn to stop."""

CONTROL_TEXT_NEEDS_OWN_TOKENIZER = Problem(
    code="MENS-H166",
    what="--on-control-text keep needs a base's own tokenizer: the Vox vocabulary makes no"
    " control token of text.",
    fix="Pass --on-control-text text, error or skip, or a base with --model.",
)
"""Our vocabulary, which never makes a control token of text."""

TEMPLATE_FILE_MISSING = Problem(
    code="MENS-H116",
    what="there is no such template file.",
    fix="Check the path, or omit --template for the model's own.",
)
"""A template was requested by a file that does not exist."""


def note_given_template(file: str, day: str | None) -> str:
    """A template prints the date, which would make runs differ."""
    return f"{file}: the chat template prints the date, and {day} is always used (--template-date)."


def note_own_template(file: str, day: str | None) -> str:
    """The base's own template is used; the date that it prints would make runs differ."""
    dated = "" if day is None else f"; it prints the date, and {day} is always used"
    return f"template: the model's own, {file}{dated} (--template)."


NOTE_CHATML_CHOSEN = (
    "template: chatml, because the model has no chat template and its vocabulary has both"
    " markers (--template)."
)
"""Why ChatML is used."""

NOTE_PLAIN_CHOSEN = (
    "template: plain, because the model has neither a chat template nor the markers of ChatML"
    " (--template)."
)
"""Why the plain layout is used."""


def template_refused(reason: str) -> Problem:
    """The template raises an exception for a conversation."""
    return Problem(
        code="MENS-D140",
        what=f"the chat template refuses the conversation: {clipped(reason)}.",
        fix="Change the row to what the model was made for, or remove it.",
    )


def render_too_large(limit: int) -> Problem:
    """A template that writes without end, or a row that is far too long."""
    return Problem(
        code="MENS-D141",
        what=f"the chat template makes more than {limit:,} characters of the conversation.",
        fix="Split the row, or correct the template.",
    )


CONTROL_TEXT_MOVED = Problem(
    code="MENS-D142",
    what="a message spells a control token, and the chat template rewrites the message, so the"
    " spelled token cannot be told from a real one.",
    fix="Remove it from the message, or pass --on-control-text skip or keep.",
)
"""The row spells a control token, and the template changes the text around it."""


def history_changes(message: int) -> Problem:
    """The text up to a turn is not the beginning of the whole text."""
    return Problem(
        code="MENS-D143",
        what=f"the chat template writes messages[{message}] differently once other messages"
        " follow, so training on the whole conversation is not what a server shows the model.",
        fix="Pass --history split for a row of each answer, or --history last for only the last.",
    )


def blocks_do_not_match(blocks: int, messages: int) -> Problem:
    """Generation blocks cannot be assigned to messages, and some messages are not to be learned."""
    return Problem(
        code="MENS-D144",
        what=f"the chat template marks {blocks} parts as generated, but the conversation has"
        f" {messages} assistant messages.",
        fix="Pass --history split for a row of each answer, or --history last for only the last.",
    )


def no_end_after(message: int) -> Problem:
    """One turn's text has no control token at its end."""
    return Problem(
        code="MENS-D145",
        what=f"the chat template writes no control token at the end of messages[{message}].",
        fix="Add eos_token after the content of an assistant's message in the model's template.",
    )


TEXT_MAKES_CONTROL_TOKEN = Problem(
    code="MENS-D146",
    what="a message spells a control token, and the tokenizer makes that token of plain text.",
    fix="Remove it from the message, or pass --on-control-text skip or keep.",
)
"""A tokenizer with a control token among the words of its vocabulary."""
