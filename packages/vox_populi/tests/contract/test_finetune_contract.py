from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from vox_populi.contract.choices import (
    Backend,
    ComputeDtype,
    DeploymentTarget,
    DeviceKind,
    PrefixSharing,
    TokenizerKind,
)
from vox_populi.contract.finetune_contract import FinetuneContract
from vox_populi.contract.optimizer_choice import OptimizerKind
from vox_populi.contract.setting import settings_of
from vox_populi.data.control_text import ControlText
from vox_populi.data.dataset import OnBadRow, OnLongRow
from vox_populi.data.learned_parts import LearnedParts
from vox_populi.data.template_rows import History
from vox_populi.data.training_text import ChatTemplate
from vox_populi.errors import ConfigError, ContractError
from vox_populi.hf.graph_source import GraphSource
from vox_populi.hf.keymap import ProjectionRole
from vox_tensor.errors import FailureKind
from vox_tensor.lora_spec import LoraSpec
from vox_tensor.schedule import ScheduleKind

NOT_IN_DIGEST = {"data", "data_dir", "output_dir", "model_dir", "init_from", "threads"}
NOT_IN_DIGEST |= {"use_row_cache", "row_cache_dir", "activation_memory", "shard", "device_memory"}
NOT_IN_DIGEST |= {"allow_download"}
IMPLIED = {"base_quant", "force_kernel"}
"""What the backend of a request implies; see `test_qlora_spec`."""
IN_LORA = {"rank", "alpha", "dropout", "use_rslora"}
OTHER_VALUE: dict[str, Any] = {
    "backend": Backend.QLORA,
    "tokenizer": TokenizerKind.HF,
    "lora": LoraSpec(rank=16, alpha=32.0, dropout=0.1),
    "targets": (ProjectionRole.Q,),
    "graph_source": GraphSource.TRANSFORMERS,
    "template": ChatTemplate.PLAIN,
    "system_prompt": "Be brief.",
    "history": History.LAST,
    "template_date": "2026-11-26",
    "learn": LearnedParts.LAST,
    "on_control_text": ControlText.SKIP,
    "text_chunk_chars": 500,
    "epochs": 4,
    "max_steps": 10,
    "optimizer": OptimizerKind.LION,
    "learning_rate": 1e-4,
    "schedule": ScheduleKind.WSD,
    "warmup_steps": 0,
    "weight_decay": 0.0,
    "max_grad_norm": 0.0,
    "seq_len": 256,
    "batch_size": 1,
    "grad_accum": 1,
    "share_prefixes": PrefixSharing.NEVER,
    "micro_batches": 4,
    "seed": 0,
    "min_rating": None,
    "context_filter": "python",
    "validation_split_ratio": 0.0,
    "eval_every": 5,
    "early_stopping_patience": 2,
    "on_bad_row": OnBadRow.SKIP,
    "on_long_row": OnLongRow.ERROR,
    "device": DeviceKind.CPU,
    "dtype": ComputeDtype.F32,
    "deployment_target": DeploymentTarget.MOBILE_EDGE,
    "preset": "tiny",
    "base_model_family": "llama",
    "upstream_model_id": "someone/model",
    "license_class": "apache-2.0",
    "attribution_required": True,
    "trajectory_weighting_enabled": True,
    "trajectory_tool_trace_boost": 2.0,
    "trajectory_failure_category_boost": 2.0,
    "trajectory_quality_floor": 4,
    "trajectory_quality_boost": 2.0,
    "curriculum": True,
}


def contract(**changes: Any) -> FinetuneContract:
    settings: dict[str, Any] = {"data_dir": Path("data"), "output_dir": Path("out"), **changes}
    return FinetuneContract.of(**settings)


def codes(**changes: Any) -> list[str]:
    with pytest.raises(ContractError) as caught:
        contract(**changes)
    return [problem.code for problem in caught.value.problems]


def refused_flags(**changes: Any) -> list[str | None]:
    with pytest.raises(ContractError) as caught:
        contract(**changes)
    assert {problem.code for problem in caught.value.problems} == {"MENS-C002"}
    return [problem.where for problem in caught.value.problems]


