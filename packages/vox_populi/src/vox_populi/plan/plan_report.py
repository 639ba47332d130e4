"""A plan as a text table and as JSON values."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict

from vox_populi.contract.choices import ActivationMemoryChoice
from vox_populi.contract.setting import record_of
from vox_populi.hf.hub_name import hub_origin
from vox_populi.hf.linear_kernels import IN_TORCH
from vox_populi.operator_messages import prefixes as say_prefixes
from vox_populi.plan.coverage import coverage_of
from vox_populi.plan.execution_planner import ExecutionPlan
from vox_populi.plan.packing_proof_facts import PackingProof
from vox_populi.plan.prefix_choice import UNSHARED
from vox_populi.plan.rank_plan import Equality, rank_values
from vox_tensor.visible_text import one_line

PLAN_SCHEMA_VERSION = 1

_KEPT = {
    ActivationMemoryChoice.SELECTIVE: "selective: MLPs are computed again",
    ActivationMemoryChoice.FULL: "full: blocks are computed again",
    ActivationMemoryChoice.OFFLOAD: "offload: blocks are computed again, from host memory",
}


def plan_as_text(plan: ExecutionPlan) -> str:
    """The plan as aligned lines, memory by term, then notes."""
    rows = [*_rows(plan), ("", ""), *_memory_rows(plan)]
    width = max(len(name) for name, _ in rows)
    lines = [f"{name:<{width}}  {value}".rstrip() for name, value in rows]
    lines.extend(f"note: {note}" for note in plan.notes)
    # The model's name and the notes can come from files; a line break in one forges no line.
    return "\n".join(map(one_line, lines)) + "\n"


def plan_as_json(plan: ExecutionPlan) -> dict[str, object]:
    """The plan as JSON values; no absolute paths, only the name of the model folder."""
    return {
        "plan_schema_version": PLAN_SCHEMA_VERSION,
        "execution_kernel": plan.kernel.value,
        "graph": plan.graph,
        "training_objective_note": plan.objective_note,
        **source_values(plan),
        "model": _model_json(plan),
        "adapter": {
            **asdict(plan.lora),
            "scale": plan.lora.scale,
            "roles": list(_layers_by_role(plan)),
            "modules": [module.theirs for module in plan.adapters],
            "trainable_parameters": plan.n_trainable,
            **_coverage_json(plan),
        },
        "device": plan.device,
        "compute_dtype": plan.compute_dtype,
        "threads": plan.threads,
        **record_of(plan.batching),
        "window_tokens": plan.batching.window_tokens,
        "rows_per_step": plan.batching.rows_per_step,
        "epochs": plan.epochs,
        "steps_per_epoch": plan.steps_per_epoch,
        "total_steps": plan.total_steps,
        "schedule": {
            "kind": plan.schedule.kind.value,
            "learning_rate": plan.schedule.peak,
            "warmup_steps": plan.schedule.warmup_steps,
        },
        "optimizer": plan.optimization.optimizer.value,
        **record_of(plan.optimization),
        **record_of(plan.evaluation),
        "seed": plan.seed,
        **({"curriculum": True} if plan.curriculum else {}),
        **_prefixes_json(plan),
        **rank_values(plan.ranks),
        "data": {
            "train_rows": plan.data.n_train_rows,
            "valid_rows": plan.data.n_valid_rows,
            "valid_from": _valid_source(plan),
            "longest_row_tokens": plan.data.longest_row,
            "tokens": plan.data.tokens,
            "supervised_tokens": plan.data.supervised_tokens,
        },
        "memory_bytes": {**dict(plan.memory.terms()), "total": plan.memory.total},
        **activation_values(plan),
        "memory_available_bytes": plan.memory_available,
        "fits": plan.fits,
        **_qlora_json(plan),
        "notes": list(plan.notes),
    }


def _coverage_json(plan: ExecutionPlan) -> dict[str, object]:
    """What of a mixture of experts is adapted."""
    coverage = coverage_of(plan.config, plan.adapters)
    return {} if coverage is None else {"coverage": coverage.values()}


def _prefixes_json(plan: ExecutionPlan) -> dict[str, object]:
    """What rows begin with alike, if the sample found anything that pays."""
    sample, choice = plan.data.prefixes, plan.prefixes
    if sample is None or not sample.pays or choice is UNSHARED:
        return {}
    decided = {"computed_once": choice.is_shared, "reason": choice.reason}
    return {"shared_prefixes": {**decided, **sample.counts()}}


def _prefix_rows(plan: ExecutionPlan) -> Iterator[tuple[str, str]]:
    sample, choice = plan.data.prefixes, plan.prefixes
    if sample is None or not sample.pays:
        return
    if choice.is_shared:
        yield "shared prefixes", say_prefixes.shared(sample.saved_part, sample.rows)
    elif choice.reason is not None:
        text = say_prefixes.unshared(sample.saved_part, sample.rows, choice.reason)
        yield "shared prefixes", text


def activation_values(plan: ExecutionPlan) -> dict[str, object]:
    """What the blocks keep, unless it is everything, and its part in the host's memory."""
    if plan.activation_memory is ActivationMemoryChoice.NONE:
        return {}
    host = {"host_memory_bytes": plan.memory.host} if plan.memory.host else {}
    return {"activation_memory": plan.activation_memory.value, **host}


