"""Checking that an adapter belongs to a base, and completing its header from the base.

No torch here.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from vox_populi.adapters.header import AdaptedModule, AdapterHeader
from vox_populi.contract.choices import TokenizerKind
from vox_populi.data.supervision import layout_of
from vox_populi.data.training_text import TextPolicy
from vox_populi.errors import ArtifactError, ModelError
from vox_populi.hf.embedded import EMBEDDED_NAME
from vox_populi.hf.hf_tokenizer import TOKENIZER_NAME
from vox_populi.hf.hub_name import folder_name
from vox_populi.hf.inventory import ModelInventory, base_digest
from vox_populi.hf.keymap import AdapterModule, adapter_modules
from vox_populi.operator_messages import adapter as say_adapter
from vox_populi.operator_messages import plan as say_plan
from vox_populi.operator_messages.transformers_graph import note_other_version
from vox_populi.plan.template_choice import choose_template
from vox_populi.plan.tokenizer_choice import choose_tokenizer

_SEQ_LEN = 512
"""Row length for other programs' files, which do not record it: the trainer's default."""


def require_lora(header: AdapterHeader, path: Path) -> None:
    """Refuse an adapter that was trained on NF4 weights or in another graph than the transformer.

    Raises:
        ArtifactError: Pointing to `merge-qlora`.
    """
    if header.quantization is not None or header.graph.is_proxy:
        raise ArtifactError(say_adapter.quantised_adapter_refused(header.graph).at(str(path)))


def leaves_experts(header: AdapterHeader) -> bool:
    """Whether training took the experts of a class of transformers as the tensors that they are.

    Adapters are such that were trained on NF4 weights before experts could be told apart.
    """
    if not header.transformers or header.quantization is None:
        return False
    adapts_some = any("experts" in module.ours.split(".") for module in header.modules)
    return not (adapts_some or header.quantization.experts)


def require_base(inventory: ModelInventory, digest: str, header: AdapterHeader, where: str) -> None:
    """Refuse a base that is not the one the adapter was trained on.

    Raises:
        ArtifactError: Naming both.
    """
    if digest == header.base_digest:
        _require_facts(inventory, header, where)
        return
    folder = str(inventory.model_dir)
    raise ArtifactError(
        say_adapter.adapter_not_for_base(header.base_name, header.base_digest, folder).at(where)
    )


def _require_facts(inventory: ModelInventory, header: AdapterHeader, where: str) -> None:
    """Refuse an adapter that has the base's digest but contradicts its config."""
    config = inventory.config
    facts: list[tuple[str, object, object]] = [("model_type", header.model_type, config.model_type)]
    if header.base_sizes is not None:
        vocab, d_model = header.base_sizes
        facts += [("vocab", vocab, config.vocab_size), ("d_model", d_model, config.hidden_size)]
    problems = [
        say_adapter.adapter_says_otherwise(name, theirs, ours).at(where)
        for name, theirs, ours in facts
        if theirs != ours
    ]
    if problems:
        raise ArtifactError(*problems)


def version_notes(inventory: ModelInventory, header: AdapterHeader) -> Iterator[str]:
    """What to know of an adapter that another minor version of transformers computed the base of.

    Patch releases keep the arithmetic; a minor one may change it, within rounding or beyond.
    """
    table = inventory.config.modules
    if table is not None and header.transformers:
        trained, now = (each.split(".")[:2] for each in (header.transformers, table.version))
        if trained != now:
            yield note_other_version(header.transformers, table.version)


def fitting_modules(
    inventory: ModelInventory, header: AdapterHeader, where: str
) -> tuple[AdapterModule, ...]:
    """The base's modules that the adapter adapts, which must match exactly.

    Raises:
        ArtifactError: With the modules that the base does not have.
    """
    known = {module.ours: module for module in adapter_modules(inventory.config)}
    unknown = [
        module.ours
        for module in header.modules
        if module.ours not in known or module != AdaptedModule.of(known[module.ours])
    ]
    if unknown:
        raise ArtifactError(say_adapter.adapter_modules_unknown(unknown).at(where))
    return tuple(known[module.ours] for module in header.modules)


def header_on_base(
    header: AdapterHeader,
    folder: Path | None,
    inventory: ModelInventory,
    *,
    policy: TextPolicy | None = None,
    tokenizer: TokenizerKind | None = None,
    needs_tokenizer: bool = True,
) -> tuple[AdapterHeader, tuple[str, ...]]:
    """The header of another program's adapter, completed from its base, and notes on the tokenizer.

    Args:
        header: A header from `AdapterHeader.of_foreign`.
        folder: The base's folder; `None` for the embedded one.
        inventory: The same folder; all of it is read for its digest.
        policy: Template of the adapter's training rows, as far as known.
        tokenizer: `None`: `vox` for the embedded base, otherwise `hf`.
        needs_tokenizer: Refuse a folder without one; otherwise the digest stays empty.

    Raises:
        ModelError: For a base or a tokenizer that cannot be used.
    """
    config, policy = inventory.config, policy or TextPolicy()
    kind = tokenizer or (TokenizerKind.VOX if folder is None else TokenizerKind.HF)
    digest = ""
    notes: tuple[str, ...] = ()
    layout = None
    if needs_tokenizer or folder is None or (folder / TOKENIZER_NAME).exists():
        chosen = choose_tokenizer(kind, folder, config.eos_ids)
        ids, where = chosen.tokenizer.vocab_size, str(chosen.path)
        if ids > config.vocab_size:
            raise ModelError(say_plan.tokenizer_beyond_embedding(ids, config.vocab_size).at(where))
        policy, template_notes = choose_template(policy, folder, chosen.tokenizer, needs_end=False)
        layout = layout_of(chosen.tokenizer, policy)
        digest, notes = chosen.tokenizer.digest, (*chosen.notes, *template_notes)
    completed = replace(
        header,
        base_name=EMBEDDED_NAME if folder is None else folder_name(folder),
        base_digest=base_digest(inventory),
        model_type=config.model_type,
        tokenizer=kind,
        tokenizer_digest=digest,
        template=policy.kind,
        template_digest=policy.digest,
        system_prompt=policy.system_prompt,
        seq_len=min(_SEQ_LEN, config.max_positions),
        layout=layout,
    )
    return completed, notes
