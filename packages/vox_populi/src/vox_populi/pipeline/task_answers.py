"""Answering tasks with loaded weights. Needs torch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from vox_populi.evals.eval_task import EvalTask, Sampling
from vox_populi.infer.generate import Generated
from vox_populi.infer.generate_many import AskedText
from vox_populi.infer.sampling import SamplingSpec
from vox_populi.model.causal_graph import CausalGraph
from vox_populi.pipeline.answers import Answerer
from vox_populi.pipeline.load_model import FoundWeights
from vox_tensor.records import Message

NO_ROOM = "no_room"
"""Why there is no answer to a prompt that fills the model's positions."""


@dataclass(frozen=True, slots=True)
class TaskAnswer:
    """An answer."""

    text: str
    tokens: int
    stop_reason: str


class TaskAnswerer:
    """Weights that answer tasks, with or without further turns."""

    def __init__(self, found: FoundWeights, model: CausalGraph) -> None:
        self._answerer = Answerer(found, model)

    def answer(
        self, task: EvalTask, seed: int, further: Sequence[Message] = (), text: str = ""
    ) -> TaskAnswer:
        """Answer a task.

        Args:
            task: The task.
            seed: Of sampling.
            further: Turns after those of the task.
            text: What a task that continues a text has after it.
        """
        asked = self._asked(task, seed, further, text)
        if asked is None:
            return TaskAnswer("", 0, NO_ROOM)
        made = self._answerer.answer(asked.prompt_ids, asked.max_new_tokens, asked.sampling)
        return self._task_answer(made)

    def answers(self, tasks: Sequence[tuple[EvalTask, int]]) -> Iterator[TaskAnswer]:
        """Answer tasks with their seeds, in order, as `answer` does; greedy ones together."""
        asked = [self._asked(task, seed) for task, seed in tasks]
        made = self._answerer.answers([each for each in asked if each is not None])
        for each in asked:
            yield TaskAnswer("", 0, NO_ROOM) if each is None else self._task_answer(next(made))

    def _asked(
        self, task: EvalTask, seed: int, further: Sequence[Message] = (), text: str = ""
    ) -> AskedText | None:
        """The prompt of a task; `None` if it leaves no room for an answer."""
        if task.completion is not None:
            ids = self._answerer.encode_text(task.completion + text)
        else:
            ids = self._answerer.encode([*task.messages, *further])
        if not 0 < len(ids) <= self._answerer.most_prompt_tokens:
            return None
        return AskedText(
            prompt_ids=ids,
            max_new_tokens=task.sampling.max_new_tokens,
            sampling=_spec(task.sampling, seed),
        )

    def _task_answer(self, made: Generated) -> TaskAnswer:
        return TaskAnswer(self._answerer.decode(made.ids), len(made.ids), made.stop_reason.value)


def _spec(sampling: Sampling, seed: int) -> SamplingSpec:
    return SamplingSpec(
        temperature=sampling.temperature,
        top_k=sampling.top_k,
        top_p=sampling.top_p,
        repetition_penalty=sampling.repetition_penalty,
        seed=seed,
    )
