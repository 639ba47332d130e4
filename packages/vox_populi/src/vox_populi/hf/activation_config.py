"""The activation of an MLP, as a `config.json` spells it."""

from __future__ import annotations

from vox_populi.hf.config_fields import ConfigFields
from vox_populi.hf.model_family import Activation

_ACTIVATIONS = {
    "silu": Activation.SILU,
    "swish": Activation.SILU,
    "gelu": Activation.GELU,
    "gelu_new": Activation.GELU_TANH,
    "gelu_pytorch_tanh": Activation.GELU_TANH,
    "gelu_fast": Activation.GELU_TANH,
}


def activation_of(fields: ConfigFields, name: str, default: str) -> Activation:
    """The activation of a field; any other is noted as not supported."""
    value = fields.text(name, default=default)
    if value not in _ACTIVATIONS:
        fields.unsupported(name, value, f"an activation other than {', '.join(_ACTIVATIONS)}")
    return _ACTIVATIONS.get(value, Activation.SILU)
