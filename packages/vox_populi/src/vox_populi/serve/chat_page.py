"""The chat page: files of this package, under a policy that lets nothing else in. No torch."""

from __future__ import annotations

from importlib.resources import files

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from vox_populi.serve.guards import PAGE_FILES

_HEADERS = {
    # The text of a model cannot become a script, and the page cannot ask another server.
    "Content-Security-Policy": "default-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",
}


def page_routes() -> list[Route]:
    """The routes of the page."""
    return [Route(path, show_page_file, methods=["GET"]) for path in PAGE_FILES]


async def show_page_file(request: Request) -> Response:
    """One of its files."""
    name, media_type = PAGE_FILES[request.url.path]
    data = files("vox_populi.serve").joinpath("chat_files", name).read_bytes()
    return Response(data, media_type=media_type, headers=_HEADERS)
