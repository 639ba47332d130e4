"""Which optional dependencies are there; the one module that imports by name."""

from __future__ import annotations

import importlib
import importlib.util
import warnings
from types import ModuleType

from vox_populi import operator_messages as say
from vox_populi.errors import MissingExtraError

EXTRA_OF_MODULE = {
    "torch": ("vox-cli", "mens-gpu"),
    "tokenizers": ("vox-cli", "mens-gpu"),
    "safetensors": ("vox-cli", "mens-gpu"),
    "transformers": ("vox-cli", "mens-train"),
    "bitsandbytes": ("vox-cli", "mens-train"),
    "gguf": ("vox-cli", "gguf"),
}


def is_installed(module: str) -> bool:
    """Whether a module could be imported, without importing it."""
    return importlib.util.find_spec(module) is not None


def require(*modules: str) -> None:
    """Check that modules are installed.

    Raises:
        MissingExtraError: With one problem per missing module.
    """
    missing = [module for module in modules if not is_installed(module)]
    if missing:
        raise MissingExtraError(
            *(say.extra_missing(*EXTRA_OF_MODULE[module], module) for module in missing)
        )


def load(module: str) -> ModuleType:
    """Import an optional dependency or one of our modules that needs one.

    Raises:
        MissingExtraError: When the dependency is absent.
    """
    root = module.split(".", maxsplit=1)[0]
    if root in EXTRA_OF_MODULE:
        require(root)
    # torch says this once where numpy is absent; nothing here converts to numpy.
    warnings.filterwarnings("ignore", message="Failed to initialize NumPy", category=UserWarning)
    return importlib.import_module(module)
