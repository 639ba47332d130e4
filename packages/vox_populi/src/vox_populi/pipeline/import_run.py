"""`vox mens import-adapter`: a PEFT folder becomes an adapter file of ours. Needs torch."""

from __future__ import annotations

from vox_populi import operator_messages as say
from vox_populi.artifacts.adapter_header import AdapterHeader
from vox_populi.artifacts.checkpoint_file import write_adapter_bin
from vox_populi.artifacts.peft_adapter import read_peft_adapter
from vox_populi.contract.choices import TokenizerKind
from vox_populi.data.training_text import TextPolicy
from vox_populi.errors import ModelError, PreflightError
from vox_populi.hf.embedded import EMBEDDED_NAME, embedded_model_dir
from vox_populi.hf.inventory import base_digest, read_inventory
from vox_populi.operator_messages import interop
from vox_populi.pipeline.interop_reports import ImportReport, ImportRequest
from vox_populi.plan.tokenizer_choice import choose_tokenizer

_SEQ_LEN = 512
"""PEFT folders do not say how long the rows were; this is the trainer's default."""


def import_adapter(request: ImportRequest) -> ImportReport:
    """Read a PEFT folder strictly against its base and write one new adapter file.

    Raises:
        PreflightError: When the output file exists.
        ArtifactError: For settings we cannot represent and tensors that do not fit, by name.
        ModelError: For a base or a tokenizer that cannot be used.
        EnvironmentFailure: When the system refuses to write.
    """
    if request.output.exists() or request.output.is_symlink():
        raise PreflightError(interop.export_target_exists(str(request.output)))
    folder = request.model_dir
    inventory = read_inventory(folder or embedded_model_dir())
    config = inventory.config
    adapter = read_peft_adapter(request.source, config)
    kind = request.tokenizer or (TokenizerKind.VOX if folder is None else TokenizerKind.HF)
    chosen = choose_tokenizer(kind, folder, config.eos_ids)
    ids = chosen.tokenizer.vocab_size
    if ids > config.vocab_size:
        raise ModelError(say.tokenizer_beyond_embedding(str(chosen.path), ids, config.vocab_size))
    policy = TextPolicy(template=request.template, system_prompt=request.system_prompt)
    header = AdapterHeader(
        lora=adapter.lora,
        modules=adapter.modules,
        base_name=EMBEDDED_NAME if folder is None else folder.resolve().name,
        base_digest=base_digest(inventory),
        model_type=config.model_type,
        tokenizer=kind,
        tokenizer_digest=chosen.tokenizer.digest,
        template=request.template,
        template_digest=policy.digest,
        system_prompt=request.system_prompt,
        seq_len=min(_SEQ_LEN, config.max_positions),
        contract_digest="",
        step=0,
        imported=adapter.imported,
    )
    write_adapter_bin(request.output, header, adapter.tensors)
    return ImportReport(
        output=request.output,
        base=header.base_name,
        modules=len(adapter.modules),
        rank=adapter.lora.rank,
        alpha=adapter.lora.alpha,
        use_rslora=adapter.lora.use_rslora,
        notes=(*adapter.notes, *chosen.notes, interop.note_template_assumed()),
    )
