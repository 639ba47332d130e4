from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from vox_populi.contract.adapter_target import parse_targets
from vox_populi.contract.choices import Backend, DeploymentTarget, DeviceKind, TokenizerKind
from vox_populi.contract.finetune_contract import FinetuneContract
from vox_populi.data.training_text import ChatTemplate
from vox_populi.errors import ContractError, EnvironmentFailure, PlanError
from vox_populi.hf.inventory import ModelInventory
from vox_populi.hf.rope_config import RopeKind
from vox_populi.plan.execution_planner import (
    DataFacts,
    ExecutionPlan,
    Kernel,
    MachineFacts,
    plan_execution,
    require_memory,
)
from vox_populi.plan.graph_choice import choose_graph
from vox_tensor.errors import FailureKind
from vox_tensor.schedule import ScheduleKind

pytestmark = pytest.mark.requirement("1a")

MakeContract = Callable[..., FinetuneContract]
MakeInventory = Callable[..., ModelInventory]

DATA = DataFacts(
    n_train_rows=100, n_valid_rows=10, longest_row=60, tokens=5000, supervised_tokens=2000
)


@pytest.fixture
def plan(
    make_contract: MakeContract, make_inventory: MakeInventory, cpu_machine: MachineFacts
) -> Callable[..., ExecutionPlan]:
    def make(
        family: str = "llama",
        data: DataFacts = DATA,
        machine: MachineFacts = cpu_machine,
        **changes: object,
    ) -> ExecutionPlan:
        contract, inventory = make_contract(**changes), make_inventory(family)
        chosen = choose_graph(contract, inventory)
        return plan_execution(contract, inventory, chosen, data, machine)

    return make


MakePlan = Callable[..., ExecutionPlan]


@pytest.mark.parametrize("family", ["llama", "qwen3", "gpt2", "phi3"])
@pytest.mark.parametrize("tokenizer", list(TokenizerKind))
def test_lora_selects_the_full_graph_of_every_family_with_either_tokenizer(
    plan: MakePlan, family: str, tokenizer: TokenizerKind
) -> None:
    made = plan(family, tokenizer=tokenizer, template=ChatTemplate.CHATML)
    assert (made.kernel, made.graph) == (Kernel.BURN_LORA, "full_graph_v1")
    assert made.objective_note == "burn_lora_masked_chatml_ce"
    assert made.adapters


def test_another_template_has_another_objective(plan: MakePlan) -> None:
    assert plan(template=ChatTemplate.PLAIN).objective_note == "burn_lora_masked_plain_ce"


def test_the_plan_holds_what_the_kernel_needs(plan: MakePlan) -> None:
    made = plan(seq_len=64, batch_size=2, grad_accum=3, epochs=2, warmup_steps=5, seed=7)
    assert (made.batching.window_tokens, made.batching.rows_per_step) == (128, 6)
    assert (made.steps_per_epoch, made.total_steps) == (17, 34)
    assert (made.schedule.kind, made.schedule.peak) == (ScheduleKind.COSINE, 2e-4)
    assert (made.schedule.warmup_steps, made.schedule.total_steps) == (5, 34)
    assert (made.device, made.compute_dtype, made.seed) == ("cpu", "float32", 7)
    assert (made.n_train_rows, made.n_valid_rows) == (100, 10)


def test_the_plan_is_a_function_of_its_arguments(plan: MakePlan) -> None:
    assert plan() == plan()
    assert plan(seed=1) != plan()


def test_a_warmup_longer_than_the_run_is_clamped_and_said(plan: MakePlan) -> None:
    made = plan(warmup_steps=1000)
    assert made.schedule.warmup_steps < made.total_steps
    assert any("--warmup 1000" in note for note in made.notes)


def test_qlora_with_the_vox_tokenizer_never_gets_to_the_planner(
    make_contract: MakeContract,
) -> None:
    with pytest.raises(ContractError, match=r"--tokenizer hf"):
        make_contract(backend=Backend.QLORA, tokenizer=TokenizerKind.VOX)


def test_mobile_edge_rejects_a_long_sequence_and_names_itself(make_contract: MakeContract) -> None:
    with pytest.raises(ContractError, match="mobile_edge"):
        make_contract(
            deployment_target=DeploymentTarget.MOBILE_EDGE,
            device=DeviceKind.CPU,
            seq_len=1024,
            batch_size=1,
        )


