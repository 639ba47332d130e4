"""Checking that the files of a merge compute the same as base and adapter, in bounded memory.

Both sides run through our transformer in float32, with weights that stay in their files. The check
reads back what was written. Shape letters: T tokens, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Executor, Future
from dataclasses import dataclass

import torch
from torch import Tensor

from vox_populi.adapters.adapter import Adapter
from vox_populi.hf.inventory import ModelInventory
from vox_populi.hf.keymap import EMBED_WEIGHT, AdapterModule, tensor_keys
from vox_populi.hf.model_config import ModelConfig
from vox_populi.merge.full_graph import MergedGraph
from vox_populi.merge.receipt import LOGIT_TOLERANCES, LogitCheck, LogitDistance
from vox_populi.merge.rounded_weight import TrainedBase
from vox_populi.merge.streamed_model import planned_model, stored_model, trained_model
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
    adapter: Adapter,
    modules: Sequence[AdapterModule],
    workers: Executor,
) -> LogitCheck:
    """Run fixed prompts through base and adapter, and through the merged files.

    Args:
        base: The base's files.
        merged: The merged files.
        adapter: Attached to the base, unmerged.
        modules: The projections that it adapts.
        workers: Computes the two sides at once where it has two threads.

    Raises:
        ModelError: When a file cannot be read any more.
    """
    prompts = fixed_prompts(base.config)
    sides = [
        workers.submit(
            _logits, prompts, lambda: adapted_model(stored_model(base), adapter, modules)
        ),
        workers.submit(_logits, prompts, lambda: stored_model(merged)),
    ]
    expected_TV, found_TV = (side.result() for side in sides)
    changed = [f"{module.ours}.weight" for module in modules]
    return _judged(prompts, expected_TV, found_TV, _number_types(merged, changed))


@dataclass(frozen=True, slots=True, kw_only=True)
class QloraMerge:
    """A merge of an adapter that was trained on rounded weights."""

    adapter: Adapter
    modules: Sequence[AdapterModule]
    trained: TrainedBase
    onto_trained: bool
    """Whether the files have the rounded weights; otherwise those stored in the base."""
    other: MergedGraph | None
    """What the merge onto the other weights would write; `None` if there are none."""


def check_qlora_logits(
    merge: QloraMerge, merged: ModelInventory, workers: Executor
) -> tuple[LogitCheck, LogitDistance, LogitDistance | None]:
    """Judge the files of a merge, and measure both merges against what was trained.

    Returns:
        The files compared with the unmerged adapter on the weights it was merged into; then, as
        distances from the adapter on the weights it was trained on, the files and the other merge.

    Raises:
        ModelError: When a file cannot be read any more.
    """
    base = merge.trained.inventory
    prompts = fixed_prompts(base.config)

    def beside(model: Callable[[], Transformer]) -> Future[Tensor]:
        return workers.submit(
            _logits, prompts, lambda: adapted_model(model(), merge.adapter, merge.modules)
        )

    other = merge.other
    trained = beside(lambda: trained_model(merge.trained))
    found = workers.submit(_logits, prompts, lambda: stored_model(merged))
    expected = trained if merge.onto_trained else beside(lambda: stored_model(base))
    apart = other and workers.submit(_logits, prompts, lambda: planned_model(base, other))
    changed = {f"{module.ours}.weight" for module in merge.modules}
    if merge.onto_trained:
        changed |= merge.trained.rounded
    check = _judged(prompts, expected.result(), found.result(), _number_types(merged, changed))
    own = _distance(trained.result(), found.result())
    return check, own, _distance(trained.result(), apart.result()) if apart else None


def _judged(
    prompts: tuple[tuple[int, ...], ...], expected_TV: Tensor, found_TV: Tensor, used: set[str]
) -> LogitCheck:
    tolerance = LOGIT_TOLERANCES[next(dtype for dtype in _COARSEST_FIRST if dtype in used)]
    distance = _distance(expected_TV, found_TV)
    return LogitCheck(
        prompts=prompts,
        method=METHOD,
        max_difference=distance.max_difference,
        mean_difference=distance.mean_difference,
        largest_logit=distance.largest_logit,
        allowed=tolerance.bound(distance.largest_logit),
        tolerance=tolerance,
    )


def _distance(expected_TV: Tensor, found_TV: Tensor) -> LogitDistance:
    difference_TV = (found_TV - expected_TV).abs_()
    return LogitDistance(
        max_difference=float(difference_TV.max()),
        mean_difference=float(difference_TV.mean()),
        largest_logit=float(expected_TV.abs().max()),
        same_top_token=float((expected_TV.argmax(-1) == found_TV.argmax(-1)).float().mean()),
    )


def adapted_model(
    model: Transformer, adapter: Adapter, modules: Sequence[AdapterModule]
) -> Transformer:
    """Attach an adapter to a model, unmerged; changes the model."""
    adapted = attach_adapters(model, modules, adapter.header.lora, torch.Generator())
    load_adapter_tensors(adapted, adapter.tensors)
    return model.eval()


@torch.no_grad()
def _logits(prompts: Sequence[tuple[int, ...]], build: Callable[[], Transformer]) -> Tensor:
    """Logits `[T, V]` of all prompts, one after another; each is a separate row."""
    rows = [EncodedRow(ids, (IGNORE_INDEX,) * len(ids)) for ids in prompts]
    return build().logits(collate_window(rows))


def _number_types(stored: ModelInventory, changed: Iterable[str]) -> set[str]:
    """Number types of the changed tensors; a tied head's is that of the embedding table."""
    keys = {key.ours: key.theirs for key in tensor_keys(stored.config)}
    own = [keys[ours] for ours in changed]
    names = [name if name in stored.tensors else keys[EMBED_WEIGHT] for name in own]
    return {stored.tensors[name].dtype for name in names}
