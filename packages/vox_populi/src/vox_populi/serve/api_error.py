"""A request that is answered with an error, in the form of OpenAI's API. No torch."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus

from vox_tensor.errors import Problem

_TYPES = {
    HTTPStatus.UNAUTHORIZED: "authentication_error",
    HTTPStatus.FORBIDDEN: "permission_error",
    HTTPStatus.NOT_FOUND: "not_found_error",
    HTTPStatus.TOO_MANY_REQUESTS: "rate_limit_error",
    HTTPStatus.GATEWAY_TIMEOUT: "timeout_error",
}
_NO_HEADERS: Mapping[str, str] = {}


class ApiError(Exception):
    """What is wrong with a request, or with answering it.

    Args:
        status: The HTTP status.
        problem: The cause; its code is `problem` of the answer.
        param: The field that is wrong.
        code: OpenAI's word for the cause, where clients look for one.
        headers: Headers of the answer.
    """

    def __init__(
        self,
        status: HTTPStatus,
        problem: Problem,
        *,
        param: str | None = None,
        code: str | None = None,
        headers: Mapping[str, str] = _NO_HEADERS,
    ) -> None:
        super().__init__(str(problem))
        self.status = status
        self.problem = problem
        self.param = param
        self.code = code
        self.headers = headers

    def as_json(self) -> dict[str, object]:
        """The body of the answer."""
        return error_json(self.status, self.problem, param=self.param, code=self.code)


def error_json(
    status: HTTPStatus, problem: Problem, *, param: str | None = None, code: str | None = None
) -> dict[str, object]:
    """A problem as the body of an answer, or as an event of a stream."""
    kind = "server_error" if status >= HTTPStatus.INTERNAL_SERVER_ERROR else "invalid_request_error"
    place = f"{problem.where}: " if problem.where else ""
    return {
        "error": {
            "message": f"{place}{problem.what} {problem.fix}",
            "type": _TYPES.get(status, kind),
            "param": param,
            "code": code or problem.code,
            "problem": problem.code,
        }
    }


def bad_request(problem: Problem, param: str | None = None, code: str | None = None) -> ApiError:
    """A request that can never be answered as it is."""
    return ApiError(HTTPStatus.BAD_REQUEST, problem, param=param, code=code)
