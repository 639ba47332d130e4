"""One class of transformers through everything: proof, gradients, runs, merge and PEFT export.

The oracles are transformers and PEFT (where PEFT cannot hold the adapters, products added to the
weights of transformers): logits and losses of each row alone, what loads a merged
folder, and what loads an exported adapter.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel, get_peft_model_state_dict
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoModelForMultimodalLM

from tests_integration.foreign_models import write_foreign_model
from tests_integration.foreign_nested import VISION, write_foreign_nested
from tests_integration.tiny_models import VOCAB
from vox_populi.contract.choices import Backend, TokenizerKind
from vox_populi.contract.finetune_contract import FinetuneContract
from vox_populi.export.consumers import Consumer
from vox_populi.files.strict_json import read_json_object
from vox_populi.hf.graph_source import GraphSource
from vox_populi.hf.inventory import read_inventory
from vox_populi.hf.keymap import HEAD, AdapterModule, adapter_modules
from vox_populi.hf.module_table import ModuleTable
from vox_populi.model.hf_load import load_base
from vox_populi.model.lora_transformer import attach_adapters
from vox_populi.model.packing_proof import Differences, measure_packing
from vox_populi.model.transformers_graph import TransformersGraph
from vox_populi.pipeline.export import ExportRequest
from vox_populi.pipeline.export_run import export_adapter
from vox_populi.pipeline.merge import AnyMergeRequest, merge_adapter
from vox_populi.pipeline.train import RunOptions, run_training
from vox_populi.plan.packing_proof_facts import TOLERANCE
from vox_populi.runs.find_adapter import find_own_adapter
from vox_tensor.collate import collate_window
from vox_tensor.errors import VoxError
from vox_tensor.lora_spec import LoraSpec
from vox_tensor.records import IGNORE_INDEX, EncodedRow

_SPEC = LoraSpec(rank=2, alpha=8.0)
_LENGTHS = (21, 4, 12)
_SPREAD = 0.5
"""Factor of random matrices; recurrences amplify rounding where they are large."""


@dataclass(slots=True)
class Trial:
    """What was found, a cell of the table each; empty where something before it failed."""

    model_type: str
    class_name: str = ""
    attention: str = ""
    rows: str = ""
    alone: float | None = None
    packed: float | None = None
    loss: float | None = None
    gradients: float | None = None
    frozen: str = ""
    merge: float | None = None
    peft: str = ""
    qlora: str = ""
    failures: list[str] = field(default_factory=list)

    @property
    def is_refused(self) -> bool:
        """Whether nothing can be trained."""
        return self.rows.startswith("refused")


def try_family(name: str, settings: Mapping[str, Any], folder: Path) -> Trial:
    """Everything of a class, as far as it goes.

    Args:
        name: Its model type.
        settings: Fields of its config that its default leaves out.
        folder: An empty folder for what is written.
    """
    trial = Trial(name)
    for step in (_prove, _learn, _learn_quantised):
        try:
            step(trial, settings, folder)
        except VoxError as error:
            problem = error.problems[0]
            trial.failures.append(f"{problem.code} {problem.what}")
            if step is _prove:
                trial.rows = f"refused ({problem.code})"
                break
        if trial.is_refused:
            break
    return trial


def _prove(trial: Trial, settings: Mapping[str, Any], folder: Path) -> None:
    base = folder / "base"
    write = write_foreign_nested if trial.model_type in VISION else write_foreign_model
    write(base, trial.model_type, tokenizer=True, spread=_SPREAD, **settings)
    inventory = read_inventory(base, source=GraphSource.TRANSFORMERS)
    table = inventory.config.modules
    assert table is not None, "transformers computes it"
    trial.class_name = table.class_name
    frozen = table.frozen_values()
    total = table.adaptable_values + sum(frozen.values())
    trial.frozen = ", ".join(f"{reason} {size / total:.0%}" for reason, size in frozen.items())
    found = measure_packing(read_json_object(base / "config.json", 2**20), "config.json")
    trial.alone = found.alone
    trial.packed = None if found.refused else max(found.packed, found.gradients)
    trial.rows = _verdict(found)


def _verdict(found: Differences) -> str:
    if not found.marked <= TOLERANCE:
        return "refused (MENS-H263)"
    if found.blocks_passed:
        return "refused (MENS-H264)"
    if not found.alone <= TOLERANCE:
        return "refused (MENS-P140)"
    if found.refused:
        return "one at a time: the class refuses"
    leaks = max(found.packed, found.gradients) > TOLERANCE
    return "one at a time: they leak" if leaks else "packed"


def _learn(trial: Trial, settings: Mapping[str, Any], folder: Path) -> None:
    """A LoRA run, its merge and its export, and the gradients of PEFT on the same weights."""
    del settings
    report = run_training(_contract(folder, Backend.LORA), RunOptions())
    merged = merge_adapter(AnyMergeRequest(source=report.run, output=folder / "merged"))
    found, base = _theirs(trial, merged.output), _theirs(trial, folder / "base")
    if torch.equal(_logits(found), _logits(base)):
        trial.failures.append("nothing was learned")
    asked = ExportRequest(source=report.run, output_dir=folder / "peft", consumer=Consumer.PEFT)
    try:
        export_adapter(asked)
    except VoxError as error:
        trial.peft = f"refused ({error.problems[0].code})"
        trained = find_own_adapter(report.run, None).adapter
        inventory = read_inventory(folder / "base", source=GraphSource.TRANSFORMERS)
        learned = {
            module: trained.pair(module.ours)
            for module in adapter_modules(inventory.config)
            if module.ours in {each.ours for each in trained.header.modules}
        }
        table = inventory.config.modules
        trial.merge = _difference(_logits(found), _logits(_Adapted(base, learned, table)))
        _compare_gradients(trial, base, folder / "base", is_peft=False)
        return
    try:
        fresh = _theirs(trial, folder / "base")
        theirs = PeftModel.from_pretrained(fresh, folder / "peft", is_trainable=True)
    except (ValueError, RuntimeError, KeyError) as error:
        trial.peft = "fails"
        trial.failures.append(f"PEFT: {str(error).splitlines()[0]}")
        return
    theirs.eval()
    stored = load_file(folder / "peft" / "adapter_model.safetensors")
    loaded = get_peft_model_state_dict(theirs)
    trial.peft = "loads strictly" if _is_whole(stored, loaded) else "differs"
    trial.merge = _difference(_logits(found), _logits(theirs))
    has_experts = any("experts" in name for name in stored)
    _compare_gradients(
        trial, base if has_experts else theirs, folder / "base", is_peft=not has_experts
    )


def _is_whole(stored: Mapping[str, torch.Tensor], loaded: Mapping[str, torch.Tensor]) -> bool:
    """Whether every value of an exported adapter was loaded, experts' in whatever stack."""
    own, found = (
        {key: each for key, each in tensors.items() if "experts" not in key}
        for tensors in (stored, loaded)
    )
    if own.keys() != found.keys() or not all(torch.equal(own[key], found[key]) for key in own):
        return False
    of_experts = (
        [each.flatten() for key, each in tensors.items() if "experts" in key]
        for tensors in (stored, loaded)
    )
    kept = [torch.cat([torch.zeros(0), *each]) for each in of_experts]
    left = [each[each != 0].sort().values for each in kept]
    return torch.equal(*left)


