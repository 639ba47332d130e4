from __future__ import annotations

import struct
from pathlib import Path

import pytest

from packages.vox_populi.tests.gguf_files import Tensor, gguf_bytes
from vox_populi.containers.gguf_header import read_gguf_header
from vox_populi.errors import ModelError
from vox_populi.hf.gguf_config import gguf_config
from vox_populi.hf.gguf_fields import GgufFields, shortest
from vox_populi.hf.gguf_rope import llama3_factors
from vox_populi.hf.gguf_tensors import gguf_name, is_head_tied, placed_tensors
from vox_populi.hf.keymap import tensor_keys
from vox_populi.hf.model_config import parse_model_config

LLAMA: dict[str, object] = {
    "general.architecture": "llama",
    "llama.block_count": 1,
    "llama.context_length": 64,
    "llama.embedding_length": 8,
    "llama.feed_forward_length": 12,
    "llama.attention.head_count": 2,
    "llama.attention.head_count_kv": 1,
    "llama.attention.layer_norm_rms_epsilon": 1e-5,
    "llama.rope.freq_base": 500_000.0,
}
TABLE = Tensor("token_embd.weight", (8, 24), bytes(4 * 8 * 24))


def fields_of(
    folder: Path, changes: dict[str, object] | None = None, tensors: tuple[Tensor, ...] = (TABLE,)
) -> GgufFields:
    metadata = {k: v for k, v in {**LLAMA, **(changes or {})}.items() if v is not None}
    path = folder / "m.gguf"
    path.write_bytes(gguf_bytes(metadata, tensors))
    return GgufFields(read_gguf_header(path))


def codes_of(fields: GgufFields) -> list[str]:
    with pytest.raises(ModelError) as caught:
        gguf_config(fields, is_head_tied=True, dtype="float32")
    return [problem.code for problem in caught.value.problems]


def test_the_metadata_of_a_llama_is_its_config(tmp_path: Path) -> None:
    raw = gguf_config(fields_of(tmp_path), is_head_tied=True, dtype="bfloat16")
    config = parse_model_config(raw, "config.json")
    assert (config.n_layers, config.n_heads, config.n_kv_heads, config.head_dim) == (1, 2, 1, 4)
    assert (config.vocab_size, config.max_positions, config.norm_eps) == (24, 64, 1e-5)
    assert config.rope is not None
    assert (config.rope.theta, config.dtype) == (500_000.0, "bfloat16")
    assert config.tie_word_embeddings


def test_factors_that_a_file_leaves_out_are_those_of_llama_cpp(tmp_path: Path) -> None:
    def granite(changes: dict[str, object]) -> tuple[float, ...]:
        metadata = {key.replace("llama.", "granite."): value for key, value in LLAMA.items()}
        fields = fields_of(
            tmp_path,
            dict.fromkeys(LLAMA) | metadata | {"general.architecture": "granite"} | changes,
        )
        raw = gguf_config(fields, is_head_tied=True, dtype="float32")
        config = parse_model_config(raw, "config.json")
        return (
            config.embedding_scale,
            config.attention_scale,
            config.residual_scale,
            config.logit_scale,
        )

    assert granite({}) == (1.0, 4**-0.5, 1.0, 1.0)
    given = {"embedding_scale": 12.0, "attention.scale": 0.25, "residual_scale": 0.22}
    named = {f"granite.{key}": value for key, value in given.items()}
    assert granite({**named, "granite.logit_scale": 8.0}) == (12.0, 0.25, 0.22, 1 / 8)


def test_numbers_are_as_short_as_they_were_written() -> None:
    as_stored = struct.unpack("<f", struct.pack("<f", 1e-5))[0]
    assert as_stored != 1e-5
    assert (shortest(as_stored), shortest(500_000.0), shortest(1e300)) == (1e-5, 500_000.0, 1e300)


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"general.architecture": "gemma3"}, "MENS-H133"),
        ({"general.architecture": None}, "MENS-H133"),
        ({"general.type": "adapter"}, "MENS-H134"),
        ({"split.count": 3}, "MENS-H135"),
        ({"llama.block_count": None}, "MENS-H131"),
        ({"llama.block_count": "two"}, "MENS-H131"),
        ({"llama.attention.layer_norm_rms_epsilon": float("nan")}, "MENS-H131"),
        ({"llama.attention.head_count_kv": [1, 2]}, "MENS-H132"),
        ({"llama.expert_count": 8}, "MENS-H132"),
        ({"llama.attention.value_length": 3}, "MENS-H132"),
        ({"llama.rope.dimension_count": 2}, "MENS-H132"),
        ({"llama.rope.scaling.type": "spiral"}, "MENS-H132"),
        ({"llama.attention.sliding_window": 8}, "MENS-H132"),
    ],
)
def test_what_is_not_built_is_refused_by_name(
    changes: dict[str, object], code: str, tmp_path: Path
) -> None:
    assert codes_of(fields_of(tmp_path, changes)) == [code]


