"""A model folder made of a GGUF file, laid out first and then written a few rows at a time."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from math import prod

from vox_populi.bases.gguf_weights import WeightReader
from vox_populi.containers.dtypes import CONFIG_NAME_OF, bytes_of_values
from vox_populi.containers.gguf_header import GgufHeader
from vox_populi.containers.gguf_types import PLAIN_TYPES
from vox_populi.containers.tensor_container import container_preamble
from vox_populi.files.new_file import write_new_file
from vox_populi.files.staged_folder import StagedFolder
from vox_populi.files.whole_file import Chunk, pretty_json, writing
from vox_populi.hf.companion_files import TEMPLATES_FOLDER
from vox_populi.hf.generation_config import GENERATION_CONFIG_NAME
from vox_populi.hf.gguf_config import gguf_config
from vox_populi.hf.gguf_fields import GgufFields
from vox_populi.hf.gguf_tensors import PlacedTensor, is_head_tied, placed_tensors
from vox_populi.hf.gguf_tokenizer import GgufTexts, GgufTokenizer
from vox_populi.hf.hf_tokenizer import TOKENIZER_NAME
from vox_populi.hf.model_config import CONFIG_NAME, parse_model_config
from vox_populi.hf.weight_files import INDEX_NAME, SINGLE_NAME

TEMPLATE_FILE = "chat_template.jinja"
TOKENIZER_CONFIG = "tokenizer_config.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class GgufFolderPlan:
    """A folder laid out to the byte, without reading any weights."""

    header: GgufHeader
    config: Mapping[str, object]
    dtype: str
    """Number type of the weights, by its name in safetensors files."""
    shards: Mapping[str, Sequence[PlacedTensor]]
    """Tensors by file name, in forward order."""

    @property
    def tensors(self) -> tuple[PlacedTensor, ...]:
        """Every tensor."""
        return tuple(chain.from_iterable(self.shards.values()))

    @property
    def total_bytes(self) -> int:
        """Bytes of all tensors."""
        return sum(_size(tensor, self.dtype) for tensor in self.tensors)

    def types(self) -> dict[str, int]:
        """Number of tensors by their type in the file, most frequent first."""
        return dict(Counter(tensor.source.type.name for tensor in self.tensors).most_common())


def main_type(tensors: Sequence[PlacedTensor]) -> str:
    """The type in which most numbers of the matrices are stored."""
    values: Counter[str] = Counter()
    for tensor in tensors:
        if len(tensor.source.shape) > 1:
            values[tensor.source.type.name] += prod(tensor.source.shape)
    return values.most_common(1)[0][0]


def plan_gguf_folder(
    fields: GgufFields,
    ids: Mapping[str, int],
    dtype: str | None,
    max_shard_bytes: int,
) -> GgufFolderPlan:
    """Lay a folder out.

    Args:
        fields: The file's metadata.
        ids: Control tokens that the config names.
        dtype: Number type as in a config; `None`: the file's own, or bfloat16 if quantised.
        max_shard_bytes: Largest size of the tensors in a file.

    Raises:
        ModelError: For a file whose model is not supported or not complete.
    """
    where, header = fields.where, fields.header
    raw = gguf_config(fields, is_head_tied=is_head_tied(header), dtype=dtype or "bfloat16")
    tensors = placed_tensors(header, parse_model_config(raw, where))
    main = main_type(tensors)
    chosen = dtype or CONFIG_NAME_OF[main if main in PLAIN_TYPES else "BF16"]
    # Without a null, some classes of transformers take an id of their largest model.
    raw |= {"torch_dtype": chosen, "pad_token_id": None, **ids}
    stored = next(name for name, config in CONFIG_NAME_OF.items() if config == chosen)
    groups = list(_groups(tensors, stored, max_shard_bytes))
    count = len(groups)
    names = [f"model-{number:05}-of-{count:05}.safetensors" for number in range(1, count + 1)]
    shards = dict(zip(names if count > 1 else [SINGLE_NAME], groups, strict=True))
    return GgufFolderPlan(header=header, config=raw, dtype=stored, shards=shards)


def write_gguf_folder(
    plan: GgufFolderPlan, small: Mapping[str, bytes], staged: StagedFolder
) -> dict[str, str]:
    """Fill a staging folder; return the SHA-256 of every file by its name.

    Raises:
        ModelError: For numbers that are not finite or do not fit the type.
        EnvironmentFailure: When the system refuses to write.
    """
    files = dict(small) | {CONFIG_NAME: pretty_json(plan.config)}
    if len(plan.shards) > 1:
        files[INDEX_NAME] = pretty_json(_index(plan))
    digests = {}
    for name, data in sorted(files.items()):
        staged.write(name, data)
        digests[name] = hashlib.sha256(data).hexdigest()
    for file, tensors in plan.shards.items():
        path = staged.path / file
        with writing(path):
            digests[file] = write_new_file(path, _shard(plan, tensors)).sha256
    return digests


def tokenizer_files(tokenizer: GgufTokenizer) -> dict[str, bytes]:
    """The files of a tokenizer, by name."""
    text = json.dumps(tokenizer.definition, ensure_ascii=False, indent=1)
    return {
        TOKENIZER_NAME: text.encode(),
        TOKENIZER_CONFIG: pretty_json(tokenizer.settings),
    }


def text_files(texts: GgufTexts) -> dict[str, bytes]:
    """Chat templates, and the settings that say where an answer ends, by name."""
    files: dict[str, bytes] = {}
    if texts.eos_ids:
        first, *others = texts.eos_ids
        ends = [first, *others] if others else first
        files[GENERATION_CONFIG_NAME] = pretty_json({**texts.ids, "eos_token_id": ends})
    for name, template in texts.templates.items():
        path = TEMPLATE_FILE if name == "default" else f"{TEMPLATES_FOLDER}/{name}.jinja"
        files[path] = template.encode()
    return files


def _size(tensor: PlacedTensor, dtype: str) -> int:
    return bytes_of_values(dtype, tensor.key.shape)


def _groups(
    tensors: Sequence[PlacedTensor], dtype: str, limit: int
) -> Iterator[list[PlacedTensor]]:
    group: list[PlacedTensor] = []
    size = 0
    for tensor in tensors:
        if group and size + _size(tensor, dtype) > limit:
            yield group
            group, size = [], 0
        group.append(tensor)
        size += _size(tensor, dtype)
    yield group


def _shard(plan: GgufFolderPlan, tensors: Sequence[PlacedTensor]) -> Iterator[Chunk]:
    stored = {
        tensor.key.theirs: (plan.dtype, tensor.key.shape, _size(tensor, plan.dtype))
        for tensor in tensors
    }
    yield container_preamble(stored, {"format": "pt"})
    reader = WeightReader(plan.header.path, plan.dtype)
    for tensor in tensors:
        yield from reader.chunks(tensor)


def _index(plan: GgufFolderPlan) -> dict[str, object]:
    weight_map = {t.key.theirs: file for file, tensors in plan.shards.items() for t in tensors}
    return {
        "metadata": {"total_size": plan.total_bytes},
        "weight_map": {name: weight_map[name] for name in sorted(weight_map)},
    }
