"""Asking a server, and what differs between it and us (MENS-S041 to S060)."""

from __future__ import annotations

from collections.abc import Sequence

from vox_populi.operator_messages.wording import clipped
from vox_tensor.errors import Problem


def url_unusable(url: str, reason: str) -> Problem:
    """An address that no request can be sent to."""
    return Problem(
        code="MENS-S041",
        what=f"{clipped(url)} cannot be used: {reason}.",
        fix="Pass the server's address, such as http://127.0.0.1:8000 or http://127.0.0.1:8000/v1.",
        where="URL",
    )


def server_unreachable(reason: str) -> Problem:
    """Nobody answers, or not in HTTP."""
    return Problem(
        code="MENS-S042",
        what=f"the server cannot be reached: {clipped(reason)}.",
        fix="Start the server, and pass the address that it listens on.",
    )


def server_redirects(status: int, place: str) -> Problem:
    """An answer that points elsewhere; nothing is sent to another address."""
    return Problem(
        code="MENS-S043",
        what=f"the server answers with {status} and points to {clipped(place)}; redirects are not"
        " followed.",
        fix="Pass the address of the server itself.",
    )


def answer_too_large(most: int) -> Problem:
    """An answer beyond the bound."""
    return Problem(
        code="MENS-S044",
        what=f"the answer of the server is larger than {most} bytes.",
        fix="Check that this is the address of a server with OpenAI's API.",
    )


def server_too_slow(seconds: float) -> Problem:
    """An answer that is not complete in time."""
    return Problem(
        code="MENS-S045",
        what=f"the server did not answer within {seconds:g} s.",
        fix="Pass a larger --timeout-secs, or fewer --max-new-tokens.",
    )


def answer_malformed(reason: str) -> Problem:
    """An answer that is not in the form of OpenAI's API."""
    return Problem(
        code="MENS-S046",
        what=f"the answer of the server cannot be used: {clipped(reason)}.",
        fix="Check that this is the address of a server with OpenAI's API.",
    )


def server_wants_key(url: str, status: int, variable: str, *, was_sent: bool) -> Problem:
    """No key, or not the right one."""
    what = "does not accept the key" if was_sent else "wants a key"
    return Problem(
        code="MENS-S047",
        what=f"the server {what} (status {status}).",
        fix=f"Put the server's key into the environment variable {variable}.",
        where=url,
    )


def server_refuses(status: int, message: str) -> Problem:
    """An error that the server answers with."""
    said = f": {clipped(message)}" if message else ""
    return Problem(
        code="MENS-S048",
        what=f"the server answers with status {status}{said}.",
        fix="See the server's log; try the same request with curl.",
    )


def served_model_unclear(names: Sequence[str]) -> Problem:
    """Several models, none of which has the name of ours."""
    listed = clipped(", ".join(names)) if names else "none"
    return Problem(
        code="MENS-S049",
        what=f"it is not clear which of the server's models to ask; it lists {listed}.",
        fix="Pass --served-model NAME.",
        where="--served-model",
    )


def served_model_unknown(name: str, names: Sequence[str]) -> Problem:
    """A name that the server does not list."""
    listed = clipped(", ".join(names)) if names else "none"
    return Problem(
        code="MENS-S059",
        what=f"the server does not list the model {clipped(name)}; it lists {listed}.",
        fix="Pass one of its names with --served-model NAME.",
        where="--served-model",
    )


def template_differs(prompt: str, detail: str, prompts: int, of: int) -> Problem:
    """The server lays out a conversation differently."""
    return Problem(
        code="MENS-S050",
        what=f"template: {prompts} of {of} prompts differ; in {clipped(prompt)}, {detail}.",
        fix="Serve a merged folder or export, which contain the training's template, and set no"
        " other template in the server.",
    )


def end_differs(detail: str, answers: int, of: int) -> Problem:
    """The server ends answers differently."""
    return Problem(
        code="MENS-S051",
        what=f"end token: {answers} of {of} answers end differently; {detail}.",
        fix="Serve a merged folder or export, whose generation_config.json contains the training's"
        " end tokens.",
    )


def adapter_not_used(detail: str) -> Problem:
    """The server's answers are those of the base."""
    return Problem(
        code="MENS-S052",
        what=f"adapter: the server answers like the base without the adapter; {detail}.",
        fix="Load the adapter in the server, and pass its name there with --served-model.",
    )


def rounding_differs(detail: str, row: str) -> Problem:
    """The differences are those of a coarser number type."""
    return Problem(
        code="MENS-S053",
        what=f"rounding: {detail}, as with {row}.",
        fix=f"Serve a finer number type, or allow this one with --rounding {row}.",
    )


def scores_differ(detail: str) -> Problem:
    """Neither the adapter's scores nor the base's, with any rounding."""
    return Problem(
        code="MENS-S054",
        what=f"weights: {detail}; no rounding explains it, and it is not the base either.",
        fix="Check that the server has the same base and the same adapter, with the same scale.",
    )


def answers_differ(prompt: str, answers: int, of: int) -> Problem:
    """Texts alone were compared, and they differ."""
    return Problem(
        code="MENS-S055",
        what=f"{answers} of {of} answers differ, the first in {clipped(prompt)}; the server gives"
        " neither ids nor log-probabilities, so the cause is not visible.",
        fix="Use a server that gives log-probabilities, or compare --json with another machine.",
    )


def choice_differs(prompt: str, place: int, gap: float) -> Problem:
    """The scores are right, and yet another token was taken."""
    return Problem(
        code="MENS-S058",
        what=f"choice: in {clipped(prompt)}, token {place} of the answer is {gap:.2f} less likely"
        " than the most likely one, by both programs' scores.",
        fix="Remove penalties and other sampling settings from the server, or from the folder's"
        " generation_config.json.",
    )


NOTHING_COMPARED = Problem(
    code="MENS-S056",
    what="no answer of the server could be compared.",
    fix="Pass --data with conversations, or a larger --max-new-tokens.",
)
"""No answer could be compared."""

NO_PROMPTS = Problem(
    code="MENS-S057",
    what="there is no prompt that these weights can be asked.",
    fix="Pass --data with conversations that fit the model's positions.",
)
"""Rows without a question, or a template that refuses every probe."""


def note_prompt_left_out(prompt: str, reason: str) -> str:
    """A built-in prompt that the template refuses or that is too long."""
    return f"the prompt {clipped(prompt)} is left out: {reason}"


def note_end_not_seen(most: int) -> str:
    """No answer came to its end."""
    return f"the end token was not compared: no answer ended within {most} tokens"


NOTE_IDS_NOT_OFFERED = (
    "the server gives no ids of prompts: the template was compared by its number of tokens"
)
"""The server gives no ids of prompts."""

NOTE_BASE_ALIKE = (
    "the adapter hardly changes these answers: whether the server uses it cannot be told; pass"
    " --data with rows of the training"
)
"""Base and adapter answer alike, so that these prompts tell nothing about the adapter."""
