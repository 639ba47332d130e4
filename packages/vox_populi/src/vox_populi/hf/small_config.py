"""A config with the structure of a given one and the sizes of a toy, to try its class on.

Windows, chunks and contexts shrink as well, so that rows of a few tokens reach over them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

_SIZES: Mapping[str, int] = {
    **dict.fromkeys(("vocab_size", "vocab_size_per_layer_input"), 97),
    **dict.fromkeys(("hidden_size", "n_embd", "word_embed_proj_dim", "dim_model_base"), 64),
    **dict.fromkeys(("d_model", "embed_dim", "emb_dim"), 64),
    **dict.fromkeys(("intermediate_size", "n_inner", "ffn_dim", "intermediate_size_mlp"), 96),
    **dict.fromkeys(("moe_intermediate_size", "shared_expert_intermediate_size"), 32),
    **dict.fromkeys(("shared_intermediate_size", "moe_shared_expert_intermediate_size"), 32),
    **dict.fromkeys(("num_attention_heads", "n_head", "mamba_n_heads", "mamba_num_heads"), 4),
    **dict.fromkeys(("linear_num_value_heads", "n_head_kv", "n_heads", "linear_num_heads"), 4),
    "linear_num_key_heads": 2,
    "linear_head_dim": 16,
    **dict.fromkeys(("head_dim", "attention_head_dim", "hidden_size_per_layer_input"), 16),
    **dict.fromkeys(("swa_head_dim", "query_pre_attn_scalar"), 16),
    "global_head_dim": 32,
    **dict.fromkeys(("linear_key_head_dim", "linear_value_head_dim", "mamba_d_state"), 8),
    **dict.fromkeys(("ssm_state_size", "mamba_chunk_size", "chunk_size", "rotary_dim"), 8),
    **dict.fromkeys(("q_lora_rank", "kv_lora_rank", "mamba_dt_rank"), 16),
    **dict.fromkeys(("qk_rope_head_dim", "qk_nope_head_dim", "v_head_dim"), 8),
    "qk_head_dim": 16,
    **dict.fromkeys(("num_experts", "num_local_experts", "n_routed_experts"), 4),
    "moe_num_experts": 4,
    **dict.fromkeys(("num_experts_per_tok", "num_experts_per_token", "moe_topk"), 2),
    **dict.fromkeys(("top_k_experts", "moe_k"), 2),
    **dict.fromkeys(("n_group", "num_group", "topk_group", "n_groups"), 1),
    **dict.fromkeys(("mamba_n_groups", "mamba_ngroups"), 1),
    **dict.fromkeys(("first_k_dense_replace", "num_dense_layers", "n_shared_experts"), 1),
    **dict.fromkeys(("sliding_window", "conv_L_cache"), 5),
    **dict.fromkeys(("attention_chunk_size", "original_max_position_embeddings"), 8),
    **dict.fromkeys(("max_position_embeddings", "n_positions", "max_seq_len"), 64),
    **dict.fromkeys(("pad_token_id", "bos_token_id", "eos_token_id", "unk_token_id"), 2),
}
"""The most that a field may be; smaller values stay."""
_LAYER_FIELDS = ("num_hidden_layers", "n_layer", "num_layers", "n_layers")
_MOST_LAYERS = 4


def small_config(raw: Mapping[str, object]) -> dict[str, object]:
    """The structure of a `config.json` in the sizes of a toy.

    Args:
        raw: The content of the file.
    """
    small: dict[str, object] = {name: _shrunk(name, value) for name, value in raw.items()}
    small |= {name: value for name, value in raw.items() if _is_of_another(name)}
    section = raw.get(_SECTION)
    if isinstance(section, Mapping):
        small[_SECTION] = small_config(section)
    kinds = raw.get("layer_types")
    numbers = _kept_layers(kinds) if isinstance(kinds, list) else range(_MOST_LAYERS)
    n_shared = raw.get("num_kv_shared_layers")
    if isinstance(kinds, list) and isinstance(n_shared, int) and 0 < n_shared < len(kinds):
        numbers, small["num_kv_shared_layers"] = _kept_with_shared(kinds, n_shared)
    n_layers = len(numbers)
    for name in _LAYER_FIELDS:
        value = raw.get(name)
        if isinstance(value, int):
            small[name] = min(value, n_layers)
            small |= _by_layer(raw, value, numbers)
    heads, kv_heads = raw.get("num_attention_heads"), raw.get("num_key_value_heads")
    if isinstance(heads, int) and isinstance(kv_heads, int):
        small["num_key_value_heads"] = 4 if heads == kv_heads else 1 if kv_heads == 1 else 2
    if "qk_rope_head_dim" in raw and "head_dim" in raw:
        small["head_dim"] = small["qk_rope_head_dim"]
    small |= _mixer_sizes(raw, small)
    return small | _rotated_parts(small)


def _mixer_sizes(raw: Mapping[str, object], small: Mapping[str, object]) -> dict[str, object]:
    """Heads of a mixer without attention, which side by side are as wide as its inner features."""
    width, expand = small.get("hidden_size"), raw.get("mamba_expand", raw.get("expand"))
    inner = (width if isinstance(width, int) else _SIZES["hidden_size"]) * (
        expand if isinstance(expand, int) else 2
    )
    heads = small.get("mamba_n_heads", small.get("mamba_num_heads"))
    head_dim = inner // (heads if isinstance(heads, int) else 4)
    sizes = {"mamba_d_head": head_dim, "mamba_head_dim": head_dim, "mamba_d_ssm": inner}
    # Mamba 2 by itself has no name of its own for its heads.
    own_dim = small.get("head_dim")
    if "expand" in raw and isinstance(own_dim, int):
        sizes["num_heads"] = inner // own_dim
    return {name: size for name, size in sizes.items() if name in raw}


_SECTION = "text_config"
"""The text model's part of a config with others beside it, which no text reaches."""


