"""A model of transformers as a graph: its class on packed rows, with our linear layers and loss.

Rows are packed through public hooks alone: the attention function (`transformers_attention`),
`position_ids`, `cu_seq_lens_*`, `max_length_*` and `seq_idx`, never a mask. Whether a class keeps
rows apart that way is proven before it is relied on (`packing_proof`); otherwise every row is
computed on its own. Shape letters: T tokens, P requested positions, D width, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from vox_populi.files.strict_json import read_json_object
from vox_populi.hf.inventory import ModelInventory
from vox_populi.hf.keymap import HEAD
from vox_populi.hf.linear_kernels import let_devices_decide
from vox_populi.hf.model_config import CONFIG_NAME, ModelConfig
from vox_populi.hf.module_table import PART
from vox_populi.hf.stored_names import join_tensors
from vox_populi.hf.transformers_classes import (
    backbone_of,
    built_model,
    foreign_class,
    load_transformers,
    takes_attention,
)
from vox_populi.model.activation_memory import Activations
from vox_populi.model.causal_graph import CausalGraph
from vox_populi.model.kv_cache import KvCache
from vox_populi.model.kv_slots import SlotStep
from vox_populi.model.transformers_attention import (
    ATTENTION,
    OWN_ATTENTION,
    register_attention,
    segments,
)
from vox_populi.model.transformers_blocks import keeping, make_repeatable
from vox_populi.model.transformers_cache import TransformersCache
from vox_populi.model.transformers_experts import register_experts, tell_experts_apart
from vox_tensor.collate import PackedBatch
from vox_tensor.host_copy import copied_to
from vox_tensor.lora import LoraLinear

_MAX_CONFIG_BYTES = 8 * 1024 * 1024


def graph_of_folder(inventory: ModelInventory, dtype: torch.dtype) -> TransformersGraph:
    """The graph of a model folder, whose tensors have no values yet.

    Raises:
        ModelError: When the config cannot be read any more.
    """
    path = inventory.model_dir / CONFIG_NAME
    raw = read_json_object(path, _MAX_CONFIG_BYTES)
    return TransformersGraph(inventory.config, raw, dtype)


class TransformersGraph(CausalGraph):
    """A causal language model that transformers computes.

    Args:
        config: What we know of it; it has the table of its modules.
        raw: The content of its `config.json`.
        dtype: Type of the weights to come.
    """

    joins_texts = False

    def __init__(self, config: ModelConfig, raw: Mapping[str, object], dtype: torch.dtype) -> None:
        super().__init__()
        assert config.modules is not None, "transformers computes it"
        register_attention()
        self.config = config
        self.activations = Activations()
        self.packs = False
        """Whether several rows are computed in one pass."""
        found = foreign_class(raw, CONFIG_NAME)
        self.attention = ATTENTION if takes_attention(found) else OWN_ATTENTION
        """Name of the attention that computes it."""
        functions = {"attn_implementation": self.attention}
        if config.modules.experts:
            functions["experts_implementation"] = register_experts()
        with _Hollow():
            self.inner: Any = built_model(found, dtype=dtype, **functions)
        let_devices_decide(type(backbone_of(self.inner)))
        self._turn_conv1d()
        make_repeatable(self.inner, config.modules)
        self._joined = config.modules.joined
        self._parts: dict[str, dict[str, Tensor]] = {}
        """Tensors of a folder that wait for others that they are joined with."""
        self._paths = {module.ours: module.theirs for module in config.modules.modules}
        self._paths["embed"] = config.modules.embed
        self._paths |= tell_experts_apart(self.inner, config.modules)
        self._text_config = found.text
        self._head_scale = head_scale(found.text)
        self.logit_cap = getattr(found.text, "final_logit_softcapping", None)
        self.eval()

    def new_cache(self) -> KvCache:
        """An empty cache for one text."""
        return TransformersCache(self._text_config)

    def path(self, ours: str) -> str:
        """The path of a module, by our name of it."""
        return f"inner.{self._paths.get(ours, ours)}"

    def train(self, mode: bool = True) -> TransformersGraph:
        """Turn the dropout of adapters on or off; the base stays as in evaluation."""
        super().train(mode=False)
        for module in self.modules():
            if isinstance(module, LoraLinear):
                module.train(mode)
        return self

    def hidden(
        self,
        batch: PackedBatch,
        keep_P: Tensor | None = None,
        cache: KvCache | SlotStep | None = None,
    ) -> Tensor:
        """Normed hidden states, with the factor of the logits: `[T, D]`, or `[P, D]` at `keep_P`.

        Raises:
            ValueError: For what only our own graph does: rows with a common beginning, and the next
                tokens of several texts.
        """
        if batch.branches or isinstance(cache, SlotStep):
            message = "a pass computes whole rows here, or the end of one text"
            raise ValueError(message)
        if isinstance(cache, TransformersCache):
            hidden_TD = self._continued(batch, cache)
        elif self.packs and len(batch.offsets) > 2:
            hidden_TD = self._pass(batch.ids_T, batch.positions_T, batch.offsets)
        else:
            hidden_TD = torch.cat(
                [
                    self._pass(batch.ids_T[a:b], batch.positions_T[a:b], (0, b - a))
                    for a, b in pairwise(batch.offsets)
                ]
            )
        kept_PD = hidden_TD if keep_P is None else hidden_TD.index_select(0, keep_P)
        return kept_PD if self._head_scale == 1 else kept_PD * self._head_scale

    def _pass(
        self, ids_T: Tensor, positions_T: Tensor, offsets: tuple[int, ...], **more: Any
    ) -> Tensor:
        passed = {"use_cache": False, **_borders(offsets, ids_T.device), **more}
        kept = self.activations if torch.is_grad_enabled() else Activations()
        with segments(offsets), keeping(kept):
            out = backbone_of(self.inner)(
                input_ids=ids_T.unsqueeze(0), position_ids=positions_T.unsqueeze(0), **passed
            )
        hidden_TD: Tensor = out.last_hidden_state[0]
        return hidden_TD

    def _continued(self, batch: PackedBatch, cache: TransformersCache) -> Tensor:
        kept = {"use_cache": True, "past_key_values": cache.inner}
        hidden_TD = self._pass(batch.ids_T, batch.positions_T, batch.offsets, **kept)
        cache.grow(batch.n_tokens)
        return hidden_TD

    def put_tensor(self, name: str, tensor: Tensor) -> None:
        """Take a tensor, by our name, in place of one without values; parts once all are there."""
        whole, _, number = name.partition(PART)
        if not number:
            super().put_tensor(name, tensor)
            return
        names, parts = self._joined[whole], self._parts.setdefault(whole, {})
        parts[names[int(number)]] = tensor
        if len(parts) == len(names):
            for theirs, made in join_tensors(self.inner, self._parts.pop(whole)).items():
                super().put_tensor(theirs, made)

    def fill(self, state: Mapping[str, Tensor]) -> None:
        """Take tensors, by our names, in place of those without values."""
        device = next(iter(state.values())).device
        for name, tensor in state.items():
            self.put_tensor(name, tensor)
        self.tie_head()
        for module in self.modules():
            for leaf, buffer in module.named_buffers(recurse=False):
                setattr(module, leaf, buffer.to(device))
        self.require_values()

    def tie_head(self) -> None:
        """Make the head share the embedding's tensor if the config says so."""
        if self.config.tie_word_embeddings:
            self.layer(HEAD).weight = self.layer("embed").weight

    def _turn_conv1d(self) -> None:
        """Replace layers that are stored `[in, out]` by those that our products expect."""
        turned = load_transformers().pytorch_utils.Conv1D
        for path, module in list(self.inner.named_modules()):
            if isinstance(module, turned):
                n_in, n_out = module.weight.shape
                parent, _, child = path.rpartition(".")
                layer = nn.Linear(n_in, n_out, device="meta", dtype=module.weight.dtype)
                setattr(self.inner.get_submodule(parent), child, layer)


