"""Runs of one, two and four processes, for `test_shared_run.py`: a program of its own.

    python shared_runs.py FOLDER

It imports torch once and forks, so that a process costs next to nothing. FOLDER has bases and rows;
what each case ended in is written to `FOLDER/results.json`.
"""

from __future__ import annotations

import gc
import hashlib
import json
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import _dynamo
from torch._C._distributed_c10d import TCPStore

from vox_populi.contract.choices import (
    ActivationMemoryChoice,
    Backend,
    DeviceKind,
    ShardChoice,
    TokenizerKind,
)
from vox_populi.contract.finetune_contract import FinetuneContract
from vox_populi.errors import PeerLostError
from vox_populi.events import Event, EventName
from vox_populi.model import divided_load, divided_table
from vox_populi.pipeline import rank_failure, train_ranks
from vox_populi.pipeline.stopped_run import RunInterruptedError
from vox_populi.pipeline.train import Resume, RunOptions, run_training
from vox_populi.runs.checkpoint_dir import best_checkpoint
from vox_populi.train.process_group import GroupRanks, joined
from vox_tensor.errors import VoxError
from vox_tensor.lora_spec import LoraSpec

SIZES = (1, 2, 4)
FAMILIES = ("gpt2", "llama", "mixtral", "qwen3")
DIVIDED: tuple[tuple[str, Backend, tuple[int, ...]], ...] = (
    ("gpt2", Backend.QLORA, (4,)),
    ("llama", Backend.LORA, (4,)),
    ("llama", Backend.QLORA, (2, 4)),
    ("qwen3", Backend.QLORA, (2,)),
)
COMBINED: Mapping[str, Any] = {
    "backend": Backend.QLORA,
    "activation_memory": ActivationMemoryChoice.FULL,
    # Without dropout, what rows begin with is computed once.
    "lora": LoraSpec(rank=2, alpha=4.0),
    "eval_every": 1,
    "early_stopping_patience": 1,
    "epochs": 4,
    # So high that the held-out loss rises, whoever rounds.
    "learning_rate": 3.0,
}
STOPPED_AT = 2
TABLE = (11, 3)
"""Rows that neither 2 nor 4 divides, and features."""
RESUMED = {"llama": ((4, 1), (1, 4)), "mixtral": ((2, 1),)}
"""By family: processes of a run that is stopped, and of the one that goes on."""
MOST_SECONDS = 60


@dataclass(frozen=True, slots=True)
class Case:
    """One run, or a check of the group itself."""

    name: str
    act: Callable[[Path, int, int], Mapping[str, object]]
    """Called in every process, with the folder, its rank and the number of processes."""
    sizes: tuple[int, ...] = SIZES


@dataclass(slots=True)
class Recorder:
    """What the first process is told."""

    losses: list[object] = field(default_factory=list)

    def emit(self, event: Event) -> None:
        key = {EventName.STEP: "loss", EventName.EVALUATION: "val_loss"}.get(event.name)
        if key is not None:
            self.losses.append(event.payload[key])


def contract(folder: Path, output: str, family: str, **changes: Any) -> FinetuneContract:
    """A request with dropout, four passes per step and held-out rows."""
    return FinetuneContract.of(
        **{
            "data_dir": folder / "data",
            "output_dir": folder / "runs" / output,
            "model_dir": folder / "models" / family,
            "tokenizer": TokenizerKind.HF,
            "lora": LoraSpec(rank=2, alpha=4.0, dropout=0.25),
            "epochs": 1,
            "learning_rate": 5e-3,
            "warmup_steps": 1,
            "seq_len": 64,
            "batch_size": 1,
            "grad_accum": 4,
            "micro_batches": 4,
            "device": DeviceKind.CPU,
            "threads": 1,
            **changes,
        }
    )


def trained(family: str, **changes: Any) -> Callable[[Path, int, int], Mapping[str, object]]:
    """A whole run."""

    def act(folder: Path, rank: int, size: int) -> Mapping[str, object]:
        name = f"{family}-{'-'.join(map(str, changes.values()))}-{size}"
        request = contract(folder, name, family, **changes)
        return outcome(request, RunOptions())

    return act


