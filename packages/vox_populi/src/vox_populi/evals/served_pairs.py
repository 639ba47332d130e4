"""One prompt, answered by a server and read by us: what is the same, and what is not. No torch."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

from vox_populi.evals.served_forms import ServedAnswer
from vox_populi.infer.forced_text import ForcedText

_SHOWN_IDS = 6


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnAnswer:
    """Our greedy answer; needed where a server gives no ids."""

    text: str
    ended: bool
    """Whether it ended by itself."""


View = ForcedText | OwnAnswer | None
"""Scores of the server's text, our own answer, or nothing that can be compared."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServedPair:
    """A prompt with the server's answer and our view of it."""

    name: str
    prompt_ids: tuple[int, ...]
    """Ids in the layout of the training."""
    served: ServedAnswer
    stop_ids: frozenset[int]
    ours: View = None
    """The scores of the server's text in the server's prompt, or our answer, with the adapter;
    `None` if neither can be compared."""
    base: View = None
    """The same without the adapter; `None` if there is no adapter."""

    @property
    def has_same_prompt(self) -> bool:
        """Whether the server's prompt is ours, as far as it shows."""
        served = self.served
        if served.prompt_ids is not None:
            is_counted = served.n_prompt in (None, len(served.prompt_ids))
            return served.prompt_ids == self.prompt_ids and is_counted
        return served.n_prompt in (None, len(self.prompt_ids))

    @property
    def ids(self) -> tuple[int, ...] | None:
        """The server's ids up to what would end the text here."""
        return None if self.served.ids is None else until_stop(self.served.ids, self.stop_ids)

    @property
    def runs_on(self) -> bool:
        """Whether the server continues where the text ends here."""
        if self.served.ids is not None:
            rest = len(self.served.ids) - len(self.ids or ())
            return rest > 1 or (rest == 1 and self.served.finish == "length")
        ours = self.ours
        if not isinstance(ours, OwnAnswer) or not ours.ended:
            return False
        text = self.served.text.strip()
        return len(text) > len(ours.text.strip()) and text.startswith(ours.text.strip())

    def end_gap(self, view: View) -> float | None:
        """How much likelier than an end another token is where the server ends the text.

        `None` where it does not end it, or no scores show it.
        """
        is_known = self.served.has_all_ids and isinstance(view, ForcedText)
        if self.served.finish != "stop" or self.runs_on or not is_known:
            return None
        assert isinstance(view, ForcedText), "known"
        return view.next_logprob - view.stop_logprob

    def stops_early(self, view: View, tie: float) -> bool:
        """Whether the server ends a text where the model would continue it.

        Args:
            view: With or without the adapter.
            tie: Two tokens whose log-probabilities differ by so much may be exchanged.
        """
        gap = self.end_gap(view)
        if gap is not None:
            return gap > tie
        if self.served.finish != "stop" or not isinstance(view, OwnAnswer):
            return False
        text, own = self.served.text.strip(), view.text.strip()
        return len(own) > len(text) and own.startswith(text)

    def differences(self, view: View) -> tuple[float, ...]:
        """How far the server's log-probabilities are from ours.

        Without the server's, half of how much likelier another choice is here: a rounding that
        exchanges two tokens changes each by at least that much.
        """
        if not isinstance(view, ForcedText):
            return ()
        scores = self.served.logprobs
        if scores is None:
            return tuple(token.gap / 2 for token in view.tokens)
        both = zip(scores, view.tokens, strict=False)
        return tuple(abs(score - token.logprob) for score, token in both)

    def first_difference(self) -> int | None:
        """Number of the first token, from 0, that we would have chosen differently."""
        if not isinstance(self.ours, ForcedText):
            return None
        pairs = zip(self.ids or (), self.ours.tokens, strict=True)
        return next((i for i, (token, ours) in enumerate(pairs) if token != ours.best_id), None)


def until_stop(ids: Sequence[int], stop_ids: Collection[int]) -> tuple[int, ...]:
    """Ids before the first that ends a text."""
    end = next((i for i, each in enumerate(ids) if each in stop_ids), len(ids))
    return tuple(ids[:end])


def prompt_difference(pair: ServedPair, show: Callable[[Sequence[int]], str]) -> str:
    """The place at which the server's prompt leaves ours.

    Args:
        pair: With different prompts.
        show: Text of ids.
    """
    ours, served = pair.prompt_ids, pair.served.prompt_ids
    if served is None:
        return f"the server counts {pair.served.n_prompt} tokens, the training {len(ours)}"
    if served == ours:
        return f"the server counts {pair.served.n_prompt} tokens, its ids are {len(ours)}"
    if served[1:] == ours:
        return f"the server puts {show(served[:1])} in front"
    if ours[1:] == served:
        return f"the server leaves out {show(ours[:1])} in front"
    longest = min(len(ours), len(served))
    place = next((i for i in range(longest) if ours[i] != served[i]), longest)
    there, here = served[place : place + _SHOWN_IDS], ours[place : place + _SHOWN_IDS]
    found = show(there) if there else "nothing"
    wanted = show(here) if here else "nothing"
    return f"token {place + 1} on is {found} in the server and {wanted} in training"