def _theirs(trial: Trial, folder: Path) -> Any:
    """A folder in the class that it is of; every tensor must be there, and no other."""
    auto: Any = AutoModelForMultimodalLM if trial.model_type in VISION else AutoModelForCausalLM
    model, found = auto.from_pretrained(folder, dtype=torch.float32, output_loading_info=True)
    wrong = [name for kind in ("missing_keys", "unexpected_keys") for name in found[kind]]
    if wrong:
        trial.failures.append(f"{folder.name}: {len(wrong)} keys differ, such as {wrong[0]}")
    return model.eval()


class _Adapted:
    """A model of transformers with `W + scale * B @ A` in place of its weights, without PEFT."""

    def __init__(
        self, model: Any, pairs: Mapping[AdapterModule, Any], table: ModuleTable | None
    ) -> None:
        self._model, self._pairs, self._table = model, pairs, table

    def __call__(self, **given: Any) -> Any:
        deltas = {}
        for module, (a_RI, b_OR) in self._pairs.items():
            delta = b_OR @ a_RI * _SPEC.scale
            deltas[module.ours] = delta.t() if module.fan_in_fan_out else delta
        added = {
            f"{module.theirs}.weight": deltas[module.ours]
            for module in self._pairs
            if not module.in_expert
        } | self._of_experts(deltas)
        weights = {
            name: self._model.get_parameter(name).detach() + each for name, each in added.items()
        }
        return torch.func.functional_call(self._model, weights, kwargs=given)

    def _of_experts(self, deltas: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """What is added to tensors with all experts of a layer."""
        return {
            f"{place.path}.{tensor}": torch.stack(
                [
                    torch.cat([deltas[f"{place.ours}.{number}.{part.name}"] for part in parts])
                    for number in range(place.count)
                ]
            )
            for place in (() if self._table is None else self._table.experts)
            for tensor, parts in place.tensors.items()
            if f"{place.ours}.0.{parts[0].name}" in deltas
        }


def _compare_gradients(trial: Trial, theirs: Any, base: Path, *, is_peft: bool) -> None:
    model = load_base(read_inventory(base, source=GraphSource.TRANSFORMERS), torch.float32)
    assert isinstance(model, TransformersGraph), "asked for"
    model.packs = trial.rows == "packed"
    stream = torch.Generator().manual_seed(5)
    modules = {m.ours: m for m in adapter_modules(model.config) if m.ours != HEAD}
    adapted = attach_adapters(model, tuple(modules.values()), _SPEC, stream)
    pairs: list[tuple[Any, Any]] = []
    by_hand: dict[AdapterModule, Any] = {}
    with torch.no_grad():
        for ours, layer in adapted.items():
            layer.b_OR.normal_(std=0.05, generator=stream)
            if not is_peft:
                copies = [each.clone().requires_grad_() for each in (layer.a_RI, layer.b_OR)]
                by_hand[modules[ours]] = copies
                pairs += zip((layer.a_RI, layer.b_OR), copies, strict=True)
                continue
            other = theirs.base_model.model.get_submodule(modules[ours].theirs)
            for mine, its in ((layer.a_RI, other.lora_A), (layer.b_OR, other.lora_B)):
                its["default"].weight.copy_(mine)
                pairs.append((mine, its["default"].weight))
    if not is_peft:
        theirs = _Adapted(theirs, by_hand, model.config.modules)
    rows = _rows()
    loss = model.loss_sum(collate_window(rows))
    loss.backward()
    expected = torch.stack(
        [
            theirs(input_ids=torch.tensor([r.ids]), labels=torch.tensor([r.labels])).loss
            * r.n_supervised
            for r in rows
        ]
    ).sum()
    expected.backward()
    trial.loss = abs(float(loss.detach() - expected.detach())) / abs(float(expected.detach()))
    trial.gradients = max(_difference(mine.grad, its.grad) for mine, its in pairs)


def _learn_quantised(trial: Trial, settings: Mapping[str, Any], folder: Path) -> None:
    del settings
    report = run_training(_contract(folder, Backend.QLORA), RunOptions())
    merged = merge_adapter(AnyMergeRequest(source=report.run, output=folder / "merged_nf4"))
    found, base = _theirs(trial, merged.output), _theirs(trial, folder / "base")
    is_sound = bool(_logits(found).isfinite().all())
    trial.qlora = "merged, loads" if is_sound else "not finite"
    if torch.equal(_logits(found), _logits(base)):
        trial.failures.append("QLoRA: nothing was learned")


def _contract(folder: Path, backend: Backend) -> FinetuneContract:
    data = folder / "rows.jsonl"
    rows = [{"prompt": f"say {i} " * (1 + i % 4), "response": f"{i} it is"} for i in range(6)]
    data.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return FinetuneContract.of(
        data=(data,), output_dir=folder / backend.value, model_dir=folder / "base",
        tokenizer=TokenizerKind.HF, lora=_SPEC, epochs=1, batch_size=2, grad_accum=1, seq_len=96,
        learning_rate=5e-3, warmup_steps=0, max_steps=2, threads=1, backend=backend,
        graph_source=GraphSource.TRANSFORMERS,
    )  # fmt: skip


@torch.no_grad()
def _logits(model: Any) -> torch.Tensor:
    ids = torch.randint(3, VOCAB, (1, 23), generator=torch.Generator().manual_seed(1))
    found: torch.Tensor = model(input_ids=ids, use_cache=False).logits[0]
    return found


def _difference(found: Any, expected: Any) -> float:
    """The largest difference, relative to the largest value that is expected."""
    return float((found - expected).abs().max() / expected.abs().max().clamp_min(1e-20))


def _rows() -> list[EncodedRow]:
    stream = torch.Generator().manual_seed(4)
    rows = []
    for line, length in enumerate(_LENGTHS, start=1):
        ids = tuple(torch.randint(3, VOCAB, (length,), generator=stream).tolist())
        rows.append(EncodedRow(ids, (IGNORE_INDEX,) * 2 + ids[2:], line))
    return rows
