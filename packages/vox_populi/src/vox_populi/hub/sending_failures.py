"""Failures of the hub's client while it sends, as problems of ours, without its URLs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus

from huggingface_hub import errors
from huggingface_hub.errors import (
    HfHubHTTPError,
    HFValidationError,
    LocalTokenNotFoundError,
    RepositoryNotFoundError,
)

from vox_populi.errors import ArtifactError, ConfigError, EnvironmentFailure
from vox_populi.hf.hub_name import HubName
from vox_populi.operator_messages import push as say
from vox_tensor.errors import VoxError, cause

_NoAnswer = errors.HTTPError  # type: ignore[attr-defined] # of httpx or httpx2, by its version
_NO_ROOM = (
    HTTPStatus.PAYMENT_REQUIRED,
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    HTTPStatus.INSUFFICIENT_STORAGE,
)
_ABOUT_ROOM = ("storage", "quota")
"""Words with which the hub forbids an upload that it has no room for."""
_LOST = "the connection was lost"
_CARD_ERROR = "Invalid metadata in README.md"
"""How the client begins when the hub did not accept a card."""

_STORE_ERROR = "LFS batch"
"""The same where the store of large files refused one."""


@contextmanager
def sending_failures(name: HubName, *, is_started: bool = False) -> Iterator[None]:
    """Raise what the hub's client raises in the block as one problem with this upload.

    Args:
        name: Repository and branch.
        is_started: Whether files are on their way.

    Raises:
        ArtifactError: For a model card that the hub does not accept.
        ConfigError: For a name that it does not accept.
        EnvironmentFailure: For everything else.
    """
    where = str(name)
    try:
        yield
    except HfHubHTTPError as error:
        raise _refused(error, name) from None
    except HFValidationError:
        raise ConfigError(say.push_target_malformed(where)) from None
    except LocalTokenNotFoundError:
        raise EnvironmentFailure(say.no_token(where)) from None
    except ValueError as error:
        raise _unusable(error, where) from None
    except RuntimeError as error:
        # The client says which file it was; the cause says why.
        inner = error.__cause__
        if isinstance(inner, HfHubHTTPError):
            raise _refused(inner, name) from None
        raise EnvironmentFailure(say.push_stopped(where, _LOST)) from None
    except (_NoAnswer, OSError) as error:
        if is_started:
            is_local = isinstance(error, OSError) and error.errno is not None
            reason = cause(error) if is_local else _LOST  # type: ignore[arg-type] # as is_local says
            raise EnvironmentFailure(say.push_stopped(where, reason)) from None
        raise EnvironmentFailure(say.push_unreachable(where)) from None


def _refused(error: HfHubHTTPError, name: HubName) -> VoxError:
    where, status = str(name), error.response.status_code
    owner = name.repository.partition("/")[0]
    said = (error.server_message or "").lower()
    if status in _NO_ROOM or any(word in said for word in _ABOUT_ROOM):
        return EnvironmentFailure(say.push_too_large(where, f"it answered with {status}"))
    if isinstance(error, RepositoryNotFoundError) and status == HTTPStatus.NOT_FOUND:
        return EnvironmentFailure(say.push_forbidden(where, owner))
    if status == HTTPStatus.UNAUTHORIZED:
        return EnvironmentFailure(say.push_token_refused(where))
    if status == HTTPStatus.FORBIDDEN:
        return EnvironmentFailure(say.push_forbidden(where, owner))
    return EnvironmentFailure(say.push_stopped(where, f"the hub answered with {status}"))


def _unusable(error: ValueError, where: str) -> VoxError:
    """A card or a file that is refused, or an answer that the client cannot read."""
    if str(error).startswith(_CARD_ERROR):
        return ArtifactError(say.card_refused(where))
    if str(error).startswith(_STORE_ERROR):
        return EnvironmentFailure(say.push_too_large(where, "the store of files refused one"))
    return EnvironmentFailure(say.push_stopped(where, "the hub's answer is not understood"))
