"""The chat template and the end of a training, in the files of other programs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from vox_populi.operator_messages.wording import clipped

SERVED_TEMPLATE = "the chat template of the training"
SERVED_TEMPLATE_MOVED = "without the base's chat_template"
SERVED_LEFT_OUT = "left out: templates that were not trained"


def served_ends(ends: Sequence[int], before: object) -> str:
    """The ids that end a text, as written and as the base has them."""
    was = "none" if before is None else before
    return f"eos_token_id {list(ends)}, in the base {was}"


def served_end_token(end: str, before: str | None) -> str:
    """The end token, as written and as the base has it."""
    was = "none" if before is None else clipped(before)
    return f"eos_token {clipped(end)}, in the base {was}"


def note_served_text(names: Iterable[str], end: str) -> str:
    """Files that have the training's template and end instead of the base's."""
    return (
        f"changed against the base, so that servers lay out text as in training and stop at"
        f" {clipped(end)}: {', '.join(sorted(names))}. --keep-base-text keeps the base's files."
    )


NOTE_SERVED_WITHOUT_PROMPT = (
    "the chat template does not contain the training's system prompt: send it with every"
    " conversation, or use --include-system-prompt."
)
"""The training's system prompt is not in the published template."""


def note_served_date(day: str) -> str:
    """A template prints the date, which differs between training and serving."""
    return (
        f"the chat template prints the current date; training used {day}. Servers that take"
        " chat_template_kwargs can be given date_string."
    )


NOTE_LAYOUT_NOT_RECORDED = (
    "the adapter does not record the layout of its training text: chat template and end"
    " tokens are the base's."
)
"""An adapter that is older than recorded layouts, or from another program."""