def head_scale(config: Any) -> float:
    """The factor of the logits in the classes that have one; the proof finds what is missing.

    Args:
        config: The config of a class of transformers.
    """
    for name in ("logit_scale", "lm_head_multiplier"):
        factor = getattr(config, name, None)
        if isinstance(factor, float | int):
            return float(factor)
    divisor = getattr(config, "logits_scaling", None)
    return 1.0 if divisor is None else 1.0 / float(divisor)


def _borders(offsets: tuple[int, ...], device: torch.device) -> dict[str, Any]:
    """What the layers of a class are told of several rows; nothing of a single one."""
    if len(offsets) == 2:
        return {}
    lengths = [b - a for a, b in pairwise(offsets)]
    borders = copied_to(torch.tensor(offsets, dtype=torch.int32), device)
    numbers = torch.arange(len(lengths), dtype=torch.int32).repeat_interleave(torch.tensor(lengths))
    return {
        "cu_seq_lens_q": borders,
        "cu_seq_lens_k": borders,
        "max_length_q": max(lengths),
        "max_length_k": max(lengths),
        "seq_idx": copied_to(numbers.unsqueeze(0), device),
    }


class _Hollow(TorchFunctionMode):
    """Tensors that a class makes for weights have no values; what it computes for buffers has."""

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Called by torch for each of its functions."""
        given = dict(kwargs or {})
        if func is torch.empty:
            given["device"] = "meta"
        return func(*args, **given)
