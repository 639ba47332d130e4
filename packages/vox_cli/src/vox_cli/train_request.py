"""Builds a contract from the settings of `vox mens train`. Decides nothing about the run."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import typer

from vox_cli.config_file import ConfigFile
from vox_cli.request_options import variable_of
from vox_cli.setting_sources import Chosen, Source, choose_given, filled
from vox_cli.value_parsers import path
from vox_populi.contract.choices import default_tokenizer
from vox_populi.contract.download_choice import ALLOW_DOWNLOAD
from vox_populi.contract.finetune_contract import FinetuneContract
from vox_populi.contract.presets import is_auto, values_of_preset
from vox_populi.contract.setting import Setting, settings_of
from vox_populi.errors import ConfigError
from vox_populi.hub.transfer import TransferWatcher
from vox_populi.operator_messages import row_files as say_rows
from vox_populi.operator_messages import usage as say
from vox_populi.pipeline.model_arguments import model_folder
from vox_populi.pipeline.preset_choice import choose_preset
from vox_populi.pipeline.train import Resume, RunOptions

TRAIN_SETTINGS: tuple[Setting, ...] = (*settings_of(FinetuneContract), *settings_of(RunOptions))
"""The settings, in display order."""

_PAIR = ("data", "data_dir")
"""Two ways of naming the rows, of which a request has one."""


def parse_resume(text: str) -> Resume:
    """Read `auto` or a folder."""
    return Resume(None if text == "auto" else path(text))


def choose_settings(
    context: typer.Context, file: ConfigFile | None, watcher: TransferWatcher
) -> dict[str, Chosen]:
    """Every setting with its value and source; required ones may be missing.

    Args:
        context: The command line.
        file: The config file.
        watcher: Is told of a download, which `--preset auto` may need to choose.

    Raises:
        ConfigError: For unusable values in the file, or an unknown preset.
        VoxError: When `--preset auto` cannot choose one.
    """
    given = _one_of_each_pair(choose_given(TRAIN_SETTINGS, context, file))
    preset = given.get("preset")
    if preset is not None and preset.value is not None:
        if is_auto(preset.value):
            preset = _preset_for_this_machine(preset, given, watcher)
            given = {**given, "preset": preset}
        name = str(preset.value)
        given = filled(given, preset_values(name), Source.PRESET, name)
    chosen = filled(given, default_values(given), Source.DEFAULT, None)
    return {each.name: chosen[each.name] for each in TRAIN_SETTINGS if each.name in chosen}


def build_contract(chosen: Mapping[str, Chosen]) -> FinetuneContract:
    """Build the request; its base may still be a name of the hub.

    Raises:
        ConfigError: For a missing required setting.
        ContractError: With every contradiction.
    """
    missing = [each for each in settings_of(FinetuneContract) if each.name not in chosen]
    problems = [say.setting_missing(each.flag, variable_of(each), each.name) for each in missing]
    if not any(chosen[name].value for name in _PAIR):
        problems.insert(0, say_rows.DATA_MISSING)
    if problems:
        raise ConfigError(*problems)
    return FinetuneContract.of(**_stored(FinetuneContract, chosen))


def _preset_for_this_machine(
    preset: Chosen, given: Mapping[str, Chosen], watcher: TransferWatcher
) -> Chosen:
    """The preset that `auto` becomes, with the note that says why."""
    values: dict[str, Any] = {
        each.field: each.stored(given[each.name].value)
        for each in settings_of(FinetuneContract)
        if each.name in given
    }
    if isinstance(values.get("model_dir"), Path):
        may_download = values.get(ALLOW_DOWNLOAD) is True
        base = model_folder(values["model_dir"], may_download=may_download, watcher=watcher)
        values["model_dir"] = base
    found = choose_preset(values)
    return dataclasses.replace(preset, value=found.name, note=found.note)


def _one_of_each_pair(given: dict[str, Chosen]) -> dict[str, Chosen]:
    """Remove one setting of a pair if a stronger source has the other one."""
    sources = [list(Source).index(given[name].source) for name in _PAIR if name in given]
    if len(set(sources)) < len(_PAIR):
        return given
    strongest = min(sources)
    weaker = [name for name in _PAIR if list(Source).index(given[name].source) != strongest]
    return {name: each for name, each in given.items() if name not in weaker}


def build_options(
    chosen: Mapping[str, Chosen], *, force: bool, resume: Resume | None, config: Path | None = None
) -> RunOptions:
    """Build the options that do not change the result."""
    reads = () if config is None else (config,)
    return RunOptions(force=force, resume=resume, reads=reads, **_stored(RunOptions, chosen))


def preset_values(name: str) -> dict[str, object]:
    """The values of a preset, by the names of the settings."""
    names = {each.field: each.name for each in settings_of(FinetuneContract)}
    return {names[field]: value for field, value in values_of_preset(name).items()}


def default_values(given: Mapping[str, Chosen]) -> dict[str, object]:
    """The defaults of the requests, by the names of the settings."""
    values = {
        each.name: each.asked(each.default)
        for each in TRAIN_SETTINGS
        if each.default is not dataclasses.MISSING
    }
    asked = {name: each.value for name, each in given.items()}
    tokenizer = default_tokenizer(asked.get("backend"), asked.get("model"))
    return {**values, "tokenizer": tokenizer}


def _stored(request: type, chosen: Mapping[str, Chosen]) -> dict[str, Any]:
    return {each.field: each.stored(chosen[each.name].value) for each in settings_of(request)}
