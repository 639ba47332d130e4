"""Folders that bitsandbytes packed, made of plain Python: no torch here."""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from vox_populi.errors import ModelError
from vox_populi.hf.inventory import ModelInventory, read_inventory
from vox_populi.hf.keymap import block_weight_keys
from vox_tensor.nf4_levels import NF4_LEVELS, Nf4Settings

Config = dict[str, Any]
Shapes = dict[str, tuple[int, ...]]
Tensor = tuple[str, tuple[int, ...], bytes]
Tensors = dict[str, Tensor]

SETTINGS = {"quant_method": "bitsandbytes", "load_in_4bit": True, "bnb_4bit_quant_type": "nf4"}
Q = "model.layers.0.self_attn.q_proj.weight"
STATE = ".quant_state.bitsandbytes__nf4"
LEVELS = struct.pack("<16f", *NF4_LEVELS)


def state_of(dense: tuple[int, ...], double: bool, /, **changes: object) -> bytes:
    state: dict[str, object] = {
        "quant_type": "nf4",
        "blocksize": 64,
        "dtype": "float16",
        "shape": list(dense),
    }
    if double:
        nested = {"nested_blocksize": 256, "nested_dtype": "float32", "nested_offset": 0.25}
        state |= nested
    state |= changes
    return json.dumps({name: value for name, value in state.items() if value != "absent"}).encode()


def with_state(tensors: Tensors, name: str, text: bytes) -> Tensors:
    return tensors | {name + STATE: ("U8", (len(text),), text)}