def test_all_problems_are_reported_together(tmp_path: Path) -> None:
    changes: dict[str, object] = {"llama.block_count": None, "llama.context_length": "long"}
    assert codes_of(fields_of(tmp_path, changes, ())) == ["MENS-H131", "MENS-H136", "MENS-H131"]


@pytest.mark.parametrize("rest", [(1.0, 4.0, 8192), (1.0, 4.0, 512), (2.0, 6.0, 1024)])
def test_settings_of_llama_3_are_found_by_their_factors(
    rest: tuple[float, float, int], tmp_path: Path
) -> None:
    factors = llama3_factors(500_000.0, 64, 32.0, rest)
    data = struct.pack("<32f", *factors)
    tensors = (TABLE, Tensor("rope_freqs.weight", (32,), data))
    fields = fields_of(tmp_path, {"llama.attention.key_length": 64}, tensors)
    scaling = gguf_config(fields, is_head_tied=True, dtype="float32")["rope_scaling"]
    assert isinstance(scaling, dict)
    found = tuple(
        scaling[name]
        for name in ("low_freq_factor", "high_freq_factor", "original_max_position_embeddings")
    )
    low, high, length = (value / found[0] * rest[0] for value in found)
    assert (low, high, length) == rest
    assert scaling["factor"] == 32.0


def test_factors_of_another_rule_are_refused(tmp_path: Path) -> None:
    data = struct.pack("<2f", 8.0, 1.0)
    tensors = (TABLE, Tensor("rope_freqs.weight", (2,), data))
    assert codes_of(fields_of(tmp_path, {}, tensors)) == ["MENS-H132"]


def model_tensors(changes: dict[str, Tensor | None] | None = None) -> tuple[Tensor, ...]:
    raw: dict[str, object] = {
        "model_type": "llama",
        "hidden_size": 8,
        "intermediate_size": 12,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "vocab_size": 24,
        "tie_word_embeddings": True,
    }
    tensors: dict[str, Tensor | None] = {}
    for key in tensor_keys(parse_model_config(raw, "config.json"))[:-1]:
        name, sizes = gguf_name(key.ours), key.our_shape[::-1]
        count = sizes[0] * (sizes[1] if len(sizes) > 1 else 1)
        tensors[name] = Tensor(name, sizes, bytes(4 * count))
    return tuple(tensor for tensor in (tensors | (changes or {})).values() if tensor is not None)


def placed(fields: GgufFields) -> list[str]:
    raw = gguf_config(fields, is_head_tied=is_head_tied(fields.header), dtype="float32")
    config = parse_model_config(raw, "config.json")
    return [tensor.source.name for tensor in placed_tensors(fields.header, config)]


def test_every_tensor_has_its_place(tmp_path: Path) -> None:
    names = placed(fields_of(tmp_path, {}, model_tensors()))
    assert names[:3] == ["token_embd.weight", "blk.0.attn_norm.weight", "blk.0.attn_q.weight"]
    assert names[-1] == "output_norm.weight"


def test_a_head_of_the_same_bytes_is_the_embedding_table(tmp_path: Path) -> None:
    same = TABLE._replace(name="output.weight")
    other = same._replace(data=bytes(4 * 8 * 24 - 1) + b"\x3f")
    assert is_head_tied(fields_of(tmp_path, {}, model_tensors({"output.weight": same})).header)
    fields = fields_of(tmp_path, {}, model_tensors({"output.weight": other}))
    assert not is_head_tied(fields.header)
    assert placed(fields)[-1] == "output.weight"


def test_missing_unexpected_and_misshaped_tensors_are_reported_together(tmp_path: Path) -> None:
    changes: dict[str, Tensor | None] = {
        "blk.0.attn_v.weight": None,
        "blk.0.ffn_gate_inp.weight": Tensor("blk.0.ffn_gate_inp.weight", (8, 4), bytes(128)),
        "blk.0.ffn_up.weight": Tensor("blk.0.ffn_up.weight", (8, 11), bytes(352)),
        "output_norm.weight": Tensor("output_norm.weight", (8,), bytes(32), kind=26),
    }
    with pytest.raises(ModelError) as caught:
        placed(fields_of(tmp_path, {}, model_tensors(changes)))
    codes = [problem.code for problem in caught.value.problems]
    assert codes == ["MENS-H140", "MENS-H142", "MENS-H143", "MENS-H141"]


def test_names_are_those_of_the_package(tmp_path: Path) -> None:
    gguf = pytest.importorskip("gguf", reason="needs vox-populi[gguf]")
    from_theirs = gguf.get_tensor_name_map(gguf.MODEL_ARCH.LLAMA, 1)
    fields = fields_of(tmp_path, {}, model_tensors())
    raw = gguf_config(fields, is_head_tied=True, dtype="float32")
    for key in tensor_keys(parse_model_config(raw, "config.json")):
        theirs = from_theirs.get_name(key.theirs, try_suffixes=(".weight", ".bias"))
        assert gguf_name(key.ours) == theirs