def test_everything_that_cannot_be_met_is_reported_at_once(
    plan: MakePlan, cpu_machine: MachineFacts
) -> None:
    with pytest.raises(PlanError) as caught:
        plan(
            "gpt2",
            DataFacts(n_train_rows=0, n_valid_rows=0, longest_row=65),
            cpu_machine,
            backend=Backend.QLORA,
            tokenizer=TokenizerKind.HF,
            targets=parse_targets("q,gate"),
            early_stopping_patience=1,
            device=DeviceKind.CUDA,
        )
    assert [problem.code for problem in caught.value.problems] == [
        "MENS-P002",
        "MENS-P003",
        "MENS-P004",
        "MENS-P005",
        "MENS-P006",
        "MENS-P007",
    ]
    assert caught.value.kind is FailureKind.REFUSED


def test_an_absent_device_alone_is_the_environments_fault(plan: MakePlan) -> None:
    with pytest.raises(EnvironmentFailure, match="MENS-P007"):
        plan(device=DeviceKind.METAL)


def test_threads_beyond_the_cores_are_a_fault_of_the_request(plan: MakePlan) -> None:
    with pytest.raises(PlanError, match=r"MENS-C020.*1180591620717411303424 threads"):
        plan(threads=2**70)


def test_learned_positions_end_where_their_table_does(plan: MakePlan) -> None:
    with pytest.raises(PlanError, match=r"MENS-P006.*--seq-len 64"):
        plan("gpt2", replace(DATA, longest_row=65))
    assert plan("gpt2", replace(DATA, longest_row=64), seq_len=512).batching.seq_len == 512


def test_dynamic_positions_end_where_other_frequencies_would_begin(
    make_contract: MakeContract, make_inventory: MakeInventory, cpu_machine: MachineFacts
) -> None:
    plain = make_inventory("llama")
    assert plain.config.rope is not None
    rope = replace(plain.config.rope, kind=RopeKind.DYNAMIC)
    inventory = replace(plain, config=replace(plain.config, rope=rope))
    contract = make_contract()
    chosen = choose_graph(contract, inventory)
    for longest, is_refused in ((64, False), (65, True)):
        data = replace(DATA, longest_row=longest)
        if is_refused:
            with pytest.raises(PlanError, match=r"MENS-P006.*--seq-len 64"):
                plan_execution(contract, inventory, chosen, data, cpu_machine)
        else:
            assert plan_execution(contract, inventory, chosen, data, cpu_machine).adapters


def test_rotary_positions_go_on_and_the_plan_says_so(plan: MakePlan) -> None:
    made = plan("llama", replace(DATA, longest_row=65))
    assert any("65 tokens" in note for note in made.notes)
    assert not any("tokens are longer" in note for note in plan("llama").notes)


def test_settings_without_effect_are_named(plan: MakePlan) -> None:
    nothing_held_out = plan(data=replace(DATA, n_valid_rows=0), eval_every=5)
    assert any("--eval-every" in note for note in nothing_held_out.notes)
    own_file = replace(DATA, valid_file="valid.jsonl")
    noted = plan(data=own_file, validation_split_ratio=0.2).notes
    assert any("--validation-split-ratio" in note for note in noted)
    assert not any("--validation-split-ratio" in note for note in plan(data=own_file).notes)


def test_a_window_is_not_fuller_than_the_rows_of_a_step(plan: MakePlan) -> None:
    short = plan(data=replace(DATA, longest_row=8)).memory.activations
    unknown = plan(data=replace(DATA, longest_row=None)).memory.activations
    assert short * 2048 == unknown * 16 * 8


def test_a_plan_for_too_little_memory_is_made_and_only_a_run_is_refused(plan: MakePlan) -> None:
    small = MachineFacts(n_cpus=1, memory_bytes=2**20, has_cuda=False, has_mps=False)
    made = plan(machine=small)
    assert made.fits is False
    assert any("memory" in note for note in made.notes)
    with pytest.raises(EnvironmentFailure, match="MENS-P008"):
        require_memory(made)


def test_a_plan_that_fits_or_that_nobody_can_judge_may_run(
    plan: MakePlan, cpu_machine: MachineFacts
) -> None:
    assert plan().fits is True
    require_memory(plan())
    unknown = plan(machine=replace(cpu_machine, memory_bytes=None))
    assert unknown.fits is None
    require_memory(unknown)
