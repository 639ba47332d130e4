"""Names and shapes of the tensors in a PEFT container, checked against a base. No torch here.

PEFT loads a folder with missing or unexpected tensors with at most a warning; here that is an
error with the tensor and the closest name.
Shape letters: R rank, I input features, O output features.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from vox_populi.adapters.peft.config import PEFT_PREFIX, PeftConfig
from vox_populi.containers.dtypes import CONFIG_NAME_OF
from vox_populi.containers.safetensors_header import TensorInfo
from vox_populi.containers.tensor_comparison import (
    Misshaped,
    Shape,
    WrongType,
    tensor_differences,
    tensor_problem,
)
from vox_populi.errors import ArtifactError
from vox_populi.hf.keymap import (
    HEAD,
    HEAD_WEIGHT,
    AdapterModule,
    adapter_modules,
    embedding_key,
)
from vox_populi.hf.model_config import ModelConfig
from vox_populi.operator_messages import export as say
from vox_populi.operator_messages.tensors import PEFT_FOLDER
from vox_populi.operator_messages.wording import capped
from vox_tensor.errors import Problem


def peft_keys(module: AdapterModule) -> tuple[str, str]:
    """Names of a module's A and B in a PEFT container."""
    stem = f"{PEFT_PREFIX}{module.theirs}"
    return f"{stem}.lora_A.weight", f"{stem}.lora_B.weight"


def stored_tables(found: Mapping[str, TensorInfo], config: ModelConfig) -> dict[str, str]:
    """Tables of the base in a container, by their names there: `lm_head` or the base's embedding.

    PEFT stores the weights of an adapted head beside its adapter, and older versions the table.
    """
    tables = {HEAD: HEAD_WEIGHT, config.family.tensors.embed: embedding_key(config)}
    names = {
        f"{PEFT_PREFIX}{module}.{part}": weight
        for module, weight in tables.items()
        for part in ("weight", "base_layer.weight")
    }
    return {name: names[name] for name in found if name in names}


def check_peft_tensors(
    settings: PeftConfig, found: Mapping[str, TensorInfo], config: ModelConfig, where: str
) -> tuple[AdapterModule, ...]:
    """The adapted projections in forward order.

    Raises:
        ArtifactError: With every tensor that is missing, unexpected, misshaped or of a type
            without plain numbers.
    """
    every = adapter_modules(config)
    modules = tuple(module for module in every if _is_adapted(module, settings, found))
    problems = list(_tensor_problems(settings, modules, every, found, where))
    if problems:
        raise ArtifactError(*capped(problems))
    if not modules:
        raise ArtifactError(say.PEFT_TARGETS_NOTHING.at(where))
    return modules


def _is_adapted(
    module: AdapterModule, settings: PeftConfig, found: Mapping[str, TensorInfo]
) -> bool:
    if settings.names_its_modules:
        return settings.covers(module)
    return any(key in found for key in peft_keys(module))


def _tensor_problems(
    settings: PeftConfig,
    modules: Sequence[AdapterModule],
    every: Sequence[AdapterModule],
    found: Mapping[str, TensorInfo],
    where: str,
) -> Iterator[Problem]:
    expected: dict[str, Shape] = {}
    for module in modules:
        key_a, key_b = peft_keys(module)
        rank = settings.spec_of(module).rank
        expected[key_a] = (rank, module.in_features)
        expected[key_b] = (module.out_features, rank)
    possible = sorted({key for module in every for key in peft_keys(module)})
    differences = tensor_differences(expected, found, CONFIG_NAME_OF, possible)
    # Names first: a tensor under another name explains more than its shape does.
    for each in sorted(differences, key=lambda each: isinstance(each, Misshaped | WrongType)):
        yield tensor_problem(PEFT_FOLDER, where, each)
