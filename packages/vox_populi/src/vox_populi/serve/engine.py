"""The model's thread: a bounded queue of texts, batches that they join and leave between steps.

Other threads only put jobs into the queue; everything that computes happens in `Engine.run`. Each
job has a random stream of its own, so that what else is in a batch decides nothing but rounding.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from threading import Condition

from torch import Tensor

from vox_populi.infer.adapter_switch import AdapterSwitch
from vox_populi.infer.continuation import Continuation, ContinuationLimits
from vox_populi.infer.text_batch import BatchedText, Scored, TextBatch, tokens_alone
from vox_populi.infer.text_stream import StopFinder, TextStream
from vox_populi.infer.token_scores import score_token
from vox_populi.operator_messages import serving as say
from vox_populi.serve.text_group import EngineStoppedError, QueueFullError
from vox_populi.serve.text_job import STOP_TEXT, Ended, Failed, Piece, TextEvent, TextJob
from vox_tensor.errors import Problem, VoxError

_IDLE_SECONDS = 0.5
"""How long the thread sleeps at most with nothing to compute."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineModel:
    """A name that requests choose."""

    batch: TextBatch
    adapter: str
    """Name in the switch."""
    decode: Callable[[Sequence[int]], str]
    stop_ids: frozenset[int]


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineLimits:
    """What is taken in and computed at once."""

    max_batch: int
    """Texts that are computed together, over all models."""
    max_queue: int
    """Texts that wait."""
    cache_tokens: int
    """Tokens of keys and values in memory."""
    chunk_tokens: int
    """Tokens of prompts that are read between two steps."""


@dataclass(slots=True, eq=False)
class _Running:
    """A job whose text is in a batch."""

    job: TextJob
    model: EngineModel
    text: BatchedText
    stream: TextStream
    stops: StopFinder


