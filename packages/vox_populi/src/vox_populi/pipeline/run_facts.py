"""Facts about a planned run for its files: names and digests, no paths. No torch."""

from __future__ import annotations

from vox_populi.adapters.header import AdaptedModule, AdapterHeader
from vox_populi.events import TELEMETRY_SCHEMA_VERSION
from vox_populi.files.json_numbers import JsonObject
from vox_populi.hf.embedded import EMBEDDED_NAME
from vox_populi.hf.hub_name import folder_name, hub_origin
from vox_populi.pipeline.train import PlannedRun
from vox_populi.plan.execution_planner import ExecutionPlan, Kernel
from vox_populi.plan.packing_proof_facts import PackingProof
from vox_populi.runs.check_rows import CheckRows, RowOrigin, pick_check_rows
from vox_populi.runs.manifest import InputFacts, installed_versions
from vox_populi.runs.qlora_facts import qlora_facts, quantization_of
from vox_populi.runs.request import RunRequest

_DECIDING_VERSIONS = ("torch", "vox-tensor", "vox-populi")
"""Distributions whose other versions may round or shuffle differently."""

PREFLIGHT_SCHEMA_VERSION = "vox.mens.preflight.v0"


def input_facts(planned: PlannedRun) -> InputFacts:
    """Names and digests of everything that goes into a run; reads the base once.

    Raises:
        ModelError: When a file of the base cannot be read any more.
    """
    found, contract = planned.preflight, planned.contract
    base_digest = found.base_digest()
    named = ("data", "valid", "tokenizer", "template", "init_from")
    digests = {name: found.digests[name] for name in named if name in found.digests}
    valid_file = found.facts.valid_file
    return InputFacts(
        base_name=base_name(planned),
        base_digest=base_digest,
        base_commit=_base_commit(planned),
        tokenizer_digest=digests["tokenizer"],
        template_digest=digests["template"],
        layout=found.layout,
        contract_digest=contract.digest({**digests, "base": base_digest}),
        train_file=found.facts.train_file,
        train_digest=digests["data"],
        train_files=found.train.rows.contents,
        train_report=found.train.report,
        valid_file=valid_file,
        valid_digest=digests.get("valid"),
        valid_files=found.valid.rows.contents if valid_file else (),
        valid_report=found.valid.report if valid_file else None,
        init_from_digest=digests.get("init_from"),
    )


def run_request(planned: PlannedRun, inputs: InputFacts) -> RunRequest:
    """Everything that must stay the same for the run to be resumed."""
    plan, versions = planned.plan, installed_versions()
    digests = {
        "base": inputs.base_digest,
        "data": inputs.train_digest,
        "valid": inputs.valid_digest,
        "tokenizer": inputs.tokenizer_digest,
        "template": inputs.template_digest,
        "init_from": inputs.init_from_digest,
    }
    return RunRequest(
        digest=inputs.contract_digest,
        contract=planned.contract.canonical(),
        inputs={name: digest for name, digest in digests.items() if digest is not None},
        program={
            "device": plan.device,
            "compute_dtype": plan.compute_dtype,
            **{name: versions[name] for name in _DECIDING_VERSIONS if name in versions},
            # Another version, or our own code once there is some, rounds differently.
            **_graph_versions(plan.proof),
        },
    )


def _graph_versions(proof: PackingProof | None) -> dict[str, str]:
    """The versions of other code that computes the graph."""
    if proof is None:
        return {}
    used = proof.package_kernels
    return {"transformers": proof.version, **({"linear_attention": used} if used else {})}


def base_name(planned: PlannedRun) -> str:
    """The hub's name of a base from its cache, else the bare name of its folder."""
    folder = planned.contract.model_dir
    return EMBEDDED_NAME if folder is None else folder_name(folder)


def _base_commit(planned: PlannedRun) -> str | None:
    folder = planned.contract.model_dir
    origin = None if folder is None else hub_origin(folder)
    return None if origin is None else origin.commit


