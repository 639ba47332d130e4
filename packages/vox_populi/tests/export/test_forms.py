"""What each consumer is given: names, orientation and scale, or a refusal with its reason."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from vox_populi.adapters.adapter import Adapter
from vox_populi.adapters.header import AdaptedModule, AdapterHeader
from vox_populi.errors import ArtifactError
from vox_populi.export.consumers import Consumer
from vox_populi.export.forms import ConsumerForm, consumer_form, write_form
from vox_populi.hf.keymap import AdapterModule, adapter_modules
from vox_populi.hf.model_config import ModelConfig
from vox_tensor.lora_spec import LoraSpec

RSLORA = LoraSpec(rank=4, alpha=6.0, use_rslora=True)
"""The root of 4 is 2: rescaling rounds nothing."""


class Exported:
    """An adapter on every projection of a base, or on some."""

    def __init__(
        self,
        header: AdapterHeader,
        config: ModelConfig,
        *,
        lora: LoraSpec = RSLORA,
        with_head: bool = False,
    ) -> None:
        generator = torch.Generator().manual_seed(2)
        every = adapter_modules(config)
        self.modules = every if with_head else every[:-1]
        self.config = config
        adapted = tuple(AdaptedModule.of(module) for module in self.modules)
        self.header = replace(header, lora=lora, modules=adapted)
        # Whole numbers: their products are exact, in whatever order a processor adds them.
        self.tensors: dict[str, Tensor] = {
            name: torch.randint(-9, 10, shape, generator=generator).float()
            for name, shape in self.header.tensor_shapes().items()
        }

    def form(self, consumer: Consumer) -> ConsumerForm:
        return consumer_form(
            consumer, Adapter(self.header, self.tensors), self.modules, self.config, "org/base"
        )

    def written(self, consumer: Consumer, folder: Path) -> Path:
        folder.mkdir()
        write_form(folder, self.form(consumer), self.modules, self.config)
        return folder

    def update(self, module: AdapterModule) -> Tensor:
        """Scale x B A, in float64."""
        a, b = (self.tensors[f"{module.ours}.lora_{half}"].double() for half in "AB")
        return self.header.lora.scale * (b @ a)


def test_vllm_gets_the_plain_scale_rule(
    header: AdapterHeader, llama_config: ModelConfig, tmp_path: Path
) -> None:
    adapter = Exported(header, llama_config)
    folder = adapter.written(Consumer.VLLM, tmp_path / "out")
    settings = json.loads((folder / "adapter_config.json").read_text(encoding="utf-8"))
    assert (settings["r"], settings["lora_alpha"], settings["use_rslora"]) == (4, 6, False)
    stored = load_file(folder / "adapter_model.safetensors")
    for module in adapter.modules:
        stem = f"base_model.model.{module.theirs}"
        a, b = stored[f"{stem}.lora_A.weight"], stored[f"{stem}.lora_B.weight"]
        assert torch.equal(6 / 4 * (b.double() @ a.double()), adapter.update(module))
        assert not torch.equal(b, adapter.tensors[f"{module.ours}.lora_B"])


def test_nothing_is_rescaled_without_need(header: AdapterHeader, llama_config: ModelConfig) -> None:
    adapter = Exported(header, llama_config, lora=LoraSpec(rank=4, alpha=6.0))
    for consumer in Consumer:
        assert adapter.form(consumer).rescaled == ()
    assert Exported(header, llama_config).form(Consumer.GGUF).rescaled != ()


def test_mlx_gets_transposed_halves_and_the_scale_as_a_number(
    header: AdapterHeader, llama_config: ModelConfig, tmp_path: Path
) -> None:
    adapter = Exported(header, llama_config, with_head=True)
    folder = adapter.written(Consumer.MLX, tmp_path / "out")
    settings = json.loads((folder / "adapter_config.json").read_text(encoding="utf-8"))
    assert settings["fine_tune_type"] == "lora"
    assert settings["num_layers"] == llama_config.n_layers
    values = settings["lora_parameters"]
    assert (values["rank"], values["scale"]) == (4, RSLORA.scale)
    assert "self_attn.q_proj" in values["keys"]
    assert "lm_head" in values["keys"]
    stored = load_file(folder / "adapters.safetensors")
    assert len(stored) == 2 * len(adapter.modules)
    for module in adapter.modules:
        a, b = stored[f"{module.theirs}.lora_a"], stored[f"{module.theirs}.lora_b"]
        assert (a.shape, b.shape) == ((module.in_features, 4), (4, module.out_features))
        assert torch.equal(values["scale"] * (a.double() @ b.double()).t(), adapter.update(module))


def test_mlx_calls_the_blocks_of_gpt2_otherwise(
    header: AdapterHeader, gpt2_config: ModelConfig, tmp_path: Path
) -> None:
    adapter = Exported(header, gpt2_config)
    folder = adapter.written(Consumer.MLX, tmp_path / "out")
    assert "model.h.0.attn.c_attn.lora_a" in load_file(folder / "adapters.safetensors")


def test_the_converter_turns_conv1d_back(
    header: AdapterHeader, gpt2_config: ModelConfig, tmp_path: Path
) -> None:
    adapter = Exported(header, gpt2_config)
    folder = adapter.written(Consumer.GGUF, tmp_path / "out")
    stored = load_file(folder / "adapter_model.safetensors")
    for module in adapter.modules:
        stem = f"base_model.model.{module.theirs}"
        a, b = stored[f"{stem}.lora_A.weight"], stored[f"{stem}.lora_B.weight"]
        assert b.shape[-1] == a.shape[0] == 4
        # llama.cpp transposes the pair as it transposes the weight: (B A)^T = A^T B^T.
        turned_a, turned_b = b.t().double(), a.t().double()
        assert torch.equal(6 / 4 * (turned_b @ turned_a), adapter.update(module))


@pytest.mark.parametrize("consumer", [Consumer.VLLM, Consumer.GGUF, Consumer.MLX])
def test_a_tied_head_cannot_be_adapted_elsewhere(
    consumer: Consumer, header: AdapterHeader, gpt2_config: ModelConfig
) -> None:
    with pytest.raises(ArtifactError) as caught:
        Exported(header, gpt2_config, with_head=True).form(consumer)
    assert {problem.code for problem in caught.value.problems} == {"MENS-A070"}


def test_vllm_has_limits(header: AdapterHeader, gpt2_config: ModelConfig) -> None:
    wide = Exported(header, gpt2_config, lora=LoraSpec(rank=513, alpha=1.0))
    with pytest.raises(ArtifactError) as caught:
        wide.form(Consumer.VLLM)
    assert len(caught.value.problems) == 2


def test_peft_takes_everything(
    header: AdapterHeader, gpt2_config: ModelConfig, tmp_path: Path
) -> None:
    folder = Exported(header, gpt2_config, with_head=True).written(Consumer.PEFT, tmp_path / "out")
    settings = json.loads((folder / "adapter_config.json").read_text(encoding="utf-8"))
    assert settings["fan_in_fan_out"] is True
    assert settings["use_rslora"] is True
    assert settings["target_modules"] == ["c_attn", "c_fc", "c_proj", "lm_head"]
