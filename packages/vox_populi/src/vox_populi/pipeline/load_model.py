"""Loading the chosen weights as a model with its tokenizer and template. Needs torch."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from vox_populi.adapters.base import fitting_modules
from vox_populi.adapters.header import Quantization
from vox_populi.containers.dtypes import BYTES_OF_VALUE
from vox_populi.containers.torch_dtypes import TORCH_DTYPES
from vox_populi.contract.choices import TokenizerKind
from vox_populi.contract.qlora_spec import DenseCopiesChoice
from vox_populi.contract.setting_groups import ComputeSettings
from vox_populi.data.chat_template import ModelTemplate
from vox_populi.data.control_text import ControlText
from vox_populi.data.template_rows import History
from vox_populi.data.training_text import ChatTemplate, TextPolicy
from vox_populi.errors import ArtifactError, EnvironmentFailure, ModelError
from vox_populi.hf.embedded import EMBEDDED_NAME
from vox_populi.hf.hub_name import folder_name
from vox_populi.hf.inventory import ModelInventory
from vox_populi.kernel.adapted_objective import AdaptedObjective
from vox_populi.kernel.attention_backend import attention_notes
from vox_populi.kernel.nf4_backend import Nf4Backend, choose_nf4_backend
from vox_populi.kernel.pointwise_backend import pointwise_notes
from vox_populi.model.causal_graph import CausalGraph
from vox_populi.model.hf_load import load_base
from vox_populi.model.nf4_load import load_nf4_base
from vox_populi.operator_messages import adapter as say_adapter
from vox_populi.operator_messages import plan as say_plan
from vox_populi.operator_messages import run as say_run
from vox_populi.pipeline.find_model import ChosenModel, choose_model
from vox_populi.pipeline.machine_probe import probe_machine, require_threads
from vox_populi.pipeline.trained_text import TrainedText
from vox_populi.pipeline.weights_choice import WeightsChoice
from vox_populi.plan.device_choice import DeviceChoice, choose_device, device_problems
from vox_populi.plan.memory_estimate import count_parameters
from vox_populi.plan.nf4_plan import choose_dense_copies
from vox_populi.plan.template_choice import changed_template, choose_template
from vox_populi.plan.tokenizer_choice import TokenizerChoice, choose_tokenizer
from vox_populi.runs.find_adapter import FoundAdapter
from vox_tensor.nf4_levels import Nf4Settings
from vox_tensor.nf4_weight import DenseCopies, DensePool
from vox_tensor.tokenizer import TextTokenizer


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundWeights:
    """Files that belong together, before the base is loaded."""

    inventory: ModelInventory
    name: str
    """Name of the base or merged folder."""
    adapter: FoundAdapter | None
    tokenizer: TextTokenizer
    policy: TextPolicy
    device: DeviceChoice
    notes: tuple[str, ...]
    text: TrainedText | None
    """The text format of the model's training, if recorded."""
    quantization: Quantization | None = None
    """Quantisation of the base in training; also used for the base without the adapter."""


def find_weights(choice: WeightsChoice) -> FoundWeights:
    """Find and check everything that running the chosen weights needs.

    Raises:
        ConfigError: For more than one adapter, or a PEFT folder without its base.
        ArtifactError: For an adapter that cannot be read, or that was trained on a different base,
            tokenizer or text format.
        ModelError: For a base folder that cannot be used.
        EnvironmentFailure: For a missing device.
    """
    device = _device(choice)
    model = choose_model(choice)
    folder, adapter, text = model.folder, model.adapter, model.text
    chosen = _tokenizer(choice.tokenizer, folder, model.inventory, text)
    if text is not None and chosen.tokenizer.digest != text.tokenizer_digest:
        raise ArtifactError(say_adapter.adapter_tokenizer_differs(str(chosen.path)).at(text.where))
    asked = _policy(choice, text)
    policy, template_notes = _with_template(choice, asked, model, chosen.tokenizer)
    text_notes = _text_notes(choice, policy, text)
    adapter_notes = () if adapter is None else adapter.notes
    quantization = None if adapter is None else adapter.adapter.header.quantization
    nf4_notes = _nf4_notes(device, model.inventory, quantization)
    kind = (device.device, TORCH_DTYPES[device.compute_dtype], model.inventory.config)
    return FoundWeights(
        inventory=model.inventory,
        name=EMBEDDED_NAME if folder is None else folder_name(folder),
        adapter=adapter,
        tokenizer=chosen.tokenizer,
        policy=policy,
        device=device,
        notes=(
            *model.inventory.config.notes,
            *device.notes,
            *attention_notes(*kind),
            *pointwise_notes(*kind),
            *chosen.notes,
            *template_notes,
            *adapter_notes,
            *nf4_notes,
            *text_notes,
        ),
        text=text,
        quantization=quantization,
    )


def load_weights(found: FoundWeights) -> AdaptedObjective[CausalGraph]:
    """Load the base and attach the adapter, unmerged, with the arithmetic of training."""
    if found.inventory.nf4 or found.quantization is not None:
        model, pool = _load_in_nf4(found)
    else:
        dtype = TORCH_DTYPES[found.device.compute_dtype]
        model, pool = load_base(found.inventory, dtype, found.device.device), None
    if found.adapter is None:
        return AdaptedObjective(model, {}, pool)
    adapter = found.adapter.adapter
    modules = fitting_modules(found.inventory, adapter.header, found.adapter.where)
    adapted = adapter.attach(model, modules)
    model.eval()
    return AdaptedObjective(model, adapted, pool)