def _qlora_json(plan: ExecutionPlan) -> dict[str, object]:
    """Values of runs on a 4-bit base."""
    quant = plan.quant
    if quant is None:
        return {}
    values: dict[str, object] = {
        "candle_compat_mode": plan.candle_compat_mode,
        "ce_last_k": plan.ce_last_k,
        "quantization": {
            "base_quant": "nf4",
            **asdict(quant.settings),
            "is_prequantised": quant.is_prequantised,
            "matrices": len(quant.modules),
            "packed_bytes": quant.packed_bytes,
            "dense_copies": quant.dense_copies,
            "dense_copy_bytes": dict(quant.dense_copy_bytes),
        },
    }
    if plan.proxy is not None:
        values["proxy_stack"] = {
            "eligible": plan.proxy.eligible,
            "complete": plan.proxy.is_complete,
            "keys_matched": plan.proxy.matched,
            "keys_expected": plan.proxy.expected,
            "missing": list(plan.proxy.missing),
            "middle_layers_active": len(plan.proxy.middle),
        }
    return values


def source_values(plan: ExecutionPlan) -> dict[str, object]:
    """Whose code computes the base and how it was proven; nothing for our own."""
    return {} if plan.proof is None else {"graph_source": plan.proof.as_json()}


def _model_json(plan: ExecutionPlan) -> dict[str, object]:
    config, origin = plan.config, hub_origin(plan.model_dir)
    if origin is None:
        named = {"name": plan.model_dir.name or str(plan.model_dir)}
    else:
        named = {"name": origin.repository, "commit": origin.commit}
    return {
        **named,
        "model_type": config.model_type,
        "parameters": plan.n_base_parameters,
        "n_layers": config.n_layers,
        "hidden_size": config.hidden_size,
        "vocab_size": config.vocab_size,
        "max_positions": config.max_positions,
    }


def _rows(plan: ExecutionPlan) -> Iterator[tuple[str, str]]:
    yield "kernel", f"{plan.kernel} ({plan.graph}, {plan.objective_note})"
    config = plan.config
    coverage = coverage_of(config, plan.adapters)
    active = "" if coverage is None else f", {coverage.active:,} of them active for a token"
    yield (
        "model",
        f"{hub_origin(plan.model_dir) or plan.model_dir}"
        f" ({config.model_type}, {config.n_layers} layers,"
        f" {plan.n_base_parameters:,} parameters{active})",
    )
    if plan.proof is not None:
        yield "computed by", _describe_source(plan.proof)
    yield from _qlora_rows(plan)
    roles = ", ".join(f"{role} x {count}" for role, count in _layers_by_role(plan).items())
    lora = plan.lora
    yield "adapters", f"{roles}: {plan.n_trainable:,} trainable parameters"
    if coverage is not None:
        yield "coverage", coverage.as_text()
    rule = "rank-stabilised, " if lora.use_rslora else ""
    yield (
        "lora",
        f"rank {lora.rank}, alpha {lora.alpha:g} ({rule}scale {lora.scale:g}),"
        f" dropout {lora.dropout:g}",
    )
    threads = "" if plan.threads is None else f", {plan.threads} threads"
    yield "device", f"{plan.device}, {plan.compute_dtype}{threads}"
    if plan.ranks.size > 1:
        yield "processes", _describe_ranks(plan)
    yield "rows", _describe_rows(plan)
    if plan.curriculum:
        yield "order", "easy rows first, by difficulty"
    batching = plan.batching
    is_packed = plan.proof is None or plan.proof.packs
    how = "packed" if is_packed else "each row on its own"
    yield (
        "window",
        f"up to {batching.window_tokens} tokens, {how}; a row has up to {batching.seq_len}",
    )
    yield from _prefix_rows(plan)
    yield (
        "steps",
        f"{plan.total_steps} of {batching.rows_per_step} rows"
        f" ({plan.epochs} epochs of {plan.steps_per_epoch})",
    )
    if plan.activation_memory is not ActivationMemoryChoice.NONE:
        yield "activations", _KEPT[plan.activation_memory]
    schedule = plan.schedule
    yield (
        "learning rate",
        f"{schedule.peak:g}, {schedule.kind}, warm-up {schedule.warmup_steps} steps",
    )
    yield "optimizer", str(plan.optimization)
    yield "evaluation", _describe_evaluation(plan)
    yield "seed", str(plan.seed)


