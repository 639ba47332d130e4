"""Reading addresses, origins and keys, without the packages of the server. No torch."""

from __future__ import annotations

import re
from ipaddress import ip_address
from pathlib import Path

from vox_populi.errors import ConfigError
from vox_populi.operator_messages import serving as say
from vox_tensor.regular_file import open_regular_file

_ORIGIN = re.compile(r"https?://(\[[0-9a-fA-F:.]+\]|[A-Za-z0-9.\-]+)(:\d{1,5})?")
_KEY = re.compile(r"[\x21-\x7e]{8,512}")
_MOST_KEY_BYTES = 1024


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach an address or name."""
    if host.lower().rstrip(".") == "localhost":
        return True
    try:
        return ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def is_origin(text: str) -> bool:
    """Whether a text is an origin as browsers send it."""
    return _ORIGIN.fullmatch(text) is not None


def read_key(path: Path | None, key: str | None) -> str | None:
    """The key of a file, or the one that was given.

    Raises:
        ConfigError: For a key that no client could send.
    """
    if path is not None:
        with open_regular_file(path) as file:
            key = file.read(_MOST_KEY_BYTES).decode("ascii", "replace").strip()
    if key is not None and _KEY.fullmatch(key) is None:
        raise ConfigError(say.KEY_UNUSABLE.at("VOX_MENS_API_KEY" if path is None else str(path)))
    return key
