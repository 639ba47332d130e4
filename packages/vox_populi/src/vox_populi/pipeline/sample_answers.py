"""Greedy answers to a few held-out prompts, before and after training. Needs torch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from vox_populi.data.supervision import end_of_answer_id
from vox_populi.errors import ArtifactError
from vox_populi.hf.generation_config import read_stop_ids
from vox_populi.infer.cached_model import CachedModel
from vox_populi.infer.generate import Generated, generate_ids
from vox_populi.infer.generate_many import AskedText, generate_many
from vox_populi.kernel.adapted_objective import AdaptedObjective
from vox_populi.model.causal_graph import CausalGraph
from vox_populi.operator_messages import ranks as say_ranks
from vox_populi.operator_messages import run_reports as say
from vox_populi.plan.preflight import PreflightReport
from vox_populi.runs.run_dir import RunDir
from vox_populi.runs.samples import (
    SAMPLES_FILE,
    Sample,
    read_samples,
    samples_as_json,
    with_answers,
)
from vox_populi.train.objective import Objective
from vox_tensor.records import IGNORE_INDEX, EncodedRow

MAX_NEW_TOKENS = 128


@dataclass(slots=True)
class SampleAnswers:
    """The samples of one run.

    Nothing here draws a random number or changes what is trained, so a run with samples gives the
    same adapter as one without.
    """

    found: PreflightReport
    count: int
    """How many rows are answered; 0 does nothing."""
    is_divided: bool = False
    """Whether several processes hold the base together."""
    notes: list[str] = field(default_factory=list)
    _samples: tuple[Sample, ...] = ()

    def before(self, objective: Objective, run_dir: RunDir) -> None:
        """Answer with the model as it is before training, unless an earlier session has.

        Raises:
            EnvironmentFailure: When the file cannot be written.
        """
        rows = self._rows(objective)
        if not rows:
            return
        self._samples = self._earlier(run_dir, len(rows))
        if not self._samples:
            asked = [_parts(row) for row in rows]
            answers = self._answers(objective, [prompt for prompt, _ in asked])
            decode = self.found.tokenizer.decode
            self._samples = tuple(
                Sample(prompt=decode(prompt), expected=decode(expected), before=answer)
                for (prompt, expected), answer in zip(asked, answers, strict=True)
            )
        run_dir.write_json(SAMPLES_FILE, samples_as_json(self._samples))

    def after(self, objective: Objective, run_dir: RunDir) -> None:
        """Answer with the final adapter.

        Raises:
            EnvironmentFailure: When the file cannot be written.
        """
        if self._samples:
            prompts = [_parts(row)[0] for row in self._rows(objective)]
            samples = with_answers(self._samples, self._answers(objective, prompts))
            run_dir.write_json(SAMPLES_FILE, samples_as_json(samples))

    def _rows(self, objective: Objective) -> list[EncodedRow]:
        """The held-out rows to answer, spread over all of them."""
        if self.count == 0:
            return []
        if self.is_divided:
            self._note(say_ranks.NOTE_SAMPLES_LEFT_OUT)
            return []
        held_out = self.found.valid
        if not len(held_out):
            self._note(say.NOTE_NO_ROWS_TO_SAMPLE)
            return []
        if _language_model(objective) is None:
            self._note(say.NOTE_PROXY_HAS_NO_SAMPLES)
            return []
        count = min(self.count, len(held_out))
        limit = self.found.inventory.config.max_positions
        rows = (held_out[i * len(held_out) // count] for i in range(count))
        return [row for row in rows if 0 < len(_parts(row)[0]) < limit]

    def _note(self, note: str) -> None:
        if note not in self.notes:
            self.notes.append(note)

    def _earlier(self, run_dir: RunDir, count: int) -> tuple[Sample, ...]:
        """What an earlier session of this run wrote, if it is of as many rows."""
        try:
            samples = read_samples(run_dir.path)
        except ArtifactError:
            return ()
        return samples if len(samples) == count else ()

    def _answers(self, objective: Objective, prompts: Sequence[Sequence[int]]) -> list[str]:
        model = _language_model(objective)
        assert model is not None, "asked before"
        objective.set_training(active=False)
        try:
            return list(self._answered(model, prompts))
        finally:
            objective.set_training(active=True)

    def _answered(self, model: CausalGraph, prompts: Sequence[Sequence[int]]) -> Iterator[str]:
        stops, cached = self._stop_ids(), CachedModel(model)

        def alone(asked: AskedText) -> Generated:
            return generate_ids(
                cached,
                asked.prompt_ids,
                max_new_tokens=asked.max_new_tokens,
                stop_ids=stops,
                sampling=asked.sampling,
            )

        asked = [AskedText(prompt_ids=ids, max_new_tokens=MAX_NEW_TOKENS) for ids in prompts]
        for made in generate_many(model, asked, alone, stops):
            yield self.found.tokenizer.decode(made.ids)

    def _stop_ids(self) -> frozenset[int]:
        tokenizer, inventory = self.found.tokenizer, self.found.inventory
        ends = (end_of_answer_id(tokenizer, self.found.policy), tokenizer.eos_id)
        written = read_stop_ids(inventory.model_dir, inventory.config.vocab_size)
        return frozenset((*(e for e in ends if e is not None), *inventory.config.eos_ids, *written))


def _language_model(objective: Objective) -> CausalGraph | None:
    """The transformer of a full graph; the proxy's graph writes no text."""
    model = objective.model if isinstance(objective, AdaptedObjective) else None
    return model if isinstance(model, CausalGraph) else None


def _parts(row: EncodedRow) -> tuple[Sequence[int], Sequence[int]]:
    """The ids before a row's last answer, and those of the answer."""
    learned = [i for i, label in enumerate(row.labels) if label != IGNORE_INDEX]
    if not learned:
        return (), ()
    start = end = learned[-1]
    while start > 0 and row.labels[start - 1] != IGNORE_INDEX:
        start -= 1
    return row.ids[:start], row.ids[start : end + 1]
