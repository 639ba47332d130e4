"""Proof that a class of transformers keeps packed rows apart, on a toy of the base's own config.

Three rows are computed alone by the class itself, alone through our graph, and packed into one
pass. What the class computes alone is the truth: the first comparison proves our attention, head
and layers, the second that no row sees another. The same for the gradients of every adapter.
Shape letters: T tokens, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from inspect import signature
from itertools import cycle
from typing import NamedTuple

import torch
from torch import Tensor, nn

from vox_populi.errors import ModelError, first_line
from vox_populi.hf.graph_source import GraphSource
from vox_populi.hf.keymap import TensorKey, adapter_modules, tensor_keys
from vox_populi.hf.linear_kernels import has_package_kernels, kernels_of
from vox_populi.hf.model_config import parse_model_config
from vox_populi.hf.module_table import block_number
from vox_populi.hf.small_config import small_config
from vox_populi.hf.transformers_classes import FAILURES, backbone_of
from vox_populi.model.activation_memory import ActivationMemory, Activations
from vox_populi.model.lora_transformer import adapter_parameters, attach_adapters
from vox_populi.model.transformers_attention import OWN_ATTENTION
from vox_populi.model.transformers_experts import experts_of_the_class
from vox_populi.model.transformers_graph import TransformersGraph
from vox_populi.operator_messages import transformers_graph as say
from vox_tensor.collate import PackedBatch, collate_window
from vox_tensor.lora_spec import LoraSpec
from vox_tensor.records import EncodedRow

_LENGTHS = (9, 3, 13)
"""A short row between two that reach over every window of the toy."""
_SEED = 20_405
_SPREAD = 0.08
"""Spread of the toy's weights; attention is then far from uniform."""


_MARKS = frozenset({"token_type_ids", "mm_token_type_ids"})
"""Arguments by which processors say what each token is; zero is text."""
_REPEATED = (ActivationMemory.FULL, ActivationMemory.SELECTIVE)
_TINY = 1e-20
"""Less than any value that matters, in place of zero."""


class Differences(NamedTuple):
    """The largest differences that were measured; logits and gradients relative to the largest."""

    alone: float
    """Logits of a row through our graph, from those of the class itself."""
    marked: float = 0.0
    """Logits of the class itself if the tokens are said to be text, from those without a word."""
    blocks_passed: int = 0
    """Blocks whose adapters get no gradient from text."""
    packed: float = float("inf")
    """Logits of packed rows, from those of the rows alone."""
    gradients: float = float("inf")
    """The same for the gradients of the adapters."""
    refused: str = ""
    """What the class said to packed rows, if it refuses them."""
    repeats: bool = False
    """Whether blocks and MLPs that are computed again give the same gradients, bit for bit."""
    kernels: tuple[tuple[str, str], ...] = ()
    """What computed linear attention: packages that the class can use, with version or `torch`."""


def measure_packing(raw: Mapping[str, object], where: str, device: str = "cpu") -> Differences:
    """Compare packed rows with rows alone on a toy of a config.

    Args:
        raw: The content of a `config.json`.
        where: Names the file in errors.
        device: Where the base will be trained. The toy is there too if kernels of a package
            compute the class there; otherwise it is on the CPU.

    Raises:
        ModelError: When the class cannot be built or cannot be computed.
    """
    toy = _Toy.of(raw, where)
    model_class = type(backbone_of(toy.graph.inner))
    is_there = has_package_kernels(model_class) and device == "cuda" and torch.cuda.is_available()
    place = device if is_there else "cpu"
    toy.graph.to(place)
    found = _compared(toy, where, place)
    return found._replace(kernels=tuple(kernels_of(model_class, place).items()))


def _compared(toy: _Toy, where: str, place: str) -> Differences:
    rows = _rows(toy.graph.config.vocab_size)
    batches = [collate_window([row], place) for row in rows]
    window = collate_window(rows, place)
    try:
        own = torch.cat([toy.own_logits(batch) for batch in batches])
        alone = torch.cat([toy.logits(batch) for batch in batches])
        gradients = toy.gradients(batches)
    except FAILURES as error:
        name = type(toy.graph.inner).__name__
        raise ModelError(say.class_unusable(where, name, first_line(error))) from error
    found = Differences(_difference(alone, own), *_about_text(toy, batches, own, gradients))
    found = found._replace(repeats=_repeats(toy, batches, gradients))
    toy.graph.packs = True
    try:
        packed, together = toy.logits(window), toy.gradients([window])
    except FAILURES as error:
        return found._replace(refused=first_line(error))
    worst = max(_difference(together[name], each) for name, each in gradients.items())
    return found._replace(packed=_difference(packed, alone), gradients=worst)


