"""The QLoRA flags of `vox mens train`: to the contract, in all sources, and in the plan."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from vox_cli.commands import mens_train
from vox_populi.contract.choices import Backend, Kernel, TokenizerKind
from vox_populi.contract.finetune_contract import FinetuneContract
from vox_populi.contract.qlora_spec import (
    BaseQuant,
    DenseCopiesChoice,
    QloraGraph,
    QloraSpec,
)
from vox_populi.contract.setting import settings_of
from vox_populi.errors import ConfigError
from vox_populi.events import Sink
from vox_populi.pipeline.train import RunOptions, TrainReport

Vox = Callable[..., Any]
FLAG_OF_FIELD = {each.field: each.flag for each in settings_of(QloraSpec)}
WHERE = ("--data-dir", "d", "--output-dir", "runs/x")
EVERY_FLAG: dict[str, tuple[str | None, Any]] = {
    "graph": ("proxy", QloraGraph.PROXY),
    "double_quant": (None, False),
    "block_size": ("128", 128),
    "dense_copies": ("layer", DenseCopiesChoice.LAYER),
    "cache_dir": ("cache", Path("cache")),
    "ce_last_k": ("9", 9),
    "proxy_max_layers": ("2", 2),
    "lm_head_only": (None, True),
    "max_skip_rate": ("0.5", 0.5),
    "require_full_proxy_stack": (None, True),
    "allow_partial_proxy_stack": (None, True),
}


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[FinetuneContract]:
    """Contracts that would have run."""
    contracts: list[FinetuneContract] = []

    def run(
        contract: FinetuneContract, options: RunOptions, sinks: Sequence[Sink] = ()
    ) -> TrainReport:
        contracts.append(contract)
        raise ConfigError

    monkeypatch.setattr(mens_train, "run_training", run)
    return contracts


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    folder = tmp_path / "data"
    folder.mkdir()
    rows = [{"prompt": f"Say {i}.", "response": f"{i}!"} for i in range(40)]
    text = "".join(json.dumps(row) + "\n" for row in rows)
    (folder / "train.jsonl").write_text(text, encoding="utf-8")
    return folder


def test_every_field_of_the_spec_has_a_flag_here() -> None:
    assert EVERY_FLAG.keys() == FLAG_OF_FIELD.keys()


@pytest.mark.parametrize("field", list(EVERY_FLAG))
def test_each_flag_sets_its_field_and_no_other(
    vox: Vox, asked: list[FinetuneContract], field: str
) -> None:
    text, value = EVERY_FLAG[field]
    argv = [FLAG_OF_FIELD[field], *([] if text is None else [text])]
    vox("mens", "train", *WHERE, "--backend", "qlora", *argv)
    (contract,) = asked
    assert contract.backend is Backend.QLORA
    assert contract.qlora == QloraSpec(**{field: value})
    assert contract.qlora != QloraSpec()


def test_kernel_and_quantisation_can_be_said(vox: Vox, asked: list[FinetuneContract]) -> None:
    argv = ["--backend", "candle-qlora", "--kernel", "candle_qlora", "--base-quant", "nf4"]
    vox("mens", "train", *WHERE, *argv)
    (contract,) = asked
    assert (contract.force_kernel, contract.base_quant) == (Kernel.CANDLE_QLORA, BaseQuant.NF4)


def test_qlora_takes_the_bases_own_tokenizer(vox: Vox, asked: list[FinetuneContract]) -> None:
    vox("mens", "train", *WHERE, "--backend", "qlora")
    vox("mens", "train", *WHERE)
    assert [each.tokenizer for each in asked] == [TokenizerKind.HF, TokenizerKind.VOX]


def test_file_and_environment_say_the_same_as_flags(
    vox: Vox,
    asked: list[FinetuneContract],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    path = tmp_path / "run.yaml"
    path.write_text(
        "backend: qlora\nqlora_graph: proxy\nqlora_no_double_quant: true\nqlora_ce_last_k: 3\n"
        "nf4_cache_dir: cache\nqlora_max_skip_rate: null\n",
        encoding="utf-8",
    )
    monkeypatch.setenv("VOX_MENS_NF4_BLOCK_SIZE", "256")
    monkeypatch.setenv("VOX_MENS_QLORA_ALLOW_PARTIAL_PROXY_STACK", "1")
    vox("mens", "train", *WHERE, "--config", path, "--qlora-ce-last-k", 4)
    (contract,) = asked
    assert contract.qlora == QloraSpec(
        graph=QloraGraph.PROXY,
        double_quant=False,
        ce_last_k=4,
        block_size=256,
        cache_dir=tmp_path / "cache",
        allow_partial_proxy_stack=True,
    )
    assert contract.tokenizer is TokenizerKind.HF


def test_contradictions_come_all_at_once(vox: Vox, asked: list[FinetuneContract]) -> None:
    argv = ["--backend", "lora", "--base-quant", "nf4", "--kernel", "burn_lora"]
    argv += ["--nf4-block-size", "48", "--qlora-lm-head-only", "--qlora-proxy-max-layers", "2"]
    outcome = vox("mens", "train", *WHERE, *argv)
    assert outcome.code == 3
    assert outcome.codes == ["MENS-C009", "MENS-C014", "MENS-C011", "MENS-C013", "MENS-C002"]
    assert "--backend qlora" in outcome.err
    assert asked == []


@pytest.mark.parametrize(
    ("argv", "graph"),
    [
        ([], "full_graph_v1"),
        (["--qlora-graph", "proxy"], "proxy_stack_v1_residual"),
        (["--qlora-lm-head-only"], "lm_head_only"),
    ],
)
def test_a_dry_run_shows_graph_and_quantisation(
    vox: Vox, data_dir: Path, tmp_path: Path, argv: list[str], graph: str
) -> None:
    pytest.importorskip("tokenizers", reason="QLoRA reads the base's own tokenizer")
    where = ["--data-dir", data_dir, "--output-dir", tmp_path / "run", "--dry-run"]
    outcome = vox("mens", "train", *where, "--backend", "qlora", *argv)
    assert outcome.code == 0, outcome.err
    assert f"candle_qlora ({graph}" in outcome.out
    assert "nf4, blocks of 64, double quantisation" in outcome.out
    assert ("not a full-graph loss" in outcome.out) == (graph != "full_graph_v1")
    document = vox("mens", "train", *where, "--backend", "qlora", *argv, "--json").document
    assert (document["graph"], document["candle_compat_mode"]) == (graph, True)
    assert ("proxy_stack" in document) == (graph != "full_graph_v1")
    assert document["quantization"]["dense_copies"] in {"none", "step"}
    assert {path.name for path in tmp_path.iterdir()} == {"data"}
