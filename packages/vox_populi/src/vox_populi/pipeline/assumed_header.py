"""Our header for an adapter whose own format does not record its training text."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from vox_populi.adapters.header import AdaptedModule, AdapterHeader
from vox_populi.contract.choices import TokenizerKind
from vox_populi.data.training_text import TextPolicy
from vox_populi.errors import ModelError
from vox_populi.hf.embedded import EMBEDDED_NAME
from vox_populi.hf.hf_tokenizer import TOKENIZER_NAME
from vox_populi.hf.inventory import ModelInventory, base_digest
from vox_populi.operator_messages import plan as say
from vox_populi.plan.tokenizer_choice import choose_tokenizer
from vox_tensor.lora_spec import LoraSpec

_SEQ_LEN = 512
"""Assumed row length, since other formats do not record it: the trainer's default."""


def assumed_header(
    folder: Path | None,
    inventory: ModelInventory,
    lora: LoraSpec,
    modules: Sequence[AdaptedModule],
    *,
    policy: TextPolicy,
    tokenizer: TokenizerKind | None = None,
    needs_tokenizer: bool = True,
) -> tuple[AdapterHeader, tuple[str, ...]]:
    """A header, and what is to be said about the tokenizer.

    Args:
        folder: Of the base; `None` for the embedded one.
        inventory: Of the same folder; all of it is read for its digest.
        lora: Of the adapter.
        modules: Its projections, in forward order.
        policy: Layout of the rows it was trained on, as far as anybody knows.
        tokenizer: `None`: `vox` for the embedded base, else `hf`.
        needs_tokenizer: Refuse a folder without one; else the digest stays empty.

    Raises:
        ModelError: For a base or a tokenizer that cannot be used.
    """
    config = inventory.config
    kind = tokenizer or (TokenizerKind.VOX if folder is None else TokenizerKind.HF)
    digest = ""
    notes: tuple[str, ...] = ()
    if needs_tokenizer or folder is None or (folder / TOKENIZER_NAME).exists():
        chosen = choose_tokenizer(kind, folder, config.eos_ids)
        ids, where = chosen.tokenizer.vocab_size, str(chosen.path)
        if ids > config.vocab_size:
            raise ModelError(say.tokenizer_beyond_embedding(where, ids, config.vocab_size))
        digest, notes = chosen.tokenizer.digest, chosen.notes
    header = AdapterHeader(
        lora=lora,
        modules=tuple(modules),
        base_name=EMBEDDED_NAME if folder is None else folder.resolve().name,
        base_digest=base_digest(inventory),
        model_type=config.model_type,
        tokenizer=kind,
        tokenizer_digest=digest,
        template=policy.template,
        template_digest=policy.digest,
        system_prompt=policy.system_prompt,
        seq_len=min(_SEQ_LEN, config.max_positions),
        contract_digest="",
        step=0,
    )
    return header, notes
