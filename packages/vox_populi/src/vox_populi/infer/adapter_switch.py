"""Several adapters over one base in memory, one of which counts at a time."""

from __future__ import annotations

from collections.abc import Mapping

from vox_populi.model.causal_graph import CausalGraph
from vox_tensor.lora import LoraLinear

BASE = ""
"""Name under which no adapter counts."""


class AdapterSwitch:
    """Puts the layers of one adapter, or none, into a model.

    An adapted layer computes exactly what it would compute were its adapter the only one.
    """

    def __init__(self, model: CausalGraph) -> None:
        self.model = model
        self._layers: dict[str, Mapping[str, LoraLinear]] = {BASE: {}}
        self._current = BASE

    def keep(self, name: str, adapted: Mapping[str, LoraLinear]) -> None:
        """Keep an adapter that was just attached to the base, and take its layers out.

        Args:
            name: Anything but `BASE`; not taken yet.
            adapted: Its layers by our module name.
        """
        assert self._current == BASE, "an adapter is attached to the base alone"
        assert name not in self._layers, "every adapter has a name of its own"
        for layer in adapted.values():
            layer.eval()
        self._layers[name] = adapted
        self._current = name
        self.use(BASE)

    def use(self, name: str) -> None:
        """Let one adapter count, or none.

        Raises:
            KeyError: For a name that is not kept.
        """
        wanted = self._layers[name]
        if name == self._current:
            return
        for place, layer in self._layers[self._current].items():
            self.model.put_layer(place, layer.base)
        for place, layer in wanted.items():
            self.model.put_layer(place, layer)
        self._current = name
