"""From a choice of weights to a model that can run: base, adapter, tokenizer, text. Needs torch."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch

from vox_populi import operator_messages as say
from vox_populi.contract.choices import TokenizerKind
from vox_populi.contract.finetune_contract import FinetuneContract
from vox_populi.data.training_text import ChatTemplate, TextPolicy
from vox_populi.errors import ArtifactError, EnvironmentFailure, ModelError
from vox_populi.hf.embedded import EMBEDDED_NAME
from vox_populi.hf.inventory import ModelInventory
from vox_populi.kernel.lora_full import TORCH_DTYPES, LoraFullObjective
from vox_populi.model.hf_load import load_base
from vox_populi.model.lora_transformer import attach_adapters, load_adapter_tensors
from vox_populi.pipeline.machine_probe import probe_machine
from vox_populi.pipeline.model_choice import ChosenAdapter, choose_model
from vox_populi.pipeline.requests import WeightsChoice
from vox_populi.pipeline.trained_text import TrainedText
from vox_populi.plan.device_choice import DeviceChoice, choose_device, device_problems
from vox_populi.plan.tokenizer_choice import TokenizerChoice, choose_tokenizer
from vox_tensor.tokenizer import TextTokenizer


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundWeights:
    """Files that belong together; nothing of the base is loaded yet."""

    inventory: ModelInventory
    name: str
    """Of the base or merged folder."""
    adapter: ChosenAdapter | None
    tokenizer: TextTokenizer
    policy: TextPolicy
    device: DeviceChoice
    notes: tuple[str, ...]
    text: TrainedText | None
    """How the model was trained, where anything says so."""


def find_weights(choice: WeightsChoice) -> FoundWeights:
    """Find and check everything that running the chosen weights needs.

    Raises:
        ConfigError: For more than one adapter, or a PEFT folder without its base.
        ArtifactError: For an adapter that cannot be read, or that was trained on another base,
            with another tokenizer or on text of another layout.
        ModelError: For a base folder that cannot be used.
        EnvironmentFailure: For a device that is not there.
    """
    device = _device(choice)
    model = choose_model(choice)
    folder, adapter, text = model.folder, model.adapter, model.text
    chosen = _tokenizer(choice.tokenizer, folder, model.inventory, text)
    if text is not None and chosen.tokenizer.digest != text.tokenizer_digest:
        raise ArtifactError(say.adapter_tokenizer_differs(text.where, str(chosen.path)))
    policy = _policy(choice, text)
    text_notes = _text_notes(choice, policy, text)
    adapter_notes = () if adapter is None else adapter.notes
    return FoundWeights(
        inventory=model.inventory,
        name=EMBEDDED_NAME if folder is None else folder.resolve().name,
        adapter=adapter,
        tokenizer=chosen.tokenizer,
        policy=policy,
        device=device,
        notes=(*device.notes, *chosen.notes, *adapter_notes, *text_notes),
        text=text,
    )


def load_weights(found: FoundWeights) -> LoraFullObjective:
    """Load the base and put the adapter beside it, unmerged: the arithmetic of training."""
    device = found.device
    model = load_base(found.inventory, TORCH_DTYPES[device.compute_dtype], device.device)
    adapter = found.adapter
    if adapter is None:
        return LoraFullObjective(model, {})
    adapted = attach_adapters(model, adapter.modules, adapter.lora, torch.Generator())
    load_adapter_tensors(adapted, adapter.tensors)
    model.eval()
    return LoraFullObjective(model, adapted)


def _device(choice: WeightsChoice) -> DeviceChoice:
    # For its rules on device, dtype and threads alone; its folders are never looked at.
    request = FinetuneContract(
        data_dir=Path(),
        output_dir=Path(),
        device=choice.device,
        dtype=choice.dtype,
        threads=choice.threads,
    )
    machine = probe_machine()
    absent = tuple(device_problems(choice.device, machine))
    if absent:
        raise EnvironmentFailure(*absent)
    return choose_device(request, machine)


def _tokenizer(
    kind: TokenizerKind | None,
    folder: Path | None,
    inventory: ModelInventory,
    text: TrainedText | None,
) -> TokenizerChoice:
    if kind is None and text is not None:
        kind = text.tokenizer
    if kind is None:
        kind = TokenizerKind.VOX if folder is None else TokenizerKind.HF
    chosen = choose_tokenizer(kind, folder, inventory.config.eos_ids)
    ids, rows = chosen.tokenizer.vocab_size, inventory.config.vocab_size
    if ids > rows:
        raise ModelError(say.tokenizer_beyond_embedding(str(chosen.path), ids, rows))
    return chosen


def _policy(choice: WeightsChoice, text: TrainedText | None) -> TextPolicy:
    """What was asked for, else what the model was trained with, else the defaults."""
    trained = TextPolicy(
        template=text.template if text else ChatTemplate.CHATML,
        system_prompt=text.system_prompt if text else None,
    )
    return TextPolicy(
        template=choice.template or trained.template,
        system_prompt=trained.system_prompt
        if choice.system_prompt is None
        else choice.system_prompt,
    )


def _text_notes(
    choice: WeightsChoice, policy: TextPolicy, text: TrainedText | None
) -> tuple[str, ...]:
    """Refuse text of another layout than in training, unless the operator insists."""
    if text is None or policy.digest == text.template_digest:
        return ()
    if not choice.force_template:
        raise ArtifactError(say.adapter_text_differs(text.where))
    return (say.note_text_differs_from_training(),)
