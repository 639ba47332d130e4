"""Environments with nothing in them, and our wheels to put there."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
BOOTSTRAPPED_UV = ROOT / ".bootstrap" / "bin" / "uv"


def uv_command() -> str:
    """The uv that `make setup` used.

    Raises:
        AssertionError: When there is none, with what to do about it.
    """
    found = shutil.which("uv") or (str(BOOTSTRAPPED_UV) if BOOTSTRAPPED_UV.exists() else None)
    assert found is not None, "no uv on PATH and none in .bootstrap/: run make setup"
    return found


def clean_environment() -> dict[str, str]:
    """This process's environment without what would leak the workspace into a fresh install."""
    leaks = {"VIRTUAL_ENV", "PYTHONPATH", "PYTHONHOME", "UV_PROJECT_ENVIRONMENT"}
    kept = {k: v for k, v in os.environ.items() if k not in leaks and not k.startswith("VOX_")}
    return {**kept, "PYTHONDONTWRITEBYTECODE": "1", "NO_COLOR": "1"}


def completed(
    command: Sequence[str], cwd: Path = ROOT, extra: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """A command that ran in a clean environment, whatever it ended with."""
    return subprocess.run(
        command,
        cwd=cwd,
        env={**clean_environment(), **(extra or {})},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        encoding="utf-8",
        check=False,
    )


def must(command: Sequence[str], cwd: Path = ROOT, extra: Mapping[str, str] | None = None) -> str:
    """Standard output of a command that has to succeed."""
    done = completed(command, cwd, extra)
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@dataclass(frozen=True, slots=True)
class Install:
    """A fresh environment that holds what was put there and what that asked for."""

    folder: Path

    @property
    def python(self) -> str:
        """The interpreter of this environment."""
        return str(self.folder / "bin" / "python")

    @property
    def vox(self) -> str:
        """The command, where it is installed."""
        return str(self.folder / "bin" / "vox")

    @property
    def site_packages(self) -> Path:
        """The folder of this environment's packages."""
        (found,) = self.folder.glob("lib/python*/site-packages")
        return found

    def add(self, *requirements: str) -> None:
        """Install requirements or wheels."""
        must([uv_command(), "pip", "install", "--quiet", "--python", self.python, *requirements])

    def distributions(self) -> set[str]:
        """The names of everything that is installed."""
        listing = must([uv_command(), "pip", "list", "--format=json", "--python", self.python])
        return {entry["name"].lower().replace("_", "-") for entry in json.loads(listing)}
