"""The header of an adapter file: one text per value, every missing or wrong field named."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from vox_populi.adapters.header import (
    AdapterHeader,
    ImportedText,
    Quantization,
    parse_header,
)
from vox_populi.contract.choices import GraphId
from vox_populi.data.chat_template import ModelTemplate
from vox_populi.data.trained_layout import TemplateSource, TokenName, TrainedLayout
from vox_populi.data.training_text import ChatTemplate, TextPolicy
from vox_populi.files.json_fields import FieldError
from vox_populi.files.whole_file import canonical_json
from vox_populi.hf.graph_source import GraphSource
from vox_tensor.nf4_levels import Nf4Settings


def test_header_survives_the_round_trip_and_is_canonical(header: AdapterHeader) -> None:
    text = header.to_json()
    assert parse_header(text) == header
    assert text == canonical_json(json.loads(text))
    assert replace(header, step=6).to_json() != text


def test_header_says_what_a_merge_needs(header: AdapterHeader) -> None:
    raw = json.loads(header.to_json())
    assert raw["base_key_map"] == {
        "blocks.0.attn.qkv": "transformer.h.0.attn.c_attn.weight",
        "lm_head": "lm_head.weight",
    }
    assert raw["layer_order"] == ["blocks.0.attn.qkv", "lm_head"]
    assert raw["scale"] == header.lora.scale
    assert raw["roles"] == ["k", "lm_head", "q", "v"]
    assert raw["modules"]["blocks.0.attn.qkv"]["fan_in_fan_out"] is True


def test_shapes_follow_rank_and_layers(header: AdapterHeader) -> None:
    assert header.tensor_shapes() == {
        "blocks.0.attn.qkv.lora_A": (2, 4),
        "blocks.0.attn.qkv.lora_B": (12, 2),
        "lm_head.lora_A": (2, 4),
        "lm_head.lora_B": (7, 2),
    }


def test_every_field_is_required(header: AdapterHeader) -> None:
    raw = json.loads(header.to_json())
    for name in raw.keys() - {"system_prompt", "roles"}:
        lacking = {key: value for key, value in raw.items() if key != name}
        with pytest.raises(FieldError, match=r"missing|name"):
            parse_header(json.dumps(lacking))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("step", -1),
        ("step", 2**70),
        ("seq_len", 2**70),
        ("rank", 2**40),
        ("alpha", 1e300),
        ("rank", True),
        ("rank", 0),
        ("rank", "2"),
        ("alpha", None),
        ("alpha", -1),
        ("alpha", 10**400),
        ("scale", 1.0),
        ("dropout", 1.0),
        ("seq_len", 0),
        ("step", 1.5),
        ("base_digest", 7),
        ("system_prompt", 7),
        ("layer_order", []),
        ("layer_order", ["lm_head"]),
        ("layer_order", ["lm_head", "lm_head", "blocks.0.attn.qkv"]),
        ("modules", []),
        ("base_key_map", {"lm_head": 1, "blocks.0.attn.qkv": "x"}),
    ],
)
def test_wrong_fields_are_named(header: AdapterHeader, name: str, value: object) -> None:
    raw = json.loads(header.to_json())
    with pytest.raises(FieldError) as caught:
        parse_header(json.dumps({**raw, name: value}))
    spoken = str(caught.value)
    assert name in spoken or "lm_head" in spoken


@pytest.mark.parametrize(
    "text", ["", "[]", "{", '{"rank": 1, "rank": 2}', '{"alpha": NaN}', "[" * 100_000, "\ud800"]
)
def test_a_header_that_is_not_strict_json_is_refused(text: str) -> None:
    with pytest.raises(FieldError):
        parse_header(text)


def test_an_imported_adapter_needs_version_2_and_nothing_else_does(header: AdapterHeader) -> None:
    imported = replace(header, imported=ImportedText(adapter_config="{}", container="{} "))
    assert (header.version, imported.version) == ("1", "2")
    assert "imported" not in json.loads(header.to_json())
    assert parse_header(imported.to_json()) == imported
    raw = json.loads(imported.to_json())
    raw["imported"] = {"adapter_config": "{}"}
    with pytest.raises(FieldError, match="container"):
        parse_header(json.dumps(raw))


LAYOUT = TrainedLayout(
    template=TemplateSource(text="{{ messages }}", tokens={"eos_token": "</s>"}),
    end=TokenName(2, "</s>"),
)


def test_the_layout_of_a_training_is_omitted_if_empty(header: AdapterHeader) -> None:
    recorded = replace(header, layout=LAYOUT)
    assert parse_header(recorded.to_json()) == recorded
    assert recorded.version == header.version == "1"
    assert json.loads(recorded.to_json())["layout"] == LAYOUT.as_json()
    assert "layout" not in json.loads(header.to_json())
    raw = {**json.loads(header.to_json()), "layout": {"end": {"id": 2}}}
    with pytest.raises(FieldError, match=r"layout\.end\.text"):
        parse_header(json.dumps(raw))


def test_the_version_of_transformers_is_omitted_if_our_own_code_computed(
    header: AdapterHeader,
) -> None:
    assert "transformers" not in json.loads(header.to_json())
    assert header.source is GraphSource.AUTO
    foreign = replace(header, transformers="5.23.0")
    assert json.loads(foreign.to_json())["transformers"] == "5.23.0"
    assert parse_header(foreign.to_json()) == foreign
    assert foreign.source is GraphSource.TRANSFORMERS


def test_a_published_header_with_a_template_keeps_the_digest_of_the_system_prompt(
    header: AdapterHeader,
) -> None:
    pytest.importorskip("jinja2", reason="needs vox-populi[mens-gpu]")
    assert LAYOUT.template is not None
    own = ModelTemplate.of(LAYOUT.template, "here")
    policy = TextPolicy(template=ChatTemplate.MODEL, own=own, system_prompt="Be brief.")
    trained = replace(
        header,
        template=ChatTemplate.MODEL,
        layout=LAYOUT,
        system_prompt="Be brief.",
        template_digest=policy.digest,
    )
    published = trained.for_publishing(include_system_prompt=False)
    assert (published.system_prompt, published.layout) == (None, LAYOUT)
    assert published.withholds_system_prompt
    assert not trained.withholds_system_prompt
    without = replace(published, template_digest=replace(policy, system_prompt=None).digest)
    assert not without.withholds_system_prompt


NF4 = Quantization(nf4=Nf4Settings(block_size=64, double_quant=True), compute_dtype="f32")


def test_graph_and_quantization_need_version_3_and_nothing_else_does(header: AdapterHeader) -> None:
    proxy = replace(header, graph=GraphId.PROXY_STACK, quantization=NF4)
    assert parse_header(proxy.to_json()) == proxy
    assert proxy.version == replace(header, quantization=NF4).version == "3"
    assert json.loads(replace(header, quantization=NF4).to_json())["graph"] == "full_graph_v1"
    assert header.version == "1"
    assert not {"graph", "quantization"} & json.loads(header.to_json()).keys()
    imported = replace(proxy, imported=ImportedText(adapter_config="{}", container="{} "))
    assert imported.version == "3"
    assert parse_header(imported.to_json()) == imported


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("graph", "full_graph_v2"),
        ("graph", 3),
        ("quantization", []),
        ("base_quant", "fp4"),
        ("base_quant", None),
        ("block_size", 63),
        ("block_size", True),
        ("block_size", 64.0),
        ("double_quant", 1),
        ("compute_dtype", "f16"),
    ],
)
def test_wrong_graphs_and_quantisations_are_named(
    header: AdapterHeader, name: str, value: object
) -> None:
    raw = json.loads(replace(header, graph=GraphId.PROXY_STACK, quantization=NF4).to_json())
    (raw if name in raw else raw["quantization"])[name] = value
    with pytest.raises(FieldError, match=name):
        parse_header(json.dumps(raw))


def test_a_quantisation_that_nobody_has_cannot_be_built() -> None:
    with pytest.raises(ValueError, match="block_size"):
        Quantization(nf4=Nf4Settings(block_size=48, double_quant=True), compute_dtype="f32")


def test_a_published_header_keeps_the_digest_of_the_system_prompt(header: AdapterHeader) -> None:
    policy = TextPolicy(template=header.template, system_prompt="Be brief.")
    trained = replace(
        header,
        system_prompt="Be brief.",
        template_digest=policy.digest,
        imported=ImportedText(adapter_config='{"base_model_name_or_path": "/x"}', container="{} "),
    )
    assert not trained.withholds_system_prompt
    published = trained.for_publishing(include_system_prompt=False)
    assert (published.system_prompt, published.imported) == (None, None)
    assert published.template_digest == policy.digest
    assert published.withholds_system_prompt
    assert trained.for_publishing(include_system_prompt=True).system_prompt == "Be brief."
    without = replace(header, template_digest=TextPolicy(template=header.template).digest)
    assert not without.for_publishing(include_system_prompt=False).withholds_system_prompt
