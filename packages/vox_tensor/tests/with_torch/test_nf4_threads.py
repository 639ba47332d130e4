"""The same bytes whatever the number of threads."""

from __future__ import annotations

import torch

from vox_tensor.nf4 import GROUP_SIZE, NestedScales, quantize_nf4


def test_double_quantisation_does_not_depend_on_the_number_of_threads() -> None:
    # Above 32,768 values torch hands a sum to several threads.
    weight = torch.randn(2048, 2048, generator=torch.Generator().manual_seed(3))
    before, found = torch.get_num_threads(), []
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            scales = quantize_nf4(weight).scales
            assert isinstance(scales, NestedScales)
            found.append(scales)
            assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)
    assert found[0].codes_B.numel() > 256 * GROUP_SIZE / 2
    for other in found[1:]:
        assert torch.equal(found[0].offset, other.offset)
        assert torch.equal(found[0].codes_B, other.codes_B)
        assert torch.equal(found[0].absmax_G, other.absmax_G)
