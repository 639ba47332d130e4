"""Whatever links, pipes and folders stand around: nothing outside of the output changes."""

from __future__ import annotations

import os
import shutil
import signal
import stat
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from vox_populi.contract.finetune_contract import FinetuneContract
from vox_populi.corpus.mix import MixOptions, mix_corpus
from vox_populi.corpus.mix_config import MixConfig, MixSource
from vox_populi.merge.choices import MergeFormat
from vox_populi.pipeline.merge import (
    MergeRequest,
    merge_weights,
)
from vox_populi.pipeline.quantize import QuantizeRequest, quantize_model
from vox_populi.pipeline.train import Resume, RunOptions, run_training
from vox_tensor.errors import FailureKind, VoxError

pytestmark = pytest.mark.skipif(os.name == "nt", reason="needs POSIX file types")

MakeContract = Callable[..., FinetuneContract]
Tree = dict[str, tuple[int, bytes | str | None]]
THESIS = b"precious"
SECONDS = 60
"""Far more than any of these commands takes; whoever waits for a pipe waits for ever."""

OUTPUTS = (
    "runs/half", "runs/new", "runs", "new/deep", "data", "data/run", "models", "models/base",
    "models/base/in", "outside", "aside/new", "runs/done", ".",
)  # fmt: skip
"""Where a command may be told to write: new, nested, overlapping, behind a link."""

PLACES = (
    "checkpoints", "checkpoints/.step-9.7.tmp", "checkpoints/latest", "checkpoints/step-9",
    ".run.lock", ".work.7.tmp", ".notes.tmp", "telemetry.jsonl", "request.json",
    "training_manifest.json", "model_final.bin", "model.safetensors", "README.md",
)  # fmt: skip
"""Where something may stand in an output; beside it, these:"""
BESIDE = (
    ".{}.merging", "{}.old-1", ".{}.7.tmp", f".{{}}.{os.getpid()}.tmp", "{}.mix_report.json",
)  # fmt: skip
IN_BASE = ("LICENSE", "chat_template.jinja", "NOTICE", "generation_config.json")


@dataclass(frozen=True)
class Plant:
    """An obstacle in the output folder."""

    place: str
    kind: str


def plants() -> st.SearchStrategy[list[Plant]]:
    inside = st.sampled_from([f"OUT/{place}" for place in PLACES])
    beside = st.sampled_from([f"BESIDE/{place}" for place in BESIDE])
    base = st.sampled_from([f"models/base/{place}" for place in IN_BASE])
    kinds = st.sampled_from(("link to folder", "link to file", "dangling link", "pipe"))
    kinds |= st.sampled_from(("link to folder", "link to file", "folder", "file"))
    return st.lists(st.builds(Plant, inside | beside | base, kinds), max_size=3)


KNOWN = (
    ("runs/half", [Plant("OUT/checkpoints", "link to folder")]),
    ("runs/half", [Plant("OUT/telemetry.jsonl", "pipe")]),
    ("runs/half", [Plant("OUT/.run.lock", "pipe")]),
    ("runs/new", [Plant("BESIDE/.{}.merging", "link to folder")]),
    ("runs/new", [Plant("BESIDE/.{}.merging", "folder")]),
    ("runs/new", [Plant(f"BESIDE/{BESIDE[3]}", "link to file")]),
    ("runs/new", [Plant("models/base/LICENSE", "link to file")]),
)
"""What went wrong once, or would go wrong without the one check that looks for it."""


def put(plant: Plant, root: Path, output: Path) -> None:
    """Plant it; if its parent is not a folder of the tree, do nothing."""
    where, _, name = plant.place.partition("/")
    path = output / name if where == "OUT" else root / plant.place
    if where == "BESIDE":
        path = output.with_name(name.format(output.name))
    if not path.parent.is_dir() or path == root or root not in path.resolve().parents:
        return
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    path.unlink(missing_ok=True)
    match plant.kind:
        case "link to folder":
            path.symlink_to(root / "outside")
        case "link to file":
            path.symlink_to(root / "outside" / "thesis")
        case "dangling link":
            path.symlink_to(root / "nowhere")
        case "pipe":
            os.mkfifo(path)
        case "folder":
            path.mkdir()
            (path / "mine").write_bytes(b"mine")
        case _:
            path.write_bytes(b"mine")


def tree(root: Path) -> Tree:
    """Everything below a folder: kind, and content or target."""
    found: Tree = {}
    for path in sorted(root.rglob("*")):
        mode = path.lstat().st_mode
        content: bytes | str | None = None
        if stat.S_ISLNK(mode):
            content = str(path.readlink())
        elif stat.S_ISREG(mode):
            content = path.read_bytes()
        found[path.relative_to(root).as_posix()] = (stat.S_IFMT(mode), content)
    return found


def outside(found: Tree, output: str) -> Tree:
    """What is neither the output, nor in it, nor a folder on the way to it."""
    way = {"/".join(output.split("/")[:n]) for n in range(1, output.count("/") + 1)}
    return {
        name: entry
        for name, entry in found.items()
        if name != output and not name.startswith(f"{output}/") and name not in way
    }


