"""From the settings of `vox mens train` to a contract. Decides nothing about the run."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping
from pathlib import Path
from types import NoneType
from typing import Any, get_args, get_type_hints

import typer

from vox_cli.config_file import ConfigFile
from vox_cli.setting_sources import (
    Chosen,
    FileRules,
    Setting,
    Source,
    choose_given,
    filled,
)
from vox_cli.value_parsers import path
from vox_populi.contract.adapter_target import TargetRoles, parse_targets, targets_as_text
from vox_populi.contract.choices import Backend, TokenizerKind
from vox_populi.contract.finetune_contract import FinetuneContract, requested_lora
from vox_populi.contract.presets import find_preset
from vox_populi.contract.qlora_spec import QloraSpec
from vox_populi.errors import ConfigError
from vox_populi.operator_messages import usage as say
from vox_populi.pipeline.train import Resume, RunOptions
from vox_tensor.lora_spec import LoraSpec

FIELD_OF_SETTING = {
    "data_dir": "data_dir",
    "output_dir": "output_dir",
    "backend": "backend",
    "kernel": "force_kernel",
    "base_quant": "base_quant",
    "tokenizer": "tokenizer",
    "model": "model_dir",
    "init_from": "init_from",
    "targets": "targets",
    "template": "template",
    "system_prompt": "system_prompt",
    "epochs": "epochs",
    "max_steps": "max_steps",
    "optimizer": "optimizer",
    "lr": "learning_rate",
    "schedule": "schedule",
    "warmup": "warmup_steps",
    "weight_decay": "weight_decay",
    "max_grad_norm": "max_grad_norm",
    "seq_len": "seq_len",
    "batch_size": "batch_size",
    "grad_accum": "grad_accum",
    "seed": "seed",
    "min_rating": "min_rating",
    "context_filter": "context_filter",
    "validation_split_ratio": "validation_split_ratio",
    "eval_every": "eval_every",
    "early_stopping_patience": "early_stopping_patience",
    "on_bad_row": "on_bad_row",
    "on_long_row": "on_long_row",
    "device": "device",
    "dtype": "dtype",
    "threads": "threads",
    "deployment_target": "deployment_target",
    "preset": "preset",
}
"""Name of the setting, as typed, to the field of the contract."""

LORA_FIELD_OF_SETTING = {
    "rank": "rank",
    "alpha": "alpha",
    "dropout": "dropout",
    "rslora": "use_rslora",
}
"""The same for the fields of `LoraSpec`."""

QLORA_FIELD_OF_SETTING = {
    "qlora_graph": "graph",
    "nf4_block_size": "block_size",
    "nf4_cache": "dense_copies",
    "nf4_cache_dir": "cache_dir",
    "qlora_ce_last_k": "ce_last_k",
    "qlora_proxy_max_layers": "proxy_max_layers",
    "qlora_lm_head_only": "lm_head_only",
    "qlora_max_skip_rate": "max_skip_rate",
    "qlora_require_full_proxy_stack": "require_full_proxy_stack",
    "qlora_allow_partial_proxy_stack": "allow_partial_proxy_stack",
}
"""The same for the fields of `QloraSpec`, but for the one whose flag says the opposite."""

NO_DOUBLE_QUANT = "qlora_no_double_quant"

REQUIRED = ("data_dir", "output_dir")


@dataclasses.dataclass(frozen=True, slots=True)
class AdapterTargets:
    """What `--targets` asks for; Typer would take a bare tuple for an option of many values."""

    roles: TargetRoles | None

    @classmethod
    def parse(cls, text: str) -> AdapterTargets:
        """Read a list of roles.

        Raises:
            ConfigError: For unknown roles.
        """
        return cls(parse_targets(text))

    def __str__(self) -> str:
        return str(targets_as_text(self.roles))


def parse_resume(text: str) -> Resume:
    """Read `auto` or a folder."""
    return Resume(None if text == "auto" else path(text))


OPTION_OF_SETTING = {
    "log_every": "log_every",
    "checkpoint_every": "checkpoint_every",
    "keep_checkpoints": "keep_checkpoints",
    "check_rows": "check_rows",
}
"""Settings that do not change the result, to the field of `RunOptions`."""


def choose_settings(
    settings: Collection[Setting], context: typer.Context, file: ConfigFile | None
) -> dict[str, Chosen]:
    """Every setting with its value and where that came from; required ones may be missing.

    Raises:
        ConfigError: For unusable values in the file, or an unknown preset.
    """
    given = choose_given(settings, context, file, _file_rules())
    preset = given.get("preset")
    if preset is not None and preset.value is not None:
        name = str(preset.value)
        given = filled(given, preset_values(name), Source.PRESET, name)
    chosen = filled(given, default_values(given), Source.DEFAULT, None)
    return {s.name: chosen[s.name] for s in settings if s.name in chosen}


def build_contract(chosen: Mapping[str, Chosen]) -> FinetuneContract:
    """Build the request.

    Raises:
        ConfigError: For a missing required setting.
        ContractError: With every contradiction.
    """
    missing = [Setting(name, str) for name in REQUIRED if name not in chosen]
    if missing:
        raise ConfigError(*(say.setting_missing(s.flag, s.variable, s.name) for s in missing))
    lora: dict[str, Any] = {
        field: chosen[name].value for name, field in LORA_FIELD_OF_SETTING.items()
    }
    qlora: dict[str, Any] = {
        field: chosen[name].value for name, field in QLORA_FIELD_OF_SETTING.items()
    }
    qlora["double_quant"] = not chosen[NO_DOUBLE_QUANT].value
    rest: dict[str, Any] = {field: chosen[name].value for name, field in FIELD_OF_SETTING.items()}
    rest["targets"] = rest["targets"].roles
    return FinetuneContract(lora=requested_lora(**lora), qlora=QloraSpec(**qlora), **rest)


def build_options(
    chosen: Mapping[str, Chosen], *, force: bool, resume: Resume | None, config: Path | None = None
) -> RunOptions:
    """Build what does not change the result."""
    rest: dict[str, Any] = {field: chosen[name].value for name, field in OPTION_OF_SETTING.items()}
    reads = () if config is None else (config,)
    return RunOptions(force=force, resume=resume, reads=reads, **rest)


def preset_values(name: str) -> dict[str, object]:
    """What a preset says, by the names of the settings; `None` is nothing said."""
    preset = find_preset(name)
    row = {each.name: getattr(preset, each.name) for each in dataclasses.fields(preset)}
    setting_of_field = {field: s for s, field in (FIELD_OF_SETTING | LORA_FIELD_OF_SETTING).items()}
    return {setting_of_field[field]: value for field, value in row.items() if value is not None}


def default_values(given: Mapping[str, Chosen]) -> dict[str, object]:
    """The defaults of the contract, by the names of the settings."""
    fields = {each.name: each for each in dataclasses.fields(FinetuneContract)}
    factory = fields["lora"].default_factory
    lora = factory() if callable(factory) else LoraSpec()
    values: dict[str, object] = {
        name: fields[field].default
        for name, field in FIELD_OF_SETTING.items()
        if name not in REQUIRED
    }
    values |= {name: getattr(lora, field) for name, field in LORA_FIELD_OF_SETTING.items()}
    qlora = QloraSpec()
    values |= {name: getattr(qlora, field) for name, field in QLORA_FIELD_OF_SETTING.items()}
    values[NO_DOUBLE_QUANT] = not qlora.double_quant
    values["targets"] = AdapterTargets(None)
    values |= {name: getattr(RunOptions(), field) for name, field in OPTION_OF_SETTING.items()}
    model, backend = given.get("model"), given.get("backend")
    is_qlora = backend is not None and backend.value is Backend.QLORA
    if is_qlora or (model is not None and model.value is not None):
        # A foreign base has a vocabulary of its own, `vox` is the embedded base's; QLoRA takes
        # every base's own file.
        values["tokenizer"] = TokenizerKind.HF
    return values


def _file_rules() -> FileRules:
    nullable = {
        name
        for kind, fields in (
            (FinetuneContract, FIELD_OF_SETTING),
            (QloraSpec, QLORA_FIELD_OF_SETTING),
        )
        for name, field in fields.items()
        if NoneType in get_args(get_type_hints(kind)[field])
    }
    nullable.discard("targets")
    nullable.add("checkpoint_every")
    return FileRules(nullable=nullable)
