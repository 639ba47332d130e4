"""A failure of any write, or a death at it, leaves what was there or the finished merge."""

from __future__ import annotations

import errno
import gc
import json
import os
import re
import shutil
import warnings
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from packages.vox_populi.tests.qlora_adapters import write_own
from vox_populi.adapters.header import AdaptedModule, AdapterHeader
from vox_populi.adapters.lora_bin import write_adapter_bin
from vox_populi.contract.choices import TokenizerKind
from vox_populi.data.training_text import ChatTemplate
from vox_populi.errors import EnvironmentFailure
from vox_populi.files.folder_lock import LOCK_NAME
from vox_populi.hf.inventory import base_digest, read_inventory
from vox_populi.hf.keymap import ProjectionRole, adapter_modules, tensor_keys
from vox_populi.hf.model_config import parse_model_config
from vox_populi.merge.choices import MergeFormat
from vox_populi.pipeline import merge_run
from vox_populi.pipeline.merge import (
    MergeRequest,
    QloraMergeRequest,
)
from vox_tensor.lora_spec import LoraSpec

LLAMA = {
    "model_type": "llama",
    "vocab_size": 32,
    "hidden_size": 8,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 12,
    "max_position_embeddings": 16,
}
HALF_THE_MODEL = 2000
"""Bytes of a file, so that there are several and an index."""


def write_base(folder: Path) -> None:
    generator = torch.Generator().manual_seed(0)
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(LLAMA), encoding="utf-8")
    (folder / "tokenizer.json").write_text("{}", encoding="utf-8")
    keys = tensor_keys(parse_model_config(LLAMA, "test"))
    tensors = {key.theirs: torch.randn(key.shape, generator=generator) for key in keys}
    save_file(tensors, folder / "model.safetensors")


def write_adapter(path: Path, base: Path) -> None:
    inventory = read_inventory(base)
    modules = [m for m in adapter_modules(inventory.config) if ProjectionRole.Q in m.roles]
    header = AdapterHeader(
        lora=LoraSpec(rank=2, alpha=4.0),
        modules=tuple(AdaptedModule.of(module) for module in modules),
        base_name=base.name,
        base_digest=base_digest(inventory),
        model_type="llama",
        tokenizer=TokenizerKind.HF,
        tokenizer_digest="sha256:11",
        template=ChatTemplate.CHATML,
        template_digest="sha256:22",
        system_prompt=None,
        seq_len=16,
        contract_digest="sha256:33",
        step=5,
    )
    generator = torch.Generator().manual_seed(0)
    shapes = header.tensor_shapes().items()
    write_adapter_bin(path, header, {n: torch.randn(s, generator=generator) for n, s in shapes})


@pytest.fixture
def request_hf(tmp_path: Path) -> MergeRequest:
    base, checkpoint = tmp_path / "base", tmp_path / "model_final.bin"
    write_base(base)
    write_adapter(checkpoint, base)
    return MergeRequest(
        checkpoint=checkpoint,
        output=tmp_path / "out" / "merged",
        model_dir=base,
        output_format=MergeFormat.HF,
        threads=1,
        max_shard_bytes=HALF_THE_MODEL,
    )


@pytest.fixture
def request_qlora(request_hf: MergeRequest, tmp_path: Path) -> QloraMergeRequest:
    base = tmp_path / "base"
    write_own(tmp_path / "run", base)
    return QloraMergeRequest(
        adapter=tmp_path / "run",
        output=request_hf.output,
        base=base,
        threads=1,
        max_shard_bytes=HALF_THE_MODEL,
    )


Asked = MergeRequest | QloraMergeRequest


def merge(request: Asked) -> None:
    """What a request asks for."""
    if isinstance(request, MergeRequest):
        merge_run.merge(request)
    else:
        merge_run.merge(request)


