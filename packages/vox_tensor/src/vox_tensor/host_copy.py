"""Copying small tensors to a device without waiting for it."""

from __future__ import annotations

import torch
from torch import Tensor


def copied_to(made: Tensor, device: torch.device | str) -> Tensor:
    """A tensor of the host's on a device; on CUDA the copy is queued behind what is running.

    Only from pinned memory is it: otherwise the host would wait until the device has read all of
    it, after everything before. torch reuses pinned memory once its copy is done.
    """
    place = torch.device(device)
    if place.type == "cuda":
        made = made.pin_memory()
    return made.to(place, non_blocking=True)
