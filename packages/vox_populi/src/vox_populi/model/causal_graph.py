"""The interface of a causal language model, independent of whose code computes it.

Two classes are such a graph: our `Transformer`, and `TransformersGraph` for what only transformers
has code for. Shape letters: T tokens, P requested positions, D width, V vocabulary.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from vox_populi.hf.keymap import HEAD
from vox_populi.hf.model_config import ModelConfig
from vox_populi.model.activation_memory import Activations
from vox_populi.model.kv_cache import KvCache
from vox_populi.model.kv_slots import SlotStep
from vox_populi.model.logit_factors import soft_capped
from vox_tensor.collate import PackedBatch
from vox_tensor.head_loss import linear_cross_entropy
from vox_tensor.lora import project_shared, projection_of


class CausalGraph(nn.Module):
    """A causal language model on packed tokens; its layers have the names of `hf.keymap`.

    A projection may be a `Linear`, a `FrozenLinear` or a `LoraLinear`.
    """

    config: ModelConfig
    activations: Activations
    """What training keeps of the blocks."""
    logit_cap: float | None
    """Bound of the logits, for families that have one."""
    whole_head: Callable[[], AbstractContextManager[None]] = nullcontext
    """A block of code that has the whole head, where several processes hold it together."""

    @property
    def device(self) -> torch.device:
        """Device of the model."""
        device: torch.device = self.layer("embed").weight.device
        return device

    @property
    def dtype(self) -> torch.dtype:
        """Type of the weights that are not quantised."""
        dtype: torch.dtype = self.layer("embed").weight.dtype
        return dtype

    joins_texts: ClassVar[bool] = True
    """Whether the next tokens of several texts can be computed in one pass."""

    def new_cache(self) -> KvCache:
        """An empty cache of keys and values for one text."""
        return KvCache(self.config.n_layers)

    @abstractmethod
    def hidden(
        self,
        batch: PackedBatch,
        keep_P: Tensor | None = None,
        cache: KvCache | SlotStep | None = None,
    ) -> Tensor:
        """Normed hidden states: `[T, D]`, or `[P, D]` at `keep_P` only."""

    def logits(
        self,
        batch: PackedBatch,
        keep_P: Tensor | None = None,
        cache: KvCache | SlotStep | None = None,
    ) -> Tensor:
        """Scores of the next token, `[T, V]` or `[P, V]`, in the compute dtype; see `hidden`."""
        hidden = self.hidden(batch, keep_P, cache)
        with self.whole_head():
            (out,) = project_shared(hidden, (projection_of(self.layer(HEAD), hidden),))
        return soft_capped(out, self.logit_cap)

    def loss_sum(self, batch: PackedBatch) -> Tensor:
        """Sum of the weighted cross entropies at supervised positions, a float32 scalar.

        The caller divides by the weights of the whole optimizer step.
        """
        hidden_PD, cap = self.hidden(batch, batch.supervised_P), self.logit_cap
        with self.whole_head():
            head = projection_of(self.layer(HEAD), hidden_PD)
            return linear_cross_entropy(
                hidden_PD, head, batch.targets_P, weights_P=batch.weights_P, cap=cap
            )

    def path(self, ours: str) -> str:
        """The path of a module, by our name of it."""
        return ours

    def layer(self, ours: str) -> Any:
        """A module by our name of it."""
        return self.get_submodule(self.path(ours))

    def put_layer(self, ours: str, layer: nn.Module) -> None:
        """Replace a module."""
        parent, _, child = self.path(ours).rpartition(".")
        setattr(self.get_submodule(parent), child, layer)

    def put_tensor(self, name: str, tensor: Tensor) -> None:
        """Take a tensor, by our name, in place of one without values."""
        owner, _, leaf = name.rpartition(".")
        module = self.layer(owner)
        if leaf in dict(module.named_buffers(recurse=False)):
            module.register_buffer(leaf, tensor)
        else:
            delattr(module, leaf)
            setattr(module, leaf, nn.Parameter(tensor, requires_grad=False))

    def fill(self, state: Mapping[str, Tensor]) -> None:
        """Take tensors, by our names, in place of those without values.

        Every tensor that is still without values after that is a bug.
        """
        self.load_state_dict(dict(state), strict=False, assign=True)
        self.tie_head()
        self.require_values()

    def require_values(self) -> None:
        """Check that no tensor is without values."""
        tensors = (*self.named_parameters(), *self.named_buffers())
        hollow = [name for name, tensor in tensors if tensor.is_meta]
        assert not hollow, f"left unfilled: {hollow}"

    @abstractmethod
    def tie_head(self) -> None:
        """Make the head share the embedding's tensor if the config says so."""
