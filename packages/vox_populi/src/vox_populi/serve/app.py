"""The routes, put together. No torch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from http import HTTPStatus
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from vox_populi.operator_messages import serving as say
from vox_populi.serve.api_error import ApiError
from vox_populi.serve.chat_page import page_routes
from vox_populi.serve.chat_route import chat_completions
from vox_populi.serve.completion_route import completions
from vox_populi.serve.guards import Access, AccessGuard
from vox_populi.serve.metrics import CONTENT_TYPE, MetricsLayer
from vox_populi.serve.service import Service
from vox_tensor.errors import Problem

_CLIENT_GONE = 499
"""What nginx logs for it; nobody reads this answer."""


def build_app(
    service: Service,
    access: Access,
    allowed_origins: Sequence[str] = (),
    *,
    has_page: bool = True,
) -> Starlette:
    """The application.

    Args:
        service: Models and engine.
        access: Who may ask.
        allowed_origins: Origins whose pages may ask from a browser.
        has_page: Whether the chat page is at `/`.
    """
    routes = [
        Route("/healthz", health, methods=["GET"]),
        Route("/metrics", show_metrics, methods=["GET"]),
        Route("/v1/models", list_models, methods=["GET"]),
        Route("/v1/models/{name:path}", show_model, methods=["GET"]),
        Route("/v1/chat/completions", chat_completions, methods=["POST"]),
        Route("/v1/completions", completions, methods=["POST"]),
        Route("/v1/embeddings", refuse_embeddings, methods=["POST"]),
        *(page_routes() if has_page else ()),
    ]
    named = frozenset(each.path for each in routes)
    middleware = [
        Middleware(MetricsLayer, metrics=service.metrics, routes=named),
        Middleware(AccessGuard, access=access, allowed_origins=allowed_origins),
    ]
    if allowed_origins:
        cors = Middleware(
            CORSMiddleware,
            allow_origins=list(allowed_origins),
            allow_methods=["GET", "POST"],
            allow_headers=["Authorization", "Content-Type"],
        )
        middleware.append(cors)
    app = Starlette(routes=routes, middleware=middleware, exception_handlers=_HANDLERS)
    app.router.redirect_slashes = False
    app.state.service = service
    return app


async def health(request: Request) -> Response:
    """Whether the engine takes requests in."""
    service: Service = request.app.state.service
    if service.engine.is_open:
        return PlainTextResponse("ok\n")
    return PlainTextResponse("stopping\n", HTTPStatus.SERVICE_UNAVAILABLE)


async def show_metrics(request: Request) -> Response:
    """Figures for Prometheus."""
    service: Service = request.app.state.service
    return Response(service.metrics.exposition(), media_type=CONTENT_TYPE)


async def list_models(request: Request) -> Response:
    """What can be chosen as `model`."""
    service: Service = request.app.state.service
    listed = [dict(model.facts) for model in service.models.values()]
    return JSONResponse({"object": "list", "data": listed})


async def show_model(request: Request) -> Response:
    """One model."""
    service: Service = request.app.state.service
    return JSONResponse(dict(service.model(request.path_params["name"]).facts))


async def refuse_embeddings(request: Request) -> Response:
    """A route that other servers have."""
    raise ApiError(HTTPStatus.NOT_IMPLEMENTED, say.NO_EMBEDDINGS, code="not_supported")


def _answer(error: ApiError) -> Response:
    return JSONResponse(error.as_json(), error.status, headers=dict(error.headers))


async def _on_api_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, ApiError), "registered for it alone"
    return _answer(error)


async def _on_gone(request: Request, error: Exception) -> Response:
    return Response(status_code=_CLIENT_GONE)


async def _on_http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException), "registered for it alone"
    status = HTTPStatus(error.status_code)
    named: Callable[[str], Problem] = say.route_unknown
    if status is HTTPStatus.METHOD_NOT_ALLOWED:
        named = say.method_wrong
    return _answer(ApiError(status, named(request.url.path), headers=error.headers or {}))


async def _on_bug(request: Request, error: Exception) -> Response:
    return _answer(ApiError(HTTPStatus.INTERNAL_SERVER_ERROR, say.UNFORESEEN))


_HANDLERS: dict[Any, Any] = {
    ApiError: _on_api_error,
    ClientDisconnect: _on_gone,
    HTTPException: _on_http_error,
    Exception: _on_bug,
}
