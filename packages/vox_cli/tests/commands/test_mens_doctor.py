from __future__ import annotations

import tomllib
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from vox_cli import machine_report
from vox_populi import extras

Vox = Callable[..., Any]


def fake_torch(*, cuda: bool = False, mps: bool = False, bf16: bool = True) -> SimpleNamespace:
    about = SimpleNamespace(name="Test GPU", total_memory=8 * 2**30)
    return SimpleNamespace(
        cuda=SimpleNamespace(
            is_available=lambda: cuda,
            # torch counts emulation unless told not to.
            is_bf16_supported=lambda including_emulation=True: bf16 or including_emulation,
            current_device=lambda: 1,
            get_device_properties=lambda index: [None, about][index],
        ),
        backends=SimpleNamespace(mps=SimpleNamespace(is_available=lambda: mps)),
    )


@pytest.fixture
def install(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Pretend that exactly these modules are installed, with this torch."""

    def pretend(*modules: str, torch: object = None) -> None:
        real_load = extras.load
        monkeypatch.setattr(extras, "is_installed", lambda module: module in modules)
        monkeypatch.setattr(
            extras, "load", lambda module: torch if module == "torch" else real_load(module)
        )

    return pretend


def test_a_bare_install_is_told_how_to_get_more(vox: Vox, install: Callable[..., None]) -> None:
    install()
    document = vox("mens", "doctor", "--json").document
    assert document["ok"] is True
    assert document["device"] is None
    assert document["extras"]["present"] == []
    assert [each["install"] for each in document["extras"]["missing"]] == [
        extras.install_line(extra) for extra in machine_report.EXTRAS
    ]
    assert document["extras"]["missing"][0]["modules"] == ["torch", "tokenizers", "jinja2"]


def test_every_extra_of_the_package_is_listed_with_what_it_includes() -> None:
    pyproject = Path(__file__).parents[3] / "vox_populi" / "pyproject.toml"
    declared = tomllib.loads(pyproject.read_text("utf-8"))["project"]["optional-dependencies"]
    assert machine_report.EXTRAS.keys() == declared.keys()
    for name, included in machine_report.EXTRAS.items():
        on_torch = {"vox-populi[mens-gpu]", "vox-populi[mens-train]"}
        has_torch = name == "mens-gpu" or not on_torch.isdisjoint(declared[name])
        assert ("mens-gpu" in included) == has_torch, name


def test_a_module_is_found_in_either_of_its_distributions(
    vox: Vox, install: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    def version(name: str) -> str:
        if name == "mlflow-skinny":
            return "3.1"
        raise metadata.PackageNotFoundError

    install()
    monkeypatch.setattr(metadata, "version", version)
    versions = vox("mens", "doctor", "--json").document["versions"]
    assert (versions["mlflow"], versions["torch"]) == ("3.1", None)


def test_without_torch_it_works_for_people_too(vox: Vox, install: Callable[..., None]) -> None:
    install("tokenizers")
    outcome = vox("mens", "doctor")
    assert outcome.code == 0
    assert f"missing; run: {extras.install_line('mens-gpu')}" in outcome.out


def test_a_cpu_computes_in_f32_by_default(vox: Vox, install: Callable[..., None]) -> None:
    install("torch", "tokenizers", "jinja2", torch=fake_torch())
    document = vox("mens", "doctor", "--json").document
    assert (document["device"], document["dtypes"]) == ("cpu", ["f32", "bf16"])
    assert document["extras"]["present"] == ["mens-gpu"]


@pytest.mark.parametrize(("bf16", "dtypes"), [(True, ["bf16", "f32"]), (False, ["f32"])])
def test_cuda_comes_first(
    vox: Vox, install: Callable[..., None], bf16: bool, dtypes: list[str]
) -> None:
    install("torch", torch=fake_torch(cuda=True, bf16=bf16))
    document = vox("mens", "doctor", "--json").document
    assert (document["device"], document["dtypes"]) == ("cuda", dtypes)
    assert [each["kind"] for each in document["devices"]] == ["cuda", "cpu"]
    assert document["devices"][0]["memory_bytes"] == 8 * 2**30
    assert "Test GPU, 8.00 GiB" in vox("mens", "doctor").out


@pytest.mark.parametrize(
    ("failure", "order"), [(None, ["metal", "cpu"]), ("TypeError: no", ["cpu", "metal"])]
)
def test_metal_comes_first_where_it_was_tried_out(
    vox: Vox,
    install: Callable[..., None],
    monkeypatch: pytest.MonkeyPatch,
    failure: str | None,
    order: list[str],
) -> None:
    install("torch", torch=fake_torch(mps=True))
    monkeypatch.setattr(machine_report, "metal_failure", lambda: failure)
    document = vox("mens", "doctor", "--json").document
    assert document["device"] == order[0]
    assert [each["kind"] for each in document["devices"]] == order
    assert failure is None or failure in document["devices"][1]["name"]


def test_a_torch_that_cannot_be_imported_is_shown(
    vox: Vox, install: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    install("torch")
    real_load = extras.load

    def broken(module: str) -> object:
        if module == "torch":
            message = "libcudart.so: cannot open\nmore"
            raise OSError(message)
        return real_load(module)

    monkeypatch.setattr(extras, "load", broken)
    outcome = vox("mens", "doctor", "--json")
    assert outcome.code == 0
    assert outcome.document["torch_failure"] == "OSError: libcudart.so: cannot open"


def test_versions_are_listed(vox: Vox, install: Callable[..., None]) -> None:
    install()
    versions = vox("mens", "doctor", "--json").document["versions"]
    assert {"vox-mens-cli", "vox-populi", "vox-tensor", "torch"} <= set(versions)
    assert versions["vox-mens-cli"]
