"""The wheels of the workspace, built once, and fresh environments to put them into."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests_integration.fresh_installs import Install, must, uv_command


@pytest.fixture(scope="session")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Name -> wheel, of the three packages."""
    out = tmp_path_factory.mktemp("wheels")
    must(["make", "dist", f"DIST={out}"])
    found = {wheel.name.split("-")[0]: str(wheel) for wheel in out.glob("*.whl")}
    assert set(found) == {"vox_tensor", "vox_populi", "vox_mens_cli"}
    return found


@pytest.fixture
def fresh(tmp_path: Path) -> Install:
    """An environment with nothing in it, not even pip."""
    folder = tmp_path / "env"
    must([uv_command(), "venv", "--quiet", "--python", sys.executable, str(folder)])
    return Install(folder)