def test_defaults_make_a_contract() -> None:
    made = contract()
    assert (made.lora.rank, made.lora.alpha, made.model_dir) == (16, 32.0, None)


def test_contract_reports_every_contradiction_at_once() -> None:
    found = codes(backend=Backend.QLORA, targets=(), epochs=0, context_filter="\udcff", preset="x")
    assert found == ["MENS-C003", "MENS-C004", "MENS-C001", "MENS-C002", "MENS-C008"]


def test_qlora_needs_the_hf_tokenizer() -> None:
    assert codes(backend=Backend.QLORA) == ["MENS-C003"]
    assert contract(backend=Backend.QLORA, tokenizer=TokenizerKind.HF).backend is Backend.QLORA


@pytest.mark.parametrize(
    ("flag", "field", "bad", "good"),
    [
        ("--epochs", "epochs", 0, 1),
        ("--max-steps", "max_steps", 0, 1),
        ("--batch-size", "batch_size", 0, 1),
        ("--grad-accum", "grad_accum", -1, 1),
        ("--eval-every", "eval_every", 0, 1),
        ("--early-stopping-patience", "early_stopping_patience", 0, 1),
        ("--threads", "threads", 0, 1),
        ("--seq-len", "seq_len", 1, 2),
        ("--warmup", "warmup_steps", -1, 0),
        ("--seed", "seed", -1, 0),
        ("--seed", "seed", 2**63, 2**63 - 1),
        ("--min-rating", "min_rating", 0, 1),
        ("--min-rating", "min_rating", 6, 5),
        ("--epochs", "epochs", 2**31, 10**6),
        ("--max-steps", "max_steps", 2**70, 10**9),
        ("--warmup", "warmup_steps", 2**63, 10**9),
        ("--batch-size", "batch_size", 2**31, 2**16),
        ("--grad-accum", "grad_accum", 1e300, 2**20),
        ("--threads", "threads", float("nan"), 2),
        ("--seq-len", "seq_len", 2**31, 2**20),
        ("--lr", "learning_rate", 1e300, 1e3),
        ("--weight-decay", "weight_decay", 1e300, 1e3),
        ("--max-grad-norm", "max_grad_norm", 1e300, 1e30),
        ("--lr", "learning_rate", 0.0, 1e-9),
        ("--lr", "learning_rate", float("nan"), 1.0),
        ("--weight-decay", "weight_decay", -0.1, 0.0),
        ("--weight-decay", "weight_decay", float("inf"), 0.1),
        ("--max-grad-norm", "max_grad_norm", -1.0, 0.0),
        ("--max-grad-norm", "max_grad_norm", float("nan"), 1.0),
        ("--validation-split-ratio", "validation_split_ratio", 1.0, 0.0),
        ("--validation-split-ratio", "validation_split_ratio", float("nan"), 0.5),
        ("--context-filter", "context_filter", "  ", "x"),
        ("--trajectory-tool-trace-boost", "trajectory_tool_trace_boost", 0.0, 1e-3),
        ("--trajectory-quality-boost", "trajectory_quality_boost", float("inf"), 1e3),
        ("--trajectory-quality-floor", "trajectory_quality_floor", 6, 5),
    ],
)
def test_a_value_out_of_range_names_its_flag(flag: str, field: str, bad: Any, good: Any) -> None:
    assert refused_flags(**{field: bad}) == [flag]
    (changed,) = [each for each in settings_of(FinetuneContract) if each.field == field]
    assert changed.of(contract(**{field: good})) == good


def test_mobile_edge_names_every_limit_that_is_passed() -> None:
    found = codes(
        deployment_target=DeploymentTarget.MOBILE_EDGE,
        seq_len=1024,
        lora=LoraSpec(rank=64, alpha=64.0),
    )
    assert found == ["MENS-C005", "MENS-C006", "MENS-C006", "MENS-C006"]


