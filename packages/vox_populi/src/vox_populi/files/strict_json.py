"""JSON files of a model folder, read so that no other parser can read them differently.

Regular files only, capped in size; repeated keys, NaN and Infinity are refused.
"""

from __future__ import annotations

from pathlib import Path

from vox_populi.errors import DataError, ModelError
from vox_populi.files.model_file import read_model_file
from vox_populi.operator_messages import model_folder as say
from vox_tensor.strict_json import parse_json

MAX_JSON_BYTES = 64 * 1024 * 1024


def read_json_object(path: Path, max_bytes: int = MAX_JSON_BYTES) -> dict[str, object]:
    """Read a file that holds one JSON object.

    Raises:
        ModelError: When the file cannot be read, is too large or is not a strict JSON object.
    """
    return parse_json_object(read_model_file(path, max_bytes), str(path))


def parse_json_object(data: bytes, where: str) -> dict[str, object]:
    """Parse the bytes of one JSON object; `where` names their origin in the error.

    Raises:
        ModelError: When the bytes are not a strict JSON object.
    """
    try:
        value = parse_json(data.decode("utf-8"), where)
    except UnicodeDecodeError:
        raise ModelError(say.model_json_invalid("it is not UTF-8").at(where)) from None
    except DataError as error:
        reasons = "; ".join(problem.what.rstrip(".") for problem in error.problems)
        raise ModelError(say.model_json_invalid(reasons).at(where)) from None
    if not isinstance(value, dict):
        raise ModelError(say.model_json_invalid("it is not a JSON object").at(where))
    return value
