"""Roles by the names of layers in classes of transformers."""

from __future__ import annotations

import pytest

from vox_populi.hf.module_roles import is_router, roles_of, usual_part


@pytest.mark.parametrize(
    ("path", "roles", "part"),
    [
        ("self_attn.q_proj", "q", "attn.q"),
        ("attention.query_key_value", "q+k+v", "attn.qkv"),
        ("attn.c_proj", "o", "attn.o"),
        ("mlp.c_proj", "down", "mlp.down"),
        ("fc1", "up", "mlp.up"),
        ("feed_forward.w1", "gate", "mlp.gate"),
        ("mlp.gate_up_proj", "gate+up", "mlp.gate_up"),
        ("mlp.shared_experts.up_proj", "up", None),
        ("linear_attn.in_proj_qkvz", "q+k+v", None),
        ("mamba.out_proj", "o", None),
        ("self_attn.kv_b_proj", "k+v", None),
        ("mixer.up_proj", "up", None),
        ("per_layer_input_gate", "", None),
    ],
)
def test_a_role_follows_from_the_name_and_the_place(
    path: str, roles: str, part: str | None
) -> None:
    assert "+".join(roles_of(path)) == roles
    assert usual_part(path) == part


def test_routers_are_known_by_name_or_by_their_single_feature() -> None:
    assert is_router("mlp.gate", 8)
    assert is_router("feed_forward.router", 16)
    assert is_router("mlp.some_gate", 1)
    assert not is_router("mlp.gate_proj", 8)
