"""What a QLoRA request may say, and every way in which it contradicts itself."""

from __future__ import annotations

from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest

from vox_populi.contract.choices import Backend, DeploymentTarget, DeviceKind, Kernel, TokenizerKind
from vox_populi.contract.finetune_contract import FinetuneContract
from vox_populi.contract.qlora_spec import (
    BaseQuant,
    DenseCopiesChoice,
    QloraGraph,
    QloraSpec,
)
from vox_populi.contract.setting import settings_of
from vox_populi.errors import ContractError
from vox_tensor.errors import Problem

OTHER_VALUE: dict[str, Any] = {
    "graph": QloraGraph.PROXY,
    "double_quant": False,
    "block_size": 128,
    "dense_copies": DenseCopiesChoice.STEP,
    "cache_dir": Path("cache"),
    "ce_last_k": 4,
    "proxy_max_layers": 4,
    "lm_head_only": True,
    "max_skip_rate": 0.5,
    "require_full_proxy_stack": True,
    "allow_partial_proxy_stack": True,
}
FLAG_OF_FIELD = {each.field: each.flag for each in settings_of(QloraSpec)}
NOT_IN_DIGEST = {"dense_copies", "cache_dir"}


def contract(spec: QloraSpec | None = None, **changes: Any) -> FinetuneContract:
    settings: dict[str, Any] = {
        "data_dir": Path("data"),
        "output_dir": Path("out"),
        "backend": Backend.QLORA,
        "tokenizer": TokenizerKind.HF,
        "qlora": spec or QloraSpec(),
        **changes,
    }
    return FinetuneContract.of(**settings)


def problems(spec: QloraSpec | None = None, **changes: Any) -> list[Problem]:
    with pytest.raises(ContractError) as caught:
        contract(spec, **changes)
    return list(caught.value.problems)


def codes(spec: QloraSpec | None = None, **changes: Any) -> list[str]:
    return [problem.code for problem in problems(spec, **changes)]


def digest(spec: QloraSpec | None = None, **changes: Any) -> str:
    return contract(spec, **changes).digest({"data": "sha256:1"})


def test_every_field_has_a_flag_and_another_value() -> None:
    names = {field.name for field in fields(QloraSpec)}
    assert FLAG_OF_FIELD.keys() == OTHER_VALUE.keys() == names


@pytest.mark.parametrize("name", sorted(OTHER_VALUE.keys() - NOT_IN_DIGEST))
def test_what_decides_what_is_learned_or_refused_changes_the_digest(name: str) -> None:
    assert digest(replace(QloraSpec(), **{name: OTHER_VALUE[name]})) != digest()


@pytest.mark.parametrize("name", sorted(NOT_IN_DIGEST))
def test_what_changes_no_number_does_not_change_the_digest(name: str) -> None:
    assert digest(replace(QloraSpec(), **{name: OTHER_VALUE[name]})) == digest()


def test_saying_what_is_implied_changes_nothing() -> None:
    said = contract(
        QloraSpec(graph=QloraGraph.FULL),
        base_quant=BaseQuant.NF4,
        force_kernel=Kernel.CANDLE_QLORA,
    )
    assert said.canonical() == contract().canonical()
    one = QloraSpec(graph=QloraGraph.PROXY)
    assert contract(one).canonical() == contract(replace(one, ce_last_k=1)).canonical()
    assert contract(one).canonical() != contract(replace(one, ce_last_k=2)).canonical()


def test_a_lora_request_says_nothing_of_qlora() -> None:
    lora = contract(backend=Backend.LORA)
    assert "qlora" not in lora.canonical()
    assert "qlora" in contract().canonical()
    assert lora.ce_last_k is None


def test_nf4_needs_qlora() -> None:
    found = problems(backend=Backend.LORA, base_quant=BaseQuant.NF4)
    assert [problem.code for problem in found] == ["MENS-C009"]
    assert "NF4" in str(found[0])
    assert "--backend qlora" in found[0].fix


def test_qlora_needs_nf4() -> None:
    assert codes(base_quant=BaseQuant.NONE) == ["MENS-C010"]
    assert contract(backend=Backend.LORA, base_quant=BaseQuant.NONE).base_quant is BaseQuant.NONE


def test_qlora_needs_the_hf_tokenizer() -> None:
    (problem,) = problems(tokenizer=TokenizerKind.VOX)
    assert problem.code == "MENS-C003"
    assert "--tokenizer hf" in problem.fix


@pytest.mark.parametrize("name", list(OTHER_VALUE))
def test_a_qlora_flag_without_qlora_is_named(name: str) -> None:
    spec = replace(QloraSpec(), **{name: OTHER_VALUE[name]})
    (problem,) = problems(spec, backend=Backend.LORA)
    assert problem.code == "MENS-C011"
    assert FLAG_OF_FIELD[name] in problem.what


@pytest.mark.parametrize(
    ("backend", "forced", "implied"),
    [
        (Backend.LORA, Kernel.CANDLE_QLORA, Kernel.BURN_LORA),
        (Backend.QLORA, Kernel.BURN_LORA, Kernel.CANDLE_QLORA),
    ],
)
def test_a_forced_kernel_must_be_the_implied_one(
    backend: Backend, forced: Kernel, implied: Kernel
) -> None:
    (problem,) = problems(backend=backend, force_kernel=forced)
    assert problem.code == "MENS-C014"
    quant = "nf4" if backend is Backend.QLORA else "none"
    assert all(word in problem.what for word in (forced, implied, backend, quant))
    assert contract(backend=backend, force_kernel=implied).force_kernel is implied


