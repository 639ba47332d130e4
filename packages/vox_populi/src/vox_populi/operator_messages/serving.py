"""Serving over HTTP (MENS-S): what stops the server, and what a request is answered with."""

from __future__ import annotations

from collections.abc import Sequence

from vox_populi.operator_messages.wording import clipped
from vox_tensor.errors import Problem


def address_not_usable(host: str, port: int, reason: str) -> Problem:
    """The system does not let the server listen there."""
    return Problem(
        code="MENS-S001",
        what=f"the server cannot listen on {clipped(host)} port {port}: {reason}.",
        fix="Choose another --port (0 takes a free one) or another --host.",
        where="--port",
    )


def key_required(host: str) -> Problem:
    """An address that other machines can reach, without a token."""
    return Problem(
        code="MENS-S002",
        what=f"{clipped(host)} can be reached from other machines, and no key is set.",
        fix="Pass --api-key-file FILE (or set VOX_MENS_API_KEY), or listen on 127.0.0.1.",
        where="--host",
    )


KEY_UNUSABLE = Problem(
    code="MENS-S003",
    what="the key must be one line of 8 to 512 visible ASCII characters.",
    fix="Write such a line, for instance of: openssl rand -hex 24",
)
"""A key that no client could send."""


def name_taken(name: str) -> Problem:
    """Two models under one name."""
    return Problem(
        code="MENS-S004",
        what=f"two models would be served as {clipped(name)}.",
        fix="Pass another name: --adapter NAME=RUN.",
        where="--adapter",
    )


def bases_differ(name: str, other: str, what: str) -> Problem:
    """Adapters that cannot share one base in memory."""
    return Problem(
        code="MENS-S005",
        what=f"{clipped(name)} and {clipped(other)} need bases that differ in {what}.",
        fix="Serve them with two servers; one server has one base in memory.",
    )


def adapter_unnamed(given: str) -> Problem:
    """`--adapter` without a name, or with one that cannot be one."""
    return Problem(
        code="MENS-S006",
        what=f"{clipped(given)} is not NAME=RUN; a name has letters, digits, dots, hyphens,"
        " underscores, colons and slashes.",
        fix="Pass for instance --adapter first=runs/first.",
        where="--adapter",
    )


NOT_A_MODEL = Problem(
    code="MENS-S007",
    what="this is neither a run, nor an adapter, nor a model folder.",
    fix="Pass a run folder, an adapter's file or folder, or a model folder.",
)
"""A path with neither a model nor an adapter."""

NOT_AN_ADAPTER = Problem(
    code="MENS-S009",
    what="this is neither a run nor an adapter.",
    fix="Pass NAME=RUN with a run folder, or an adapter's file or folder; a model folder goes"
    " without a flag.",
)
"""A model folder, or anything else, in place of an adapter."""


def origin_unusable(origin: str) -> Problem:
    """An origin that no browser sends."""
    return Problem(
        code="MENS-S008",
        what=f"{clipped(origin)} is not an origin.",
        fix="Pass scheme, host and port alone, such as http://localhost:3000.",
        where="--allow-origin",
    )


def body_not_usable(reason: str) -> Problem:
    """A body that is not one JSON object."""
    return Problem(
        code="MENS-S010",
        what=f"the body cannot be read: {reason}",
        fix="Send one JSON object in UTF-8.",
    )


def body_too_large(most: int) -> Problem:
    """A body beyond the limit."""
    return Problem(
        code="MENS-S011",
        what=f"the body is larger than {most} bytes.",
        fix="Send less, or start the server with a larger --max-body-bytes.",
    )


BODY_NOT_JSON_TYPE = Problem(
    code="MENS-S012",
    what="the content type is not application/json.",
    fix="Send the header Content-Type: application/json.",
)
"""A body of another content type, which a page of another origin could send."""


def field_unknown(field: str) -> Problem:
    """A field that neither OpenAI nor this server has."""
    return Problem(
        code="MENS-S013",
        what=f"there is no field {clipped(field)} in such a request.",
        fix="Leave it out; docs/src/reference/server.md lists the fields.",
    )


def field_refused(field: str, reason: str) -> Problem:
    """A field whose effect this server does not have."""
    return Problem(
        code="MENS-S014",
        what=f"{field} is not supported: {reason}.",
        fix="Leave it out.",
    )


