"""Tests of serving; those of the engine and of routes need what their modules import."""

from importlib.util import find_spec

_NEED_TORCH = ("test_engine.py",)
_NEED_SERVER = (
    "test_chat_in_browser.py",
    "test_chat_page.py",
    "test_guards.py",
    "test_request_body.py",
    "test_routes.py",
)
collect_ignore = [
    *(() if find_spec("torch") else _NEED_TORCH),
    *(() if find_spec("starlette") and find_spec("prometheus_client") else _NEED_SERVER),
]
