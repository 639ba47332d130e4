"""Rows (MENS-D180 to D199, D246): fields that say the same, tools, reasoning, control text."""

from __future__ import annotations

from vox_tensor.errors import Problem


def fields_conflict(one: str, other: str) -> Problem:
    """Two fields with the same meaning and different values."""
    return Problem(
        code="MENS-D180",
        what=f"{one} and {other} mean the same and differ.",
        fix="Keep one of them.",
    )


def text_is_not_json(field: str, expected: str) -> Problem:
    """A string that must hold JSON: arguments of a call, definitions of tools."""
    return Problem(
        code="MENS-D181",
        what=f"{field} is a string that is not {expected} in JSON.",
        fix="Write it as JSON, or as a plain JSON value instead of a string.",
    )


def calls_of_another_role(field: str) -> Problem:
    """Tool calls in a message that is not the assistant's."""
    return Problem(
        code="MENS-D182",
        what=f"{field} has tool calls, but the message is not the assistant's.",
        fix="Move them to the message of the assistant that makes them.",
    )


def layout_has_no_tools(layout: str) -> Problem:
    """Tools under one of our own layouts, which have no form for them."""
    return Problem(
        code="MENS-D183",
        what=f"the row has tools or tool calls, for which the layout {layout} has no form.",
        fix="Pass --template model with a base whose chat template has tools, write the calls as"
        " text, or pass --on-bad-row skip.",
    )


def template_drops_tools(what: str) -> Problem:
    """The model's own template leaves out what a row says about tools."""
    return Problem(
        code="MENS-D184",
        what=f"the row has {what}, which the chat template does not write.",
        fix="Use a base whose chat template has tools, write them as text, or pass"
        " --on-bad-row skip.",
    )


TEMPLATE_DROPS_REASONING = Problem(
    code="MENS-D185",
    what="a message has reasoning, which the chat template does not write.",
    fix="Use a base whose chat template has it, write it into the content (as a rule between"
    " <think> and </think>), or remove it.",
)
"""The model's own template leaves out the reasoning of an answer."""

TEMPLATE_DROPS_TEXT = Problem(
    code="MENS-D186",
    what="a message has text and tool calls, of which the chat template writes only the calls.",
    fix="Remove the text, or make it a message of its own.",
)
"""The model's own template writes either the calls of a message or its text."""

CONTROL_TEXT_IN_ROW = Problem(
    code="MENS-D246",
    what="a text of the row spells a control token.",
    fix="Remove it, or pass --on-control-text text, skip or keep.",
)
"""Text that spells a control token, where the operator chose to get an error."""
