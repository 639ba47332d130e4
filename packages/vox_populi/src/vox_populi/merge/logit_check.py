"""Whether the files of a merge compute what base and adapter compute, in bounded memory.

Both sides run through our transformer in float32, with weights that stay in their files: a product
reads a block of rows, uses it and forgets it. What is checked is what was written, read back.
Shape letters: T tokens, I input features, O output features, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vox_populi.artifacts.checkpoint_file import AdapterFile
from vox_populi.hf.inventory import ModelInventory
from vox_populi.hf.keymap import AdapterModule, tensor_keys
from vox_populi.hf.model_config import ModelConfig
from vox_populi.hf.safetensors_header import TensorInfo
from vox_populi.merge.file_ranges import RangeReader, read_range
from vox_populi.merge.full_graph import TORCH_TYPES
from vox_populi.merge.receipt import LOGIT_TOLERANCES, LogitCheck
from vox_populi.merge.shard_writer import BLOCK_VALUES
from vox_populi.model.lora_transformer import attach_adapters, load_adapter_tensors
from vox_populi.model.transformer import Transformer
from vox_tensor.collate import collate_window
from vox_tensor.records import IGNORE_INDEX, EncodedRow

METHOD = "float32 on the CPU, weights streamed from the files in blocks of rows"
_PROMPT_LENGTHS = (3, 5, 8)
_STRIDE = 2_654_435_761
"""2^32 over the golden ratio: its multiples spread over any vocabulary (Knuth, TAOCP 3, 6.4)."""
_COARSEST_FIRST = ("BF16", "F16", "F32")


def fixed_prompts(config: ModelConfig) -> tuple[tuple[int, ...], ...]:
    """The same few token ids for every model of a vocabulary."""
    prompts, drawn = [], 0
    for length in _PROMPT_LENGTHS:
        size = min(length, config.max_positions)
        spread = (_STRIDE * (drawn + place + 1) for place in range(size))
        prompts.append(tuple(value % 2**32 * config.vocab_size >> 32 for value in spread))
        drawn += size
    return tuple(prompts)


def check_logits(
    base: ModelInventory,
    merged: ModelInventory,
    adapter: AdapterFile,
    modules: Sequence[AdapterModule],
    workers: Executor,
) -> LogitCheck:
    """Run fixed prompts through base and adapter, and through the merged files.

    Args:
        base: The files that were merged into.
        merged: The files that came out.
        adapter: Put beside the base, unmerged.
        modules: The projections that it adapts.
        workers: Computes the two sides at once where it has two threads.

    Raises:
        ModelError: When a file cannot be read any more.
    """
    prompts = fixed_prompts(base.config)
    sides = [
        workers.submit(_logits, prompts, lambda: _adapted(base, adapter, modules)),
        workers.submit(_logits, prompts, lambda: streamed_transformer(merged)),
    ]
    expected_TV, found_TV = (side.result() for side in sides)
    used = {base.tensors[name].dtype for name in _names_of(base, modules)}
    tolerance = LOGIT_TOLERANCES[next(dtype for dtype in _COARSEST_FIRST if dtype in used)]
    largest = float(expected_TV.abs().max())
    difference_TV = found_TV.sub_(expected_TV).abs_()
    return LogitCheck(
        prompts=prompts,
        method=METHOD,
        max_difference=float(difference_TV.max()),
        mean_difference=float(difference_TV.mean()),
        largest_logit=largest,
        allowed=tolerance.bound(largest),
        tolerance=tolerance,
    )


def streamed_transformer(inventory: ModelInventory) -> Transformer:
    """The transformer of a folder with its matrices left in their files; norms and biases read."""
    with torch.device("meta"):
        model = Transformer(inventory.config)
    keys = {key.ours: key for key in tensor_keys(inventory.config)}
    for name, key in keys.items():
        # A tied head has no tensor of its own.
        info = inventory.tensors.get(key.theirs) or inventory.tensors[keys["embed.weight"].theirs]
        path, _, leaf = name.rpartition(".")
        module = model.get_submodule(path)
        delattr(module, leaf)
        if leaf == "weight" and isinstance(module, nn.Linear | nn.Embedding):
            weight = StreamedWeight(inventory.model_dir, info, is_transposed=key.transposed)
            setattr(module, leaf, weight)
        else:
            values = _read(inventory.model_dir / info.shard, info, 0, info.n_bytes)
            setattr(module, leaf, nn.Parameter(values, requires_grad=False))
    return model.eval()


class StreamedWeight:
    """Stands where torch expects a weight `[O, I]`, and reads it while it is used.

    torch hands calls with such an argument to `__torch_function__`. Two operations are known:
    `linear` and `embedding`.
    """

    requires_grad = False
    device = torch.device("cpu")
    dtype = torch.float32

    def __init__(self, folder: Path, info: TensorInfo, *, is_transposed: bool = False) -> None:
        self._path, self._info = folder / info.shard, info
        self._is_transposed = is_transposed

    @classmethod
    def __torch_function__(
        cls,
        function: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Called by torch; anything but the two operations is not implemented."""
        if function is F.linear:
            x, weight, bias = (*args, None)[:3]
            return weight.linear(x, bias)
        if function is F.embedding:
            return args[1].embedding(args[0])
        return NotImplemented

    def linear(self, x_TI: Tensor, bias_O: Tensor | None) -> Tensor:
        """`x @ W.T + bias`, block by block in the order of the rows as stored."""
        n_rows, width = self._info.shape
        step = max(1, BLOCK_VALUES // width)
        n_out = width if self._is_transposed else n_rows
        # Few columns against many rows: the product is faster with the weight on the left.
        x_IT = x_TI.t().contiguous()
        y_OT = torch.zeros(n_out, x_TI.shape[0])
        row_bytes = self._info.n_bytes // n_rows
        buffer = memoryview(bytearray(min(step, n_rows) * row_bytes))
        with RangeReader(self._path) as reader:
            for first in range(0, n_rows, step):
                last = min(first + step, n_rows)
                data = buffer[: (last - first) * row_bytes]
                reader.fill(data, self._info.start + first * row_bytes)
                block = _values(data, self._info).view(-1, width)
                if self._is_transposed:
                    y_OT.addmm_(block.t(), x_IT[first:last])
                else:
                    torch.mm(block, x_IT, out=y_OT[first:last])
        y_TO = y_OT.t().contiguous()
        return y_TO if bias_O is None else y_TO.add_(bias_O)

    def embedding(self, ids_T: Tensor) -> Tensor:
        """Rows of the table, `[T, I]`."""
        return torch.cat([self._row(row) for row in ids_T.tolist()])

    def _row(self, row: int) -> Tensor:
        row_bytes = self._info.n_bytes // self._info.shape[0]
        return _read(self._path, self._info, row * row_bytes, row_bytes).view(1, -1)


def _read(path: Path, info: TensorInfo, offset: int, size: int) -> Tensor:
    return _values(read_range(path, info.start + offset, size), info)


def _values(data: bytearray | memoryview, info: TensorInfo) -> Tensor:
    """Numbers in float32; those that are stored so share the memory of the data."""
    return torch.frombuffer(data, dtype=TORCH_TYPES[info.dtype]).float()


def _adapted(
    base: ModelInventory, adapter: AdapterFile, modules: Sequence[AdapterModule]
) -> Transformer:
    model = streamed_transformer(base)
    adapted = attach_adapters(model, modules, adapter.header.lora, torch.Generator())
    load_adapter_tensors(adapted, adapter.tensors)
    return model.eval()


@torch.no_grad()
def _logits(prompts: Sequence[tuple[int, ...]], build: Callable[[], Transformer]) -> Tensor:
    """`[T, V]` for all prompts behind each other; each is a row of its own."""
    rows = [EncodedRow(ids, (IGNORE_INDEX,) * len(ids)) for ids in prompts]
    return build().logits(collate_window(rows))


def _names_of(base: ModelInventory, modules: Sequence[AdapterModule]) -> list[str]:
    """The base tensors of adapted projections; a tied head's is the embedding table."""
    keys = {key.ours: key.theirs for key in tensor_keys(base.config)}
    own = [keys[f"{module.ours}.weight"] for module in modules]
    return [name if name in base.tensors else keys["embed.weight"] for name in own]