def test_mobile_edge_accepts_its_limits() -> None:
    made = contract(
        deployment_target=DeploymentTarget.MOBILE_EDGE,
        device=DeviceKind.CPU,
        seq_len=512,
        lora=LoraSpec(rank=32, alpha=32.0),
        batch_size=1,
    )
    assert made.deployment_target is DeploymentTarget.MOBILE_EDGE


def test_text_that_no_file_could_hold_is_refused() -> None:
    assert codes(system_prompt="\udcff") == ["MENS-C008"]
    assert codes(data_dir=Path("a\0b"), model_dir=Path("\0")) == ["MENS-C007", "MENS-C007"]
    assert contract(system_prompt="naïve 東京 👋").text.system_prompt == "naïve 東京 👋"


def digest_with(**changes: Any) -> str:
    base = {"tokenizer": TokenizerKind.HF, "device": DeviceKind.CPU, "batch_size": 1, **changes}
    return contract(**base).digest({"data": "sha256:1"})


def test_every_setting_that_matters_changes_the_digest() -> None:
    settings = {each.field for each in settings_of(FinetuneContract) if each.group != "qlora"}
    assert (OTHER_VALUE.keys() - {"lora"}) | IN_LORA | NOT_IN_DIGEST | IMPLIED == settings
    base = contract().canonical()
    for name, other in OTHER_VALUE.items():
        if name in ("backend", "deployment_target"):
            continue
        assert contract(**{name: other}).canonical() != base, name
    assert digest_with(backend=Backend.QLORA) != digest_with()
    assert digest_with(deployment_target=DeploymentTarget.MOBILE_EDGE) != digest_with()


def test_paths_and_threads_do_not_change_the_digest() -> None:
    moved = digest_with(
        data_dir=Path("/elsewhere"), output_dir=Path("b"), model_dir=Path("m"), threads=3
    )
    assert moved == digest_with()


def test_the_digest_covers_the_content_of_the_inputs() -> None:
    assert contract().digest({"data": "sha256:1"}) != contract().digest({"data": "sha256:2"})
    one, other = {"a": "1", "b": "2"}, {"b": "2", "a": "1"}
    assert contract().digest(one) == contract().digest(other)


def test_the_digest_of_the_defaults_is_the_same_in_every_release() -> None:
    # A change here breaks the resume check of runs in progress: raise CONTRACT_SCHEMA_VERSION.
    assert contract().digest({"data": "sha256:1"}) == (
        "sha256:0d3141617bb6952b4f13dcb9817f473279003bcc1a4ed51803c8045f2098c452"
    )


def test_a_lora_out_of_range_is_reported_with_every_flag() -> None:
    with pytest.raises(ConfigError) as caught:
        contract(rank=0, alpha=float("nan"), dropout=1.0)
    assert [p.where for p in caught.value.problems] == ["--rank", "--alpha", "--dropout"]
    assert caught.value.kind is FailureKind.USAGE
    assert contract(rank=4, alpha=8.0, use_rslora=True).lora.use_rslora


def test_the_record_has_its_names_in_the_order_of_older_files() -> None:
    """`request.json` and checkpoints are written in this order, and compared byte by byte."""
    qlora = {"backend": Backend.QLORA, "tokenizer": TokenizerKind.HF, "max_skip_rate": 0.5}
    asked = contract(**qlora, optimizer=OptimizerKind.LION).canonical()
    text = """qlora contract_schema_version backend tokenizer lora targets template system_prompt
        epochs max_steps learning_rate schedule warmup_steps optimizer weight_decay max_grad_norm
        seq_len batch_size grad_accum seed min_rating context_filter validation_split_ratio
        eval_every early_stopping_patience on_bad_row on_long_row device dtype deployment_target
        preset"""
    assert list(asked) == text.split()
    text = """graph double_quant block_size ce_last_k proxy_max_layers lm_head_only max_skip_rate
        require_full_proxy_stack allow_partial_proxy_stack"""
    assert isinstance(asked["qlora"], dict)
    assert list(asked["qlora"]) == text.split()
