"""Tier A on a CUDA device: what several processes do on cards, with one card and NCCL."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from tests_integration.tier_a.device_runs import write_inputs
from tests_integration.tiny_models import VOCAB, write_tiny_model
from vox_populi.hf.inventory import read_inventory
from vox_populi.model.divided_load import load_divided_base
from vox_populi.model.hf_load import load_base
from vox_populi.train.process_group import GroupRanks, joined
from vox_tensor.collate import collate_window
from vox_tensor.records import EncodedRow

pytestmark = pytest.mark.gpu


@pytest.fixture
def group(monkeypatch: pytest.MonkeyPatch) -> Iterator[GroupRanks]:
    """A group of this process alone, whose tensors on a card go through NCCL."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    place = {"RANK": "0", "WORLD_SIZE": "1", "LOCAL_RANK": "0"}
    for name, value in {**place, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}.items():
        monkeypatch.setenv(name, value)
    with joined(1) as found:
        yield found


def test_nccl_carries_gradients(group: GroupRanks) -> None:
    part = torch.arange(9.0, device="cuda")
    part[-1] = 0.0
    total = group.add(part.clone())
    assert total.device == part.device
    assert total.equal(part)
    group.require_same([part], 1)
    group.require_own_card(str(torch.cuda.get_device_properties().uuid))


@pytest.mark.parametrize("name", ["llama", "qwen3"])
def test_a_base_in_parts_gives_the_logits_of_a_whole_one(
    name: str, group: GroupRanks, tmp_path: Path
) -> None:
    assert group.size == 1
    write_tiny_model(tmp_path, name)
    inventory = read_inventory(tmp_path)
    ids = torch.randint(3, VOCAB, (31,), generator=torch.Generator().manual_seed(2)).tolist()
    batch = collate_window([EncodedRow(tuple(ids), tuple(ids), 1)], "cuda")
    with torch.no_grad():
        whole = load_base(inventory, torch.bfloat16, "cuda").logits(batch)
        divided = load_divided_base(inventory, torch.bfloat16, "cuda").logits(batch)
    assert divided.equal(whole)
    assert whole.float().std() > 0


@pytest.mark.parametrize(
    ("device", "code", "said"), [("cuda", 5, "MENS-R206"), ("cpu", 0, "model_final")]
)
def test_processes_that_would_share_a_card_are_refused(
    device: str, code: int, said: str, tmp_path: Path
) -> None:
    pytest.importorskip("typer", reason="needs vox-mens-cli")
    if torch.cuda.device_count() != 1:
        pytest.skip("there is a card for each")
    write_inputs(tmp_path, "llama")
    command = [
        *(sys.executable, "-m", "vox_cli", "mens", "train", "--model", str(tmp_path / "llama")),
        *("--data-dir", str(tmp_path / "data"), "--output-dir", str(tmp_path / "run")),
        *("--device", device, "--nproc", "2", "--micro-batches", "2", "--batch-size", "2"),
        *("--rank", "2", "--max-steps", "2", "--seq-len", "64", "--threads", "1", "--json"),
    ]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=120, check=False, env=dict(os.environ)
    )
    assert done.returncode == code, done.stderr[-2000:]
    assert said in done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    assert (tmp_path / "run" / "model_final.bin").exists() is (code == 0)
