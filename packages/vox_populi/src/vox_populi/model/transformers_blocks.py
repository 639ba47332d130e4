"""Blocks of a class of transformers that are computed again for their backward pass.

The mechanism is ours (`activation_memory`), since that of the library draws other dropout masks the
second time and wants the whole model in training mode. A block keeps its first argument, and
everything else that it was given: positions, and what follows from them for all blocks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from torch import Tensor, nn

from vox_populi.hf.module_table import ModuleTable
from vox_populi.hf.own_mlps import mlp_paths
from vox_populi.model.activation_memory import Activations, repeated
from vox_populi.model.transformers_attention import current_segments, segments

_NOTHING_REPEATED = Activations()
_activations: ContextVar[Activations] = ContextVar("activations", default=_NOTHING_REPEATED)
"""What the pass that is being computed keeps."""


@contextmanager
def keeping(activations: Activations) -> Iterator[None]:
    """A block of code whose forward passes keep what these say."""
    token = _activations.set(activations)
    try:
        yield
    finally:
        _activations.reset(token)


def make_repeatable(model: nn.Module, table: ModuleTable) -> None:
    """Let the blocks of a class, and the MLPs in them, be computed again where that is asked for.

    Args:
        model: An instance of the class.
        table: What it consists of.
    """
    for number in range(len(table.layer_kinds)):
        block = model.get_submodule(f"{table.blocks}{number}")
        _wrap(block, lambda activations: activations.repeats_block)
    for path in mlp_paths(table):
        _wrap(model.get_submodule(path), lambda activations: activations.repeats_mlp)


def _wrap(module: nn.Module, applies: Callable[[Activations], bool]) -> None:
    forward = module.forward

    def called(*args: Any, **kwargs: Any) -> Any:
        activations = _activations.get()
        if not applies(activations):
            return forward(*args, **kwargs)
        first, *rest = args
        # The backward pass runs after the block of code that knows the borders, on a GPU in a
        # thread of its own.
        offsets = current_segments()

        def part(x_TD: Tensor, *, is_repeat: bool = False) -> Any:
            del is_repeat
            with segments(offsets), keeping(_NOTHING_REPEATED):
                return forward(x_TD, *rest, **kwargs)

        return repeated(part, first, activations)

    # Modules are called through this name; an attribute that is no module is not part of a state.
    module.forward = called
