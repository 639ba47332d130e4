"""Only copies to CUDA are pinned; none of them waits."""

from __future__ import annotations

from unittest import mock

import pytest
import torch

from vox_tensor.host_copy import copied_to


@pytest.mark.parametrize(
    ("device", "is_pinned"), [("cuda", True), ("cuda:1", True), ("mps", False)]
)
def test_a_copy_is_pinned_for_cuda_and_never_waits(device: str, *, is_pinned: bool) -> None:
    made = mock.create_autospec(torch.Tensor, instance=True)
    made.pin_memory.return_value = made
    assert copied_to(made, device) is made.to.return_value
    assert made.pin_memory.called == is_pinned
    made.to.assert_called_once_with(torch.device(device), non_blocking=True)


def test_on_a_cpu_nothing_is_copied() -> None:
    made = torch.arange(3)
    assert copied_to(made, "cpu") is made