def _is_of_another(name: str) -> bool:
    return name.endswith("_config") and name not in (_SECTION, "quantization_config")


def _rotated_parts(small: Mapping[str, object]) -> dict[str, object]:
    """Rotary settings whose features belong to positions in time, height and width."""
    found: dict[str, object] = {}
    for name in ("rope_parameters", "rope_scaling"):
        rope = small.get(name)
        parts = rope.get("mrope_section") if isinstance(rope, Mapping) else None
        if isinstance(rope, Mapping) and isinstance(parts, list):
            n_pairs = _rotated_pairs(small, rope)
            later = [n_pairs * part // sum(parts) for part in parts[1:]]
            found[name] = {**rope, "mrope_section": [n_pairs - sum(later), *later]}
    return found


def _rotated_pairs(small: Mapping[str, object], rope: Mapping[str, object]) -> int:
    """Pairs of features of a head that are rotated."""
    head_dim = small.get("head_dim")
    width, heads = small.get("hidden_size"), small.get("num_attention_heads")
    if not isinstance(head_dim, int):
        head_dim = _SIZES["head_dim"]
        if isinstance(width, int) and isinstance(heads, int):
            head_dim = width // heads
    factor = rope.get("partial_rotary_factor") or small.get("partial_rotary_factor")
    part = factor if isinstance(factor, float) else 1.0
    return int(head_dim * part) // 2


def _shrunk(name: str, value: object) -> object:
    if isinstance(value, Mapping):
        return {key: _shrunk(key, each) for key, each in value.items()}
    most = _SIZES.get(name)
    if most is None or isinstance(value, bool) or not isinstance(value, int | float):
        return value
    return min(value, most)


def _by_layer(
    raw: Mapping[str, object], n_layers: int, numbers: Iterable[int]
) -> dict[str, object]:
    """Lists and tables with entries for layers, for the layers that are kept."""
    kept = [number for number in numbers if number < n_layers]
    lists: dict[str, object] = {
        name: [value[number] for number in kept]
        for name, value in raw.items()
        if isinstance(value, list) and len(value) == n_layers
    }
    tables = {
        name: {
            key: _shrunk(name, value[old])
            for new, number in enumerate(kept)
            for key, old in ((new, number), (str(new), str(number)))
            if old in value
        }
        for name, value in raw.items()
        if isinstance(value, Mapping) and value and all(str(key).isdigit() for key in value)
    }
    return {**lists, **tables}


def _kept_with_shared(kinds: list[object], n_shared: int) -> tuple[list[int], int]:
    """Layers whose last ones use keys and values of earlier ones, and how many do.

    These are the first of each kind among both; a shared layer follows one of its kind.
    """
    n_own = len(kinds) - n_shared
    own = {kind: number for number, kind in reversed(list(enumerate(kinds[:n_own])))}
    shared = {kind: number for number, kind in reversed(list(enumerate(kinds[n_own:], n_own)))}
    return [*sorted(own.values()), *sorted(shared.values())], len(shared)


def _kept_layers(kinds: list[object]) -> list[int]:
    """The first layers, and the first one of each other kind."""
    first = {kind: number for number, kind in reversed(list(enumerate(kinds)))}
    extra = [n for n in first.values() if n >= _MOST_LAYERS]
    kept = [*range(min(_MOST_LAYERS, len(kinds)) - len(extra)), *extra]
    return sorted(dict.fromkeys((*kept, *first.values())))
