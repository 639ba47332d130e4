"""Working on an answer only as long as somebody waits for it. No torch."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from starlette.requests import ClientDisconnect, Request

ResultT = TypeVar("ResultT")


async def until_gone(request: Request, work: Coroutine[Any, Any, ResultT]) -> ResultT:
    """The result of some work, which is cancelled when the client leaves.

    Args:
        request: Its body was read.
        work: What to wait for.

    Raises:
        ClientDisconnect: When the client left.
    """
    working = asyncio.ensure_future(work)
    leaving = asyncio.ensure_future(_gone(request))
    try:
        await asyncio.wait({working, leaving}, return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            raise ClientDisconnect
        return working.result()
    finally:
        for task in (working, leaving):
            task.cancel()
        await asyncio.gather(working, leaving, return_exceptions=True)


async def _gone(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
