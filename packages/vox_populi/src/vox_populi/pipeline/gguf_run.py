"""`vox mens export-gguf`: a model folder as one GGUF file. Needs torch and gguf."""

from __future__ import annotations

from vox_populi.artifacts.gguf_model import gguf_context, write_model_gguf
from vox_populi.artifacts.gguf_vocabulary import (
    gguf_refusals,
    read_chat_template,
    read_gguf_vocabulary,
)
from vox_populi.errors import ArtifactError
from vox_populi.files.output_guard import require_new_file
from vox_populi.hf.inventory import read_inventory
from vox_populi.operator_messages import interop
from vox_populi.pipeline.interop_reports import GgufReport, GgufRequest
from vox_tensor.atomic_file import staged_file


def export_gguf(request: GgufRequest) -> GgufReport:
    """Write a model folder as a GGUF file that appears complete and was read back.

    Raises:
        PreflightError: When the output file exists.
        ModelError: For a folder that cannot be used.
        ArtifactError: For a model or a tokenizer that the format cannot describe.
        EnvironmentFailure: When the system refuses, or the file reads back differently.
    """
    output = request.output
    require_new_file(output, interop.export_target_exists)
    inventory = read_inventory(request.model_dir)
    problems = gguf_refusals(request.model_dir, inventory.config)
    if problems:
        raise ArtifactError(*problems)
    vocabulary = read_gguf_vocabulary(request.model_dir, inventory.config.vocab_size)
    template = read_chat_template(request.model_dir)
    output.parent.mkdir(parents=True, exist_ok=True)
    with staged_file(output) as temporary:
        count = write_model_gguf(temporary, inventory, request.kind, vocabulary, template)
        size = temporary.stat().st_size
    return GgufReport(
        output=output,
        kind=request.kind,
        tensors=count,
        total_bytes=size,
        pre_tokenizer=vocabulary.pre,
        context=gguf_context(inventory.config),
    )
