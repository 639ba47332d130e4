"""The classes of transformers: which one a config means, and an instance of it without weights.

Only classes inside transformers are ever used. Code in a model folder (`auto_map`) is not run
(decision 0009). torch and transformers are imported when a function here is called.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any, NamedTuple

from vox_populi import extras
from vox_populi.errors import ModelError, first_line
from vox_populi.hf.text_part import SECTION
from vox_populi.operator_messages import transformers_graph as say

TESTED_MINORS = ((5, 23), (5, 24))
"""Versions of transformers whose hooks this program was tested with; `pyproject.toml` has them."""

FAILURES = (
    ValueError, TypeError, LookupError, AttributeError, RuntimeError, ImportError, ArithmeticError,
    AssertionError,
)  # fmt: skip
"""What the code of a class raises for a config that it cannot take."""

_NOT_PASSED_ON = ("auto_map", "quantization_config", "torch_dtype", "dtype", "_name_or_path")
"""Keys of a `config.json` that a config without weights must not have."""


class ForeignClass(NamedTuple):
    """A class of transformers with a config of it."""

    config: Any
    """Its `PretrainedConfig`."""
    class_name: str
    version: str
    is_nested: bool = False
    """Whether the class holds more than its text model, such as an encoder of images."""

    @property
    def text(self) -> Any:
        """The config of the text model."""
        return self.config.get_text_config(decoder=True)


def foreign_class(raw: Mapping[str, object], where: str) -> ForeignClass:
    """The class of transformers for a `config.json`.

    Args:
        raw: Content of the file.
        where: Names the file in errors.

    Raises:
        MissingExtraError: Without transformers.
        ModelError: For another version of it, for a model type that it does not have as a causal
            language model or around one, or for a config that it refuses.
    """
    transformers = load_transformers()
    model_type = str(raw.get("model_type"))
    try:
        config_class = transformers.CONFIG_MAPPING[model_type]
        is_nested = _is_nested(config_class, raw)
        model_class = _classes(is_nested=is_nested)[config_class]
    except KeyError:
        version = transformers.__version__
        raise ModelError(say.no_such_class(where, model_type, version)) from None
    name = model_class.__name__
    if not model_class.__module__.startswith("transformers."):
        raise ModelError(say.class_outside(where, name))
    refuse_other_architecture(raw, where, name)
    passed = {key: _plain(value) for key, value in raw.items() if key not in _NOT_PASSED_ON}
    try:
        config = config_class.from_dict(passed)
    except (*FAILURES, _field_error()) as error:
        raise ModelError(say.config_refused(where, name, _last_line(error))) from error
    found = ForeignClass(config, name, transformers.__version__, is_nested)
    if any(getattr(each, "is_encoder_decoder", False) for each in (config, found.text)):
        raise ModelError(say.no_such_class(where, model_type, transformers.__version__))
    return found


def _is_nested(config_class: Any, raw: Mapping[str, object]) -> bool:
    """Whether a folder is of a class around a text model; some types have one of that alone too."""
    around = _classes(is_nested=True).get(config_class, None)
    if around is None or SECTION not in config_class.sub_configs:
        return False
    alone = _classes(is_nested=False).get(config_class, around)
    return alone is around or [alone.__name__] != raw.get("architectures")


def _classes(*, is_nested: bool) -> Any:
    """The classes by those of their configs."""
    transformers = load_transformers()
    if is_nested:
        return transformers.MODEL_FOR_MULTIMODAL_LM_MAPPING
    return transformers.MODEL_FOR_CAUSAL_LM_MAPPING


def _plain(value: object) -> object:
    """A value of a config; transformers writes infinity as `{"__float__": "Infinity"}`."""
    if isinstance(value, Mapping):
        if list(value) == ["__float__"]:
            return float(str(value["__float__"]))
        return {key: _plain(each) for key, each in value.items()}
    return [_plain(each) for each in value] if isinstance(value, list) else value


def _field_error() -> Any:
    """What a config raises for a field of another type; it is none of Python's errors."""
    return extras.load("huggingface_hub.errors").StrictDataclassError


def _last_line(error: Exception) -> str:
    """The part of a message that says what is wrong with which field."""
    return " ".join(line.strip() for line in str(error).splitlines()).rstrip(".")


def refuse_other_architecture(raw: Mapping[str, object], where: str, name: str) -> None:
    """Refuse a folder of another class than the causal language model of its type.

    Raises:
        ModelError: With the class that the folder names.
    """
    named = raw.get("architectures")
    if not isinstance(named, list) or not named or name in named:
        return
    stem = name.removesuffix("ForCausalLM").removesuffix("ForConditionalGeneration")
    if f"{stem}Model" not in named:
        raise ModelError(say.other_architecture(where, str(named[0]), name))


def load_transformers() -> Any:
    """transformers, quiet.

    Raises:
        MissingExtraError: Without it.
        ModelError: For a version that was not tested.
    """
    transformers = extras.load("transformers")
    version = str(transformers.__version__)
    minor = tuple(int(part) for part in version.split(".")[:2])
    if minor not in TESTED_MINORS:
        raise ModelError(say.version_untested(version, TESTED_MINORS))
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    return transformers


def takes_attention(found: ForeignClass) -> bool:
    """Whether a class computes attention with a function that can be registered.

    Others have their own code for it only.
    """
    if found.is_nested:
        computing = load_transformers().MODEL_MAPPING.get(type(found.text), None)
    else:
        computing = _classes(is_nested=False)[type(found.config)]
    if computing is None:
        return False
    return "ALL_ATTENTION_FUNCTIONS" in vars(sys.modules[computing.__module__])


def hollow_model(found: ForeignClass, where: str) -> Any:
    """An instance whose tensors have shapes and no values.

    Raises:
        ModelError: When the class cannot be built from the config.
    """
    torch = extras.load("torch")
    try:
        with torch.device("meta"):
            model = built_model(found)
    except FAILURES as error:
        raise ModelError(say.config_refused(where, found.class_name, first_line(error))) from error
    if found.is_nested and backbone_of(model) in (model, model.base_model):
        raise ModelError(say.text_model_not_found(where, found.class_name))
    return model


def built_model(found: ForeignClass, **options: Any) -> Any:
    """An instance of a class; of one around a text model, what text passes through and no more.

    Args:
        found: The class.
        options: As `from_config` takes them.
    """
    transformers = load_transformers()
    if not found.is_nested:
        return transformers.AutoModelForCausalLM.from_config(found.config, **options)
    model = transformers.AutoModelForMultimodalLM.from_config(found.config, **options)
    _keep_text(model)
    return model


def backbone_of(model: Any) -> Any:
    """The part of a class that makes hidden states of text.

    Args:
        model: As `built_model` makes it.
    """
    base = model.base_model
    # Some classes say that they are all base.
    whole = getattr(model, "model", model) if base is model else base
    return whole.get_decoder() if type(model.config).sub_configs.get(SECTION) else whole


def _keep_text(model: Any) -> None:
    """Remove the layers and weights that text alone does not reach."""
    kept = [model.get_decoder(), model.get_output_embeddings()]
    paths = [path for path, module in model.named_modules() if any(module is k for k in kept)]
    for path, module in list(model.named_modules()):
        start = f"{path}." if path else ""
        if path in paths or not any(each.startswith(start) for each in paths):
            continue
        for name, _ in list(module.named_children()):
            if not any(f"{each}.".startswith(f"{start}{name}.") for each in paths):
                setattr(module, name, None)
        for name, _ in list(module.named_parameters(recurse=False)):
            setattr(module, name, None)
