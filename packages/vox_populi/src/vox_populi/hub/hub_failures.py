"""Failures of the hub's library as problems of ours; its own messages have URLs and stay out."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus

from huggingface_hub import errors
from huggingface_hub.errors import (
    DisabledRepoError,
    FileMetadataError,
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    LocalEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
    XetDownloadError,
)

from vox_populi.errors import EnvironmentFailure, ModelError
from vox_populi.hf.hub_name import HubName
from vox_populi.operator_messages import hub as say
from vox_tensor.errors import VoxError, cause

_NoAnswer = errors.HTTPError  # type: ignore[attr-defined] # of httpx or httpx2, by its version


@contextmanager
def hub_failures(name: HubName) -> Iterator[None]:
    """Raise what the hub's library raises in the block as one problem with this model.

    Raises:
        ModelError: For a model or revision that is not there.
        EnvironmentFailure: For a token, a connection or a disk that is in the way.
    """
    try:
        yield
    except HfHubHTTPError as error:
        raise _refused(error, name) from None
    except HFValidationError:
        raise ModelError(say.REPOSITORY_MISSING.at(str(name))) from None
    except LocalEntryNotFoundError as error:
        # It looked on this machine because the hub did not answer; that is why.
        inner = error.__cause__
        if isinstance(inner, HfHubHTTPError):
            raise _refused(inner, name) from None
        raise EnvironmentFailure(say.HUB_UNREACHABLE.at(str(name))) from None
    except (_NoAnswer, FileMetadataError):
        raise EnvironmentFailure(say.HUB_UNREACHABLE.at(str(name))) from None
    except (XetDownloadError, RuntimeError):
        problem = say.transfer_stopped("the connection to the store of files was lost").at(
            str(name)
        )
        raise EnvironmentFailure(problem) from None
    except OSError as error:
        reason = "it ended early" if error.errno is None else cause(error)
        raise EnvironmentFailure(say.transfer_stopped(reason).at(str(name))) from None


def _refused(error: HfHubHTTPError, name: HubName) -> VoxError:
    where, status = str(name), error.response.status_code
    if isinstance(error, GatedRepoError):
        return EnvironmentFailure(say.model_is_gated(name.repository).at(where))
    if isinstance(error, RepositoryNotFoundError | DisabledRepoError):
        return ModelError(say.REPOSITORY_MISSING.at(where))
    if isinstance(error, RevisionNotFoundError):
        return ModelError(say.revision_missing(name.revision).at(where))
    if status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
        return EnvironmentFailure(say.TOKEN_REFUSED.at(where))
    return EnvironmentFailure(say.transfer_stopped(f"the hub answered with {status}").at(where))
