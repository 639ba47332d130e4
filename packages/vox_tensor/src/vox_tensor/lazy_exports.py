"""Names that a package exports and imports when they are used, so that importing it is cheap."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Mapping
from types import ModuleType


def lazy_exports(package: str, names_of: Mapping[str, tuple[str, ...]]) -> Callable[[str], object]:
    """The `__getattr__` of a package.

    Args:
        package: Its `__name__`.
        names_of: What is exported from each module. A name must not be a module's of the package:
            importing that module would put the module in its place.
    """
    home_of = {name: module for module, names in names_of.items() for name in names}

    def attribute(name: str) -> object:
        if name not in home_of:
            message = f"module {package!r} has no attribute {name!r}"
            raise AttributeError(message, name=name)
        value: object = getattr(importlib.import_module(home_of[name]), name)
        setattr(sys.modules[package], name, value)
        return value

    return attribute


def imported(module: str) -> ModuleType:
    """Import one of our modules that needs what may not be installed.

    Raises:
        ImportError: When it is not.
    """
    return importlib.import_module(module)
