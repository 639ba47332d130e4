"""`adapter_config.json` of a PEFT LoRA adapter: written sorted, read strictly. No torch here.

The format is that of `peft.LoraConfig`. Scale of the product B A: alpha / r, or alpha / sqrt(r)
with `use_rslora`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from vox_populi.adapters.peft.module_patterns import ModulePatterns, read_patterns
from vox_populi.errors import ArtifactError, ModelError
from vox_populi.files.json_fields import FieldError, take_number, take_positive
from vox_populi.files.known_names import PEFT_CONFIG_FILE
from vox_populi.files.model_file import read_model_file
from vox_populi.files.strict_json import parse_json_object
from vox_populi.hf.keymap import AdapterModule
from vox_populi.hf.model_config import ModelConfig
from vox_populi.operator_messages import export as say_export
from vox_populi.operator_messages.wording import capped
from vox_tensor.errors import Problem
from vox_tensor.lora_spec import LoraSpec

PEFT_WEIGHTS_FILE = "adapter_model.safetensors"
PEFT_PREFIX = "base_model.model."

_MAX_CONFIG_BYTES = 4 * 2**20
_OTHER_UPDATE = "it is more than one low-rank update, and would be lost"

# Read below, or without effect on what a trained adapter computes.
_NEUTRAL = frozenset(
    {
        "alpha_pattern",
        "auto_mapping",
        "base_model_name_or_path",
        "ensure_weight_tying",
        "eva_config",
        "exclude_modules",
        "fan_in_fan_out",
        "inference_mode",
        "kappa_tuner_init",
        "layers_pattern",
        "layers_to_transform",
        "lora_alpha",
        "lora_dropout",
        "megatron_core",
        "peft_type",
        "peft_version",
        "qalora_group_size",
        "r",
        "rank_pattern",
        "revision",
        "runtime_config",
        "target_modules",
        "task_type",
        "use_rslora",
    }
)
_REASONS: Mapping[str, str] = {
    "use_dora": "DoRA also trains magnitudes, which would be lost",
    "modules_to_save": "the folder has complete trained modules, which would be lost",
    "bias": "the folder has trained biases, which would be lost",
    "lora_bias": "the low-rank branch has biases, which would be lost",
    "trainable_token_indices": "rows of the embedding were trained, which would be lost",
    "layer_replication": "it refers to layers that the base does not have",
    "target_parameters": "it adapts parameters that are not projections of the base",
    "use_qalora": "QALoRA pools its inputs",
    "loftq_config": "LoftQ changes the weights of the base",
    "init_lora_weights": "this initialisation changes the weights of the base",
}
_PLAIN_INITS = (True, False, "gaussian", "orthogonal", "eva")


@dataclass(frozen=True, slots=True, kw_only=True)
class PeftConfig:
    """The settings of a PEFT config that affect what the adapter computes."""

    lora: LoraSpec
    """Settings of the projections that no pattern matches."""
    base_name: str | None
    targets: tuple[str, ...] | str
    """Target names, or a pattern in one string."""
    layers: frozenset[int] | None
    """The only layers that are adapted, or `None` for all."""
    excluded: tuple[str, ...]
    text: str
    """The file's text, verbatim."""
    patterns: ModulePatterns
    """Other ranks and alphas by module."""

    @property
    def names_its_modules(self) -> bool:
        """Whether the config alone determines the adapted projections."""
        return not isinstance(self.targets, str) or self.targets == "all-linear"

    def spec_of(self, module: AdapterModule) -> LoraSpec:
        """Rank, alpha and scale rule of one projection."""
        return self.patterns.spec_of(module.theirs, self.lora)

    def covers(self, module: AdapterModule) -> bool:
        """Whether PEFT would put an adapter on a projection of the base."""
        path = module.theirs
        if self.layers is not None and _layer_of(path) not in self.layers:
            return False
        if any(_names(path, word) for word in self.excluded):
            return False
        if self.targets == "all-linear":
            return path != "lm_head"
        return any(_names(path, word) for word in self.targets)


