"""`config.json` of a published model, on folders made of headers."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from vox_populi.hf.companion_files import published_config
from vox_populi.hf.model_config import CONFIG_NAME, parse_model_config

LLAMA3 = {
    "rope_type": "llama3",
    "rope_theta": 500_000.0,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 16,
}
Publish = Callable[[dict[str, object]], dict[str, Any]]


@pytest.fixture
def published(tmp_path: Path, llama: dict[str, Any]) -> Publish:
    """The config that is published for a base with some settings."""

    def call(rope: dict[str, object]) -> dict[str, Any]:
        raw = {name: value for name, value in llama.items() if name != "rope_parameters"} | rope
        (tmp_path / CONFIG_NAME).write_text(json.dumps(raw))
        config = parse_model_config(raw, "base")
        inventory: Any = SimpleNamespace(model_dir=tmp_path, config=config)
        data = published_config(inventory, is_head_tied=False, dtype="float32")
        made: dict[str, Any] = json.loads(data)
        assert parse_model_config(made, "made").rope == config.rope
        return {name: value for name, value in made.items() if raw.get(name) != value}

    return call


def test_a_base_that_every_reader_understands_keeps_its_bytes(published: Publish) -> None:
    assert published({"rope_parameters": {"rope_type": "default", "rope_theta": 10_000.0}}) == {}
    assert published({"rope_theta": 5e5}) == {}
    assert published({"rope_theta": 5e5, "rope_parameters": {"rope_theta": 5e5}}) == {}


def test_rotary_settings_are_also_written_in_the_older_spelling(published: Publish) -> None:
    assert published({"rope_parameters": {"rope_theta": 5e5}}) == {"rope_theta": 5e5}
    scaling = {name: value for name, value in LLAMA3.items() if name != "rope_theta"}
    older = {"rope_theta": 500_000.0, "rope_scaling": scaling}
    assert published({"rope_parameters": LLAMA3}) == older


@pytest.mark.parametrize("rope", [{"rope_type": "default", "rope_theta": 5e5}, LLAMA3])
def test_transformers_reads_both_spellings_alike(
    published: Publish, rope: dict[str, object]
) -> None:
    transformers = pytest.importorskip("transformers", reason="an oracle")
    added = published({"rope_parameters": rope})
    assert added
    newer = transformers.LlamaConfig(max_position_embeddings=32, rope_parameters=rope)
    both = transformers.LlamaConfig(max_position_embeddings=32, rope_parameters=rope, **added)
    assert both.rope_parameters == newer.rope_parameters