def _qlora_rows(plan: ExecutionPlan) -> Iterator[tuple[str, str]]:
    quant, proxy = plan.quant, plan.proxy
    if quant is None:
        return
    nested = "double" if quant.settings.double_quant else "single"
    stored = ", stored so already" if quant.is_prequantised else ""
    yield (
        "quantisation",
        f"nf4, blocks of {quant.settings.block_size}, {nested} quantisation, "
        f"layers: {len(quant.modules)}{stored}",
    )
    yield "dense copies", quant.dense_copies
    width = "all supervised tokens" if plan.ce_last_k is None else f"the last {plan.ce_last_k}"
    yield "learned of a row", width
    if proxy is not None:
        yield (
            "proxy stack",
            f"{len(proxy.middle)} middle layers; {proxy.matched} of {proxy.expected} output"
            " projections can be used",
        )
        yield "", "The loss of this graph is not a full-graph loss."


def _memory_rows(plan: ExecutionPlan) -> Iterator[tuple[str, str]]:
    for name, size in plan.memory.terms():
        if size:
            yield f"memory: {name.replace('_', ' ')}", _mib(size)
    if plan.memory.host:
        yield "memory of the host", _mib(plan.memory.host)
    available = plan.memory_available
    known = "" if available is None else f" of {_mib(available).strip()} there"
    yield "memory: total", f"{_mib(plan.memory.total)}{known}"


def _layers_by_role(plan: ExecutionPlan) -> dict[str, int]:
    """How many layers have an adapter, by role; a fused layer counts once, as `q+k+v`."""
    return dict(Counter("+".join(module.roles) for module in plan.adapters))


def _describe_source(proof: PackingProof) -> str:
    measured = f"logits {proof.alone:.1e} from the class by itself"
    if proof.packs:
        measured += f"; packed rows {proof.packed:.1e}, gradients {proof.gradients:.1e}"
    if proof.kernels:
        measured += f"; linear attention by {proof.package_kernels or IN_TORCH}"
    return f"transformers {proof.version}, {proof.class_name} (proven: {measured})"


def _describe_rows(plan: ExecutionPlan) -> str:
    data = plan.data
    text = f"{data.n_train_rows} to learn from, {data.n_valid_rows} held out"
    if data.n_valid_rows:
        text += f" ({_valid_source(plan)})"
    if data.tokens is not None and data.supervised_tokens is not None:
        text += f"; {data.tokens:,} tokens, {data.supervised_tokens:,} of them supervised"
    return text


def _describe_ranks(plan: ExecutionPlan) -> str:
    base = "each with a part of the base" if plan.ranks.is_divided else "each with the whole base"
    exact = plan.ranks.equality is Equality.BYTES
    same = "byte for byte" if exact else "within rounding"
    return f"{plan.ranks.size}, {base}; the adapter is that of one, {same}"


def _valid_source(plan: ExecutionPlan) -> str:
    if plan.data.valid_file:
        return plan.data.valid_file
    return f"split of {plan.data.train_file}" if plan.data.n_valid_rows else "none"


def _describe_evaluation(plan: ExecutionPlan) -> str:
    if not plan.n_valid_rows:
        return "none"
    asked = plan.evaluation
    every = "each epoch" if asked.eval_every is None else f"every {asked.eval_every} steps"
    patience = asked.early_stopping_patience
    return every if patience is None else f"{every}; stops after {patience} without a better loss"


def _mib(size: int) -> str:
    return f"{size / 2**20:10,.1f} MiB"