def content(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


WRITING = (
    "fsync",
    "ftruncate",
    "mkdir",
    "open",
    "rename",
    "replace",
    "rmdir",
    "unlink",
    "write",
)
"""Functions of `os` by which anything comes to a disk, `open` when it writes."""


class WriteCounter:
    """Counts calls that write, and lets the n-th one fail, or the process die at it."""

    def __init__(self, fail_at: int = 0, *, is_deadly: bool = False) -> None:
        self.calls = 0
        self._fail_at, self._is_deadly = fail_at, is_deadly

    def wrap(self, name: str) -> Callable[..., Any]:
        original = getattr(os, name)

        def call(*given: Any, **named: Any) -> Any:
            if name != "open" or given[1] & (os.O_WRONLY | os.O_RDWR):
                self.calls += 1
                if self.calls == self._fail_at:
                    if self._is_deadly:
                        os._exit(1)
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            return original(*given, **named)

        return call

    def run(self, request: Asked) -> BaseException | None:
        """Merge; the failure that stopped it, if one did."""
        with pytest.MonkeyPatch.context() as patch:
            for name in WRITING:
                if hasattr(os, name):
                    patch.setattr(os, name, self.wrap(name))
            try:
                merge(request)
            except EnvironmentFailure as error:
                return error
        return None

    def run_in_child(self, request: Asked) -> None:
        """Merge in a copy of this process, whose locks end with it."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # fork beside idle threads
            gc.freeze()  # Or the child would copy all that this process has, to look for garbage.
            child = os.fork()
            if child:
                gc.unfreeze()
        if child == 0:
            try:
                self.run(request)
            finally:
                os._exit(0)
        os.waitpid(child, 0)


both_faults = pytest.mark.parametrize(
    "is_deadly",
    [
        False,
        pytest.param(
            True, marks=pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork there")
        ),
    ],
    ids=["refused", "killed"],
)


@both_faults
@pytest.mark.parametrize("output_format", MergeFormat)
@pytest.mark.parametrize("force", [False, True], ids=["new", "replaced"])
@pytest.mark.requirement("10")
def test_merge_survives_a_failure_of_every_write(
    request_hf: MergeRequest, output_format: MergeFormat, is_deadly: bool, force: bool
) -> None:
    request = replace(request_hf, output_format=output_format, force=force)
    assert fail_everywhere(request, is_deadly=is_deadly) > 30


@both_faults
@pytest.mark.parametrize("is_subset", [False, True], ids=["whole", "subset"])
@pytest.mark.requirement("10")
def test_merge_qlora_survives_a_failure_of_every_write(
    request_qlora: QloraMergeRequest, is_deadly: bool, is_subset: bool
) -> None:
    request = replace(request_qlora, subset=is_subset, force=is_deadly)
    assert fail_everywhere(request, is_deadly=is_deadly) > 10


def fail_everywhere(request: Asked, *, is_deadly: bool) -> int:
    """Let every write fail in turn, and look at what is there; how many there are."""
    reference = replace(request, output=request.output.with_name("reference"))
    merge(reference)
    wanted = content(reference.output)
    old = {"old.txt": b"what was there"} if request.force else None
    prepare(request, old)
    counter = WriteCounter()
    assert counter.run(request) is None
    failures, mended = 0, set[str]()
    for fail_at in range(1, counter.calls + 1):
        prepare(request, old)
        failing = WriteCounter(fail_at, is_deadly=is_deadly)
        if is_deadly:
            failing.run_in_child(request)
        else:
            failures += failing.run(request) is not None
        check_folders(request, old, wanted)
        left = what_is_left(request)
        if left in mended:
            continue  # The next merge knows nothing but the disk, so it ends as that one did.
        mended.add(left)
        merge(replace(request, force=True))
        assert content(request.output) == wanted, f"after a failure at write {fail_at}"
    # A few calls may fail without harm, such as making a folder that is there.
    assert is_deadly or failures > 0.8 * counter.calls
    return counter.calls


def prepare(request: Asked, old: Mapping[str, bytes] | None) -> None:
    """The place of the output as before the merge."""
    parent = request.output.parent
    for path in parent.iterdir():
        if path.name != "reference":
            shutil.rmtree(path)
    if old is not None:
        request.output.mkdir()
        for name, data in old.items():
            (request.output / name).write_bytes(data)


def what_is_left(request: Asked) -> str:
    """Everything beside the reference, without what differs by process and time alone."""
    parent = request.output.parent
    found = []
    for path in sorted(parent.rglob("*")):
        where = path.relative_to(parent)
        if where.parts[0] != "reference":
            data = path.read_bytes().hex() if path.is_file() else ""
            found.append((re.sub(r"\d+", "#", str(where)), path.name != LOCK_NAME and data))
    return repr(sorted(found))


def check_folders(
    request: Asked, old: Mapping[str, bytes] | None, wanted: Mapping[str, bytes]
) -> None:
    """The output is what it was, absent, or complete; what was there is never lost."""
    parent = request.output.parent
    visible = {path.name: content(path) for path in parent.iterdir() if path.name[0] != "."}
    del visible["reference"]
    for found in visible.values():
        found.pop(LOCK_NAME, None)
        assert found in (wanted, old)
    if old is not None:
        assert old in visible.values()