def peft_config_text(
    lora: LoraSpec,
    modules: Sequence[AdapterModule],
    targets: Sequence[str],
    base_name: str,
    *,
    parameters: Mapping[str, int] | None = None,
) -> str:
    """The file for one of our adapters: indent 2, keys and lists sorted, only PEFT's keys.

    Args:
        lora: Rank, alpha and scale rule.
        modules: The adapted projections.
        targets: Names that select them, see `target_names`.
        base_name: Name or folder under which PEFT finds the base.
        parameters: Ranks of tensors with all experts of a layer, by the ends of their paths.
    """
    ranks = parameters or {}
    other = {name: rank for name, rank in ranks.items() if rank != lora.rank}
    alpha = int(lora.alpha) if lora.alpha.is_integer() else lora.alpha
    values: dict[str, object] = {
        "alpha_pattern": {name: alpha * (rank // lora.rank) for name, rank in other.items()},
        "base_model_name_or_path": base_name,
        "bias": "none",
        "fan_in_fan_out": any(module.fan_in_fan_out for module in modules),
        "inference_mode": True,
        "lora_alpha": alpha,
        "lora_dropout": lora.dropout,
        "modules_to_save": None,
        "peft_type": "LORA",
        "r": lora.rank,
        "rank_pattern": other,
        "revision": None,
        "target_modules": sorted(targets),
        **({"target_parameters": sorted(ranks)} if ranks else {}),
        "task_type": "CAUSAL_LM",
        "use_dora": False,
        "use_rslora": lora.use_rslora,
    }
    return json.dumps(values, indent=2, sort_keys=True, allow_nan=False)


def names_tensors(config: ModelConfig, modules: Sequence[AdapterModule]) -> bool:
    """Whether a folder has to name tensors for some of a base's adapted projections.

    Of some model types PEFT makes whole tensors of each expert's adapters by itself, and takes any
    layer with such a name for an expert's.
    """
    if config.modules is None:
        return False
    if any(has_taken_name(config, module) for module in modules):
        return True
    return not config.modules.expert_names and any(module.in_expert for module in modules)


def has_taken_name(config: ModelConfig, module: AdapterModule) -> bool:
    """Whether PEFT would take an ordinary layer for experts'."""
    names = frozenset() if config.modules is None else config.modules.expert_names
    return not module.in_expert and module.theirs.rpartition(".")[2] in names


def target_names(adapted: Sequence[str], every: Sequence[str]) -> tuple[str, ...]:
    """The shortest sorted names that select the adapted projections of a base and no others.

    PEFT matches a name with every module path that ends in it. GPT-2 has two `c_proj`, so their
    names are longer; projections that are adapted only in some layers get their full path.

    Args:
        adapted: Module paths of adapted projections.
        every: Module paths of all projections.
    """
    wanted, names = set(adapted), set()
    for path in adapted:
        parts = path.split(".")
        ends = (".".join(parts[-count:]) for count in range(1, len(parts) + 1))
        names.add(next(end for end in ends if {p for p in every if _names(p, end)} <= wanted))
    return tuple(sorted(names))


def read_peft_config(folder: Path) -> PeftConfig:
    """Read the config of a PEFT folder; unsupported settings are refused by name.

    Raises:
        ArtifactError: With every unsupported setting.
    """
    path = folder / PEFT_CONFIG_FILE
    if not path.is_file():
        raise ArtifactError(say_export.not_a_peft_folder(PEFT_CONFIG_FILE).at(str(folder)))
    try:
        data = read_model_file(path, _MAX_CONFIG_BYTES)
        raw = parse_json_object(data, str(path))
    except ModelError as error:
        raise ArtifactError(*error.problems) from error
    problems = list(unsupported_settings(raw, str(path)))
    if problems:
        raise ArtifactError(*capped(problems))
    try:
        return _config(raw, data.decode("utf-8"))
    except (FieldError, ValueError) as error:
        raise ArtifactError(say_export.peft_config_invalid(str(error)).at(str(path))) from error


def unsupported_settings(raw: Mapping[str, object], where: str) -> Iterator[Problem]:
    """Every setting that makes an adapter more than one low-rank update of each projection."""
    if str(raw.get("peft_type", "")).upper() != "LORA":
        yield say_export.peft_setting_unsupported(
            "peft_type", raw.get("peft_type"), "only LORA is"
        ).at(where)
    for name, value in sorted(raw.items()):
        if name in _NEUTRAL or name == "peft_type" or _is_off(name, value):
            continue
        reason = _REASONS.get(name, _OTHER_UPDATE)
        yield say_export.peft_setting_unsupported(name, value, reason).at(where)


def _is_off(name: str, value: object) -> bool:
    """Whether a setting has the value of a plain LoRA."""
    if value is None or value is False or value in ({}, []):
        return True
    if name == "bias":
        return value == "none"
    if name == "init_lora_weights":
        return value in _PLAIN_INITS
    return False


def _config(raw: Mapping[str, object], text: str) -> PeftConfig:
    rslora = raw.get("use_rslora", False)
    if not isinstance(rslora, bool):
        message = "use_rslora is not a boolean"
        raise FieldError(message)
    lora = LoraSpec(
        rank=take_positive(raw, "r"),
        alpha=take_number(raw, "lora_alpha"),
        dropout=take_number(raw, "lora_dropout") if "lora_dropout" in raw else 0.0,
        use_rslora=rslora,
    )
    base = raw.get("base_model_name_or_path")
    targets = raw.get("target_modules")
    return PeftConfig(
        lora=lora,
        base_name=base if isinstance(base, str) and base else None,
        targets=targets if isinstance(targets, str) else _words(targets, "target_modules"),
        layers=_layers(raw.get("layers_to_transform")),
        excluded=_words(raw.get("exclude_modules") or [], "exclude_modules"),
        text=text,
        patterns=read_patterns(raw, lora),
    )


def _words(value: object, name: str) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(word, str) for word in value):
        message = f"{name} is missing or not a list of names"
        raise FieldError(message)
    return tuple(value)


def _layers(value: object) -> frozenset[int] | None:
    if value is None:
        return None
    numbers = value if isinstance(value, list) else [value]
    if not all(isinstance(n, int) and not isinstance(n, bool) for n in numbers):
        message = "layers_to_transform is not a list of layers"
        raise FieldError(message)
    return frozenset(numbers)


def _names(path: str, word: str) -> bool:
    return path == word or path.endswith(f".{word}")


def _layer_of(path: str) -> int | None:
    return next((int(part) for part in path.split(".") if part.isdecimal()), None)