@pytest.fixture
def template(make_contract: MakeContract, tmp_path: Path) -> FinetuneContract:
    """A project with a base, rows, a finished run and one that can be resumed."""
    contract = make_contract(output_dir=tmp_path / "runs" / "done", epochs=1)
    run_training(contract, RunOptions(checkpoint_every=1))
    shutil.copytree(contract.output_dir, tmp_path / "runs" / "half")
    (tmp_path / "runs" / "half" / "training_manifest.json").unlink()
    precious = tmp_path / "outside"
    (precious / ".work.7.tmp").mkdir(parents=True)
    (precious / ".work.7.tmp" / "notes").write_bytes(THESIS)
    for name in ("thesis", ".thesis.7.tmp"):
        (precious / name).write_bytes(THESIS)
    (tmp_path / "aside").symlink_to("outside")
    return contract


def train(contract: FinetuneContract, output: Path, options: RunOptions) -> None:
    run_training(replace(contract, output_dir=output), options)


def mix(contract: FinetuneContract, output: Path, *, force: bool) -> None:
    rows = contract.data_paths[0] / "train.jsonl"
    source = MixSource(path=str(rows), weight=1.0, where="sources[0]")
    config = MixConfig(file=contract.data_paths[0] / "mix.yaml", sources=(source,), seed=1)
    mix_corpus(config, MixOptions(output=output, force=force))


def merge(contract: FinetuneContract, output: Path, *, force: bool) -> None:
    request = MergeRequest(
        checkpoint=contract.output_dir,
        output=output,
        model_dir=contract.model_dir,
        output_format=MergeFormat.HF,
        force=force,
        threads=1,
    )
    merge_weights(request)


def quantize(contract: FinetuneContract, output: Path) -> None:
    assert contract.model_dir is not None
    quantize_model(QuantizeRequest(model_dir=contract.model_dir, output=output))


COMMANDS: dict[str, Callable[[FinetuneContract, Path], None]] = {
    "resume": lambda c, o: train(c, o, RunOptions(resume=Resume(), checkpoint_every=1)),
    "force": lambda c, o: train(c, o, RunOptions(force=True)),
    "quantize": quantize,
    "merge": lambda c, o: merge(c, o, force=True),
    "mix": lambda c, o: mix(c, o, force=True),
}


@contextmanager
def at_most(seconds: int) -> Iterator[None]:
    """Fail instead of waiting for ever."""

    def fail(*_: object) -> None:
        pytest.fail("the command waits")

    before = signal.signal(signal.SIGALRM, fail)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


@pytest.mark.parametrize("command", COMMANDS)
def test_everything_outside_the_output_stays_byte_for_byte(
    command: str, template: FinetuneContract, tmp_path: Path
) -> None:
    seen: dict[str, int] = {}

    def with_known(test: Any) -> Any:
        for output, planted in KNOWN:
            test = example(output=output, planted=planted)(test)
        return test

    @with_known
    @settings(
        max_examples=50,
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
    )
    @given(output=st.sampled_from(OUTPUTS), planted=plants())
    def holds(output: str, planted: list[Plant]) -> None:
        with tempfile.TemporaryDirectory() as folder:
            root = Path(folder).resolve() / "project"
            shutil.copytree(tmp_path, root, symlinks=True)
            for plant in planted:
                put(plant, root, root / output)
            kind = run(COMMANDS[command], template, root, output)
            seen[kind] = seen.get(kind, 0) + 1

    def run(action: Any, contract: FinetuneContract, root: Path, output: str) -> str:
        assert contract.model_dir is not None
        here = replace(
            contract,
            data_dir=root / "data",
            model_dir=root / "models" / "base",
            output_dir=root / "runs" / "done",
        )
        before, kind = tree(root), "done"
        with at_most(SECONDS):
            try:
                action(here, root / output)
            except VoxError as error:
                kind = error.kind.value
            except OSError as error:
                kind = "system" if error.filename is not None else "system, without a name"
        assert kind != "system, without a name"
        after = tree(root)
        if kind == FailureKind.REFUSED:
            assert after == before
        if output == ".":
            assert kind != "done"
            return kind
        real = (root / output).resolve().relative_to(root).as_posix()
        written = {name: entry[1] for name, entry in after.items() if name not in before}
        leaked = [n for n, found in written.items() if isinstance(found, bytes) and THESIS in found]
        assert [name for name in leaked if ".old-" not in name] == []
        kept, left = outside(before, real), outside(after, real)
        changed = {name for name in kept | left if kept.get(name) != left.get(name)}
        assert {name for name in changed if not may_change(name, real, command, kept)} == set()
        return kind

    holds()
    assert seen.get("done"), seen
    assert seen.get("refused"), seen


def may_change(name: str, output: str, command: str, kept: Tree) -> bool:
    """What a command may do beside its output: keep the old one, make folders on the way.

    A mix may also replace its report, and remove what a killed one left.
    """
    parent, _, base = output.rpartition("/")
    if command == "mix":
        prefix = f"{parent}/" if parent else ""
        return name in (f"{output}.mix_report.json", f"{prefix}.{base}.7.tmp")
    is_new = name not in kept
    return is_new and (name.startswith(f"{output}.old-") or output.startswith(f"{name}/"))
