"""Tier A: rows that share what they begin with, against the same rows one by one."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from tests_integration.tier_a.test_adapter_parity import block_modules, our_model, peft_model
from tests_integration.tiny_models import VOCAB, write_tiny_model
from tests_integration.tolerances import F32_GRAD, F32_LOSS_SUM, assert_parity, differs
from vox_populi.model.causal_graph import CausalGraph
from vox_tensor.collate import PackedBatch, collate_forest, collate_window
from vox_tensor.lora import LoraLinear
from vox_tensor.prefix_forest import SharingRule, pack_shared
from vox_tensor.records import IGNORE_INDEX, EncodedRow

MODELS = ("gpt2", "llama_llama3", "phi3", "qwen3_sliding")
"""Learned positions; scaled rotations and grouped heads; fused projections; a window and norms."""

LONGEST = 40
EVERYTHING = SharingRule(least_length=1, least_saved=1, least_part=0.0)
"""Far more than pays, for many segments in few tokens."""


@cache
def adapted_model(name: str) -> tuple[CausalGraph, dict[str, LoraLinear]]:
    with TemporaryDirectory() as folder:
        write_tiny_model(Path(folder), name)
        return our_model(Path(folder))


@st.composite
def related_rows(draw: st.DrawFn) -> list[EncodedRow]:
    """Rows that go on from a part of one before them, each learned in places and with a weight."""
    tokens = st.lists(st.integers(3, VOCAB - 1), min_size=2, max_size=12)
    texts: list[tuple[int, ...]] = []
    rows = []
    for line in range(1, draw(st.integers(2, 6)) + 1):
        parent = texts[draw(st.integers(0, len(texts) - 1))] if texts else ()
        kept = draw(st.integers(0, len(parent)))
        text = (*parent[:kept], *draw(tokens))[:LONGEST]
        texts.append(text)
        learned = draw(st.lists(st.booleans(), min_size=len(text), max_size=len(text)))
        labels = [
            token if is_learned else IGNORE_INDEX
            for token, is_learned in zip(text, learned, strict=True)
        ]
        weight = draw(st.sampled_from([1.0, 0.25, 3.0]))
        rows.append(EncodedRow(text, (*labels[:-1], text[-1]), line, weight))
    return rows


def loss_and_gradients(name: str, batches: list[PackedBatch]) -> tuple[Tensor, dict[str, Tensor]]:
    model, adapted = adapted_model(name)
    parameters = {
        f"{module}.{kind}": parameter
        for module, layer in adapted.items()
        for kind, parameter in (("A", layer.a_RI), ("B", layer.b_OR))
    }
    for parameter in parameters.values():
        parameter.grad = None
    losses = [model.loss_sum(batch) for batch in batches]
    for loss in losses:
        loss.backward()
    total = torch.stack([loss.detach() for loss in losses]).sum()
    found = {}
    for key, parameter in parameters.items():
        assert parameter.grad is not None
        found[key] = parameter.grad.clone()
    return total, found


@given(rows=related_rows(), name=st.sampled_from(MODELS), capacity=st.sampled_from([LONGEST, 500]))
@settings(max_examples=40, deadline=None)
@pytest.mark.requirement("tier-a")
def test_shared_rows_have_the_loss_and_gradients_of_the_rows(
    rows: list[EncodedRow], name: str, capacity: int
) -> None:
    windows = pack_shared([row.ids for row in rows], capacity, EVERYTHING)
    shared = [
        collate_forest(window, rows)
        if window.ends
        else collate_window([rows[each.row] for each in window.segments])
        for window in windows
    ]
    loss, gradients = loss_and_gradients(name, shared)
    expected, wanted = loss_and_gradients(name, [collate_window([row]) for row in rows])
    assert_parity(loss, expected, F32_LOSS_SUM)
    # Of rows whose weights add up to 18, and of up to six rows: the row of the table is of two.
    scale = sum(row.weight for row in rows)
    for key, gradient in gradients.items():
        assert_parity(gradient / scale, wanted[key] / scale, F32_GRAD)


@pytest.mark.parametrize("name", ["llama", "qwen3_sliding"])
@pytest.mark.requirement("tier-a")
def test_answers_to_one_prompt_learn_as_with_peft(name: str, tmp_path: Path) -> None:
    base = write_tiny_model(tmp_path, name)
    ours, adapted = our_model(tmp_path)
    theirs = peft_model(base, tmp_path, adapted)
    generator = torch.Generator().manual_seed(6)
    prompt, *answers = (
        tuple(torch.randint(3, VOCAB, (n,), generator=generator).tolist()) for n in (33, 6, 9, 4)
    )
    rows = [
        EncodedRow((*prompt, *answer), (*(IGNORE_INDEX,) * len(prompt), *answer), line)
        for line, answer in enumerate(answers, start=1)
    ]
    (window,) = pack_shared([row.ids for row in rows], 100)
    assert window.n_tokens == 33 + 6 + 9 + 4

    loss = ours.loss_sum(collate_forest(window, rows))
    loss.backward()
    expected = sum(
        theirs(torch.tensor([row.ids]), labels=torch.tensor([row.labels])).loss * row.n_supervised
        for row in rows
    )
    assert isinstance(expected, Tensor)
    expected.backward()

    assert_parity(loss.detach(), expected.detach(), F32_LOSS_SUM)
    for m in block_modules(tmp_path):
        layer = theirs.base_model.model.get_submodule(m.theirs)
        mine = adapted[m.ours]
        for own, other in ((mine.a_RI, layer.lora_A), (mine.b_OR, layer.lora_B)):
            assert own.grad is not None
            assert differs(own.grad, torch.zeros_like(own), F32_GRAD)
            assert_parity(own.grad, other["default"].weight.grad, F32_GRAD)
