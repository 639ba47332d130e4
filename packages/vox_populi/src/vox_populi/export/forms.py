"""An adapter in one consumer's format: renamed, transposed, rescaled or refused.

Every consumer except PEFT has its own scale rule. If it differs from ours, B is multiplied by the
ratio of the two, so that scale x B A stays what was trained, up to one rounding of B.
Shape letters: R rank, I input features, O output features.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from torch import Tensor

from vox_populi import extras
from vox_populi.adapters.adapter import Adapter
from vox_populi.adapters.peft.adapter import imported_files, peft_files
from vox_populi.adapters.peft.config import names_tensors
from vox_populi.errors import ArtifactError
from vox_populi.export.consumers import GGUF_ADAPTER_FILE, Consumer, obstacles
from vox_populi.export.gguf.file import write_lora_gguf
from vox_populi.export.mlx_adapter import mlx_files
from vox_populi.files.whole_file import Chunk, write_whole
from vox_populi.hf.keymap import AdapterModule
from vox_populi.hf.model_config import ModelConfig
from vox_populi.operator_messages import export as say
from vox_tensor.lora_spec import LoraSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class ConsumerForm:
    """The files of an export, and how the adapter was changed."""

    files: Mapping[str, Sequence[Chunk]]
    """Content by bare file name."""
    gguf_alpha: float | None = None
    """Write `adapter.gguf` too, with this alpha."""
    tensors: Mapping[str, Tensor]
    """Tensors of the files, by our names, before names and orientation change."""
    lora: LoraSpec
    """The LoRA settings as the consumer reads them."""
    renamed: tuple[str, ...] = ()
    rescaled: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def consumer_form(
    consumer: Consumer,
    adapter: Adapter,
    modules: Sequence[AdapterModule],
    config: ModelConfig,
    base_name: str,
) -> ConsumerForm:
    """Decide the files of an export; nothing is written.

    Args:
        consumer: The program that will load them.
        adapter: The adapter to export.
        modules: The adapted projections of the base.
        config: The base's config.
        base_name: Name or folder under which the consumer finds the base.

    Raises:
        ArtifactError: With every reason why the consumer cannot load the adapter.
    """
    header = adapter.header
    reasons = obstacles(consumer, config, modules, header.lora.rank)
    refused = [say.consumer_refuses(consumer, reason).at(header.base_name) for reason in reasons]
    if refused:
        raise ArtifactError(*refused)
    if consumer is Consumer.PEFT:
        return _for_peft(adapter, modules, config, base_name)
    if consumer is Consumer.MLX:
        return _for_mlx(adapter, modules, config)
    return _plain_scaled(consumer, adapter, modules, config, base_name)


def write_form(
    folder: Path, form: ConsumerForm, modules: Sequence[AdapterModule], config: ModelConfig
) -> None:
    """Write the files of an export into a folder that is not yet published.

    Raises:
        EnvironmentFailure: When the system refuses.
    """
    for name, chunks in form.files.items():
        write_whole(folder / name, *chunks)
    if form.gguf_alpha is not None:
        path = folder / GGUF_ADAPTER_FILE
        write_lora_gguf(path, form.gguf_alpha, modules, form.tensors, config)


def _for_peft(
    adapter: Adapter, modules: Sequence[AdapterModule], config: ModelConfig, base_name: str
) -> ConsumerForm:
    header, tensors = adapter.header, adapter.tensors
    if header.imported is not None:
        files = imported_files(header.imported, modules, tensors)
        if files is not None:
            as_is = (say.NOTE_IMPORTED_AS_IS,)
            return ConsumerForm(files=files, tensors=tensors, lora=header.lora, notes=as_is)
    lora = header.lora
    said: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    is_stacked = names_tensors(config, modules)
    if is_stacked or any(module.in_expert for module in modules):
        # PEFT stacks gate and up under twice the rank and alpha, and knows no dropout there.
        lora = replace(lora, use_rslora=False, dropout=0.0)
        tensors, said = _rescaled(tensors, header.lora.scale / lora.scale, lora)
        notes = (say.NOTE_EXPERTS_STACKED if is_stacked else say.NOTE_EXPERTS_IN_PEFT,)
    return ConsumerForm(
        files=peft_files(lora, modules, tensors, config, base_name),
        tensors=tensors,
        lora=lora,
        rescaled=said,
        notes=notes,
        renamed=("<module>.lora_A -> base_model.model.<module>.lora_A.weight, the same for B",),
    )


def _for_mlx(
    adapter: Adapter, modules: Sequence[AdapterModule], config: ModelConfig
) -> ConsumerForm:
    header, tensors = adapter.header, adapter.tensors
    return ConsumerForm(
        files=mlx_files(header.lora, modules, tensors, config),
        tensors=tensors,
        lora=header.lora,
        renamed=(
            "A [rank, in] -> <module>.lora_a [in, rank]",
            "B [out, rank] -> <module>.lora_b [rank, out]",
        ),
        notes=(f"scale {header.lora.scale:g} is stored in adapter_config.json as a number",),
    )


def _plain_scaled(
    consumer: Consumer,
    adapter: Adapter,
    modules: Sequence[AdapterModule],
    config: ModelConfig,
    base_name: str,
) -> ConsumerForm:
    """The form for vLLM and llama.cpp, which read the scale as alpha / rank."""
    header = adapter.header
    plain = replace(header.lora, use_rslora=False)
    scaled, said = _rescaled(adapter.tensors, header.lora.scale / plain.scale, plain)
    renamed = ["<module>.lora_A -> base_model.model.<module>.lora_A.weight, the same for B"]
    stored: Mapping[str, Tensor] = scaled
    notes: tuple[str, ...] = ()
    gguf_alpha = None
    if consumer is Consumer.GGUF:
        turned = [module for module in modules if module.fan_in_fan_out]
        stored = {**scaled, **_turned(scaled, turned)}
        if turned:
            renamed.append(
                "A and B of Conv1D layers change places, transposed: the converter turns them back"
            )
        if extras.is_installed("gguf"):
            gguf_alpha = plain.alpha
        else:
            notes = (say.note_gguf_left_out(extras.install_line("gguf")),)
    else:
        notes = (f"start vLLM with --enable-lora and a --max-lora-rank of at least {plain.rank}",)
    return ConsumerForm(
        files=peft_files(plain, modules, stored, config, base_name),
        gguf_alpha=gguf_alpha,
        tensors=scaled,
        lora=plain,
        renamed=tuple(renamed),
        rescaled=said,
        notes=notes,
    )


def _rescaled(
    tensors: Mapping[str, Tensor], factor: float, plain: LoraSpec
) -> tuple[Mapping[str, Tensor], tuple[str, ...]]:
    """B times the ratio of our scale to the consumer's, and a note about it."""
    if factor == 1.0:
        return tensors, ()
    scaled = {
        name: tensor * factor if name.endswith(".lora_B") else tensor
        for name, tensor in tensors.items()
    }
    rule = f"alpha / rank = {plain.scale:g}"
    return scaled, (f"B of every module x {factor:.9g}, since the reader's scale is {rule}",)


def _turned(tensors: Mapping[str, Tensor], modules: Sequence[AdapterModule]) -> dict[str, Tensor]:
    """Tensors that llama.cpp's converter transposes like the base's Conv1D weights `[in, out]`."""
    turned: dict[str, Tensor] = {}
    for module in modules:
        turned[f"{module.ours}.lora_A"] = tensors[f"{module.ours}.lora_B"].t().contiguous()
        turned[f"{module.ours}.lora_B"] = tensors[f"{module.ours}.lora_A"].t().contiguous()
    return turned