def field_out_of_range(field: str, expected: str) -> Problem:
    """A value that a field cannot have."""
    return Problem(
        code="MENS-S015",
        what=f"{field} must be {expected}.",
        fix="Change it or leave it out.",
    )


def field_missing(field: str) -> Problem:
    """A field that every request needs."""
    return Problem(code="MENS-S016", what=f"{field} is missing.", fix="Add it.")


def fields_contradict(one: str, other: str) -> Problem:
    """Two fields that cannot both be meant."""
    return Problem(
        code="MENS-S017", what=f"{one} and {other} contradict each other.", fix="Send one of them."
    )


def model_unknown(name: str, known: Sequence[str]) -> Problem:
    """A model that is not served here."""
    return Problem(
        code="MENS-S018",
        what=f"the model {clipped(name)} is not served here.",
        fix=f"Choose one of: {clipped(', '.join(known))}.",
    )


def context_exceeded(tokens: int, new: int, most: int) -> Problem:
    """A prompt that leaves no room for its answer."""
    return Problem(
        code="MENS-S019",
        what=f"the prompt has {tokens} tokens and asks for {new} more; this model has {most}"
        " positions.",
        fix="Shorten the prompt.",
    )


def cache_too_small(tokens: int) -> Problem:
    """A text that would not fit into the cache even alone."""
    return Problem(
        code="MENS-S020",
        what=f"a text of {tokens} tokens does not fit into the server's memory for texts.",
        fix="Shorten the prompt, ask for fewer tokens, or start the server with a larger"
        " --cache-mib.",
    )


TOO_BUSY = Problem(
    code="MENS-S021",
    what="too many requests wait already.",
    fix="Try again after the time in the header Retry-After.",
)
"""The queue is full."""

REQUEST_TIMED_OUT = Problem(
    code="MENS-S022",
    what="the answer was not complete within the time of a request.",
    fix="Ask for fewer tokens, or start the server with a larger --timeout-secs.",
)
"""A request that took too long."""

SERVER_STOPPED = Problem(
    code="MENS-S023", what="the server is stopping.", fix="Try again when it runs again."
)
"""The server shuts down."""

KEY_WRONG = Problem(
    code="MENS-S024",
    what="the key is missing or wrong.",
    fix="Send the header Authorization: Bearer KEY.",
)
"""No key, or not the right one."""

HOST_NOT_OURS = Problem(
    code="MENS-S025",
    what="the header Host names neither this machine's loopback address nor the one given.",
    fix="Use http://127.0.0.1 or http://localhost, or start the server with a key.",
)
"""A name that a foreign page could have pointed at this machine (DNS rebinding)."""


def route_unknown(path: str) -> Problem:
    """A path that nothing answers."""
    return Problem(
        code="MENS-S026",
        what=f"there is no route {clipped(path)}.",
        fix="See docs/src/reference/server.md for the routes.",
    )


def method_wrong(path: str) -> Problem:
    """A route that is called with another method."""
    return Problem(
        code="MENS-S027",
        what=f"{clipped(path)} does not take this method.",
        fix="See docs/src/reference/server.md for the routes.",
    )


NO_EMBEDDINGS = Problem(
    code="MENS-S028",
    what="this server makes no embeddings: its models write texts and do not compare them.",
    fix="Use an embedding model on another server.",
)
"""A route that other servers have."""


def message_field_unknown(field: str) -> Problem:
    """Something in a message that no template is given."""
    return Problem(
        code="MENS-S029",
        what=f"{clipped(field)} is not supported.",
        fix="Leave it out; a message has role, content, name, tool_calls, tool_call_id and"
        " reasoning_content.",
    )


UNFORESEEN = Problem(
    code="MENS-S030",
    what="the server failed in a way that it does not know.",
    fix="Please report it, with the server's log.",
)
"""An error of ours in one request."""

BODY_TOO_SLOW = Problem(
    code="MENS-S031",
    what="the body did not arrive in time.",
    fix="Send it at once.",
)
"""A body that does not arrive."""


def note_base_not_served(name: str, reason: str) -> str:
    """Said when only the adapters of a base can be chosen."""
    return f"the base is not served as {name}: {reason}"


def note_still_answering(seconds: int) -> str:
    """Said when the server was asked to stop."""
    return f"stopping: no new requests; running ones have {seconds} s (again: stop at once)"
