"""A hook of MkDocs: the navigation has every decision, in their order, without a list by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any


def on_config(config: Any) -> Any:
    """Add the decisions below their index."""
    (listed,) = (each["Decisions"] for each in config["nav"] if "Decisions" in each)
    folder = Path(config["docs_dir"])
    for path in sorted((folder / "adr").glob("[0-9]*.md")):
        listed.append(path.relative_to(folder).as_posix())
    return config
