"""A run that several processes share: the first one writes it, the others follow. Needs torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch.torch_version import TorchVersion

from vox_populi.contract.finetune_contract import FinetuneContract
from vox_populi.errors import PlanError
from vox_populi.events import Sink, SinkGroup
from vox_populi.operator_messages import ranks as say
from vox_populi.pipeline.crew import Crew
from vox_populi.pipeline.engine_setup import (
    engine_settings,
    load_objective,
    on_device,
    plan_optimizer,
)
from vox_populi.pipeline.interruption import stop_on_signals
from vox_populi.pipeline.rank_failure import ending_with_the_others
from vox_populi.pipeline.rank_place import RankPlace
from vox_populi.pipeline.resume import StartingPoint
from vox_populi.pipeline.train import PlannedRun, RunOptions, TrainReport, planned
from vox_populi.pipeline.train_results import finished_report, train_report
from vox_populi.pipeline.train_run import train
from vox_populi.plan.execution_planner import require_memory
from vox_populi.plan.preflight import PreflightReport, preflight
from vox_populi.runs.checkpoint_dir import Checkpoint
from vox_populi.runs.manifest import installed_versions
from vox_populi.train.engine import Engine, Rows
from vox_populi.train.peer_watch import watched_peers
from vox_populi.train.process_group import GroupRanks, joined, lost_peers

TORCH_TO_DIVIDE_NF4 = "2.12"
"""First version whose FSDP takes frozen parameters of bytes (pytorch issue 177844)."""


def train_together(
    contract: FinetuneContract,
    options: RunOptions,
    sinks: Sequence[Sink],
    started: float,
    place: RankPlace,
) -> TrainReport:
    """Check, plan and train as one of several processes; every process returns the report.

    Args:
        contract: The request; the same in all of them.
        options: What does not change the result.
        sinks: Receive every event of the first process.
        started: `time.monotonic()` when the run was asked for.
        place: Which of the processes this is.

    Raises:
        VoxError: As `pipeline.train.run_training` says.
        PeerLostError: When another process ended.
    """
    watched = watched_peers(place.rank, place.size, place.local_rank, options.on_lost)
    with ending_with_the_others(place), joined(place.size) as group, watched, lost_peers():
        found = _preflight_in_turn(contract, options, place, group)
        run = planned(contract, found, place)
        _require_same_request(run, group)
        if run.plan.device == "cuda":
            group.require_own_card(str(torch.cuda.get_device_properties().uuid))
        if run.plan.ranks.is_divided:
            _require_division(run)
            group.in_step = True
        if place.is_first:
            return train(run, options, sinks, started, Crew(group))
        return _follow(run, options, Crew(group))


def _preflight_in_turn(
    contract: FinetuneContract, options: RunOptions, place: RankPlace, group: GroupRanks
) -> PreflightReport:
    """Check the inputs: one process of each machine first, which fills the cache of rows."""
    is_earlier = place.local_rank == 0
    found = preflight(contract, options.folder_use) if is_earlier else None
    group.wait()
    found = found or preflight(contract, options.folder_use)
    # The first process makes the output folder, which would be in the way of a later check.
    group.wait()
    return found


def _require_same_request(run: PlannedRun, group: GroupRanks) -> None:
    """Compare what decides the result with the first process.

    Raises:
        PlanError: With the names of what differs.
    """
    own = {
        **run.preflight.digests,
        "settings": run.contract.digest({}),
        "device": f"{run.plan.device}, {run.plan.compute_dtype}",
        "versions": installed_versions(),
    }
    first = group.tell(own)
    differing = [name for name in own if first.get(name) != own[name]]
    if differing:
        raise PlanError(say.requests_differ(differing, group.rank))


def _require_division(run: PlannedRun) -> None:
    """Refuse a version of torch that cannot divide what the plan divides.

    Raises:
        PlanError: With both versions.
    """
    if run.plan.quant is not None and TorchVersion(torch.__version__) < TORCH_TO_DIVIDE_NF4:
        raise PlanError(say.torch_too_old_to_divide(torch.__version__, TORCH_TO_DIVIDE_NF4))


def _follow(run: PlannedRun, options: RunOptions, crew: Crew) -> TrainReport:
    """Train as a process that writes nothing."""
    plan, found = run.plan, run.preflight
    require_memory(plan)
    with stop_on_signals(should_stop=options.should_stop) as request:
        stop = crew.stop_together(request)
        begun = crew.announce()
        folder = run.contract.output_dir
        if isinstance(begun["complete"], dict):
            return finished_report(run, begun["complete"], folder)
        with on_device(plan.device, plan.threads):
            loaded = load_objective(run, str(begun["base_digest"]))
            engine = Engine(
                loaded.objective,
                plan_optimizer(plan, loaded.objective),
                Rows(found.train, found.valid, crew.ranks),
                engine_settings(run),
                SinkGroup(()),
                stop,
            )
            crew.share_state(engine)
            stop.settle()
            stop.leave_if_asked(0, None)
            outcome = engine.run()
        if outcome.interrupted:
            stop.leave_if_asked(outcome.steps, None)
        crew.wait()
        return train_report(run, outcome, folder, _start_of(folder, begun), loaded.notes)


def _start_of(folder: Path, begun: Mapping[str, object]) -> StartingPoint:
    """What the report says of where the run started."""
    step = begun["resumed_from"]
    if not isinstance(step, int):
        return StartingPoint()
    return StartingPoint(checkpoint=Checkpoint(folder, step), step=step)
