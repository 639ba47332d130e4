"""Sending adapters and models to the Hugging Face Hub (MENS-V060 to V069, H250 to H259)."""

from __future__ import annotations

from collections.abc import Sequence

from vox_populi.operator_messages.wording import clipped, gib
from vox_tensor.errors import Problem

_LOG_IN = "set HF_TOKEN, or run: hf auth login"


def push_target_malformed(text: str) -> Problem:
    """A name that no repository of the hub can have, or a commit instead of a branch."""
    return Problem(
        code="MENS-V060",
        what=f"{clipped(text)} is not a repository and branch of the hub.",
        fix="Pass org/name, with --branch BRANCH for another branch than main.",
        where="ORG/NAME",
    )


def no_token(where: str) -> Problem:
    """Nobody is logged in on this machine."""
    return Problem(
        code="MENS-V061",
        what="uploading needs an access token of the hub, and none is set.",
        fix=f"Create one that may write, then {_LOG_IN}",
        where=where,
    )


def push_token_refused(where: str) -> Problem:
    """A token that is wrong, expired or revoked."""
    return Problem(
        code="MENS-V062",
        what="the hub does not accept the access token.",
        fix=f"Create a new one that may write, then {_LOG_IN}",
        where=where,
    )


def push_forbidden(where: str, owner: str) -> Problem:
    """A repository of somebody else, or a token that may only read."""
    return Problem(
        code="MENS-V063",
        what=f"this token may not write to repositories of {clipped(owner)}.",
        fix="Use your own name or an organisation of yours before the slash (hf auth whoami), and"
        " a token that may write.",
        where=where,
    )


def push_unreachable(where: str) -> Problem:
    """No answer at all: no network, a wrong endpoint, or a timeout."""
    return Problem(
        code="MENS-V064",
        what="the hub cannot be reached; nothing was uploaded.",
        fix="Check the network, the proxy and HF_ENDPOINT, then run the same command again.",
        where=where,
    )


def push_stopped(where: str, reason: str) -> Problem:
    """The connection ended, or the hub answered with an error, on the way."""
    return Problem(
        code="MENS-V065",
        what=f"the upload stopped: {reason}. The repository is unchanged.",
        fix="Run the same command again; files that arrived whole are not sent again.",
        where=where,
    )


def push_too_large(where: str, status: str) -> Problem:
    """A file over the hub's limit, or an account whose storage is used up."""
    return Problem(
        code="MENS-V066",
        what=f"the hub has no room for this upload ({status}): a file is too large, or the storage"
        " of the account is used up.",
        fix="Push the adapter instead of a merged model, free storage on the hub, or merge with"
        " smaller shards.",
        where=where,
    )


def base_has_no_public_name(where: str, known: str) -> Problem:
    """An adapter whose base is only known by a folder."""
    return Problem(
        code="MENS-V067",
        what=f"its base is {clipped(known)}, which nobody else can load by that name.",
        fix="Pass --base-name org/name, the base's name on the hub.",
        where=where,
    )


def repository_is_public(where: str) -> Problem:
    """A repository that was there already, and that everybody can read."""
    return Problem(
        code="MENS-V068",
        what="this repository exists and is public; nothing was uploaded.",
        fix="Pass --public if everybody may read the upload, or choose another name.",
        where=where,
    )


def repository_has_other_weights(where: str, names: Sequence[str]) -> Problem:
    """Files of another model would stay beside those of the upload."""
    return Problem(
        code="MENS-V069",
        what=f"this branch has other weights ({', '.join(map(clipped, names))}), which would stay"
        " beside these; nothing was uploaded.",
        fix="Choose another name or --branch, or pass --force to add the files anyway.",
        where=where,
    )


def nothing_to_push(where: str) -> Problem:
    """A folder that is neither an adapter nor a model that transformers loads."""
    return Problem(
        code="MENS-H250",
        what="neither an adapter nor a model folder that transformers loads.",
        fix="Pass a run, a checkpoint, an adapter folder, or a folder of vox mens merge --format"
        " hf.",
        where=where,
    )


def card_refused(where: str) -> Problem:
    """Front matter that the hub does not take."""
    return Problem(
        code="MENS-H251",
        what="the hub does not accept the front matter of README.md; nothing was uploaded.",
        fix="Correct the lines between the first two --- of README.md.",
        where=where,
    )


def push_is_offline(where: str, variable: str) -> Problem:
    """The environment forbids every connection."""
    return Problem(
        code="MENS-H252",
        what=f"{variable} forbids connections to the hub.",
        fix=f"Unset {variable}, or pass --dry-run to see what would be uploaded.",
        where=where,
    )


def note_uploading(name: str, files: int, size: int, *, is_private: bool) -> str:
    """Said before the first byte."""
    count = "1 file" if files == 1 else f"{files} files"
    seen = "private" if is_private else "public"
    return f"uploading to {name} ({seen}): {count}, {gib(size)}"


def note_stays_private(name: str) -> str:
    """Visibility of an existing repository is not changed."""
    return f"{name} existed as a private repository and stays private; change it on its page."


NOTE_NO_LICENSE = (
    "the model card has no license: add one to README.md on the hub, or put a README.md of your own"
    " into the folder"
)
"""Said of a card that was made here."""

NOTE_HANDOFF_LEFT_OUT = (
    "external_serving_handoff_v2.json is not uploaded: its digests are those of the folder before"
    " the base was renamed"
)
