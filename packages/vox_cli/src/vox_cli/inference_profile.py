"""The place where answers are computed, as the source system's `VOX_INFERENCE_PROFILE` says it.

Nothing is contacted: the profile chooses a default and is shown, with what a client needs.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from urllib.parse import urlsplit

from vox_populi.errors import ConfigError
from vox_populi.export.mobile_formats import MobileFormat
from vox_populi.operator_messages import export as say

PROFILE_VARIABLE = "VOX_INFERENCE_PROFILE"
_ADDRESS_VARIABLES = ("POPULI_URL", "OLLAMA_URL", "OLLAMA_HOST")
"""The variables that name a server; the first one that is set counts."""
_ADDRESS = "http://localhost:11434"


class InferenceProfile(StrEnum):
    """The source system's profiles."""

    DESKTOP_OLLAMA = "desktop_ollama"
    """A server on this machine."""
    CLOUD_OPENAI_COMPATIBLE = "cloud_openai_compatible"
    """A service elsewhere."""
    MOBILE_LITERT = "mobile_litert"
    """LiteRT on the device, in the app."""
    MOBILE_COREML = "mobile_coreml"
    """Core ML on the device, in the app."""
    LAN_GATEWAY = "lan_gateway"
    """A server on the local network."""

    @property
    def has_local_server(self) -> bool:
        """Whether a client may ask a server on this machine or its network."""
        return self in (InferenceProfile.DESKTOP_OLLAMA, InferenceProfile.LAN_GATEWAY)


SHORT_NAMES = {
    "ollama": InferenceProfile.DESKTOP_OLLAMA,
    "cloud": InferenceProfile.CLOUD_OPENAI_COMPATIBLE,
    "litert": InferenceProfile.MOBILE_LITERT,
    "coreml": InferenceProfile.MOBILE_COREML,
    "lan": InferenceProfile.LAN_GATEWAY,
}
"""Names that the source system takes as well."""
FORMATS = {
    InferenceProfile.MOBILE_LITERT: MobileFormat.LITERT,
    InferenceProfile.MOBILE_COREML: MobileFormat.COREML,
}
"""What a profile's program on the device runs."""


def inference_profile(environment: Mapping[str, str]) -> InferenceProfile:
    """The profile of an environment; without one, the source system's default.

    Raises:
        ConfigError: For a word that is not a profile, where the source system takes its default.
    """
    word = environment.get(PROFILE_VARIABLE, "").strip().lower()
    if not word:
        return InferenceProfile.DESKTOP_OLLAMA
    if word in SHORT_NAMES:
        return SHORT_NAMES[word]
    try:
        return InferenceProfile(word)
    except ValueError:
        known = tuple(InferenceProfile)
        raise ConfigError(say.inference_profile_unknown(word, known).at(PROFILE_VARIABLE)) from None


def server_address(profile: InferenceProfile, environment: Mapping[str, str]) -> str | None:
    """The server that a client of this profile asks, without user and path; `None` without one."""
    if not profile.has_local_server:
        return None
    given = next((text for name in _ADDRESS_VARIABLES if (text := environment.get(name))), None)
    if given is None:
        # A gateway is somewhere else, so that it has no default.
        return _ADDRESS if profile is InferenceProfile.DESKTOP_OLLAMA else None
    return _without_secrets(given)


def _without_secrets(address: str) -> str | None:
    """Scheme, host and port; `None` for what is not an address."""
    try:
        parts = urlsplit(address if "://" in address else f"http://{address}")
        port = parts.port
    except ValueError:
        return None
    if not parts.hostname:
        return None
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    return f"{parts.scheme}://{host}" + ("" if port is None else f":{port}")
