"""The address of a server with OpenAI's API. No torch."""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import urlsplit

from vox_populi.errors import ConfigError
from vox_populi.operator_messages import check_served as say

_VISIBLE = re.compile(r"[\x21-\x7e]{1,2000}")
_ENDINGS = ("/chat/completions", "/completions", "/v1")


@dataclass(frozen=True, slots=True)
class ServerAddress:
    """The place at which a server listens."""

    host: str
    port: int
    is_encrypted: bool
    prefix: str
    """Path in front of the server's own paths, such as `/v1/models`; usually empty."""

    @property
    def url(self) -> str:
        """The address as it is shown."""
        scheme = "https" if self.is_encrypted else "http"
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{scheme}://{host}:{self.port}{self.prefix}"


def read_address(text: str) -> ServerAddress:
    """Read an address, with or without the `/v1` of OpenAI's API, or a whole route of it.

    Raises:
        ConfigError: For anything but scheme, host, port and path.
    """
    if _VISIBLE.fullmatch(text) is None:
        raise ConfigError(say.url_unusable(text, "it has spaces or other characters"))
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError as error:
        raise ConfigError(say.url_unusable(text, str(error))) from None
    is_encrypted = parts.scheme == "https"
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ConfigError(say.url_unusable(text, "it does not start with http://HOST"))
    if parts.username is not None or parts.password is not None:
        # The secret itself must not be repeated.
        raise ConfigError(say.url_unusable(parts.hostname, "it contains a user or a password"))
    if parts.query or parts.fragment:
        raise ConfigError(say.url_unusable(text, "it has a query or a fragment"))
    default = 443 if is_encrypted else 80
    prefix = parts.path.rstrip("/")
    for ending in _ENDINGS:
        prefix = prefix.removesuffix(ending).rstrip("/")
    return ServerAddress(parts.hostname, default if port is None else port, is_encrypted, prefix)
