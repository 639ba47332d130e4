"""One choice of an answer as it is written: text, calls of tools, scores, and its end. No torch."""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field

from vox_populi.serve.answer_objects import Json, finish_word
from vox_populi.serve.text_job import Ended, Piece, ScoredToken
from vox_populi.serve.tool_calls import FoundCall, ToolCallFinder


@dataclass(slots=True, kw_only=True)
class AnswerChoice:
    """A choice so far."""

    number: int
    finder: ToolCallFinder | None = None
    """Finds calls of tools, if there are any to call."""
    one_call: bool = False
    """Whether all calls but the first are dropped."""
    text: str = field(default="", init=False)
    """The text without calls."""
    calls: tuple[FoundCall, ...] = field(default=(), init=False)
    scores: list[ScoredToken] = field(default_factory=list, init=False)
    ended: Ended | None = field(default=None, init=False)

    def take(self, event: Piece | Ended) -> str:
        """The text that an event adds to the choice."""
        shown = event.text if self.finder is None else self.finder.take(event.text)
        if isinstance(event, Ended):
            self.ended = event
            if self.finder is not None:
                rest, calls = self.finder.finish()
                shown, self.calls = shown + rest, calls[:1] if self.one_call else calls
        elif event.score is not None:
            self.scores.append(event.score)
        self.text += shown
        return shown

    @property
    def finish_reason(self) -> str:
        """Why it ended, in OpenAI's words."""
        assert self.ended is not None, "asked at its end"
        return "tool_calls" if self.calls else finish_word(self.ended.stop_reason)

    @property
    def stop_reason(self) -> str | None:
        """The stop string that ended it."""
        assert self.ended is not None, "asked at its end"
        return self.ended.stop_text

    def ids_json(self, *, wanted: bool) -> Json:
        """The new ids, if they are wanted, without a stop token."""
        assert self.ended is not None, "asked at its end"
        return {"token_ids": list(self.ended.ids)} if wanted else {}

    def calls_json(self, *, with_index: bool) -> list[Json]:
        """The calls as OpenAI has them; in a stream with their numbers."""
        return [
            {
                **({"index": i} if with_index else {}),
                "id": f"call_{secrets.token_hex(12)}",
                "type": "function",
                "function": {"name": call.name, "arguments": call.arguments},
            }
            for i, call in enumerate(self.calls)
        ]
