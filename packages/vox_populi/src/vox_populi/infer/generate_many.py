"""Continuing many prompts together, in 32 bits with the ids that each has alone.

A step of a batch reads all weights once for all of its texts. Scores then differ by rounding from
those of a text alone, so a text whose two best tokens are that close in a step is computed again,
alone. What is sampled or penalised is computed alone from the start.

In 16 bits rounding decides too often for that. On a GPU, which is there for its speed, every text
is then computed with the others and takes what it gets (decision 0046); on a CPU it is alone.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import takewhile

import torch
from torch import Tensor

from vox_populi.infer.continuation import Continuation, ContinuationLimits
from vox_populi.infer.generate import Generated
from vox_populi.infer.sampling_spec import SamplingSpec
from vox_populi.infer.text_batch import BatchedText, TextBatch
from vox_populi.model.causal_graph import CausalGraph
from vox_populi.model.kv_cache import KvCache
from vox_tensor.collate import collate_continuation

AT_ONCE = 16
"""Texts of a batch: with more, products take longer and not only the reading of weights."""
CACHE_TOKENS = 8192
"""Tokens of keys and values in memory."""
CHUNK_TOKENS = 512
"""Tokens of prompts that are read between two steps."""
SHORTEST_SHARED = 16
"""Common first tokens of prompts from which on they are read once for all."""
CLOSE = 1e-4
"""Two scores are close if they differ by at most this part of the largest one. The largest
difference between a batch and a text alone that was measured is 2e-6 of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AskedText:
    """A prompt to continue."""

    prompt_ids: Sequence[int]
    """Non-empty, with room for at least one token after them."""
    max_new_tokens: int
    """Limit if no stop token comes first."""
    sampling: SamplingSpec = field(default_factory=SamplingSpec)
    """How to choose."""

    @property
    def is_greedy(self) -> bool:
        """Whether scores alone decide; top-k, top-p and the seed have no effect then."""
        kept = self.sampling
        return kept == SamplingSpec(top_k=kept.top_k, top_p=kept.top_p, seed=kept.seed)


def generate_many(
    model: CausalGraph,
    asked: Sequence[AskedText],
    alone: Callable[[AskedText], Generated],
    stop_ids: Collection[int],
) -> Iterator[Generated]:
    """Continue prompts, in order; each as `alone` does, but for rounding in 16 bits on a GPU.

    Args:
        model: In evaluation mode.
        asked: The prompts.
        alone: Computes a text on its own.
        stop_ids: Ids that end a text and are not part of it.

    Raises:
        RunFailedError: When the model's scores are not finite, after the texts before.
        ValueError: For an empty prompt, or one that fills the model's positions.
    """
    is_exact = model.dtype is torch.float32
    may_join = model.joins_texts and (is_exact or is_on_gpu(model))
    together = {
        number: each
        for number, each in enumerate(asked)
        if may_join and (each.is_greedy or not is_exact)
    }
    batch = _Together(model, together if len(together) > 1 else {}, stop_ids, is_exact=is_exact)
    for number, each in enumerate(asked):
        made = batch.result(number)
        yield alone(each) if made is None else made


def is_on_gpu(model: CausalGraph) -> bool:
    """Whether a model computes on a GPU."""
    return model.device.type != "cpu"


class _Together:
    """Texts that are computed together, as far as needed."""

    def __init__(
        self,
        model: CausalGraph,
        asked: Mapping[int, AskedText],
        stop_ids: Collection[int],
        *,
        is_exact: bool,
    ) -> None:
        self._goes_alone = _is_close if is_exact else _is_broken
        self._texts: dict[int, Continuation] = {}
        for number, each in asked.items():
            limits = ContinuationLimits(
                max_new_tokens=each.max_new_tokens,
                max_positions=model.config.max_positions,
                stop_ids=stop_ids,
            )
            self._texts[number] = Continuation(each.prompt_ids, limits, each.sampling)
        self._waiting = deque(asked)
        self._numbers: dict[BatchedText, int] = {}
        self._results: dict[int, Generated | None] = {}
        self._batch = TextBatch(model)
        self._shared = _read_shared(model, [each.prompt_ids for each in asked.values()])

    def result(self, number: int) -> Generated | None:
        """The text of a prompt; `None` if it has to be computed alone."""
        while number in self._texts and number not in self._results:
            self._admit()
            # First the step: what was just read has its next token, but not one to read.
            for text, scores_V in (*self._batch.step(), *self._batch.read_prompts(CHUNK_TOKENS)):
                self._take(text, scores_V)
        return self._results.pop(number, None)

    def _admit(self) -> None:
        while self._waiting and len(self._numbers) < AT_ONCE:
            number = self._waiting[0]
            text = self._texts[number]
            if text.stop_reason is not None:
                self._results[self._waiting.popleft()] = Generated((), text.stop_reason)
                continue
            if self._numbers and self._batch.tokens_with(text.longest) > CACHE_TOKENS:
                return
            self._waiting.popleft()
            cache = None if self._shared is None else self._shared.copy()
            self._numbers[self._batch.add(text, cache)] = number

    def _take(self, text: BatchedText, scores_V: Tensor) -> None:
        number, made = self._numbers[text], text.text
        if self._goes_alone(scores_V):
            self._results[number] = None
        else:
            made.take(scores_V)
            if made.stop_reason is None:
                return
            self._results[number] = Generated(made.new_ids, made.stop_reason)
        del self._numbers[text]
        self._batch.remove(text)


@torch.inference_mode()
def _read_shared(model: CausalGraph, prompts: Sequence[Sequence[int]]) -> KvCache | None:
    """Keys and values of the tokens that all prompts begin with, if they are worth it."""
    rope = model.config.rope
    # The last token of a prompt is read with its text, which needs the scores after it.
    shared = _common_start([prompt[:-1] for prompt in prompts])
    is_long = rope is not None and rope.is_long(model.config.max_positions)
    if len(shared) < SHORTEST_SHARED or is_long:
        return None
    device = model.device
    cache = KvCache(model.config.n_layers)
    last_P = torch.full((1,), len(shared) - 1, device=device)
    model.logits(collate_continuation(shared, 0, device), last_P, cache)
    return cache


def _common_start(sequences: Sequence[Sequence[int]]) -> list[int]:
    """What all of them begin with."""
    columns = zip(*sequences, strict=False)
    return [column[0] for column in takewhile(lambda column: len(set(column)) == 1, columns)]


def _is_close(scores_V: Tensor) -> bool:
    """Whether rounding may decide which token is best; also for scores that are not finite."""
    best, second = scores_V.topk(2).values.tolist()
    return not best - second > CLOSE * float(scores_V.abs().max())


def _is_broken(scores_V: Tensor) -> bool:
    """Whether scores are not finite, which fails when it is the text's turn."""
    return not bool(torch.isfinite(scores_V).all())