def packed(name: str, shape: tuple[int, ...], *, double: bool = True) -> Tensors:
    """A weight of zeros as bitsandbytes lays it out."""
    n = math.prod(shape)
    blocks = -(-n // 64)
    half = -(-n // 2)
    parts: Tensors = {
        name: ("U8", (half, 1), bytes(half)),
        f"{name}.absmax": ("U8", (blocks,), bytes(blocks))
        if double
        else ("F32", (blocks,), bytes(4 * blocks)),
        f"{name}.quant_map": ("F32", (16,), LEVELS),
    }
    if double:
        groups = -(-blocks // 256)
        parts[f"{name}.nested_absmax"] = ("F32", (groups,), bytes(4 * groups))
        parts[f"{name}.nested_quant_map"] = ("F32", (256,), bytes(1024))
    return with_state(parts, name, state_of(shape, double))


def packed_model(shapes: Shapes, *, double: bool = True, turned: bool = False) -> Tensors:
    tensors: Tensors = {}
    for name, shape in shapes.items():
        is_linear = len(shape) == 2 and ("layers." in name or "h." in name)
        if is_linear:
            tensors |= packed(name, shape[::-1] if turned else shape, double=double)
        else:
            n = 4 * math.prod(shape)
            tensors[name] = ("F32", shape, bytes(n))
    return tensors


@pytest.fixture
def write(tmp_path: Path, container: Callable[..., bytes]) -> Callable[..., Path]:
    def to_folder(
        config: Config, tensors: Tensors, settings: object = SETTINGS, shards: int = 1
    ) -> Path:
        text = json.dumps(config | ({} if settings is None else {"quantization_config": settings}))
        (tmp_path / "config.json").write_text(text, encoding="utf-8")
        weight_map = {}
        for number in range(shards):
            file = f"model-{number}.safetensors" if shards > 1 else "model.safetensors"
            header, data = {}, b""
            for name in list(tensors)[number::shards]:
                dtype, shape, content = tensors[name]
                offsets = [len(data), len(data) + len(content)]
                header[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": offsets}
                data += content
                weight_map[name] = file
            (tmp_path / file).write_bytes(container(header, data))
        if shards > 1:
            index = tmp_path / "model.safetensors.index.json"
            index.write_text(json.dumps({"weight_map": weight_map}), encoding="utf-8")
        return tmp_path

    return to_folder


Write = Callable[..., Path]


def nf4_inventory(path: Path, *, complete: bool = True) -> ModelInventory:
    return read_inventory(path, complete=complete, allow_nf4=True)


def problems_of(path: Path, *, allow_nf4: bool = True, complete: bool = True) -> list[str]:
    with pytest.raises(ModelError) as caught:
        read_inventory(path, allow_nf4=allow_nf4, complete=complete)
    return [str(problem) for problem in caught.value.problems]


@pytest.mark.parametrize("shards", [1, 4])
@pytest.mark.parametrize("double", [True, False])
def test_a_packed_llama_is_understood(
    write: Write, llama: Config, shapes_of_llama: Shapes, double: bool, shards: int
) -> None:
    tensors = packed_model(shapes_of_llama, double=double)
    inventory = nf4_inventory(write(llama, tensors, shards=shards))
    linear = {key.theirs for key in block_weight_keys(inventory.config)}
    assert inventory.nf4.keys() == linear
    assert len(linear) == 14
    assert not linear & inventory.tensors.keys()
    assert inventory.tensors.keys() == shapes_of_llama.keys() - linear
    assert inventory.total_bytes == sum(len(content) for _, _, content in tensors.values())
    weight = inventory.nf4["model.layers.1.mlp.up_proj.weight"]
    assert (weight.shape, weight.n_values, weight.dtype) == ((12, 8), 96, "float16")
    assert weight.settings == Nf4Settings(block_size=64, double_quant=double)
    assert weight.nested_offset == (0.25 if double else None)
    assert weight.parts["absmax"].shape == (2,)
    assert {key.theirs for key in inventory.quantized_keys()} == linear
    assert inventory.missing == ()


@pytest.mark.parametrize("prefix", ["", "transformer."])
def test_gpt2_layers_are_packed_in_our_orientation(
    write: Write, gpt2: Config, shapes_of_gpt2: Callable[[str], Shapes], prefix: str
) -> None:
    tensors = packed_model(shapes_of_gpt2(prefix), turned=True)
    inventory = nf4_inventory(write(gpt2, tensors))
    weight = inventory.nf4["transformer.h.0.attn.c_attn.weight"]
    assert weight.shape == (24, 8)
    assert weight.parts["weight"].name == f"{prefix}h.0.attn.c_attn.weight"
    unturned = packed_model(shapes_of_gpt2(prefix))
    texts = problems_of(write(gpt2, unturned))
    assert len(texts) == 6, "the square layers cannot tell"
    assert "has shape [8, 24], which is not [24, 8]" in texts[0]


def test_layers_left_dense_on_purpose_stay_dense(
    write: Write, llama: Config, shapes_of_llama: Shapes
) -> None:
    tensors = packed_model(shapes_of_llama)
    for name in list(tensors):
        if name.startswith(Q):
            del tensors[name]
    tensors[Q] = ("F32", (8, 8), bytes(256))
    inventory = nf4_inventory(write(llama, tensors))
    assert Q in inventory.tensors
    assert Q not in {key.theirs for key in inventory.quantized_keys()}
    assert len(inventory.quantized_keys()) == 13


def test_a_caller_that_does_not_ask_for_packed_weights_gets_a_refusal(
    write: Write, llama: Config, shapes_of_llama: Shapes
) -> None:
    path = write(llama, packed_model(shapes_of_llama))
    (text,) = problems_of(path, allow_nf4=False)
    assert text.startswith(f"MENS-H071 {path}") or "MENS-H071" in text
    assert "--backend qlora" in text


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"quant_method": "gptq", "bits": 4}, "gptq"),
        ({"quant_method": "awq"}, "awq"),
        ({"quant_method": "fp8"}, "fp8"),
        ({"bits": 4}, "no quant_method"),
        ({"quant_method": "bitsandbytes"}, "without load_in_4bit"),
        ({"quant_method": "bitsandbytes", "load_in_8bit": True}, "int8"),
        ({"load_in_8bit": True}, "int8"),
        ({**SETTINGS, "bnb_4bit_quant_type": "fp4"}, "bitsandbytes fp4"),
        ({"load_in_4bit": True}, "bitsandbytes fp4"),
        ({**SETTINGS, "bnb_4bit_quant_storage": "bfloat16"}, "stored as bfloat16"),
    ],
)
def test_other_quantisations_are_refused_by_name(
    write: Write, llama: Config, shapes_of_llama: Shapes, settings: Config, named: str
) -> None:
    for allow in (True, False):
        path = write(llama, packed_model(shapes_of_llama), settings)
        (text,) = problems_of(path, allow_nf4=allow)
        assert "MENS-H070" in text
        assert named in text
        assert "vox mens quantize" in text


