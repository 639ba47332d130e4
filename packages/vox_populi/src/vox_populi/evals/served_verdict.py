"""What differs between a server and us: template, end token, adapter, rounding, or weights.

No torch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from statistics import fmean

from vox_populi.evals.rounding import ROUNDING_ROWS, Rounding, holds, row_of
from vox_populi.evals.served_pairs import OwnAnswer, ServedPair, View, prompt_difference
from vox_populi.files.json_numbers import JsonObject
from vox_populi.infer.forced_text import ForcedText
from vox_populi.operator_messages import check_served as say
from vox_tensor.errors import Problem

NEARER = 0.25
"""The server answers like the base if the base's scores are so much nearer than the adapter's."""

Shown = Callable[[Sequence[int]], str]


@dataclass(frozen=True, slots=True, kw_only=True)
class ServedVerdict:
    """All pairs together.

    Args:
        pairs: Prompts with both answers.
        allowed: The coarsest rounding that may be.
        show: Text of ids, for messages.
        most_tokens: Largest number of tokens of an answer.
    """

    pairs: tuple[ServedPair, ...]
    allowed: Rounding
    show: Shown
    most_tokens: int

    @property
    def differences(self) -> tuple[float, ...]:
        """Distance of every token's score from the one with the adapter."""
        return tuple(each for pair in self.pairs for each in pair.differences(pair.ours))

    @property
    def to_adapter(self) -> float | None:
        """Mean difference from the scores with the adapter, ends of texts included."""
        return _mean_distance(self.pairs, [pair.ours for pair in self.pairs])

    @property
    def to_base(self) -> float | None:
        """The same from the scores without it."""
        return _mean_distance(self.pairs, [pair.base for pair in self.pairs])

    @property
    def adapter(self) -> str:
        """`none`, `used`, `not used` or `unclear`."""
        if all(pair.base is None for pair in self.pairs):
            return "none"
        to_ours, to_base = self.to_adapter, self.to_base
        if to_ours is None or to_base is None:
            return self._adapter_by_text()
        floor = ROUNDING_ROWS[Rounding.F32].mean
        if to_base < NEARER * to_ours and to_ours > floor:
            return "not used"
        return "used" if to_ours < NEARER * to_base and to_base > floor else "unclear"

    @property
    def template(self) -> str:
        """`same`, `differs`, or `same count` where a server gives no ids."""
        if not all(pair.has_same_prompt for pair in self.pairs):
            return "differs"
        has_ids = all(pair.served.prompt_ids is not None for pair in self.pairs)
        return "same" if has_ids else "same count"

    @property
    def end(self) -> str:
        """`same`, `differs`, or `not seen` where no answer came to its end."""
        if any(self._ends_differently(pair) for pair in self.pairs):
            return "differs"
        return "same" if any(pair.served.finish == "stop" for pair in self.pairs) else "not seen"

    @property
    def rounding(self) -> Rounding | None:
        """The finest row of the table that holds; `None` if none does."""
        return row_of(self.differences)

    @property
    def problems(self) -> tuple[Problem, ...]:
        """What differs, most fundamental first."""
        comparable = [pair for pair in self.pairs if pair.ours is not None]
        found = [*self._of_template(), *self._of_end()]
        if not comparable:
            return tuple(found) or (say.NOTHING_COMPARED,)
        return (*found, *self._of_scores(), *self._of_texts())

    @property
    def notes(self) -> tuple[str, ...]:
        """What could not be compared."""
        notes = []
        if self.template == "same count":
            notes.append(say.NOTE_IDS_NOT_OFFERED)
        if self.end == "not seen":
            notes.append(say.note_end_not_seen(self.most_tokens))
        if self.adapter == "unclear" and not self.problems:
            notes.append(say.NOTE_BASE_ALIKE)
        return tuple(notes)

    def as_json(self) -> JsonObject:
        """The verdict of each aspect, with its figures."""
        ours, to_base = self.differences, self.to_base
        return {
            "template": self.template,
            "end": self.end,
            "adapter_use": self.adapter,
            "rounding": self.rounding,
            "rounding_allowed": self.allowed,
            "mean_difference": _rounded(fmean(ours)) if ours else None,
            "largest_difference": _rounded(max(ours)) if ours else None,
            "mean_difference_to_base": None if to_base is None else _rounded(to_base),
            "tokens": len(ours),
            "prompts": [_pair_json(pair) for pair in self.pairs],
        }

    def _of_template(self) -> Iterator[Problem]:
        wrong = [pair for pair in self.pairs if not pair.has_same_prompt]
        if wrong:
            detail = prompt_difference(wrong[0], self.show)
            yield say.template_differs(wrong[0].name, detail, len(wrong), len(self.pairs))

    def _of_end(self) -> Iterator[Problem]:
        wrong = [pair for pair in self.pairs if self._ends_differently(pair)]
        if wrong:
            yield say.end_differs(self._end_detail(wrong[0]), len(wrong), len(self.pairs))

    def _of_scores(self) -> Iterator[Problem]:
        ours = self.differences
        if self.adapter == "not used":
            yield say.adapter_not_used(self._adapter_detail())
        elif not holds(self.allowed, ours):
            row = self.rounding
            if row is None:
                yield say.scores_differ(_figures(ours))
            else:
                yield say.rounding_differs(_figures(ours), row)
        else:
            yield from self._of_choices()

    def _of_choices(self) -> Iterator[Problem]:
        """Tokens that no rounding makes the most likely: the server does not choose greedily."""
        for pair in self.pairs:
            place = pair.first_difference()
            if place is None or not isinstance(pair.ours, ForcedText):
                continue
            gap = pair.ours.tokens[place].gap
            if gap > self._tie:
                yield say.choice_differs(pair.name, place + 1, gap)
                return

    def _of_texts(self) -> Iterator[Problem]:
        texts = [pair for pair in self.pairs if isinstance(pair.ours, OwnAnswer)]
        wrong = [pair for pair in texts if not self._has_same_text(pair, pair.ours)]
        explained = (
            self.adapter == "not used" or self.template == "differs" or self.end == "differs"
        )
        if wrong and not explained:
            yield say.answers_differ(wrong[0].name, len(wrong), len(texts))

    def _adapter_by_text(self) -> str:
        def same(views: Sequence[object]) -> int:
            pairs = zip(self.pairs, views, strict=True)
            return sum(self._has_same_text(pair, view) for pair, view in pairs)

        ours = same([pair.ours for pair in self.pairs])
        base = same([pair.base for pair in self.pairs])
        if base > ours:
            return "not used"
        return "used" if ours > base else "unclear"

    def _has_same_text(self, pair: ServedPair, view: object) -> bool:
        return isinstance(view, OwnAnswer) and pair.served.text.strip() == view.text.strip()

    def _adapter_detail(self) -> str:
        to_ours, to_base = self.to_adapter, self.to_base
        if to_ours is None or to_base is None:
            return "its texts are the base's"
        return (
            f"log-probabilities differ by {to_base:.4f} from the base's and by {to_ours:.4f} from"
            " the adapter's"
        )

    @property
    def _tie(self) -> float:
        """Difference of log-probabilities up to which rounding may exchange two tokens."""
        return 2 * ROUNDING_ROWS[self.allowed].largest

    def _ends_differently(self, pair: ServedPair) -> bool:
        # What the base alone explains is no fault of the end.
        view = pair.base if self.adapter == "not used" else pair.ours
        return pair.runs_on or pair.stops_early(view, self._tie)

    def _end_detail(self, pair: ServedPair) -> str:
        if not pair.runs_on:
            return f"the server ends {pair.name} where the model goes on"
        ids = pair.ids
        if ids is None or pair.served.ids is None:
            return f"the server goes on after the end of {pair.name}"
        return f"the server goes on after {self.show(pair.served.ids[len(ids) : len(ids) + 1])}"


def _mean_distance(pairs: Sequence[ServedPair], views: Sequence[View]) -> float | None:
    found: list[float] = []
    for pair, view in zip(pairs, views, strict=True):
        found += pair.differences(view)
        gap = pair.end_gap(view)
        found += [] if gap is None else [gap / 2]
    return fmean(found) if found else None


def _figures(differences: Sequence[float]) -> str:
    return (
        f"log-probabilities differ by {fmean(differences):.4f} on average and by"
        f" {max(differences):.4f} at most"
    )


def _pair_json(pair: ServedPair) -> JsonObject:
    differences = pair.differences(pair.ours)
    served = pair.served
    return {
        "prompt": pair.name,
        "same_prompt": pair.has_same_prompt,
        "prompt_tokens": len(pair.prompt_ids),
        "served_prompt_tokens": served.n_prompt
        if served.prompt_ids is None
        else len(served.prompt_ids),
        "text": served.text,
        "ids": None if served.ids is None else list(served.ids),
        "finish": served.finish,
        "first_difference": pair.first_difference(),
        "largest_difference": _rounded(max(differences)) if differences else None,
    }


def _rounded(value: float) -> float:
    return float(f"{value:.4g}")