def _load_in_nf4(found: FoundWeights) -> tuple[CausalGraph, DensePool]:
    """The base in NF4, as in the adapter's training or as stored in its folder."""
    device, config = found.device, found.inventory.config
    quantization = found.quantization
    settings = Nf4Settings() if quantization is None else quantization.nf4
    # Answers are made token by token, each of which needs every weight again.
    dense_bytes = count_parameters(config) * BYTES_OF_VALUE[device.compute_dtype]
    copies = choose_dense_copies(DenseCopiesChoice.AUTO, dense_bytes, device.memory_bytes)
    backend = _nf4_backend(device, found.inventory, quantization)
    pool = DensePool(DenseCopies(copies.value), backend.dequantize)
    dtype = TORCH_DTYPES[device.compute_dtype]
    model = load_nf4_base(
        found.inventory, dtype, device.device, settings, pool, quantize_on=backend.quantize_on
    )
    return model, pool


def _nf4_backend(
    device: DeviceChoice, inventory: ModelInventory, quantization: Quantization | None
) -> Nf4Backend:
    stored = next(iter(inventory.nf4.values()), None)
    asked = Nf4Settings() if quantization is None else quantization.nf4
    held = asked if stored is None else stored.settings
    return choose_nf4_backend(device.device, TORCH_DTYPES[device.compute_dtype], held.block_size)


def _nf4_notes(
    device: DeviceChoice, inventory: ModelInventory, quantization: Quantization | None
) -> tuple[str, ...]:
    if not inventory.nf4 and quantization is None:
        return ()
    return _nf4_backend(device, inventory, quantization).notes


def _device(choice: ComputeSettings) -> DeviceChoice:
    require_threads(choice.threads)
    machine = probe_machine(choice.device, choice.dtype)
    absent = tuple(device_problems(choice.device, machine))
    if absent:
        raise EnvironmentFailure(*absent)
    return choose_device(choice, machine)


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
        raise ModelError(say_plan.tokenizer_beyond_embedding(ids, rows).at(str(chosen.path)))
    return chosen


def _policy(choice: WeightsChoice, text: TrainedText | None) -> TextPolicy:
    """The requested text policy, otherwise that of the training, otherwise the defaults."""
    trained = TextPolicy(
        template=text.template if text else ChatTemplate.AUTO,
        system_prompt=text.system_prompt if text else None,
    )
    return TextPolicy(
        template=choice.template or trained.template,
        system_prompt=trained.system_prompt
        if choice.system_prompt is None
        else choice.system_prompt,
        # What a run refused it did not learn, and rows without rewritten answers are the same.
        history=History.LAST,
    )


def _with_template(
    choice: WeightsChoice, asked: TextPolicy, model: ChosenModel, tokenizer: TextTokenizer
) -> tuple[TextPolicy, tuple[str, ...]]:
    """The policy with the recorded template, or with the folder's where none is recorded.

    Raises:
        ArtifactError: For a folder whose template is not the recorded one any more.
    """
    text = model.text
    is_trained = text is not None and choice.template in (None, text.template)
    if text is not None and is_trained and not text.template.is_rendered:
        return _as_kept(replace(asked, layout=text.layout), text)
    trained = None if text is None or text.layout is None else text.layout.template
    if text is None or trained is None or choice.template is not None:
        return choose_template(asked, model.folder, tokenizer, needs_end=False)
    # A template of a file or of another name is not what the folder's default was ever.
    is_own = text.template is ChatTemplate.MODEL
    changed = changed_template(model.folder, trained, text.system_prompt) if is_own else None
    if changed is not None and not choice.force_template:
        raise ArtifactError(say_run.template_changed_since(changed).at(text.where))
    notes = () if changed is None else (say_run.note_recorded_template(changed),)
    policy, kept = _as_kept(replace(asked, own=ModelTemplate.of(trained, text.where)), text)
    return policy, (*notes, *kept)


def _as_kept(policy: TextPolicy, text: TrainedText) -> tuple[TextPolicy, tuple[str, ...]]:
    """The policy with control text as in the training, which is said where it becomes tokens."""
    if text.layout is None or not text.layout.keeps_control_text:
        return policy, ()
    notes = (say_run.NOTE_PROMPTS_KEEP_CONTROL_TEXT,)
    return replace(policy, on_control_text=ControlText.KEEP), notes


def _text_notes(
    choice: WeightsChoice, policy: TextPolicy, text: TrainedText | None
) -> tuple[str, ...]:
    """Refuse a text format that differs from training, unless the operator overrides it."""
    if text is None or policy.digest == text.template_digest:
        return ()
    if not choice.force_template:
        if text.withholds_system_prompt and choice.system_prompt is None:
            raise ArtifactError(say_run.SYSTEM_PROMPT_WITHHELD.at(text.where))
        raise ArtifactError(say_run.ADAPTER_TEXT_DIFFERS.at(text.where))
    return (say_run.NOTE_TEXT_DIFFERS_FROM_TRAINING,)