@pytest.mark.parametrize(
    "settings", [3, "nf4", [1], {**SETTINGS, "load_in_4bit": "yes"}, {"quant_method": 4}]
)
def test_a_setting_of_the_wrong_kind_is_a_problem(
    write: Write, llama: Config, shapes_of_llama: Shapes, settings: object
) -> None:
    texts = problems_of(write(llama, packed_model(shapes_of_llama), settings))
    assert any("MENS-H012" in text for text in texts)


def test_early_folders_have_the_flags_alone(
    write: Write, llama: Config, shapes_of_llama: Shapes
) -> None:
    settings = {"load_in_4bit": True, "bnb_4bit_quant_type": "nf4"}
    assert nf4_inventory(write(llama, packed_model(shapes_of_llama), settings)).nf4


@pytest.mark.parametrize("part", [".absmax", ".quant_map", STATE, "", ".nested_absmax"])
def test_every_part_must_be_there(
    write: Write, llama: Config, shapes_of_llama: Shapes, part: str
) -> None:
    tensors = packed_model(shapes_of_llama)
    del tensors[Q + part]
    (text,) = problems_of(write(llama, tensors))
    assert "MENS-H072" in text
    assert Q in text


def test_a_fp4_weight_is_not_taken_for_nf4(
    write: Write, llama: Config, shapes_of_llama: Shapes
) -> None:
    tensors = packed_model(shapes_of_llama)
    tensors[f"{Q}.quant_state.bitsandbytes__fp4"] = tensors.pop(Q + STATE)
    (text,) = problems_of(write(llama, tensors))
    assert "MENS-H072" in text


WRONG_PARTS: dict[str, Tensor] = {
    "": ("U8", (31, 1), bytes(31)),
    " flat": ("U8", (32,), bytes(32)),
    " wide": ("BF16", (16, 1), bytes(32)),
    ".absmax": ("U8", (2,), bytes(2)),
    ".absmax wide": ("F32", (1,), bytes(4)),
    ".quant_map": ("F32", (15,), bytes(60)),
    ".nested_absmax": ("F32", (2,), bytes(8)),
    ".nested_quant_map": ("F32", (16,), bytes(64)),
    f"{STATE} empty": ("U8", (0,), b""),
    f"{STATE} wide": ("F32", (2,), bytes(8)),
    f"{STATE} huge": ("U8", (5000,), b" " * 5000),
    ".quant_map other": ("F32", (16,), struct.pack("<16f", *range(16))),
    ".quant_map nan": ("F32", (16,), struct.pack("<16f", *[math.nan] * 16)),
}


@pytest.mark.parametrize("case", WRONG_PARTS)
def test_a_part_of_another_form_is_named(
    write: Write, llama: Config, shapes_of_llama: Shapes, case: str
) -> None:
    name = Q + case.partition(" ")[0]
    tensors = packed_model(shapes_of_llama) | {name: WRONG_PARTS[case]}
    (text,) = problems_of(write(llama, tensors))
    assert "MENS-H073" in text
    assert name in text


WRONG_STATES: dict[str, object] = {
    "quant_type": "fp4",
    "blocksize": 63,
    "dtype": "int8",
    "shape": [8, 9],
    "nested_blocksize": 128,
    "nested_dtype": "float64",
    "nested_offset": "0.5",
}
ODD: tuple[object, ...] = (None, True, -1, 64.0, "", [], {}, "absent", [8.0, 8], 10**40)


@pytest.mark.parametrize("field", WRONG_STATES)
def test_a_quant_state_that_says_something_else_is_refused(
    write: Write, llama: Config, shapes_of_llama: Shapes, field: str
) -> None:
    for value in (WRONG_STATES[field], *ODD):
        if field == "nested_offset" and value in (-1, 64.0) and not isinstance(value, bool):
            continue
        text = state_of((8, 8), True, **{field: value})
        tensors = with_state(packed_model(shapes_of_llama), Q, text)
        (problem,) = problems_of(write(llama, tensors))
        assert "MENS-H073" in problem, (field, value)
        assert Q in problem


