"""`quantization_config` of a `config.json`: bitsandbytes' nf4, MXFP4, or a refusal by its name.

The parts of a packed weight describe how it is packed (`hf.nf4_stored`, `hf.mxfp4_stored`); here
only the format is decided.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from vox_populi.hf.config_fields import ConfigFields
from vox_populi.operator_messages import quantize as say

FIELD = "quantization_config"

_METHODS = ("bitsandbytes", "bitsandbytes_4bit")
_MXFP4 = "mxfp4"
_DEFAULT_TYPE = "fp4"
"""What transformers assumes for a 4-bit folder without a type."""


def parse_quantization(fields: ConfigFields) -> bool:
    """Whether a config announces nf4 weights; every other quantisation becomes a problem."""
    if fields.value(FIELD) in (None, {}, [], False):
        return False
    settings = fields.mapping(FIELD)
    if settings is None:
        return False
    unreadable = _unreadable_form(ConfigFields(settings, fields.where, fields.problems))
    if unreadable is not None:
        fields.problems.append(say.quantization_unsupported(unreadable).at(fields.where))
    return unreadable is None


@dataclass(frozen=True, slots=True)
class Mxfp4Form:
    """What a config says of weights in MXFP4."""

    dense_modules: tuple[str, ...] = ()
    """Modules whose tensors are dense: beginnings or ends of paths, `*` for anything."""

    def pattern_for(self, module: str) -> str | None:
        """The entry that says that a module is dense, if one does.

        transformers takes entries for regular expressions; those that are published have no more
        of these than `*`, and an expression of a stranger may take hours.
        """
        for entry in self.dense_modules:
            begins = ".*".join(re.escape(part) for part in entry.split("*"))
            if module.endswith(entry) or re.match(rf"{begins}(?:(?<=\.)|(?=\.|$))", module):
                return entry
        return None


def parse_mxfp4(fields: ConfigFields) -> Mxfp4Form | None:
    """What a config says of MXFP4; `None` where it says nothing or names another format."""
    raw = fields.raw.get(FIELD)
    if not isinstance(raw, dict) or raw.get("quant_method") != _MXFP4:
        return None
    settings = ConfigFields(raw, fields.where, fields.problems)
    return Mxfp4Form(settings.texts("modules_to_not_convert") or ())


def quantization_settings(
    *, double_quant: bool, compute_dtype: str, skipped: tuple[str, ...]
) -> dict[str, object]:
    """The entry for a folder that we write, as transformers' `BitsAndBytesConfig` reads it.

    It has no field for the block size; loaders read that from each weight.

    Args:
        double_quant: Whether block magnitudes are packed as well.
        compute_dtype: Dtype of products, such as `float32`.
        skipped: Module names that stay dense.
    """
    return {
        "quant_method": _METHODS[0],
        "load_in_4bit": True,
        "load_in_8bit": False,
        "bnb_4bit_quant_type": "nf4",
        "bnb_4bit_use_double_quant": double_quant,
        "bnb_4bit_compute_dtype": compute_dtype,
        "bnb_4bit_quant_storage": "uint8",
        "llm_int8_skip_modules": list(skipped),
        "llm_int8_threshold": 6.0,
        "llm_int8_enable_fp32_cpu_offload": False,
        "llm_int8_has_fp16_weight": False,
    }


def _unreadable_form(settings: ConfigFields) -> str | None:
    """The name of a format that is not bitsandbytes' nf4, or `None`."""
    is_4bit = settings.flag("load_in_4bit", default=False)
    is_8bit = settings.flag("load_in_8bit", default=False)
    # Folders of early transformers versions carry the flags alone.
    method = settings.text("quant_method", default=_METHODS[0] if is_4bit or is_8bit else "")
    if method not in _METHODS:
        return method or "no quant_method"
    if is_8bit:
        return "bitsandbytes int8 (load_in_8bit)"
    if not is_4bit:
        return "bitsandbytes without load_in_4bit"
    kind = settings.text("bnb_4bit_quant_type", default=_DEFAULT_TYPE)
    if kind != "nf4":
        return f"bitsandbytes {kind} (bnb_4bit_quant_type)"
    storage = settings.text("bnb_4bit_quant_storage", default="uint8")
    return None if storage == "uint8" else f"nf4 stored as {storage} (bnb_4bit_quant_storage)"
