"""Each distribution alone, from its wheel, in a fresh environment: what it brings and what it can.

The wheels are built and installed for real, so a dependency that is missing from the metadata, or
one too many, is seen here and nowhere else.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
BOOTSTRAPPED_UV = ROOT / ".bootstrap" / "bin" / "uv"
OURS = {"vox-tensor", "vox-populi", "vox-mens-cli"}
HEAVY = {"torch", "tokenizers", "safetensors", "transformers", "bitsandbytes", "numpy"}

pytestmark = pytest.mark.slow


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


def must(command: Sequence[str], cwd: Path = ROOT) -> str:
    """Standard output of a command that has to succeed."""
    done = completed(command, cwd)
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@dataclass(frozen=True, slots=True)
class Install:
    """A fresh environment that holds one distribution and what it asked for."""

    folder: Path

    @property
    def python(self) -> str:
        """The interpreter of this environment."""
        return str(self.folder / "bin" / "python")

    @property
    def vox(self) -> str:
        """The command, where `vox-mens-cli` is installed."""
        return str(self.folder / "bin" / "vox")

    def add(self, *requirements: str) -> None:
        """Install requirements or wheels."""
        must([uv_command(), "pip", "install", "--quiet", "--python", self.python, *requirements])

    def distributions(self) -> set[str]:
        """The names of everything that is installed."""
        listing = must([uv_command(), "pip", "list", "--format=json", "--python", self.python])
        return {entry["name"].lower().replace("_", "-") for entry in json.loads(listing)}

    def run_tests_of(self, package: str) -> None:
        """Run a package's own tests with its own test requirements, against its wheel."""
        metadata = tomllib.loads(
            (ROOT / "packages" / package / "pyproject.toml").read_text(encoding="utf-8")
        )
        self.add(*metadata["dependency-groups"]["test"])
        assert HEAVY.isdisjoint(self.distributions()), "the tests must not bring what is gated"
        where = must([self.python, "-c", f"import {package}; print({package}.__file__)"])
        assert where.startswith(str(self.folder)), "the tests must run against the wheel"
        tests = f"packages/{package}/tests"
        done = completed([self.python, "-m", "pytest", "-q", "-p", "no:cacheprovider", tests])
        assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
        assert " passed" in done.stdout


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Name -> wheel, of the three packages."""
    out = tmp_path_factory.mktemp("wheels")
    must([uv_command(), "build", "--quiet", "--all-packages", "--wheel", "--out-dir", str(out)])
    found = {wheel.name.split("-")[0]: str(wheel) for wheel in out.glob("*.whl")}
    assert set(found) == {"vox_tensor", "vox_populi", "vox_mens_cli"}
    return found


@pytest.fixture
def fresh(tmp_path: Path) -> Install:
    """An environment with nothing in it, not even pip."""
    folder = tmp_path / "env"
    must([uv_command(), "venv", "--quiet", "--python", sys.executable, str(folder)])
    return Install(folder)


def test_vox_tensor_alone_has_no_third_party_distribution(
    wheels: dict[str, str], fresh: Install
) -> None:
    fresh.add(wheels["vox_tensor"])
    assert fresh.distributions() == {"vox-tensor"}
    fresh.run_tests_of("vox_tensor")


def test_vox_populi_alone_needs_vox_tensor_only(wheels: dict[str, str], fresh: Install) -> None:
    fresh.add(wheels["vox_populi"], wheels["vox_tensor"])
    assert fresh.distributions() == {"vox-populi", "vox-tensor"}
    fresh.run_tests_of("vox_populi")


def test_vox_cli_alone_works_without_torch(
    wheels: dict[str, str], fresh: Install, tmp_path: Path
) -> None:
    fresh.add(*wheels.values())
    assert OURS | {"typer", "pyyaml"} <= fresh.distributions()
    assert HEAVY.isdisjoint(fresh.distributions())

    assert "mens" in must([fresh.vox, "--help"])
    pairs = [fresh.vox, "mens", "corpus", "pairs", "--from-python", "--max-rows", "50"]
    must([*pairs, "--output-dir", "corpus"], tmp_path)
    assert (tmp_path / "corpus" / "train.jsonl").stat().st_size > 0
    must([fresh.vox, "mens", "corpus", "validate", "corpus/train.jsonl"], tmp_path)
    must([fresh.vox, "mens", "preview", "--data", "corpus/train.jsonl", "-n", "1"], tmp_path)
    train = [fresh.vox, "mens", "train", "--data-dir", "corpus", "--output-dir", "run"]
    plan = json.loads(must([*train, "--dry-run", "--json"], tmp_path))
    assert plan["ok"] is True
    assert not (tmp_path / "run").exists(), "a dry run writes nothing"

    gated = completed(train, tmp_path)
    assert gated.returncode == 7
    assert {line.partition("Run: ")[2] for line in gated.stderr.splitlines()} == {
        'pip install "safetensors>=0.5" "tokenizers>=0.21" "torch<2.14,>=2.11"'
    }
    assert gated.stdout == ""
    assert not (tmp_path / "run").exists()


def test_the_tests_of_vox_cli_pass_on_its_slim_install(
    wheels: dict[str, str], fresh: Install
) -> None:
    fresh.add(*wheels.values())
    fresh.run_tests_of("vox_cli")
