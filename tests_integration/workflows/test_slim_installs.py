"""Each distribution alone, from its wheel, in a fresh environment: what it brings and what it can.

The wheels are built and installed for real, so a dependency that is missing from the metadata, or
one too many, is seen here and nowhere else.
"""

from __future__ import annotations

import json
import tomllib
from pathlib import Path

import pytest

from tests_integration.fresh_installs import ROOT, Install, completed, must

OURS = {"vox-tensor", "vox-populi", "vox-mens-cli"}
HEAVY = {"torch", "tokenizers", "safetensors", "transformers", "bitsandbytes", "numpy"}

pytestmark = pytest.mark.slow


def run_tests_of(package: str, fresh: Install) -> None:
    """Run a package's own tests with its own test requirements, against its wheel."""
    metadata = tomllib.loads(
        (ROOT / "packages" / package / "pyproject.toml").read_text(encoding="utf-8")
    )
    fresh.add(*metadata["dependency-groups"]["test"])
    assert HEAVY.isdisjoint(fresh.distributions()), "the tests must not bring what is gated"
    where = must([fresh.python, "-c", f"import {package}; print({package}.__file__)"])
    assert where.startswith(str(fresh.folder)), "the tests must run against the wheel"
    tests = f"packages/{package}/tests"
    chosen = ["-m", "not any_install", "-p", "no:cacheprovider", tests]
    done = completed([fresh.python, "-m", "pytest", "-q", *chosen])
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
    assert " passed" in done.stdout


def test_vox_tensor_alone_has_no_third_party_distribution(
    wheels: dict[str, str], fresh: Install
) -> None:
    fresh.add(wheels["vox_tensor"])
    assert fresh.distributions() == {"vox-tensor"}
    run_tests_of("vox_tensor", fresh)


def test_vox_populi_alone_needs_vox_tensor_only(wheels: dict[str, str], fresh: Install) -> None:
    fresh.add(wheels["vox_populi"], wheels["vox_tensor"])
    assert fresh.distributions() == {"vox-populi", "vox-tensor"}
    run_tests_of("vox_populi", fresh)


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
    assert gated.stderr.startswith("error [MENS-X001] ")
    shown = (ROOT / "docs" / "src" / "howto" / "install.md").read_text(encoding="utf-8")
    assert f"```text\n{gated.stderr}```" in shown, "the page shows what is printed"
    assert gated.stdout == ""
    assert not (tmp_path / "run").exists()


def test_the_tests_of_vox_cli_pass_on_its_slim_install(
    wheels: dict[str, str], fresh: Install
) -> None:
    fresh.add(*wheels.values())
    run_tests_of("vox_cli", fresh)
