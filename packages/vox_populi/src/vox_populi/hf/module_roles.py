"""Roles of linear layers by their names in the classes of transformers.

A name that is not here gets no role: its layer stays frozen, and the plan says so.
"""

from __future__ import annotations

from collections.abc import Mapping

from vox_populi.hf.tensor_key import ProjectionRole

_R = ProjectionRole
Roles = tuple[ProjectionRole, ...]

_Q, _K, _V, _O = (_R.Q,), (_R.K,), (_R.V,), (_R.O,)
_QKV = (_R.Q, _R.K, _R.V)
_GATE, _UP, _DOWN = (_R.GATE,), (_R.UP,), (_R.DOWN,)

_IN_MIXERS: Mapping[str, Roles] = {
    **dict.fromkeys(("q_proj", "query", "q", "q_a_proj", "q_b_proj", "wq", "Wq"), _Q),
    **dict.fromkeys(("k_proj", "key", "k", "wk", "Wk"), _K),
    **dict.fromkeys(("v_proj", "value", "v", "wv", "Wv"), _V),
    **dict.fromkeys(("o_proj", "out_proj", "dense", "c_proj", "wo", "Wo", "linear_out"), _O),
    **dict.fromkeys(("qkv_proj", "query_key_value", "c_attn", "Wqkv", "qkv"), _QKV),
    **dict.fromkeys(("kv_a_proj_with_mqa", "kv_b_proj", "kv_proj"), (_R.K, _R.V)),
    # What a mixer without attention makes of its input takes the place of queries, keys and values.
    **dict.fromkeys(("in_proj", "in_proj_qkvz", "in_proj_qkv", "in_proj_z"), _QKV),
    **dict.fromkeys(("in_proj_ba", "in_proj_a", "in_proj_b", "linear_x", "linear_y"), _QKV),
    **dict.fromkeys(("x_proj", "dt_proj", "gate_proj", "output_gate", "g_proj"), _QKV),
}
_IN_MLPS: Mapping[str, Roles] = {
    **dict.fromkeys(("gate_proj", "w1"), _GATE),
    **dict.fromkeys(("up_proj", "w3", "fc1", "c_fc", "fc_in", "dense_h_to_4h", "proj_up"), _UP),
    **dict.fromkeys(("gate_up_proj", "input_linear", "Wi"), (_R.GATE, _R.UP)),
    **dict.fromkeys(("down_proj", "w2", "fc2", "c_proj", "fc_out"), _DOWN),
    **dict.fromkeys(("dense_4h_to_h", "output_linear", "proj_down", "Wo"), _DOWN),
}
_MLP_PLACES = ("mlp", "feed_forward", "ffn", "block_sparse_moe", "moe")
_ATTENTION_PLACES = ("self_attn", "self_attention", "attn", "attention")
_ROUTERS = ("router", "gate", "shared_expert_gate", "layer")
_PARTS: Mapping[Roles, str] = {
    _Q: "attn.q",
    _K: "attn.k",
    _V: "attn.v",
    _O: "attn.o",
    _QKV: "attn.qkv",
    _GATE: "mlp.gate",
    _UP: "mlp.up",
    (_R.GATE, _R.UP): "mlp.gate_up",
    _DOWN: "mlp.down",
}


def roles_of(path: str) -> Roles:
    """The roles of a linear layer; none if its name says none.

    Args:
        path: Its path within a block, such as `self_attn.q_proj`.
    """
    *places, leaf = path.split(".")
    if is_in_mlp(path):
        return _IN_MLPS.get(leaf, ())
    if not places:
        # OPT has its MLP's layers beside its attention.
        return _IN_MLPS.get(leaf, ())
    # Nemotron calls everything a mixer, its MLPs too.
    found = _IN_MIXERS.get(leaf, ())
    return found or _IN_MLPS.get(leaf, ())


def is_router(path: str, out_features: int) -> bool:
    """Whether a linear layer of a block chooses experts or weighs them."""
    leaf = path.rpartition(".")[2]
    return leaf in _ROUTERS or (out_features == 1 and is_in_mlp(path))


def is_in_mlp(path: str) -> bool:
    """Whether a layer is a part of an MLP."""
    return any(place in path.split(".")[:-1] for place in _MLP_PLACES)


def usual_part(path: str) -> str | None:
    """The name that our own transformer has for such a layer, if there is one of its kind.

    Args:
        path: Its path within a block.
    """
    roles = roles_of(path)
    places = path.split(".")[:-1]
    is_usual = not places or places[-1] in (*_MLP_PLACES, *_ATTENTION_PLACES)
    leaf = path.rpartition(".")[2]
    if not is_usual or (
        roles == _QKV and leaf not in ("qkv_proj", "query_key_value", "c_attn", "Wqkv", "qkv")
    ):
        return None
    return _PARTS.get(roles)