@pytest.mark.parametrize(
    "name",
    [
        "proxy_max_layers",
        "lm_head_only",
        "require_full_proxy_stack",
        "allow_partial_proxy_stack",
    ],
)
def test_a_proxy_flag_has_no_meaning_in_the_full_graph(name: str) -> None:
    spec = QloraSpec(graph=QloraGraph.FULL)
    found = problems(replace(spec, **{name: OTHER_VALUE[name]}))
    assert [problem.code for problem in found] == ["MENS-C012"]
    assert FLAG_OF_FIELD[name] in found[0].what


@pytest.mark.parametrize("name", ["proxy_max_layers", "lm_head_only", "require_full_proxy_stack"])
def test_a_proxy_flag_alone_asks_for_the_proxy(name: str) -> None:
    spec = replace(QloraSpec(), **{name: OTHER_VALUE[name]})
    assert spec.resolved_graph is QloraGraph.PROXY
    assert QloraSpec().resolved_graph is QloraGraph.FULL


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"require_full_proxy_stack": True}, {"allow_partial_proxy_stack": True}),
        ({"require_full_proxy_stack": True}, {"lm_head_only": True}),
        ({"require_full_proxy_stack": True}, {"proxy_max_layers": 0}),
        ({"lm_head_only": True}, {"proxy_max_layers": 1}),
    ],
)
def test_flags_that_exclude_each_other(one: dict[str, Any], other: dict[str, Any]) -> None:
    both = problems(QloraSpec(**one, **other))
    assert [problem.code for problem in both] == ["MENS-C013"]
    assert all(FLAG_OF_FIELD[name] in both[0].what for name in (*one, *other))
    assert contract(QloraSpec(**one)) != contract(QloraSpec(**other))


def test_the_lm_head_alone_may_be_said_twice() -> None:
    assert contract(QloraSpec(lm_head_only=True, proxy_max_layers=0)).qlora.wants_head_only


@pytest.mark.parametrize(
    ("field", "bad", "good"),
    [
        ("block_size", 48, 32),
        ("block_size", 8192, 4096),
        ("ce_last_k", 0, 1),
        ("ce_last_k", 513, 512),
        ("proxy_max_layers", -1, 0),
        ("max_skip_rate", -0.1, 0.0),
        ("max_skip_rate", 1.1, 1.0),
        ("max_skip_rate", float("nan"), 0.5),
    ],
)
def test_a_value_out_of_range_names_its_flag(field: str, bad: Any, good: Any) -> None:
    (problem,) = problems(replace(QloraSpec(), **{field: bad}))
    assert (problem.code, problem.where) == ("MENS-C002", FLAG_OF_FIELD[field])
    assert getattr(contract(replace(QloraSpec(), **{field: good})).qlora, field) == good


def test_everything_is_reported_at_once() -> None:
    spec = QloraSpec(
        graph=QloraGraph.FULL,
        require_full_proxy_stack=True,
        allow_partial_proxy_stack=True,
        max_skip_rate=2.0,
    )
    found = codes(
        spec,
        tokenizer=TokenizerKind.VOX,
        base_quant=BaseQuant.NONE,
        force_kernel=Kernel.BURN_LORA,
        deployment_target=DeploymentTarget.MOBILE_EDGE,
        batch_size=1,
    )
    assert found == [
        "MENS-C003",
        "MENS-C010",
        "MENS-C014",
        "MENS-C012",
        "MENS-C013",
        "MENS-C002",
        "MENS-C005",
        "MENS-C015",
    ]


def test_mobile_edge_rejects_the_strict_stack() -> None:
    edge = {
        "deployment_target": DeploymentTarget.MOBILE_EDGE,
        "device": DeviceKind.CPU,
        "batch_size": 1,
    }
    (problem,) = problems(QloraSpec(require_full_proxy_stack=True), **edge)
    assert problem.code == "MENS-C015"
    assert "mobile_edge" in problem.what
    assert contract(QloraSpec(graph=QloraGraph.PROXY), **edge).qlora.graph is QloraGraph.PROXY


def test_a_gpu_by_name_requires_the_full_stack_unless_told_otherwise() -> None:
    proxy = QloraSpec(graph=QloraGraph.PROXY)
    assert contract(proxy, device=DeviceKind.CUDA).requires_full_stack
    assert not contract(proxy, device=DeviceKind.BEST).requires_full_stack
    for relaxed in (
        replace(proxy, allow_partial_proxy_stack=True),
        replace(proxy, lm_head_only=True),
    ):
        assert not contract(relaxed, device=DeviceKind.CUDA).requires_full_stack
    strict = QloraSpec(require_full_proxy_stack=True)
    assert contract(strict, device=DeviceKind.CPU).requires_full_stack


def test_the_width_of_the_loss_is_one_in_the_proxy_and_everything_in_the_full_graph() -> None:
    assert contract().ce_last_k is None
    assert contract(QloraSpec(graph=QloraGraph.PROXY)).ce_last_k == 1
    assert contract(QloraSpec(ce_last_k=7)).ce_last_k == 7


def test_a_cache_path_that_no_file_system_takes() -> None:
    (problem,) = problems(QloraSpec(cache_dir=Path("a\0b")))
    assert (problem.code, problem.where) == ("MENS-C007", "--nf4-cache-dir")
