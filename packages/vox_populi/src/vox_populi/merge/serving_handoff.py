"""What a server must know of a merged model or an exported adapter, in one file. No torch here.

The keys of the source system's `external_serving_handoff_v1.json` keep their meaning. Its schema is
closed and has no digests, end tokens or number type, so this is a second version under a new name.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from vox_populi.adapters.header import AdapterHeader
from vox_populi.files.file_digest import content_digest
from vox_populi.files.json_numbers import JsonObject
from vox_populi.hf.chat_template_files import TEMPLATE_FILE
from vox_populi.hf.hf_tokenizer import TOKENIZER_NAME
from vox_populi.merge.served_text import ServedText

HANDOFF_FILE = "external_serving_handoff_v2.json"
HANDOFF_SCHEMA = "vox_external_serving_handoff_v2"
_HERE = "."


@dataclass(frozen=True, slots=True, kw_only=True)
class ServedArtifact:
    """What is handed over."""

    backend_family: str
    """`hf-transformers`, `vllm`, `ollama`, `openai-compatible` or `other`, as in version 1."""
    files: Mapping[str, str]
    """`sha256:` and the hash of every other file of the folder, by name."""
    dtype: str
    """Number type of the weights in the folder, as in a config."""
    max_positions: int
    adapter_path: str | None = None
    """Name of the adapter's file; `None` for a whole model."""


def handoff(
    header: AdapterHeader,
    artifact: ServedArtifact,
    text: ServedText | None,
    config_ends: Sequence[int] = (),
) -> JsonObject:
    """The document; nothing in it depends on the machine or the clock.

    Args:
        header: The adapter's header, as it may be published.
        artifact: The folder.
        text: How text was laid out in training; `None` if that is not recorded.
        config_ends: Ids that end a text according to the base, for an unrecorded layout.
    """
    is_adapter = artifact.adapter_path is not None
    has_tokenizer = TOKENIZER_NAME in artifact.files
    document: JsonObject = {
        "schema": HANDOFF_SCHEMA,
        "schema_version": 2,
        "backend_family": artifact.backend_family,
        "artifact": "adapter" if is_adapter else "model",
        "base_model": header.base_name,
        "base_digest": header.base_digest,
        "model_type": header.model_type,
        "tokenizer_source": _HERE if has_tokenizer else header.base_name,
        "tokenizer_digest": header.tokenizer_digest,
        "artifact_dir": _HERE,
        "dtype": artifact.dtype,
        "max_positions": artifact.max_positions,
        "trained_seq_len": header.seq_len if header.contract_digest else None,
        "prompt_format": header.template.value,
        "template_digest": header.template_digest,
        "chat_template_file": TEMPLATE_FILE if TEMPLATE_FILE in artifact.files else None,
        "needs_system_prompt": header.withholds_system_prompt,
        "end": None if text is None else {"id": text.end.id, "text": text.end.text},
        "eos_token_ids": list(config_ends if text is None else text.ends),
        "trained": {
            "contract_digest": header.contract_digest,
            "step": header.step,
            "rank": header.lora.rank,
            "alpha": header.lora.alpha,
        },
        "files": dict(sorted(artifact.files.items())),
    }
    return {**document, "adapter_path": artifact.adapter_path} if is_adapter else document


def folder_digests(folder: Path, names: Sequence[str]) -> dict[str, str]:
    """`sha256:` and the hash of each of these files.

    Raises:
        ArtifactError: For one that cannot be read.
    """
    return {name: f"sha256:{content_digest(folder / name)}" for name in names}
