"""Which tensors a merge changes, and by what."""

from __future__ import annotations

import pytest
import torch

from vox_populi.merge.full_graph import LowRankUpdate, merge_rows


def make_update(*, is_transposed: bool, scale: float = 2.0) -> LowRankUpdate:
    generator = torch.Generator().manual_seed(0)
    a = torch.randn(2, 5, generator=generator)
    b = torch.randn(7, 2, generator=generator)
    return LowRankUpdate(a, b, scale, is_transposed)


@pytest.mark.parametrize("is_transposed", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.requirement("10")
def test_merge_rows_adds_in_f32_and_rounds_once(dtype: torch.dtype, is_transposed: bool) -> None:
    update = make_update(is_transposed=is_transposed)
    dense_OI = 2.0 * update.b_OR.double() @ update.a_RI.double()
    dense = dense_OI.T if is_transposed else dense_OI
    base = torch.randn(dense.shape, generator=torch.Generator().manual_seed(1)).to(dtype)

    merged, change = merge_rows(base[1:4], update, 1)

    expected = (base.double() + dense)[1:4].to(dtype)
    # f32 sums may fall on the other side of a rounding border of the narrow types.
    tolerance = {torch.float32: 1e-6, torch.float16: 2e-3, torch.bfloat16: 8e-3}[dtype]
    torch.testing.assert_close(merged, expected, rtol=tolerance, atol=tolerance)
    assert merged.dtype == dtype
    assert merged.is_contiguous()
    assert change.changed_values == int((merged != base[1:4]).sum()) > 0
    assert change.largest == pytest.approx(float(dense[1:4].abs().max()), rel=1e-5)
    assert change.total == pytest.approx(float(dense[1:4].abs().sum()), rel=1e-5)


@pytest.mark.parametrize("is_transposed", [False, True])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.requirement("10")
def test_merge_rounds_the_sum_and_never_the_update(dtype: torch.dtype, is_transposed: bool) -> None:
    """Half a unit and a little: the sum rounds up, the update alone would lose the little."""
    half_unit = torch.finfo(dtype).eps / 2
    # Every number here is a sum of two powers of two, so no processor rounds before we do.
    a, b = torch.ones(2, 5), torch.tensor([[half_unit, half_unit * 2**-12]]).expand(7, 2)
    if is_transposed:
        a, b = b.T[:, :5], a.T[:1].expand(7, 2)
    base = torch.ones((5, 7) if is_transposed else (7, 5), dtype=dtype)
    merged, change = merge_rows(base, LowRankUpdate(a, b, 1.0, is_transposed), 0)
    assert torch.equal(merged, base + torch.finfo(dtype).eps)
    assert change.changed_values == base.numel()
    update = torch.full_like(base, half_unit * (1 + 2**-12))
    assert torch.equal(base + update, base), "an update that was rounded first gets lost"


@pytest.mark.requirement("10")
def test_merge_counts_what_survives_the_rounding() -> None:
    update = make_update(is_transposed=False, scale=1e-9)
    base = torch.ones(7, 5, dtype=torch.bfloat16)
    merged, change = merge_rows(base, update, 0)
    assert torch.equal(merged, base)
    assert change.changed_values == 0
    assert change.largest > 0


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), 6e4])
@pytest.mark.requirement("10")
def test_merge_refuses_what_the_type_cannot_hold(bad: float) -> None:
    base = torch.full((7, 5), bad, dtype=torch.float16)
    with pytest.raises(ValueError, match="finite"):
        merge_rows(base, make_update(is_transposed=False, scale=1e5), 0)


@pytest.mark.parametrize("is_transposed", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_the_rounding_is_measured_beside_the_update(
    dtype: torch.dtype, is_transposed: bool
) -> None:
    update = make_update(is_transposed=is_transposed, scale=0.01)
    delta = update.rows(0, 5 if is_transposed else 7)
    base = torch.randn(delta.shape, generator=torch.Generator().manual_seed(1)).bfloat16()

    merged, change = merge_rows(base, update, 0, dtype)

    lost = merged.double() - (base.double() + delta.double())
    assert change.squared_delta == pytest.approx(float((delta.double() ** 2).sum()), rel=1e-5)
    if dtype is torch.float32:
        assert change.squared_error == 0
    else:
        assert change.squared_error == pytest.approx(float((lost**2).sum()), rel=1e-3)
        assert change.squared_error > 0
