"""The prompts of `vox mens generate`: one from a flag, or many from a file."""

from __future__ import annotations

from pathlib import Path

from vox_populi.errors import ConfigError
from vox_populi.operator_messages import run as say_use
from vox_populi.operator_messages import usage as say_usage
from vox_populi.operator_messages.wording import capped
from vox_populi.pipeline.generate import Prompt
from vox_tensor.errors import Problem, cause
from vox_tensor.jsonl import JsonLine, read_jsonl
from vox_tensor.regular_file import (
    FileTooLargeError,
    NotRegularFileError,
    open_regular,
    read_whole,
)

MAX_FILE_BYTES = 64 << 20


def prompts_of(prompt: str | None, file: Path | None) -> tuple[Prompt, ...]:
    """The prompts to continue, in order; there is at least one.

    Raises:
        ConfigError: Without a prompt, with both sources, or for an unusable file.
        DataError: For bad lines in a JSONL file.
    """
    if prompt is not None and file is not None:
        raise ConfigError(say_usage.sources_conflict(("--prompt", "--prompts")))
    if file is None:
        if not prompt:
            raise ConfigError(say_usage.PROMPT_MISSING)
        return (Prompt(prompt),)
    prompts = _jsonl_prompts(file) if file.suffix == ".jsonl" else _text_prompts(file)
    if not prompts:
        raise ConfigError(say_usage.prompts_unusable("there is none in it").at(str(file)))
    return prompts


def _jsonl_prompts(file: Path) -> tuple[Prompt, ...]:
    """`prompt` and `id` of each row; other keys are ignored, so a data file can be used."""
    found = [_row_prompt(row, f"{file}:{row.line}") for row in read_jsonl(file)]
    problems = [each for each in found if isinstance(each, Problem)]
    if problems:
        raise ConfigError(*capped(problems))
    return tuple(each for each in found if isinstance(each, Prompt))


def _row_prompt(row: JsonLine, where: str) -> Prompt | Problem:
    text, row_id = row.value.get("prompt"), row.value.get("id")
    if not isinstance(text, str) or not text:
        return say_usage.prompts_unusable('the row has no "prompt"').at(where)
    if isinstance(row_id, bool) or not isinstance(row_id, str | int | None):
        return say_use.PROMPT_ID_UNUSABLE.at(where)
    return Prompt(text, row_id)


def _text_prompts(file: Path) -> tuple[Prompt, ...]:
    try:
        with open_regular(file) as handle:
            text = read_whole(handle, MAX_FILE_BYTES).decode("utf-8-sig")
    except FileNotFoundError:
        raise ConfigError(
            say_usage.prompts_unusable("there is no such file").at(str(file))
        ) from None
    except FileTooLargeError as error:
        raise ConfigError(say_usage.prompts_unusable(cause(error)).at(str(file))) from None
    except NotRegularFileError:
        raise ConfigError(say_usage.prompts_unusable("it is not a file").at(str(file))) from None
    except UnicodeDecodeError:
        raise ConfigError(
            say_usage.prompts_unusable("it is not UTF-8 text").at(str(file))
        ) from None
    # Only at newlines: `splitlines` would also cut at characters that a prompt may hold.
    lines = (line.removesuffix("\r") for line in text.split("\n"))
    return tuple(Prompt(line) for line in lines if line.strip())
