"""`vox mens import-adapter`: a PEFT folder becomes one of our adapter files. Needs torch."""

from __future__ import annotations

from vox_populi.adapters.base import header_on_base
from vox_populi.adapters.lora_bin import write_adapter_bin
from vox_populi.adapters.peft.adapter import read_peft_adapter
from vox_populi.data.training_text import TextPolicy
from vox_populi.files.output_guard import require_new_file
from vox_populi.hf.embedded import embedded_model_dir
from vox_populi.hf.inventory import read_inventory
from vox_populi.operator_messages import export as say
from vox_populi.pipeline.import_peft import ImportReport, ImportRequest


def import_adapter(request: ImportRequest) -> ImportReport:
    """Read a PEFT folder strictly against its base and write one new adapter file.

    Raises:
        VoxError: As `pipeline.import_peft.import_adapter` says.
    """
    require_new_file(request.output, say.EXPORT_TARGET_EXISTS.at)
    folder = request.model_dir
    inventory = read_inventory(folder or embedded_model_dir())
    adapter, found_notes = read_peft_adapter(request.source, inventory.config, inventory)
    header, notes = header_on_base(
        adapter.header,
        folder,
        inventory,
        policy=TextPolicy(template=request.template, system_prompt=request.system_prompt),
        tokenizer=request.tokenizer,
    )
    write_adapter_bin(request.output, header, adapter.tensors)
    return ImportReport(
        output=request.output,
        base=header.base_name,
        modules=len(header.modules),
        rank=header.lora.rank,
        alpha=header.lora.alpha,
        use_rslora=header.lora.use_rslora,
        notes=(*found_notes, *notes, say.NOTE_TEMPLATE_ASSUMED),
    )
