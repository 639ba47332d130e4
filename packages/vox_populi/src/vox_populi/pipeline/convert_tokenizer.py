"""Making a `tokenizer.json` of an older tokenizer: request, report and function. No torch."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path

from vox_populi import extras
from vox_populi.contract.setting import setting, setting_metadata
from vox_populi.files.json_report import JsonReport
from vox_populi.files.made_folders import made_folder
from vox_populi.files.output_guard import require_new_file
from vox_populi.files.whole_file import write_whole
from vox_populi.hf.hf_tokenizer import TOKENIZER_NAME, hf_tokenizer_of
from vox_populi.hf.older_tokenizers import convert_older_tokenizer
from vox_populi.operator_messages import tokenizer as say


@dataclass(frozen=True, slots=True, kw_only=True)
class ConvertTokenizerRequest:
    """A request to make a `tokenizer.json`."""

    folder: Path = field(
        metadata=setting_metadata(
            "Folder with tokenizer.model, or vocab.json and merges.txt.", argument="DIR"
        )
    )
    output: Path | None = setting(
        None,
        "New file to write.",
        metavar="FILE",
        default_text="tokenizer.json in the folder",
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class ConvertTokenizerReport(JsonReport):
    """A report of what was read and written."""

    output: Path
    sources: tuple[str, ...]
    tokens: int
    """Number of tokens in the sources."""


def convert_tokenizer(request: ConvertTokenizerRequest) -> ConvertTokenizerReport:
    """Write a `tokenizer.json` that gives the ids of a folder's older tokenizer files.

    Raises:
        PreflightError: When the output file exists.
        ModelError: For files that are missing, broken or cannot be converted to the same ids.
        MissingExtraError: Without the `tokenizers` library, which tries the result.
        EnvironmentFailure: When the system refuses to write.
    """
    extras.require("tokenizers")
    output = request.output or request.folder / TOKENIZER_NAME
    require_new_file(output, say.TOKENIZER_JSON_EXISTS.at)
    converted = convert_older_tokenizer(request.folder)
    text = json.dumps(converted.definition, ensure_ascii=False, indent=1)
    hf_tokenizer_of(dict(converted.definition), {}, str(request.folder))
    with made_folder(output.parent):
        write_whole(output, text.encode())
    return ConvertTokenizerReport(
        output=output, sources=converted.sources, tokens=converted.n_tokens
    )
