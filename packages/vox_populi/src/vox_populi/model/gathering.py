"""One tensor made from those of all processes, under either of the names that torch has for it."""

from __future__ import annotations

import torch.distributed as dist
from torch import Tensor


def gather_into(total: Tensor, own: Tensor) -> None:
    """Fill `total` with the tensors of all processes, in their order.

    torch 2.13 warns of the name that older versions have.
    """
    gather = getattr(dist, "all_gather_single", None) or dist.all_gather_into_tensor
    gather(total, own)
