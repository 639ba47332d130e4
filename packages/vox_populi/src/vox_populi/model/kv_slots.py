"""Keys and values of several texts that are continued together, one text per slot.

The texts have different lengths: a slot is padded to the right, and the padding is masked. Shape
letters: S slots in memory, N texts (slots 0 to N - 1), C capacity of a slot, L longest text, T
tokens, H query heads, K key/value heads, E head dim.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from vox_populi.model.kv_cache import KvCache
from vox_tensor.capped_attention import capped_slots
from vox_tensor.host_copy import copied_to
from vox_tensor.score_rule import ScoreRule
from vox_tensor.segment_attention import padded_attention

_STEP = 64
"""A slot's capacity is a multiple of this many tokens."""


class KvSlots:
    """The slots of a model's layers, for inference only. Texts are kept without gaps."""

    def __init__(self, n_layers: int) -> None:
        self.lengths: list[int] = []
        """Tokens of each text."""
        self._reserved: list[int] = []
        self._shape = (0, 0)
        """Slots and tokens of a slot in memory."""
        self._keys: list[Tensor | None] = [None] * n_layers
        self._values: list[Tensor | None] = [None] * n_layers

    def __len__(self) -> int:
        return len(self.lengths)

    @property
    def tokens(self) -> int:
        """Tokens of memory that the slots take."""
        slots, tokens = self._shape
        return slots * tokens

    def tokens_with(self, capacities: Sequence[int]) -> int:
        """Tokens of memory that the slots take with more texts of these capacities."""
        slots, tokens = self._shape_with(capacities)
        return slots * tokens

    def add(self, cache: KvCache, capacity: int) -> None:
        """Copy a text's keys and values into the next slot.

        Args:
            cache: What was computed for the text alone.
            capacity: Tokens that the text can grow to.
        """
        slot, length = len(self), cache.layers[0].length
        assert length <= capacity, "the text must fit into what is reserved for it"
        self._shape = self._shape_with([capacity])
        for index, layer in enumerate(cache.layers):
            keys_TKE, values_TKE = layer.held()
            for held, new_TKE in ((self._keys, keys_TKE), (self._values, values_TKE)):
                stored_SCKE = _of_shape(held[index], new_TKE, self._shape)
                stored_SCKE[slot, :length] = new_TKE
                # What another text left would be multiplied by zero, which NaN survives.
                stored_SCKE[slot, length:] = 0
                held[index] = stored_SCKE
        self.lengths.append(length)
        self._reserved.append(capacity)

    def remove(self, slot: int) -> None:
        """Drop a text; the last one moves into its slot. Without texts all memory is returned."""
        last = len(self) - 1
        for held in (self._keys, self._values):
            for stored in held if slot != last else ():
                assert stored is not None, "there is a text"
                stored[slot] = stored[last]
        for numbers in (self.lengths, self._reserved):
            numbers[slot] = numbers[last]
            numbers.pop()
        if not self.lengths:
            self._keys = [None] * len(self._keys)
            self._values = [None] * len(self._values)
            self._shape = (0, 0)

    def step(self) -> SlotStep:
        """A pass over one new token of every text; `SlotStep.done` makes it count."""
        return SlotStep(self)

    def _shape_with(self, capacities: Sequence[int]) -> tuple[int, int]:
        """Slots and tokens with more texts; what is more than twice too large shrinks."""
        slots = 1 << (len(self) + len(capacities) - 1).bit_length()
        tokens = -(-max((*self._reserved, *capacities)) // _STEP) * _STEP
        wanted = zip(self._shape, (slots, tokens), strict=True)
        has_slots, has_tokens = (has if need <= has <= 2 * need else need for has, need in wanted)
        return has_slots, has_tokens

    def append(
        self, layer: int, places: Tensor, k_NKE: Tensor, v_NKE: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Store one token of each text at its end; views of all texts, `[N, L + 1, K, E]`.

        Args:
            layer: Which layer.
            places: int64 `[N]`: length of each text.
            k_NKE: New keys.
            v_NKE: New values.
        """
        n, end = len(self), max(self.lengths) + 1
        rows = torch.arange(n, device=places.device)
        views = []
        for held, new_NKE in ((self._keys, k_NKE), (self._values, v_NKE)):
            stored_SCKE = held[layer]
            assert stored_SCKE is not None, "there is a text"
            stored_SCKE[rows, places] = new_NKE
            views.append(stored_SCKE[:n, :end])
        return views[0], views[1]


class SlotStep:
    """One new token for each text of some slots, through all layers."""

    def __init__(self, slots: KvSlots) -> None:
        self._slots = slots
        self._places: Tensor | None = None
        self._masks: dict[int | None, Tensor] = {}

    def attend(self, layer: int, heads: Sequence[Tensor], rule: ScoreRule) -> Tensor:
        """Softmax attention of each text's new token over its text: `[N, H, E]`.

        Args:
            layer: Which layer.
            heads: Queries `[N, H, E]`, keys and values `[N, K, E]` of the new tokens.
            rule: Scale, window and soft cap of the layer.
        """
        q_NHE, k_NKE, v_NKE = heads
        if self._places is None:
            self._places = copied_to(torch.tensor(self._slots.lengths), q_NHE.device)
        k_NLKE, v_NLKE = self._slots.append(layer, self._places, k_NKE, v_NKE)
        mask_NL = self._mask(self._places, k_NLKE.shape[1], rule.window)
        if rule.cap is not None:
            return capped_slots(q_NHE, k_NLKE, v_NLKE, mask_NL, rule)
        return padded_attention(q_NHE, k_NLKE, v_NLKE, mask_NL, scale=rule.scale)

    def done(self) -> None:
        """Count the new tokens, which every layer has stored."""
        self._slots.lengths[:] = [length + 1 for length in self._slots.lengths]

    def _mask(self, places_N: Tensor, n_keys: int, window: int | None) -> Tensor:
        """Which keys each new token sees: those of its text up to itself, within the window."""
        if window not in self._masks:
            keys_L = torch.arange(n_keys, device=places_N.device)
            behind_NL = places_N.unsqueeze(1) - keys_L.unsqueeze(0)
            seen_NL = behind_NL >= 0
            self._masks[window] = seen_NL if window is None else seen_NL & (behind_NL < window)
        return self._masks[window]


def _of_shape(held_SCKE: Tensor | None, like_TKE: Tensor, shape: tuple[int, int]) -> Tensor:
    """The stored tensor, or a copy with as many slots and tokens as asked for."""
    if held_SCKE is not None and held_SCKE.shape[:2] == shape:
        return held_SCKE
    made_SCKE = like_TKE.new_zeros((*shape, *like_TKE.shape[1:]))
    if held_SCKE is not None:
        slots, tokens = (min(pair) for pair in zip(held_SCKE.shape[:2], shape, strict=True))
        made_SCKE[:slots, :tokens] = held_SCKE[:slots, :tokens]
    return made_SCKE