@pytest.mark.parametrize(
    "text",
    [b"", b"nope", b"[1]", b"\xff\xfe", b'{"a":1,"a":2}', b"{" * 500, b'{"quant_type": NaN}'],
)
def test_a_malformed_quant_state_is_one_clear_problem(
    write: Write, llama: Config, shapes_of_llama: Shapes, text: bytes
) -> None:
    tensors = with_state(packed_model(shapes_of_llama), Q, text)
    (problem,) = problems_of(write(llama, tensors))
    assert "MENS-H073" in problem
    assert "Traceback" not in problem


def test_a_quant_state_padded_with_spaces_is_read(
    write: Write, llama: Config, shapes_of_llama: Shapes
) -> None:
    text = state_of((8, 8), True).ljust(300)
    tensors = with_state(packed_model(shapes_of_llama), Q, text)
    assert nf4_inventory(write(llama, tensors)).nf4[Q].nested_offset == 0.25


def test_parts_without_an_announcement_are_refused(
    write: Write, llama: Config, shapes_of_llama: Shapes
) -> None:
    (text,) = problems_of(write(llama, packed_model(shapes_of_llama), None))
    assert "MENS-H074" in text


def test_an_announcement_without_parts_is_refused(
    write: Write, llama: Config, shapes_of_llama: Shapes
) -> None:
    dense: Tensors = {
        name: ("F32", shape, bytes(4 * math.prod(shape))) for name, shape in shapes_of_llama.items()
    }
    (text,) = problems_of(write(llama, dense))
    assert "MENS-H075" in text


def test_two_ways_of_packing_are_refused(
    write: Write, llama: Config, shapes_of_llama: Shapes
) -> None:
    tensors = packed_model(shapes_of_llama)
    for name in [name for name in tensors if name.startswith(Q)]:
        del tensors[name]
    (text,) = problems_of(write(llama, tensors | packed(Q, (8, 8), double=False)))
    assert "MENS-H076" in text


@pytest.mark.parametrize("name", ["lm_head.weight", "model.embed_tokens.weight"])
def test_head_and_embedding_must_be_dense(
    write: Write, llama: Config, shapes_of_llama: Shapes, name: str
) -> None:
    tensors = packed_model(shapes_of_llama)
    del tensors[name]
    (text,) = problems_of(write(llama, tensors | packed(name, (24, 8))))
    assert "MENS-H077" in text
    assert name in text


def test_parts_of_a_layer_that_the_model_lacks_have_no_place(
    write: Write, llama: Config, shapes_of_llama: Shapes
) -> None:
    foreign = packed("model.layers.7.self_attn.q_proj.weight", (8, 8))
    texts = problems_of(write(llama, packed_model(shapes_of_llama) | foreign))
    assert len(texts) == len(foreign)
    assert all("MENS-H041" in text for text in texts)


def test_an_incomplete_folder_lists_what_it_lacks(
    write: Write, llama: Config, shapes_of_llama: Shapes
) -> None:
    name = "model.embed_tokens.weight"
    path = write(llama, {name: ("F32", (24, 8), bytes(768))}, None)
    inventory = nf4_inventory(path, complete=False)
    assert set(inventory.missing) == shapes_of_llama.keys() - {name}
    assert inventory.missing[0] == "model.layers.0.input_layernorm.weight"
    assert inventory.tensors.keys() == {name}
    assert inventory.quantized_keys() == ()
    assert len(problems_of(path)) == min(20 + 1, len(inventory.missing))


def test_an_incomplete_folder_needs_its_embedding_and_right_shapes(
    write: Write, llama: Config, shapes_of_llama: Shapes
) -> None:
    path = write(llama, {"model.norm.weight": ("F32", (8,), bytes(32))}, None)
    (text,) = problems_of(path, complete=False)
    assert "MENS-H040" in text
    assert "model.embed_tokens.weight" in text
    embedding: Tensors = {"model.embed_tokens.weight": ("F32", (24, 4), bytes(384))}
    (text,) = problems_of(write(llama, embedding, None), complete=False)
    assert "MENS-H042" in text


def test_an_incomplete_packed_folder(write: Write, llama: Config, shapes_of_llama: Shapes) -> None:
    tensors = packed_model(shapes_of_llama)
    output = "model.layers.1.self_attn.o_proj.weight"
    for name in [name for name in tensors if name.startswith(output)]:
        del tensors[name]
    path = write(llama, tensors)
    assert nf4_inventory(path, complete=False).missing == (output,)
    (text,) = problems_of(path)
    assert "MENS-H040" in text