def outcome(request: FinetuneContract, options: RunOptions) -> Mapping[str, object]:
    """What a run ended in; the files are those of its first process."""
    recorder = Recorder()
    report = run_training(request, options, [recorder])
    run = request.output_dir
    manifest = json.loads((run / "training_manifest.json").read_text(encoding="utf-8"))
    (adapter,) = (n for n in manifest["artifacts"] if n.endswith((".bin", ".safetensors")))
    return {
        "adapter": hashlib.sha256((run / adapter).read_bytes()).hexdigest(),
        "losses": recorder.losses,
        "reported": [report.train_loss, report.heldout_loss_before, report.heldout_loss_after],
        "processes": manifest.get("processes"),
        "stopped_early": report.stopped_early,
        "files": sorted(each.name for each in run.iterdir()),
        "best": best_of(run),
        "resumed_from": report.resumed_from,
    }


def best_of(run: Path) -> Mapping[str, str]:
    """Adapter and counters of the checkpoint that the run names as its best, by their hashes."""
    best = best_checkpoint(run)
    if best is None:
        return {}
    files = (best.path / name for name in ("adapter.bin", "state.json"))
    return {
        each.name: hashlib.sha256(each.read_bytes()).hexdigest() for each in files if each.exists()
    }


def stopped_and_resumed(first: int, then: int, family: str = "llama") -> Iterator[Case]:
    """A run that one process is asked to stop, and that another number of processes ends."""
    name = f"stopped-{family}-{first}-{then}"

    def stop(folder: Path, rank: int, size: int) -> Mapping[str, object]:
        asked = iter(range(100))
        options = RunOptions(
            keep_best=False,
            # The last process is asked, when it has exchanged the gradients of some steps.
            should_stop=lambda: rank == size - 1 and next(asked) >= STOPPED_AT,
        )
        try:
            run_training(contract(folder, name, family, epochs=2), options)
        except RunInterruptedError as error:
            return {"exit_code": error.exit_code, "problems": [p.code for p in error.problems]}
        return {"exit_code": 0}

    def go_on(folder: Path, rank: int, size: int) -> Mapping[str, object]:
        request = contract(folder, name, family, epochs=2)
        return outcome(request, RunOptions(resume=Resume()))

    yield Case(f"{name}-a", stop, (first,))
    yield Case(f"{name}-b", go_on, (then,))


def exchanged(folder: Path, rank: int, size: int) -> Mapping[str, object]:
    """The group by itself: sums, words, documents, tensors, comparison."""
    with joined(size) as group:
        numbers = torch.rand(37, generator=torch.Generator().manual_seed(rank)) * 10.0**rank
        group.word = lambda: 15 if rank == size - 1 else 0
        total = group.add(torch.cat([numbers, torch.zeros(size)]))
        told = group.tell({"a": rank})
        tensors = group.tell_tensors({"x": torch.full((2, 3), float(rank), dtype=torch.float64)})
        return {
            "sum": total[:37].tolist(),
            "heard": group.heard,
            "collected": group.collect([float(rank), 0.5]),
            "told": told,
            "tensor": [tensors["x"].dtype == torch.float64, tensors["x"].sum().item()],
            "differing": differing(group),
            "cards": cards(group),
        }


def tables(folder: Path, rank: int, size: int) -> Mapping[str, object]:
    """A table in parts, in slices of two rows: what is looked up, and all of it."""
    whole_VD = torch.randn(TABLE, generator=torch.Generator().manual_seed(0)).bfloat16()
    divided_table.SLICE_BYTES = 2 * whole_VD[:2].numel()
    with joined(size):
        each = divided_table.rows_of_each(len(whole_VD))
        own_RD = torch.zeros(each, TABLE[1], dtype=torch.bfloat16)
        part_RD = whole_VD[rank * each : (rank + 1) * each]
        own_RD[: len(part_RD)] = part_RD
        table = divided_table.DividedTable(own_RD, len(whole_VD), torch.float32)
        ids_T = torch.tensor([10, 0, 3, 3, 7])
        with table.whole() as gathered_VD:
            return {
                "held": str(table.weight.dtype),
                "looked_up": table(ids_T).equal(whole_VD.float()[ids_T]),
                "whole": gathered_VD.equal(whole_VD.float()),
            }


def differing(group: GroupRanks) -> list[str]:
    """What is said where the last process has other bits, and where none has."""
    same = [torch.ones(3)]
    group.require_same(same, 1)
    same[0][1] = -0.0 if group.rank == group.size - 1 else 0.0
    try:
        group.require_same(same, 2)
    except VoxError as error:
        return [str(problem) for problem in error.problems]
    return []


def cards(group: GroupRanks) -> list[str]:
    """What is said where each process has a card, and where the last has that of the first."""
    group.require_own_card(f"GPU-{group.rank}")
    try:
        group.require_own_card(f"GPU-{group.rank % (group.size - 1)}")
    except VoxError as error:
        return [str(problem) for problem in error.problems]
    return []


