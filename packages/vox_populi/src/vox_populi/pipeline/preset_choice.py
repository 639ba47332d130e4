"""`--preset auto`: the largest preset whose plan fits the memory of this machine. No torch here."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from vox_populi.contract.choices import ActivationMemoryChoice, Backend, default_tokenizer
from vox_populi.contract.finetune_contract import FinetuneContract
from vox_populi.contract.presets import values_of_preset
from vox_populi.errors import EnvironmentFailure
from vox_populi.hf.embedded import embedded_model_dir
from vox_populi.hf.inventory import read_inventory
from vox_populi.operator_messages import environment as say
from vox_populi.pipeline.machine_probe import probe_machine
from vox_populi.plan.execution_planner import DataFacts, ExecutionPlan, plan_execution
from vox_populi.plan.graph_choice import choose_graph

LADDER = ("a100", "4080", "safe")
"""Presets that may be chosen, the largest first; the others are for something in particular."""
SHARE = 0.9
"""Part of the memory that an estimate may take: other programs need some as well."""
_SOME_ROWS = DataFacts(n_train_rows=1, n_valid_rows=1)
"""Has no lengths, so that a row of `--seq-len` tokens is assumed."""


@dataclass(frozen=True, slots=True)
class PresetChoice:
    """The preset that was chosen."""

    name: str
    note: str
    """Why, for the operator."""


def choose_preset(given: Mapping[str, object]) -> PresetChoice:
    """Plan each preset of the ladder with the given settings; the first that fits is chosen.

    A preset whose sequences are longer than the base has positions for is skipped. Activations are
    computed again only for the last preset, if it does not fit otherwise.

    Args:
        given: Values of a request by the fields of `FinetuneContract` and its groups; they
            take precedence over a preset's. Rows and output folder are not looked at.

    Raises:
        ContractError: When the given settings contradict each other.
        ModelError: For a base that cannot be read.
        PlanError: When the base cannot meet the request.
        EnvironmentFailure: When nothing fits, or the memory is not known.
    """
    plans = list(plans_of_ladder(given))
    for name, plan in plans:
        available = plan.memory_available
        if available is None:
            raise EnvironmentFailure(say.preset_needs_memory(plan.device))
        has_positions = plan.batching.seq_len <= plan.config.max_positions
        if has_positions and plan.memory.total <= SHARE * available:
            needed = plan.memory.total
            note = say.note_preset_chosen(name, needed, available, plan.device)
            return PresetChoice(name, note)
    name, plan = plans[-1]
    assert plan.memory_available is not None, "it would have been refused"
    needs, positions = plan.memory.total, plan.config.max_positions
    raise EnvironmentFailure(
        say.no_preset_fits(name, needs, plan.memory_available, plan.batching.seq_len, positions)
    )


def plans_of_ladder(given: Mapping[str, object]) -> Iterator[tuple[str, ExecutionPlan]]:
    """The plan of each preset of the ladder with the given settings; see `choose_preset`."""
    attempts = [(name, ActivationMemoryChoice.NONE) for name in LADDER]
    attempts.append((LADDER[-1], ActivationMemoryChoice.AUTO))
    contracts = [
        (name, _contract({"activation_memory": memory, **given}, name)) for name, memory in attempts
    ]
    _, first = contracts[0]
    is_qlora = first.backend is Backend.QLORA
    folder = first.model_dir or embedded_model_dir()
    inventory = read_inventory(folder, complete=not is_qlora, allow_nf4=is_qlora)
    machine = probe_machine(first.compute.device, first.compute.dtype)
    for name, contract in contracts:
        graph = choose_graph(contract, inventory)
        yield name, plan_execution(contract, inventory, graph, _SOME_ROWS, machine)


def _contract(given: Mapping[str, object], name: str) -> FinetuneContract:
    implied = {
        "output_dir": Path(),
        "tokenizer": default_tokenizer(given.get("backend"), given.get("model_dir")),
        **values_of_preset(name),
    }
    values = {**implied, **given, "data": (), "data_dir": Path(), "preset": name}
    made = FinetuneContract.of(**values)
    # Threads are checked with the run: here they decide nothing.
    return replace(made, compute=replace(made.compute, threads=None))
