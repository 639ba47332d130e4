from __future__ import annotations

import shlex
from importlib import metadata

import pytest

from vox_populi import extras
from vox_populi.errors import MissingExtraError


def packages_of(line: str) -> list[str]:
    """What an install line asks for, as a shell reads it."""
    program, verb, *requirements = shlex.split(line)
    assert (program, verb) == ("pip", "install")
    return requirements


def names_of(line: str) -> set[str]:
    return {requirement.partition("<")[0].partition(">")[0] for requirement in packages_of(line)}


DISTRIBUTIONS = {
    "ai_edge_litert": "ai-edge-litert",
    "fla": "flash-linear-attention",
    "huggingface_hub": "huggingface-hub",
    "litert_torch": "litert-torch",
    "lm_eval": "lm-eval",
    "mlflow": "mlflow-skinny",
    "prometheus_client": "prometheus-client",
}
"""Distributions that are not named like their module."""


@pytest.mark.parametrize("extra", sorted(set(extras.EXTRA_OF_MODULE.values())))
def test_an_install_line_brings_every_module_of_the_extra(extra: str) -> None:
    modules = {module for module, other in extras.EXTRA_OF_MODULE.items() if other == extra}
    assert modules
    wanted = {DISTRIBUTIONS.get(module, module) for module in modules}
    assert wanted <= names_of(extras.install_line(extra))


@pytest.mark.parametrize("extra", sorted(set(extras.EXTRA_OF_MODULE.values())))
def test_an_install_line_has_none_of_our_names(extra: str) -> None:
    assert "vox" not in extras.install_line(extra)


def test_an_install_line_keeps_the_bounds_of_the_package() -> None:
    (torch,) = (r for r in packages_of(extras.install_line("mens-gpu")) if r.startswith("torch"))
    assert {*torch.removeprefix("torch").split(",")} == {">=2.11", "<2.14"}


def test_both_ways_to_quote_a_marker_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    written = {
        "vox-populi": ['vox-tensor[gpu]==0.1.0; extra == "mens-gpu"', "b>=1; extra == 'mens-gpu'"],
        "vox-tensor": ['a<2,>=1 ; extra == "gpu"', "c"],
    }
    monkeypatch.setattr(metadata, "requires", written.get)
    assert extras.install_line("mens-gpu") == 'pip install "a<2,>=1" "b>=1"'


def test_a_source_tree_that_was_never_installed_is_installed_by_its_paths(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def requires(distribution: str) -> list[str]:
        raise metadata.PackageNotFoundError(distribution)

    monkeypatch.setattr(metadata, "requires", requires)
    line = extras.install_line("gguf")
    assert packages_of(line) == ["./packages/vox_tensor", "./packages/vox_populi[gguf]"]


def test_every_missing_extra_is_named_once_with_its_modules_and_its_install_line(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(extras, "is_installed", lambda module: module == "torch")
    with pytest.raises(MissingExtraError) as caught:
        extras.require("torch", "tokenizers", "gguf")
    assert [problem.code for problem in caught.value.problems] == ["MENS-X001", "MENS-X001"]
    mens_gpu, gguf = caught.value.problems
    assert all(name in mens_gpu.what for name in ("mens-gpu", "tokenizers"))
    assert "torch" not in mens_gpu.what
    assert extras.install_line("mens-gpu") in (mens_gpu.fix or "")
    assert extras.install_line("gguf") in (gguf.fix or "")
