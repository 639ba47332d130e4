"""From a choice of weights to a model that can run: base, adapter, tokenizer, text. Needs torch."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch

from vox_populi import operator_messages as say
from vox_populi.artifacts.adapter_header import AdaptedModule, AdapterHeader
from vox_populi.artifacts.base_location import find_base
from vox_populi.artifacts.checkpoint_file import AdapterFile, read_adapter_bin
from vox_populi.artifacts.run_dir import ADAPTER_FILE, KNOWN_FILES
from vox_populi.contract.choices import TokenizerKind
from vox_populi.contract.finetune_contract import FinetuneContract
from vox_populi.data.training_text import ChatTemplate, TextPolicy
from vox_populi.errors import ArtifactError, ConfigError, EnvironmentFailure, ModelError
from vox_populi.hf.embedded import EMBEDDED_NAME, embedded_model_dir
from vox_populi.hf.inventory import ModelInventory, base_digest, read_inventory
from vox_populi.hf.keymap import AdapterModule, adapter_modules
from vox_populi.kernel.lora_full import TORCH_DTYPES, LoraFullObjective
from vox_populi.model.hf_load import load_base
from vox_populi.model.lora_transformer import attach_adapters, load_adapter_tensors
from vox_populi.pipeline.machine_probe import probe_machine
from vox_populi.pipeline.requests import WeightsChoice
from vox_populi.plan.device_choice import DeviceChoice, choose_device, device_problems
from vox_populi.plan.tokenizer_choice import TokenizerChoice, choose_tokenizer
from vox_tensor.tokenizer import TextTokenizer


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundWeights:
    """Files that belong together; nothing of the base is loaded yet."""

    inventory: ModelInventory
    name: str
    """Of the base folder."""
    adapter_path: Path | None
    adapter: AdapterFile | None
    tokenizer: TextTokenizer
    policy: TextPolicy
    device: DeviceChoice
    notes: tuple[str, ...]

    @property
    def header(self) -> AdapterHeader | None:
        """What the adapter says about itself; `None` for a base alone."""
        return None if self.adapter is None else self.adapter.header


def find_weights(choice: WeightsChoice) -> FoundWeights:
    """Find and check everything that running the chosen weights needs.

    Raises:
        ConfigError: For a run and a checkpoint at once.
        ArtifactError: For an adapter that cannot be read, or that belongs to another base or
            another tokenizer.
        ModelError: For a base folder that cannot be used.
        EnvironmentFailure: For a device that is not there.
    """
    device = _device(choice)
    path = _adapter_path(choice)
    adapter = None if path is None else read_adapter_bin(path)
    header = None if adapter is None else adapter.header
    folder = _base_folder(choice, path, header)
    inventory = read_inventory(folder or embedded_model_dir())
    if path is not None and header is not None:
        _check_base(inventory, header, str(path))
    chosen = _tokenizer(choice.tokenizer, folder, inventory, header)
    if header is not None and chosen.tokenizer.digest != header.tokenizer_digest:
        raise ArtifactError(say.adapter_tokenizer_differs(str(path), str(chosen.path)))
    policy = _policy(choice, header)
    return FoundWeights(
        inventory=inventory,
        name=EMBEDDED_NAME if folder is None else folder.resolve().name,
        adapter_path=path,
        adapter=adapter,
        tokenizer=chosen.tokenizer,
        policy=policy,
        device=device,
        notes=(*device.notes, *chosen.notes, *_policy_notes(policy, header)),
    )


def load_weights(found: FoundWeights) -> LoraFullObjective:
    """Load the base and put the adapter beside it, unmerged: the arithmetic of training."""
    device = found.device
    model = load_base(found.inventory, TORCH_DTYPES[device.compute_dtype], device.device)
    if found.adapter is None:
        return LoraFullObjective(model, {})
    header = found.adapter.header
    modules = _modules(found.inventory, header, str(found.adapter_path))
    adapted = attach_adapters(model, modules, header.lora, torch.Generator())
    load_adapter_tensors(adapted, found.adapter.tensors)
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


def _adapter_path(choice: WeightsChoice) -> Path | None:
    if choice.run is not None and choice.checkpoint is not None:
        raise ConfigError(say.sources_conflict(("--run", "--checkpoint")))
    if choice.run is None:
        return choice.checkpoint
    path = choice.run / ADAPTER_FILE
    if path.exists():
        return path
    if any((choice.run / name).exists() for name in KNOWN_FILES.values()):
        raise ArtifactError(say.run_has_no_adapter(str(choice.run)))
    raise ArtifactError(say.not_a_run_folder(str(choice.run)))


def _base_folder(
    choice: WeightsChoice, path: Path | None, header: AdapterHeader | None
) -> Path | None:
    """Where the base is; `None` for the embedded one."""
    if choice.model_dir is not None or path is None or header is None:
        return choice.model_dir
    folder = find_base(path.parent)
    if folder is None and header.base_name != EMBEDDED_NAME:
        raise ArtifactError(say.adapter_base_unknown(str(path), header.base_name))
    return folder


def _check_base(inventory: ModelInventory, header: AdapterHeader, where: str) -> None:
    if base_digest(inventory) == header.base_digest:
        return
    folder = str(inventory.model_dir)
    raise ArtifactError(
        say.adapter_not_for_base(where, header.base_name, header.base_digest, folder)
    )


def _tokenizer(
    kind: TokenizerKind | None,
    folder: Path | None,
    inventory: ModelInventory,
    header: AdapterHeader | None,
) -> TokenizerChoice:
    if kind is None and header is not None:
        kind = header.tokenizer
    if kind is None:
        kind = TokenizerKind.VOX if folder is None else TokenizerKind.HF
    chosen = choose_tokenizer(kind, folder, inventory.config.eos_ids)
    ids, rows = chosen.tokenizer.vocab_size, inventory.config.vocab_size
    if ids > rows:
        raise ModelError(say.tokenizer_beyond_embedding(str(chosen.path), ids, rows))
    return chosen


def _policy(choice: WeightsChoice, header: AdapterHeader | None) -> TextPolicy:
    """What was asked for, else what the adapter was trained with, else the defaults."""
    trained = TextPolicy(
        template=header.template if header else ChatTemplate.CHATML,
        system_prompt=header.system_prompt if header else None,
    )
    return TextPolicy(
        template=choice.template or trained.template,
        system_prompt=trained.system_prompt
        if choice.system_prompt is None
        else choice.system_prompt,
    )


def _policy_notes(policy: TextPolicy, header: AdapterHeader | None) -> tuple[str, ...]:
    if header is None or policy.digest == header.template_digest:
        return ()
    return (say.note_text_differs_from_training(),)


def _modules(
    inventory: ModelInventory, header: AdapterHeader, where: str
) -> tuple[AdapterModule, ...]:
    """The base's modules that the adapter names, which must fit in every particular."""
    known = {module.ours: module for module in adapter_modules(inventory.config)}
    unknown = [
        module.ours
        for module in header.modules
        if module.ours not in known or module != AdaptedModule.of(known[module.ours])
    ]
    if unknown:
        raise ArtifactError(say.adapter_modules_unknown(where, unknown))
    return tuple(known[module.ours] for module in header.modules)
