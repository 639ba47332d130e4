"""`MODEL_CARD.md`: a description of an adapter for its readers. No torch, no dates, no paths."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from vox_populi.contract.optimizer_choice import OPTIMIZERS, OptimizerKind
from vox_populi.files.json_fields import take, take_object


def model_card(manifest: Mapping[str, object]) -> str:
    """Markdown from one of our manifests, with sections in the source system's order."""
    return "\n".join(_lines(manifest)) + "\n"


def _lines(manifest: Mapping[str, object]) -> Iterator[str]:
    results, optimizer = take_object(manifest, "results"), take_object(manifest, "optimizer")
    is_qlora = manifest.get("candle_compat_mode") is True
    yield f"# Vox {'QLoRA' if is_qlora else 'LoRA'} adapter"
    yield from _section("Base model")
    yield f"- name: {code_span(manifest['base_model'])} ({code_span(manifest['model_type'])})"
    yield f"- digest: {code_span(manifest['base_digest'])}"
    yield "- the adapter works on this base only; its licence and its limits come with it"
    yield from _provenance(manifest)
    yield from _section("Data")
    yield f"- train file: {code_span(manifest['train_file'])}"
    yield f"- digest: {code_span(manifest['train_digest'])}"
    yield f"- template: {code_span(manifest['template'])}"
    yield f"- supervised tokens seen: {results['supervised_tokens']}"
    yield from _section("Architecture")
    for label, key in (
        ("vocab", "vocab_size"),
        ("d_model", "d_model"),
        ("layers", "n_layers"),
        ("heads", "n_heads"),
    ):
        yield f"- {label}: {manifest[key]}"
    yield f"- adapter: rank {manifest['rank']}, alpha {manifest['alpha']:g}, {_targets(manifest)}"
    yield from _section("Training")
    kernel, dtype = code_span(manifest["execution_kernel"]), code_span(manifest["compute_dtype"])
    yield f"- kernel: {kernel}, {dtype}"
    if is_qlora:
        yield f"- graph: {code_span(manifest['candle_qlora_graph_id'])}"
        yield f"- objective: {code_span(manifest['training_objective_note'])}"
        yield f"- base: {_quantisation(manifest)}"
    yield f"- steps: {results['steps']} of {manifest['rows_per_step']} rows"
    title = OPTIMIZERS[OptimizerKind(take(optimizer, "name", str))].title
    yield (
        f"- {title}, learning rate {optimizer['learning_rate']:g}, "
        f"{optimizer['schedule']} schedule, seed {manifest['seed']}"
    )
    yield from _section("Results")
    yield f"- training loss, last epoch: {_loss(results['train_loss'])}"
    yield f"- held-out loss before: {_loss(results['heldout_loss_before'])}"
    yield f"- held-out loss after: {_loss(results['heldout_loss_after'])}"
    yield from _section("Notes")
    if "candle_qlora_proxy_stack_complete" in manifest:
        yield "THESE ARE NOT LANGUAGE-MODEL LOSSES. The proxy graph predicts only from the previous"
        yield "token; do not compare its losses with those of a full graph."
        yield ""
    yield "Losses are means over supervised tokens, in nats. `training_manifest.json` has the rest."


def _provenance(manifest: Mapping[str, object]) -> Iterator[str]:
    """What the operator stated about the base's origin."""
    for label, key in (
        ("family, as stated", "provenance_base_family"),
        ("published as, as stated", "provenance_upstream_model_id"),
        ("licence, as stated", "provenance_license_class"),
    ):
        if key in manifest:
            yield f"- {label}: {code_span(manifest[key])}"
    if manifest.get("provenance_attribution_required") is True:
        yield "- the base's licence asks for attribution, as stated: name it where you publish this"


def _section(title: str) -> Iterator[str]:
    yield ""
    yield f"## {title}"
    yield ""


def _targets(manifest: Mapping[str, object]) -> str:
    targets = manifest["targets"]
    assert isinstance(targets, list)
    return f"on {' '.join(targets)}"


def _quantisation(manifest: Mapping[str, object]) -> str:
    nested = "double" if manifest["double_quant"] else "single"
    return f"NF4, blocks of {manifest['nf4_block_size']}, {nested} quantisation"


def _loss(value: object) -> str:
    return f"{value:.4f}" if isinstance(value, float) else "not measured"


def code_span(value: object) -> str:
    """A code span that a name from a file cannot break out of."""
    text = "".join(c if c.isprintable() and c != "`" else "?" for c in str(value))
    return f"`{text}`"
