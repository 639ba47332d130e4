"""The check that the files of a merge compute the same as base and adapter, in bounded memory.

Both sides run through our transformer in float32, with weights that stay in their files. The check
reads back what was written. Shape letters: T tokens, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Executor, Future

import torch
from torch import Tensor

from vox_populi.adapters.adapter import Adapter
from vox_populi.adapters.header import AdapterHeader
from vox_populi.hf.inventory import ModelInventory
from vox_populi.hf.keymap import EMBED_WEIGHT, AdapterModule, tensor_keys
from vox_populi.hf.model_config import ModelConfig
from vox_populi.merge.choices import Onto
from vox_populi.merge.full_graph import MergedGraph
from vox_populi.merge.inputs import MergeInputs, QloraSide
from vox_populi.merge.receipt import LOGIT_TOLERANCES, LogitCheck, LogitDistance, QloraReceipt
from vox_populi.merge.streamed_model import planned_model, stored_model, trained_model
from vox_populi.model.causal_graph import CausalGraph
from vox_tensor.collate import collate_window
from vox_tensor.records import IGNORE_INDEX, EncodedRow

METHOD = "float32 on the CPU, weights streamed from the files in blocks of rows"
_PROMPT_LENGTHS = (3, 5, 8)
_STRIDE = 2_654_435_761
"""2^32 divided by the golden ratio: multiples spread over any vocabulary (Knuth, TAOCP 3, 6.4)."""
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
    inputs: MergeInputs, merged: ModelInventory, other: MergedGraph | None, workers: Executor
) -> tuple[LogitCheck, QloraReceipt | None]:
    """Run fixed prompts through base and adapter, and through the merged files.

    A QLoRA adapter was trained on rounded weights. Both of its merges are measured against what
    was trained: the files, and the merge onto the other weights, which is not written.

    Args:
        inputs: What was merged; the adapter is attached to its base, unmerged.
        merged: The merged files.
        other: What the merge onto the other weights would write; `None` if there are none.
        workers: Computes the sides at once where it has more threads.

    Raises:
        ModelError: When a file cannot be read any more.
    """
    base, side = inputs.inventory, inputs.qlora
    prompts = fixed_prompts(base.config)

    def logits_of(build: Callable[[], CausalGraph]) -> Future[Tensor]:
        return workers.submit(_logits, prompts, build)

    def adapted(build: Callable[[], CausalGraph]) -> Future[Tensor]:
        return logits_of(lambda: adapted_model(build(), inputs.adapter, inputs.modules))

    merged_logits = logits_of(lambda: stored_model(merged))
    changed = {f"{module.ours}.weight" for module in inputs.modules}
    if side is None:
        expected = adapted(lambda: stored_model(base))
        types = _number_types(merged, changed)
        return _judged(prompts, expected.result(), merged_logits.result(), types), None
    trained = adapted(lambda: trained_model(side.trained))
    if side.onto is Onto.DEQUANT:
        expected = trained
        changed |= side.trained.rounded
    else:
        expected = adapted(lambda: stored_model(base))
    planned = None if other is None else logits_of(lambda: planned_model(base, other))
    types = _number_types(merged, changed)
    check = _judged(prompts, expected.result(), merged_logits.result(), types)
    distances = {side.onto.value: _distance(trained.result(), merged_logits.result())}
    if planned is not None:
        other_name = next(each.value for each in Onto if each is not side.onto)
        distances[other_name] = _distance(trained.result(), planned.result())
    return check, _qlora_receipt(inputs.adapter.header, side, distances)


def _qlora_receipt(
    header: AdapterHeader, side: QloraSide, distances: Mapping[str, LogitDistance]
) -> QloraReceipt:
    assert header.quantization is not None, "a QLoRA adapter says how its base was held"
    return QloraReceipt(
        onto=side.onto.value,
        graph=header.graph,
        quantization=header.quantization.as_json(),
        rounded_tensors=len(side.trained.rounded),
        distances={name: distances[name] for name in sorted(distances)},
    )


def _judged(
    prompts: tuple[tuple[int, ...], ...], expected_TV: Tensor, merged_TV: Tensor, used: set[str]
) -> LogitCheck:
    tolerance = LOGIT_TOLERANCES[next(dtype for dtype in _COARSEST_FIRST if dtype in used)]
    distance = _distance(expected_TV, merged_TV)
    return LogitCheck(
        prompts=prompts,
        method=METHOD,
        max_difference=distance.max_difference,
        mean_difference=distance.mean_difference,
        largest_logit=distance.largest_logit,
        allowed=tolerance.bound(distance.largest_logit),
        tolerance=tolerance,
    )


def _distance(expected_TV: Tensor, merged_TV: Tensor) -> LogitDistance:
    difference_TV = (merged_TV - expected_TV).abs_()
    return LogitDistance(
        max_difference=float(difference_TV.max()),
        mean_difference=float(difference_TV.mean()),
        largest_logit=float(expected_TV.abs().max()),
        same_top_token=float((expected_TV.argmax(-1) == merged_TV.argmax(-1)).float().mean()),
    )


def adapted_model(
    model: CausalGraph, adapter: Adapter, modules: Sequence[AdapterModule]
) -> CausalGraph:
    """Attach an adapter to a model, unmerged; changes the model."""
    adapter.attach(model, modules)
    return model.eval()


@torch.no_grad()
def _logits(prompts: Sequence[tuple[int, ...]], build: Callable[[], CausalGraph]) -> Tensor:
    """Logits `[T, V]` of all prompts, one after another; each is a separate row."""
    rows = [EncodedRow(ids, (IGNORE_INDEX,) * len(ids)) for ids in prompts]
    return build().logits(collate_window(rows))


def _number_types(stored: ModelInventory, changed: Iterable[str]) -> set[str]:
    """Number types of the changed tensors; a tied head's is that of the embedding table."""
    keys = {key.ours: key.theirs for key in tensor_keys(stored.config)}
    own = [keys[ours] for ours in changed]
    names = [name if name in stored.tensors else keys[EMBED_WEIGHT] for name in own]
    return {stored.tensors[name].dtype for name in names}