def lost(folder: Path, rank: int, size: int) -> Mapping[str, object]:
    """The last process ends without a word between two exchanges."""
    started = time.monotonic()
    try:
        with joined(size) as group:
            group.wait()
            if rank == size - 1:
                os._exit(0)
            group.add(torch.zeros(1000 + size))
    except PeerLostError as error:
        return {"codes": [p.code for p in error.problems], "seconds": time.monotonic() - started}
    return {"codes": []}


def refused(folder: Path, rank: int, size: int) -> Mapping[str, object]:
    """One process was started with another setting."""
    request = contract(folder, f"refused-{size}", "llama", seed=1 if rank else 2)
    try:
        run_training(request, RunOptions())
    except VoxError as error:
        return {"problems": [str(problem) for problem in error.problems]}
    return {"problems": []}


def cases() -> list[Case]:
    """Every case, in the order in which they run."""
    found = [
        Case(f"{family}-{backend.value}", trained(family, backend=backend))
        for family in FAMILIES
        for backend in Backend
    ]
    found += [
        Case(
            f"{family}-{backend.value}-divided",
            trained(family, backend=backend, shard=ShardChoice.ALWAYS),
            sizes,
        )
        for family, backend, sizes in DIVIDED
    ]
    found.append(Case("combined", trained("llama", **COMBINED), (1, 2)))
    together = {**COMBINED, "shard": ShardChoice.ALWAYS}
    found.append(Case("combined-divided", trained("llama", **together), (2,)))
    found.append(Case("three", trained("llama", seed=3), (1, 3)))
    found += [Case("exchanged", exchanged, (2, 4)), Case("tables", tables, (2, 4))]
    for family, ways in RESUMED.items():
        found.append(Case(f"undisturbed-{family}", trained(family, epochs=2), (1,)))
        for first, then in ways:
            found += stopped_and_resumed(first, then, family)
    found += [Case("lost", lost, (4,)), Case("refused", refused, (2,))]
    return found


def run_case(case: Case, folder: Path, size: int) -> list[Any]:
    """Fork the processes of a case; what each of them returned."""
    # A port of its own for each: what an earlier group left in a store must not be found.
    store, port = serve_store()
    children = [fork(case, folder, rank, size, port) for rank in range(size)]
    for pid, _ in children:
        os.waitpid(pid, 0)
    os.kill(store, signal.SIGKILL)
    os.waitpid(store, 0)
    texts = [
        place.read_text(encoding="utf-8") if place.exists() else "null" for _, place in children
    ]
    return [json.loads(text) for text in texts]


def serve_store() -> tuple[int, int]:
    """Start the process that the others of a case find each other by; its number and its port.

    The store answers in a thread. In the process that forks, a lock of the C library that the
    thread holds just then would stay locked in the child for ever.
    """
    reading, writing = os.pipe()
    pid = os.fork()
    if not pid:
        store = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
        os.write(writing, str(store.port).encode())
        os.close(writing)
        while True:
            signal.pause()
    os.close(writing)
    with os.fdopen(reading) as told:
        return pid, int(told.read())


def fork(case: Case, folder: Path, rank: int, size: int, port: int) -> tuple[int, Path]:
    """Start one process of a case."""
    place = folder / f"{case.name}-{size}-{rank}.json"
    pid = os.fork()
    if pid:
        return pid, place
    os.environ |= {
        "RANK": str(rank),
        "WORLD_SIZE": str(size),
        "LOCAL_RANK": str(rank),
        "LOCAL_WORLD_SIZE": str(size),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "TORCHELASTIC_USE_AGENT_STORE": "True",
    }
    code = 1
    try:
        place.write_text(json.dumps(case.act(folder, rank, size)), encoding="utf-8")
        code = 0
    finally:
        sys.stderr.flush()
        os._exit(code)


def main() -> None:
    """Run every case with every number of processes."""
    folder = Path(sys.argv[1])
    torch.set_num_threads(1)
    # Imported before forking: what divides a base needs it, and it takes longer than all runs.
    assert all((_dynamo, divided_load, train_ranks))
    # No launcher would end the others here.
    for name in ("SECONDS_FOR_THE_FIRST", "SECONDS_FOR_THE_CAUSE", "SECONDS_TO_SAY_IT"):
        setattr(rank_failure, name, 0.0)
    gc.freeze()
    results = {
        f"{case.name}/{size}": run_case(case, folder, size)
        for case in cases()
        for size in case.sizes
    }
    (folder / "results.json").write_text(json.dumps(results), encoding="utf-8")


if __name__ == "__main__":
    main()