def _about_text(
    toy: _Toy, batches: Sequence[PackedBatch], own: Tensor, gradients: Mapping[str, Tensor]
) -> tuple[float, int]:
    """What a class around a text model does otherwise with text than to continue it.

    Returns:
        By how much the logits of tokens that are marked as text differ, and how many blocks text
        goes past.
    """
    if toy.graph.config.outer is None:
        return 0.0, 0
    marked = torch.cat([toy.own_logits(batch, is_marked=True) for batch in batches])
    reached = {block_number(name) for name, each in gradients.items() if each.any()}
    return _difference(marked, own), toy.graph.config.n_layers - len(reached - {None})


def _repeats(toy: _Toy, batches: Sequence[PackedBatch], expected: Mapping[str, Tensor]) -> bool:
    """Whether gradients stay the same with some rows' MLPs, and others' blocks, computed again."""
    try:
        found = toy.gradients(batches, _REPEATED)
    except FAILURES:
        return False
    return all(torch.equal(found[name], each) for name, each in expected.items())


class _Toy(NamedTuple):
    """A class in small, with weights and adapters that all matter."""

    graph: TransformersGraph
    parameters: Mapping[str, nn.Parameter]
    """A and B of its adapters."""

    @classmethod
    def of(cls, raw: Mapping[str, object], where: str) -> _Toy:
        small = small_config(raw)
        config = parse_model_config(small, where, GraphSource.TRANSFORMERS)
        graph = TransformersGraph(config, small, torch.float32)
        stream = torch.Generator().manual_seed(_SEED)
        state = {key.ours: _values(key, stream) for key in tensor_keys(config)}
        graph.fill(state)
        spec = LoraSpec(rank=2, alpha=4.0)
        # Some classes ask the weight of their head for its type, and an adapter has none.
        in_blocks = adapter_modules(config)[:-1]
        adapted = attach_adapters(graph, in_blocks, spec, stream)
        with torch.no_grad():
            for layer in adapted.values():
                layer.b_OR.normal_(std=_SPREAD, generator=stream)
        return cls(graph, adapter_parameters(adapted))

    @torch.no_grad()
    def own_logits(self, batch: PackedBatch, *, is_marked: bool = False) -> Tensor:
        """What the class itself makes of one row, with its own attention and experts.

        Args:
            batch: The row.
            is_marked: Whether its tokens are said to be text, to a class that can be told so.
        """
        inner, table = self.graph.inner, self.graph.config.modules
        assert table is not None, "transformers computes it"
        ids_1T = batch.ids_T.unsqueeze(0)
        known = signature(type(inner).forward).parameters.keys() & _MARKS if is_marked else ()
        marks = {name: torch.zeros_like(ids_1T) for name in known}
        inner.set_attn_implementation(OWN_ATTENTION)
        try:
            with experts_of_the_class(inner, table):
                out: Tensor = inner(input_ids=ids_1T, use_cache=False, **marks).logits[0]
        finally:
            inner.set_attn_implementation(self.graph.attention)
        return out

    @torch.no_grad()
    def logits(self, batch: PackedBatch) -> Tensor:
        """The same through our graph."""
        return self.graph.logits(batch)

    def gradients(
        self,
        batches: Sequence[PackedBatch],
        kept: Sequence[ActivationMemory] = (ActivationMemory.NONE,),
    ) -> dict[str, Tensor]:
        """The gradients of a step over all batches, in turn with these activations kept."""
        losses = []
        for batch, memory in zip(batches, cycle(kept)):
            self.graph.activations = Activations(memory)
            losses.append(self.graph.loss_sum(batch))
        loss, parameters = torch.stack(losses).sum(), tuple(self.parameters.values())
        found = torch.autograd.grad(loss, parameters, allow_unused=True, materialize_grads=True)
        return dict(zip(self.parameters, found, strict=True))


def _difference(found: Tensor, expected: Tensor) -> float:
    """The largest difference, relative to the largest value that is expected."""
    return float((found - expected).abs().max() / expected.abs().max().clamp_min(_TINY))


def _values(key: TensorKey, stream: torch.Generator) -> Tensor:
    """Weights and biases around zero, everything else of one dimension around one."""
    middle = 1.0 if len(key.shape) < 2 and not key.ours.endswith("bias") else 0.0
    return torch.empty(key.our_shape).normal_(middle, _SPREAD, generator=stream)


def _rows(vocab_size: int) -> list[EncodedRow]:
    stream = torch.Generator().manual_seed(_SEED)
    rows = []
    for line, length in enumerate(_LENGTHS, start=1):
        ids = tuple(torch.randint(vocab_size, (length,), generator=stream).tolist())
        rows.append(EncodedRow(ids=ids, labels=ids, line=line))
    return rows