class Engine:
    """Computes texts in one thread.

    Args:
        models: By the name that requests choose.
        switch: The base with their adapters.
        limits: How much at once.
        guarded: A block in which failures of memory and device are operator problems.
    """

    def __init__(
        self,
        models: Mapping[str, EngineModel],
        switch: AdapterSwitch,
        limits: EngineLimits,
        guarded: Callable[[], AbstractContextManager[None]],
    ) -> None:
        self._models = models
        self._switch = switch
        self._limits = limits
        self._guarded = guarded
        self._changed = Condition()
        self._waiting: deque[TextJob] = deque()
        self._running: dict[BatchedText, _Running] = {}
        self._is_open = True

    @property
    def is_open(self) -> bool:
        """Whether jobs are taken in."""
        return self._is_open

    @property
    def counts(self) -> tuple[int, int]:
        """Texts that wait and texts that run."""
        return len(self._waiting), len(self._running)

    def submit(self, jobs: Sequence[TextJob]) -> None:
        """Take jobs in, all or none.

        Raises:
            QueueFullError: When they do not fit into the queue.
            EngineStoppedError: When the engine is stopping.
        """
        with self._changed:
            if not self._is_open:
                raise EngineStoppedError
            # What can start at once needs no place in the queue.
            free = max(self._limits.max_batch - len(self._running), 0)
            if len(self._waiting) + len(jobs) > self._limits.max_queue + free:
                raise QueueFullError
            self._waiting.extend(jobs)
            self._changed.notify()

    def fits(self, n_tokens: int) -> bool:
        """Whether a text of so many tokens, with its prompt, could ever be computed."""
        return tokens_alone(n_tokens) <= self._limits.cache_tokens

    def cancel(self, jobs: Sequence[TextJob]) -> None:
        """Forget jobs; nothing of them is called any more, apart from what is called right now."""
        with self._changed:
            for job in jobs:
                job.is_cancelled = True
            self._changed.notify()

    def stop(self) -> None:
        """Take nothing in any more, and end `run` at the next step; all texts fail."""
        with self._changed:
            self._is_open = False
            self._changed.notify()

    def run(self) -> None:
        """Compute until `stop`; to be called in a thread of its own."""
        try:
            while self._is_open:
                self._admit()
                self._drop_given_up()
                if self._running:
                    self._step()
                else:
                    self._rest()
        finally:
            # Also when something unforeseen ends the thread: nobody must wait for it in vain.
            self.stop()
            self._fail_all(say.SERVER_STOPPED)

    def _rest(self) -> None:
        with self._changed:
            if self._is_open and not self._waiting:
                self._changed.wait(_IDLE_SECONDS)

    def _admit(self) -> None:
        """Move jobs from the queue into batches, in order, as long as there is room."""
        while len(self._running) < self._limits.max_batch:
            with self._changed:
                if not self._waiting:
                    return
                job = self._waiting[0]
                text = self._continuation(job)
                if not job.is_cancelled and not self._has_room(job, text):
                    return
                self._waiting.popleft()
            if not job.is_cancelled:
                self._start(job, text)

    def _continuation(self, job: TextJob) -> Continuation:
        model = self._models[job.model]
        limits = ContinuationLimits(
            max_new_tokens=job.max_new_tokens,
            max_positions=model.batch.config.max_positions,
            stop_ids=model.stop_ids | job.stop_ids,
        )
        return Continuation(job.prompt_ids, limits, job.sampling)

    def _has_room(self, job: TextJob, text: Continuation) -> bool:
        batch = self._models[job.model].batch
        others = {id(each.batch): each.batch.tokens for each in self._models.values()}
        others.pop(id(batch))
        tokens = sum(others.values()) + batch.tokens_with(text.longest)
        return not self._running or tokens <= self._limits.cache_tokens

    def _start(self, job: TextJob, text: Continuation) -> None:
        model = self._models[job.model]
        running = _Running(
            job, model, model.batch.add(text), TextStream(model.decode), StopFinder(job.stops)
        )
        self._running[running.text] = running

    def _drop_given_up(self) -> None:
        """Remove what was cancelled or ran out of time."""
        now = time.monotonic()
        with self._changed:
            late = [job for job in self._waiting if job.deadline < now]
            kept = [job for job in self._waiting if not job.is_cancelled and job.deadline >= now]
            self._waiting = deque(kept)
        for job in late:
            self._tell(job, Failed(say.REQUEST_TIMED_OUT, is_late=True))
        for running in list(self._running.values()):
            if running.job.is_cancelled:
                self._leave(running)
            elif running.job.deadline < now:
                self._leave(running)
                self._tell(running.job, Failed(say.REQUEST_TIMED_OUT, is_late=True))

    def _step(self) -> None:
        """Read some tokens of prompts and one of every text that is being continued."""
        batches = {id(each.batch): each for each in self._models.values() if each.batch.texts}
        for model in batches.values():
            try:
                with self._guarded():
                    self._switch.use(model.adapter)
                    # First the step: what was just read has its next token, but not one to read.
                    scored = model.batch.step()
                    scored += model.batch.read_prompts(self._limits.chunk_tokens)
            except VoxError as error:
                self._fail_batch(model.batch, error.problems[0])
                continue
            self._take(scored)

    def _take(self, scored: Scored) -> None:
        for text, scores_V in scored:
            running = self._running[text]
            try:
                self._take_one(running, scores_V)
            except VoxError as error:
                # Scores that are not finite, or a tokenizer that fails: of this text only.
                self._leave(running)
                self._tell(running.job, Failed(error.problems[0]))

    def _take_one(self, running: _Running, scores_V: Tensor) -> None:
        job, text = running.job, running.text.text
        token = text.take(scores_V)
        if token is not None:
            shown = running.stops.take(running.stream.take(token))
            score = None if job.n_top is None else score_token(scores_V, token, job.n_top)
            self._tell(job, Piece(shown, score))
        stop_text = running.stops.found
        if text.stop_reason is None and stop_text is None:
            return
        rest = running.stops.take(running.stream.finish()) + running.stops.finish()
        stop_text = running.stops.found
        assert stop_text is not None or text.stop_reason is not None, "it ended"
        reason = STOP_TEXT if stop_text is not None else str(text.stop_reason)
        self._leave(running)
        self._tell(job, Ended(text=rest, stop_reason=reason, stop_text=stop_text, ids=text.new_ids))

    def _leave(self, running: _Running) -> None:
        running.model.batch.remove(running.text)
        del self._running[running.text]

    def _fail_batch(self, batch: TextBatch, problem: Problem) -> None:
        failed = [each for each in self._running.values() if each.model.batch is batch]
        batch.clear()
        for running in failed:
            del self._running[running.text]
            self._tell(running.job, Failed(problem))

    def _fail_all(self, problem: Problem) -> None:
        with self._changed:
            waiting, self._waiting = self._waiting, deque()
        jobs = [*waiting, *(each.job for each in self._running.values())]
        self._running.clear()
        for job in jobs:
            self._tell(job, Failed(problem))

    def _tell(self, job: TextJob, event: TextEvent) -> None:
        if not job.is_cancelled:
            job.on_event(event)
