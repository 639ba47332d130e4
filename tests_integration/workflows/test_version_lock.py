"""`requirements.lock`: complete, hashed, without a host; the pins are its own; make installs it."""

from __future__ import annotations

import importlib.util
import re
import shutil
import subprocess
import tomllib
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from types import ModuleType

import pytest
import yaml
from packaging.requirements import Requirement

from tests_integration.fresh_installs import completed, must, uv_command

ROOT = Path(__file__).resolve().parents[2]
LOCK = (ROOT / "requirements.lock").read_text(encoding="utf-8")
PROJECT = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
PIN = re.compile(r"^([a-z0-9-]+)==(\S+)", re.MULTILINE)
TORCH_LIBRARIES = ("cuda-", "nvidia-")


@pytest.fixture(scope="module")
def version_lock() -> ModuleType:
    spec = importlib.util.spec_from_file_location("version_lock", ROOT / ".ci" / "version_lock.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_lock_names_no_index_and_hashes_every_package() -> None:
    lines = [line for line in LOCK.splitlines() if not line.startswith("#")]
    assert "://" not in LOCK
    assert [line for line in lines if not re.match(r"[a-z0-9]|    --hash=sha256:", line)] == []
    entries = re.split(r"\n(?=[a-z])", "\n".join(lines))
    assert len(entries) > 80
    assert [entry for entry in entries if "--hash=sha256:" not in entry] == []


def test_every_declared_dependency_is_locked(version_lock: ModuleType) -> None:
    """All but those of the extras that nothing of ours installs."""
    locked = {name for name, _ in PIN.findall(LOCK)}
    left_out = {extra for flag, extra in pairwise(version_lock.EXPORT) if flag == "--no-extra"}
    assert left_out == {"executorch", "litert", "fla"}
    declared: set[str] = set()
    for path in [ROOT / "pyproject.toml", *ROOT.glob("packages/*/pyproject.toml")]:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
        extras = document["project"].get("optional-dependencies", {})
        lists = [
            document["project"]["dependencies"],
            *(entries for extra, entries in extras.items() if extra not in left_out),
            *document.get("dependency-groups", {}).values(),
        ]
        entries = [each for group in lists for each in group if isinstance(each, str)]
        declared |= {re.split(r"[\[<>=]", entry)[0] for entry in entries}
    ours = {"vox-tensor", "vox-populi", "vox-mens-cli"}
    assert {"torch", "pytest", "ruff", "mkdocs"} < declared
    assert declared - ours - locked == set()


def test_the_pins_are_those_of_the_lock(version_lock: ModuleType) -> None:
    pins = tomllib.loads(PROJECT)["tool"]["uv"]["constraint-dependencies"]
    locked = [line.removesuffix(" \\") for line in LOCK.splitlines() if PIN.match(line)]
    assert pins == sorted(p for p in locked if not p.startswith(TORCH_LIBRARIES))
    assert list(version_lock.unlike_pins(LOCK, PROJECT)) == []


@pytest.mark.parametrize(
    "change",
    [
        lambda lock, project: (lock.replace("pytest==", "pytest==1", 1), project),
        lambda lock, project: (lock, project.replace('"pytest==', '"pytest==1', 1)),
        lambda lock, project: (lock, re.sub(r'  "pytest==.*\n', "", project)),
        lambda lock, project: (re.sub(r"^# .*\n", "", lock), project),
    ],
    ids=["another lock", "another pin", "no pin", "no header"],
)
def test_a_lock_unlike_the_pins_is_found(
    version_lock: ModuleType, change: Callable[[str, str], tuple[str, str]]
) -> None:
    assert list(version_lock.unlike_pins(*change(LOCK, PROJECT)))


def test_a_lock_unlike_the_resolution_is_found(version_lock: ModuleType) -> None:
    found = version_lock.unlike_resolution
    attrs = "attrs==1.0 \\\n    --hash=sha256:a \\\n    --hash=sha256:b\n"
    assert list(found(attrs, "attrs==1.0 \\\n    --hash=sha256:a\n")) == []
    assert list(found(attrs, "attrs==1.0 \\\n    --hash=sha256:c\n"))
    assert list(found(attrs, "attrs==2.0 \\\n    --hash=sha256:a\n"))
    assert list(found(attrs, attrs + "idna==1.0\n"))
    # Another build of torch: other hashes, other libraries.
    assert list(found(attrs + "torch==2.0 \\\n    --hash=sha256:d\nnvidia-x==1\n", attrs)) == []


def tools_needed_here() -> set[str]:
    """What the groups of dependencies ask for on this platform."""
    groups = tomllib.loads(PROJECT)["dependency-groups"].values()
    asked = [Requirement(each) for group in groups for each in group if isinstance(each, str)]
    ours = {"vox-tensor", "vox-populi", "vox-mens-cli"}
    return {each.name for each in asked if each.marker is None or each.marker.evaluate()} - ours


def copied_workspace(folder: Path) -> Path:
    """What `make setup` reads."""
    for name in ("Makefile", "pyproject.toml", "requirements.lock"):
        shutil.copy(ROOT / name, folder / name)
    for package in (ROOT / "packages").iterdir():
        target = folder / "packages" / package.name
        (target / "src" / package.name).mkdir(parents=True)
        for name in ("pyproject.toml", "README.md", f"src/{package.name}/__init__.py"):
            shutil.copy(package / name, target / name)
    bootstrap = folder / ".bootstrap" / "bin"
    bootstrap.mkdir(parents=True)
    (bootstrap / "uv").symlink_to(uv_command())
    return folder


@pytest.mark.slow
def test_locked_setup_installs_the_lock_and_nothing_else(tmp_path: Path) -> None:
    folder = copied_workspace(tmp_path)
    must(["make", "setup", "LOCKED=1"], cwd=folder)
    uv = uv_command()
    freeze = must([uv, "pip", "freeze", "--python", str(folder / ".venv" / "bin" / "python")])
    editable = [line for line in freeze.splitlines() if line.startswith("-e ")]
    assert len(editable) == 3
    installed = dict(PIN.findall(freeze))
    locked = {*PIN.findall(LOCK), ("torch", installed["torch"])}
    assert installed["torch"].partition("+")[0] == dict(PIN.findall(LOCK))["torch"]
    assert len(installed) > 80
    assert set(installed.items()) <= locked
    assert tools_needed_here() - installed.keys() == set()


@pytest.mark.slow
def test_locked_setup_refuses_a_file_with_another_hash(tmp_path: Path) -> None:
    folder = copied_workspace(tmp_path)
    entry = re.compile(r"^attrs==.*\n(?: +--hash=\S+(?: \\)?\n)+", re.MULTILINE)
    damaged = entry.sub(f"attrs==26.1.0 --hash=sha256:{'0' * 64}\n", LOCK)
    assert damaged != LOCK
    (folder / "requirements.lock").write_text(damaged, encoding="utf-8")
    done = completed(["make", "setup", "LOCKED=1"], cwd=folder)
    assert done.returncode != 0
    assert "attrs" in done.stderr
    assert not (folder / ".venv" / ".locked").exists()


def test_hosted_ci_installs_the_lock_and_tests_the_bounds_without_pins() -> None:
    workflow = yaml.safe_load((ROOT / ".github/workflows/ci.yml").read_text(encoding="utf-8"))
    assert workflow["env"]["LOCKED"] == "1"
    lowest = [step.get("run", "") for step in workflow["jobs"]["lowest"]["steps"]]
    (strip,) = (line for line in lowest if line.startswith("sed -i "))
    script = strip.split("'")[1]
    done = subprocess.run(
        ["sed", script], input=PROJECT, capture_output=True, text=True, check=True
    )
    assert "constraint-dependencies" not in tomllib.loads(done.stdout)["tool"]["uv"]
    assert "exclude-newer" in tomllib.loads(done.stdout)["tool"]["uv"]
