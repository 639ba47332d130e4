"""The Hugging Face Hub: what it refuses, what did not arrive (MENS-H090, H220 to H239)."""

from __future__ import annotations

from vox_populi.operator_messages.wording import clipped, gib
from vox_tensor.errors import Problem

_FLAG = "--allow-download"


def model_is_hub_id(where: str, repository: str, revision: str | None) -> Problem:
    """A model's name on the Hugging Face Hub in place of a folder."""
    name = repository.rpartition("/")[2]
    at = "" if revision is None else f" --revision {revision}"
    return Problem(
        code="MENS-H090",
        what="there is no such folder, and nothing is downloaded without being asked for.",
        fix=f"Pass {_FLAG}, or download it once and pass the folder:"
        f" hf download {repository}{at} --local-dir models/{name}",
        where=where,
    )


def model_is_gated(repository: str) -> Problem:
    """Its authors let in whom they know."""
    return Problem(
        code="MENS-H220",
        what="the authors of this model want to be asked first, and this account or token is not"
        " let in.",
        fix=f"Ask on its page ({repository}), then set HF_TOKEN or run: hf auth login",
    )


REPOSITORY_MISSING = Problem(
    code="MENS-H221",
    what="the hub has no such model, or it is private.",
    fix="Check the name; for a private model, set HF_TOKEN or run: hf auth login",
)
"""No such model, or one that this account cannot see, which the hub does not tell apart."""


def revision_missing(revision: str) -> Problem:
    """The model is there, but not this branch, tag or commit."""
    return Problem(
        code="MENS-H222",
        what=f"the model has no revision {clipped(revision)}.",
        fix="Name a branch, a tag or a commit of it after the @, or leave the @ out.",
    )


HUB_UNREACHABLE = Problem(
    code="MENS-H223",
    what="the hub cannot be reached.",
    fix="Check the network, the proxy and HF_ENDPOINT, or pass a folder that is on this machine.",
)
"""No answer at all: no network, a wrong endpoint, or a timeout."""


def transfer_stopped(reason: str) -> Problem:
    """The connection ended, or the hub answered with an error, on the way."""
    return Problem(
        code="MENS-H224",
        what=f"the transfer stopped: {reason}.",
        fix="Run the same command again; files that arrived whole are not transferred again.",
    )


def file_differs(name: str) -> Problem:
    """The bytes that arrived are not those that the hub lists."""
    return Problem(
        code="MENS-H225",
        what=f"{clipped(name)} arrived with other bytes than the hub lists; it was removed.",
        fix="Run the same command again; if it repeats, a proxy or the disk changes files.",
    )


def no_room_for_download(needed: int, free: int) -> Problem:
    """Said before the first byte."""
    return Problem(
        code="MENS-H226",
        what=f"the download needs {gib(needed)}, and {gib(free)} are free there.",
        fix="Free the space, or set HF_HOME to a folder on another disk.",
    )


def cache_incomplete(where: str, folder: str, name: str) -> Problem:
    """An earlier download did not finish."""
    return Problem(
        code="MENS-H227",
        what=f"{folder} lacks {clipped(name)}: its download did not finish.",
        fix=f"Pass {_FLAG} to finish it.",
        where=where,
    )


def no_safetensors(where: str, found: str | None) -> Problem:
    """Weights in another format, none of which is fetched."""
    beside = f" (only {clipped(found)}, in another format)" if found else ""
    return Problem(
        code="MENS-H228",
        what=f"it has no safetensors weights{beside}; nothing was downloaded.",
        fix="Choose a revision or a copy of the model with safetensors weights.",
        where=where,
    )


def file_not_listed(where: str, name: str) -> Problem:
    """The index of the weights has a file that the model does not have."""
    return Problem(
        code="MENS-H231",
        what=f"its index lists {clipped(name)}, which the hub does not have.",
        fix="Choose another revision, or tell the authors.",
        where=where,
    )


def hub_is_offline(where: str, variable: str) -> Problem:
    """The environment forbids what the flag allows."""
    return Problem(
        code="MENS-H229",
        what=f"it is not on this machine, and {variable} forbids the download.",
        fix=f"Unset {variable}, or pass a folder that is on this machine.",
        where=where,
    )


TOKEN_REFUSED = Problem(
    code="MENS-H230",
    what="the hub does not accept the token for this.",
    fix="Set HF_TOKEN to a valid one that may do this, or run: hf auth login",
)
"""A token that the hub does not accept, or not for this."""


def note_download(name: str, commit: str, files: int, size: int, free: int) -> str:
    """Before the first byte."""
    count = "1 file" if files == 1 else f"{files} files"
    return f"downloading {name} at {commit[:12]}: {count}, {gib(size)} ({gib(free)} free)"


def note_cached(name: str, commit: str) -> str:
    """Nothing had to be fetched."""
    return f"{name} at {commit[:12]}, as it is in the hub's cache on this machine."


def note_cached_unreachable(name: str, commit: str) -> str:
    """What is there may not be the newest."""
    return (
        f"the hub cannot be reached; {name} is taken at {commit[:12]}, as it is in the cache on"
        " this machine."
    )
