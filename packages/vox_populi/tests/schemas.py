"""The JSON Schemas that ship with the package, as the reference implementation reads them."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema
from jsonschema.validators import extend

import vox_populi

_FOLDER = Path(vox_populi.__file__).parent / "schemas"

# The draft takes 8.0 for an integer; no reader of ours does.
_Validator = extend(
    jsonschema.Draft202012Validator,
    type_checker=jsonschema.Draft202012Validator.TYPE_CHECKER.redefine(
        "integer", lambda _checker, value: isinstance(value, int) and not isinstance(value, bool)
    ),
)


def load_schema(name: str) -> dict[str, Any]:
    """A schema, such as `adapter-meta-v2`."""
    schema: dict[str, Any] = json.loads((_FOLDER / f"{name}.schema.json").read_text("utf-8"))
    return schema


def meets_schema(value: object, name: str) -> bool:
    """Whether a document is what a schema asks for."""
    return bool(validator_of(name).is_valid(value))


@cache
def validator_of(name: str) -> Any:
    """The validator of a schema, for many documents."""
    schema = load_schema(name)
    jsonschema.Draft202012Validator.check_schema(schema)
    return _Validator(schema)
