"""Several texts read and continued together by one model; texts come and go between steps.

A prompt is read on its own, in chunks, so that a long one does not stop the texts that are being
continued. A step then reads the last token of each of these. What is computed for a text does not
depend on the others, except for rounding: a product of several rows may round differently from one
of a single row. `is_exact` computes each text alone and in the shapes of `CachedModel`, so that its
scores are the same bit for bit, at the price of speed.

Shape letters: N texts, V vocabulary.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from vox_populi.hf.model_config import ModelConfig
from vox_populi.infer.continuation import Continuation
from vox_populi.model.causal_graph import CausalGraph
from vox_populi.model.kv_cache import KvCache
from vox_populi.model.kv_slots import KvSlots
from vox_tensor.collate import collate_continuation, collate_next_tokens


@dataclass(slots=True, eq=False)
class BatchedText:
    """A text of a batch."""

    text: Continuation
    cache: KvCache
    """What was read of it; in a slot, what was read before."""
    n_read: int = 0
    """How many of its ids were read."""


Scored = list[tuple[BatchedText, Tensor]]
"""Texts with the scores `[V]` of their next tokens, on the CPU."""


class TextBatch:
    """Texts of one model, with their caches.

    Args:
        model: Dropout is turned off.
        is_exact: Compute each text alone.
    """

    def __init__(self, model: CausalGraph, *, is_exact: bool = False) -> None:
        self._model = model.eval()
        self._is_exact = is_exact or not model.joins_texts
        self._reading: list[BatchedText] = []
        """Texts with a prompt to read; the next one is the first."""
        self._running: list[BatchedText] = []
        """Texts that gain a token in each step; those in slots in the order of the slots."""
        self._slots = KvSlots(model.config.n_layers)

    @property
    def config(self) -> ModelConfig:
        """The model's config."""
        return self._model.config

    @property
    def texts(self) -> tuple[BatchedText, ...]:
        """All texts."""
        return (*self._reading, *self._running)

    def tokens_with(self, longest: int) -> int:
        """Tokens that the caches would have room for with one more text.

        Args:
            longest: What the text can grow to.
        """
        if self._is_exact:
            return self.tokens + longest
        # Those that are being read get slots too, each while its own cache is still there.
        unplaced = [each.text.longest for each in self._reading]
        return sum(unplaced) + self._slots.tokens_with([*unplaced, longest])

    @property
    def tokens(self) -> int:
        """Tokens that the caches have room for."""
        alone = self.texts if self._is_exact else self._reading
        return self._slots.tokens + sum(each.text.longest for each in alone)

    def add(self, text: Continuation, cache: KvCache | None = None) -> BatchedText:
        """Take a text in; its prompt is read from the next step on.

        Args:
            text: The text.
            cache: What was read of it already, fewer tokens than its prompt has; the batch's
                from now on.
        """
        cache = cache or self._model.new_cache()
        added = BatchedText(text, cache, cache.length)
        self._reading.append(added)
        return added

    @torch.inference_mode()
    def remove(self, text: BatchedText) -> None:
        """Drop a text and what was cached for it."""
        if text in self._reading:
            self._reading.remove(text)
            return
        place = self._running.index(text)
        if self._is_exact:
            del self._running[place]
            return
        self._slots.remove(place)
        self._running[place] = self._running[-1]
        self._running.pop()

    def clear(self) -> None:
        """Drop all texts, after a pass that failed."""
        self._reading.clear()
        self._running.clear()
        self._slots = KvSlots(self.config.n_layers)

    @torch.inference_mode()
    def read_prompts(self, most_tokens: int) -> Scored:
        """Read prompts in turn, together at most so many tokens, except where that is inexact.

        Returns:
            The texts that were read to the end.
        """
        done: Scored = []
        while self._reading and most_tokens > 0:
            text = self._reading[0]
            n_unread = len(text.text.ids) - text.n_read
            # A text beyond LongRoPE's original context is rotated by its whole length.
            is_whole = self._is_exact or self._is_long(len(text.text.ids))
            n_ids = n_unread if is_whole else min(n_unread, most_tokens)
            scores_V = self._read(text, n_ids)
            most_tokens -= n_ids
            self._reading.pop(0)
            if n_ids < n_unread:
                self._reading.append(text)
                continue
            done.append((text, scores_V))
            self._running.append(text)
            if not self._is_exact:
                self._slots.add(text.cache, text.text.longest)
                text.cache = KvCache(0)
        return done

    @torch.inference_mode()
    def step(self) -> Scored:
        """Read the last id of each text whose other ids were read, and which then has a new one."""
        for text in [each for each in self._running if self._turns_long(each)]:
            # All its keys are rotated anew.
            self.remove(text)
            text.n_read, text.cache = 0, self._model.new_cache()
            self._reading.append(text)
        if self._is_exact:
            return [(text, self._read(text, 1)) for text in self._running]
        return self._step_slots() if self._running else []

    def _read(self, text: BatchedText, n_ids: int) -> Tensor:
        """Read the next ids of a text alone; the scores after them."""
        end = text.n_read + n_ids
        device = self._model.device
        batch = collate_continuation(text.text.ids[text.n_read : end], text.n_read, device)
        last_P = torch.full((1,), n_ids - 1, device=device)
        scores_V = self._model.logits(batch, last_P, text.cache)[0].cpu()
        text.n_read = end
        return scores_V

    def _step_slots(self) -> Scored:
        device = self._model.device
        ids = [each.text.ids[-1] for each in self._running]
        batch = collate_next_tokens(ids, self._slots.lengths, device)
        step = self._slots.step()
        scores_NV = self._model.logits(batch, None, step).cpu()
        step.done()
        for each in self._running:
            each.n_read += 1
        return list(zip(self._running, scores_NV, strict=True))

    def _is_long(self, length: int) -> bool:
        rope = self.config.rope
        return rope is not None and rope.is_long(length)

    def _turns_long(self, text: BatchedText) -> bool:
        return self._is_long(text.n_read + 1) and not self._is_long(text.n_read)


def tokens_alone(longest: int) -> int:
    """Tokens that the caches have room for while a text that can grow so long is the only one."""
    return longest + KvSlots(0).tokens_with([longest])
