"""What follows from the settings of a training run: the page that lists them, and the JSON Schema.

Editors read the schema while a config file is written. It accepts values as a YAML 1.2 editor
sees them; contradictions between settings are for `vox mens train` to find.
"""

from __future__ import annotations

import json
import math
from enum import StrEnum
from pathlib import Path

from vox_cli.request_options import default_text, metavar_of, variable_of
from vox_cli.train_request import TRAIN_SETTINGS
from vox_populi.contract.setting import Setting
from vox_populi.number_ranges import NumberRange, NumberSet

JsonObject = dict[str, object]

SCHEMA_FILE = "packages/vox_populi/src/vox_populi/schemas/train-config.schema.json"

# Text may look like something else to YAML: `preset: 4080`.
_TEXT: JsonObject = {"type": ["string", "number", "boolean"]}
_PLACE: JsonObject = {**_TEXT, "minLength": 1, "pattern": "^(?![A-Za-z][A-Za-z0-9+.-]*://)"}
_TRUTH: JsonObject = {"enum": [True, False, "yes", "no", "on", "off"]}
_WORDS: JsonObject = {"type": ["string", "array"], "minLength": 1, "items": {"type": "string"}}


def config_schema() -> str:
    """The JSON Schema of the file that `vox mens train --config` reads."""
    schema = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": "urn:vox-mens:train-config",
        "title": "Training config",
        "description": "The YAML file of vox mens train --config. Relative paths start at its"
        " folder. Every key is also a flag.",
        "type": ["object", "null"],
        "additionalProperties": False,
        "properties": {each.name: _property(each) for each in TRAIN_SETTINGS},
    }
    return json.dumps(schema, indent=2, ensure_ascii=False) + "\n"


def settings_page() -> list[str]:
    """The lines of the page that lists every setting."""
    lines = [
        "# Settings of a training run",
        "",
        "Every setting of `vox mens train` with its key in a config file. The flag has hyphens",
        "instead of underscores, the environment variable is in upper case behind `VOX_MENS_`:",
        f"`batch_size` is `--batch-size` and `{_variable('batch_size')}`. [Which of them wins]"
        "(../howto/settings.md).",
        "",
        "| Key | Values | Default | Meaning |",
        "|---|---|---|---|",
    ]
    for each in TRAIN_SETTINGS:
        cells = (f"`{each.name}`", _values(each), _default(each), each.spec.help)
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def _variable(name: str) -> str:
    return next(variable_of(each) for each in TRAIN_SETTINGS if each.name == name)


def _default(setting: Setting) -> str:
    text = default_text(setting)
    return text.lower() if setting.kind is bool else text


def _values(setting: Setting) -> str:
    if setting.kind is bool:
        return "true, false"
    if setting.spec.allowed is not None:
        return str(setting.spec.allowed)
    if setting.spec.parse is None and issubclass(setting.kind, StrEnum):
        return ", ".join(f"`{word}`" for word in setting.kind)
    return metavar_of(setting)


def _property(setting: Setting) -> JsonObject:
    default = default_text(setting)
    described = f"{setting.spec.help} [default: {default}]" if default else setting.spec.help
    accepted = _accepted(setting)
    if setting.is_repeated:
        accepted = {"anyOf": [accepted, {"type": "array", "items": accepted}]}
    if not setting.takes_null:
        return {"description": described, **accepted}
    return {"description": described, "anyOf": [accepted, {"type": "null"}]}


def _accepted(setting: Setting) -> JsonObject:
    kind, spec = setting.kind, setting.spec
    if spec.parse is not None:
        return _WORDS
    if issubclass(kind, StrEnum):
        return {"enum": list(dict.fromkeys([*kind, *filter(None, spec.words or ())]))}
    if isinstance(spec.allowed, NumberSet):
        return {"enum": list(spec.allowed.numbers)}
    if isinstance(spec.allowed, NumberRange):
        return _range(spec.allowed)
    return {bool: _TRUTH, Path: _PLACE, str: _TEXT}[kind]


def _range(allowed: NumberRange) -> JsonObject:
    assert not allowed.zero_too, "no setting of training needs it"
    schema: JsonObject = {"type": "integer" if allowed.is_whole else "number"}
    schema["exclusiveMinimum" if allowed.above_lowest else "minimum"] = allowed.lowest
    if not math.isinf(allowed.highest):
        schema["exclusiveMaximum" if allowed.below_highest else "maximum"] = allowed.highest
    return schema