def preflight_record(planned: PlannedRun, inputs: InputFacts) -> JsonObject:
    """`training-preflight.json`; it has the kernel under the name of the flag."""
    record: JsonObject = {
        "schema_version": PREFLIGHT_SCHEMA_VERSION,
        "contract_digest": inputs.contract_digest,
        "execution_kernel": planned.contract.backend.value,
    }
    if planned.notes:
        record["notes"] = list(planned.notes)
    return record


def check_rows(planned: PlannedRun, inputs: InputFacts) -> CheckRows:
    """Check rows for merging the adapter: held-out ones if there are any.

    Raises:
        DataError: When the file changed since it was checked.
    """
    found = planned.preflight
    rows, origin = found.valid, RowOrigin.HELD_OUT
    if not len(rows):
        rows, origin = found.train, RowOrigin.TRAIN
    return pick_check_rows(rows, origin, inputs.contract_digest)


def adapter_header(planned: PlannedRun, inputs: InputFacts, step: int) -> AdapterHeader:
    """The header of an adapter of this run."""
    plan, contract = planned.plan, planned.contract
    return AdapterHeader(
        lora=plan.lora,
        modules=tuple(AdaptedModule.of(module) for module in plan.adapters),
        base_name=inputs.base_name,
        base_digest=inputs.base_digest,
        model_type=plan.config.model_type,
        tokenizer=contract.tokenizer,
        tokenizer_digest=inputs.tokenizer_digest,
        template=contract.text.kind,
        template_digest=inputs.template_digest,
        system_prompt=contract.text.system_prompt,
        seq_len=plan.batching.seq_len,
        contract_digest=inputs.contract_digest,
        step=step,
        graph=plan.graph,
        quantization=quantization_of(plan),
        layout=inputs.layout,
        transformers="" if plan.config.modules is None else plan.config.modules.version,
    )


def train_start_payload(planned: PlannedRun, inputs: InputFacts) -> JsonObject:
    """The first line of telemetry, under the source system's keys."""
    plan, contract = planned.plan, planned.contract
    return {
        "telemetry_schema": TELEMETRY_SCHEMA_VERSION,
        "trainer": _trainer(plan),
        "execution_kernel": plan.kernel.value,
        "graph_id": plan.graph,
        "contract_digest": inputs.contract_digest,
        "run_id": inputs.run_id,
        "train_file": inputs.train_file,
        "output": contract.output_dir.resolve().name,
        "base_model": inputs.base_name,
        "tokenizer_mode": contract.tokenizer.value,
        "seed": plan.seed,
        "grad_accum": plan.batching.grad_accum,
        "epochs": plan.epochs,
        "pairs_loaded": plan.n_train_rows,
        "pairs_held_out": plan.n_valid_rows,
        "planned_steps_per_epoch": plan.steps_per_epoch,
        "planned_steps_total": plan.total_steps,
        "planned_optimizer_steps_total": plan.total_steps,
        "warmup_steps": plan.schedule.warmup_steps,
        "compute_device": plan.device,
        "compute_dtype": plan.compute_dtype,
        "n_heads": plan.config.n_heads,
        "n_kv_heads": plan.config.n_kv_heads,
        **qlora_facts(plan),
        **_stack_payload(plan),
        "notes": list(planned.notes),
    }


def _trainer(plan: ExecutionPlan) -> str:
    """Name of the module that trains."""
    if plan.kernel is Kernel.BURN_LORA:
        return "lora_full"
    return "qlora_full" if plan.proxy is None else "qlora_proxy"


def _stack_payload(plan: ExecutionPlan) -> JsonObject:
    """The proxy's middle layers, under the source system's keys."""
    if plan.proxy is None:
        return {}
    return {
        "middle_projections_loaded": plan.proxy.matched,
        "middle_projections_expected": plan.proxy.expected,
        "middle_projections_stack_active": bool(plan.proxy.middle),
    }
