"""The installed optional dependencies; the only module that imports by name."""

from __future__ import annotations

import importlib
import importlib.util
import re
import sys
import warnings
from pathlib import Path
from types import ModuleType
from typing import Any

from vox_populi.errors import MissingExtraError
from vox_populi.operator_messages import usage as say

EXTRA_OF_MODULE = {
    "torch": "mens-gpu",
    "tokenizers": "mens-gpu",
    "jinja2": "mens-gpu",
    "transformers": "mens-train",
    "fla": "fla",
    "huggingface_hub": "hub",
    "gguf": "gguf",
    "onnx": "onnx",
    "onnxscript": "onnx",
    "onnxruntime": "onnx",
    "executorch": "executorch",
    "litert_torch": "litert",
    "ai_edge_litert": "litert",
    "pyarrow": "parquet",
    "zstandard": "zstd",
    "starlette": "serve",
    "uvicorn": "serve",
    "prometheus_client": "serve",
    "tensorboard": "tensorboard",
    "wandb": "wandb",
    "mlflow": "mlflow",
    "trackio": "trackio",
    "jsonschema": "eval",
    "referencing": "eval",
    "lm_eval": "lm-eval",
    "datasets": "lm-eval",
}
_HOLDER = "vox-populi"
"""The distribution whose extras these are."""
_OUR_EXTRA = re.compile(r"(vox-[a-z]+)\[([a-z-]+)\]")


def is_installed(module: str) -> bool:
    """Whether a module could be imported, without importing it."""
    return importlib.util.find_spec(module) is not None


def require(*modules: str) -> None:
    """Check that modules are installed.

    Raises:
        MissingExtraError: With one problem for each extra, whichever of its modules are missing.
    """
    missing: dict[str, list[str]] = {}
    for module in modules:
        if not is_installed(module):
            missing.setdefault(EXTRA_OF_MODULE[module], []).append(module)
    if missing:
        raise MissingExtraError(
            *(
                say.extra_missing(extra, names, install_line(extra))
                for extra, names in missing.items()
            )
        )


def install_line(extra: str) -> str:
    """The command that installs a missing extra's packages.

    It contains none of our own names (decision 0017): ours are already installed, and on an index
    the names may belong to somebody else. So it works in every folder, with or without a clone.
    """
    try:
        requirements = sorted(_requirements(_HOLDER, extra))
    except _metadata().PackageNotFoundError:
        # Imported from a source tree that was never installed, so the tree is there.
        requirements = ["./packages/vox_tensor", f"./packages/vox_populi[{extra}]"]
    return " ".join(["pip install", *(f'"{requirement}"' for requirement in requirements)])


def _requirements(distribution: str, extra: str) -> set[str]:
    """Third-party requirements of one of our extras, from the installed metadata."""
    found: set[str] = set()
    for line in _metadata().requires(distribution) or ():
        requirement, _, marker = line.partition(";")
        if f"extra == '{extra}'" in marker.replace('"', "'"):
            ours = _OUR_EXTRA.match(requirement)
            found |= _requirements(*ours.groups()) if ours else {requirement.strip()}
    return found


def _metadata() -> Any:
    """`importlib.metadata`, which would cost every command 12 ms if imported at the top."""
    return importlib.import_module("importlib.metadata")


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


def load_from(folder: Path, module: str) -> ModuleType:
    """Import a module of a clone that belongs to none of the packages.

    Args:
        folder: Root of the clone.
        module: Dotted name, from there.
    """
    sys.path.insert(0, str(folder))
    try:
        return importlib.import_module(module)
    finally:
        sys.path.remove(str(folder))
