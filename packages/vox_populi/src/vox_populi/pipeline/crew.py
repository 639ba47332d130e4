"""The processes of a training run: what they tell each other outside its steps. Needs torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from vox_populi.model.allocator import trim_freed_memory
from vox_populi.pipeline.interruption import StopRequest
from vox_populi.train.engine import Engine
from vox_populi.train.process_group import GroupRanks
from vox_populi.train.ranks import ALONE, Ranks
from vox_populi.train.state_exchange import share_state


@dataclass(frozen=True, slots=True)
class Crew:
    """A process and the others of its run.

    Each calls the same methods in the same order; a process alone has nobody to tell anything.
    """

    group: GroupRanks | None = None
    """`None` for a process alone."""

    @property
    def ranks(self) -> Ranks:
        """The processes as the engine sees them."""
        return ALONE if self.group is None else self.group

    def announce(self, document: Mapping[str, object] | None = None) -> Mapping[str, object]:
        """Send the first process's document to all."""
        if self.group is None:
            return document or {}
        return self.group.tell(document)

    def share_state(self, engine: Engine) -> None:
        """Let every process start where the first one does."""
        if self.group is not None:
            share_state(engine, self.group)
            # What was sent were copies of the adapter and of the optimizer's state.
            trim_freed_memory()

    def stop_together(self, request: StopRequest) -> CrewStop:
        """A request to stop that all processes follow after the same step."""
        return CrewStop(request, self)

    def wait(self) -> None:
        """Wait until every process is here."""
        if self.group is not None:
            self.group.wait()


class CrewStop:
    """Whether a run should stop: this process's own request, or what the processes agree on.

    With several processes, what each was asked travels with the exchange of a step, so that all of
    them stop after that step.
    """

    def __init__(self, request: StopRequest, crew: Crew) -> None:
        self._request, self._crew = request, crew
        self._group = crew.group
        if self._group is not None:
            # The time limit leaves the first step alone; see `StopRequest`.
            request()
            self._group.word = request.word

    def __call__(self) -> bool:
        """Whether to stop now; called before each step."""
        if self._group is None:
            return self._request()
        self._request.heed(self._group.heard)
        return self._group.heard != 0

    def settle(self) -> None:
        """Hear the other processes before the first step."""
        if self._group is not None:
            self._group.agree()
            self()

    def leave_if_asked(self, step: int, checkpoint: str | None) -> None:
        """End the run if anything asked it to stop.

        Args:
            step: Optimizer steps done.
            checkpoint: Name of the one that it can be resumed from.

        Raises:
            RunInterruptedError: When something did; then no process is still writing.
        """
        error = self._request.error(step, checkpoint)
        if error is not None:
            self._crew.wait()
            raise error
