"""Embeddings and head that several processes hold together, each some of the rows.

FSDP would gather a table twice: what the others sent, and its copy. Here the rows of all processes
are received where they are used, a slice at a time. On a CPU they are held and sent in the type of
the file if that is narrower than the one that is computed in, which holds its values exactly.
Shape letters: V vocabulary, D model width, T tokens, R some rows.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn import functional as F

from vox_populi.model.gathering import gather_into

SLICE_BYTES = 1 << 23
"""What is received at a time on a CPU: 8 MiB, little beside a table and much beside a message."""


class DividedTable(nn.Module):
    """A frozen table `[V, D]`, of which this process has one part.

    Args:
        own_RD: This process's rows, as many as every process has (`rows_of_each`); the last rows
            of all may be padding.
        rows: V.
        dtype: Type of the rows that are given out.

    Attributes:
        weight: This process's rows.
    """

    def __init__(self, own_RD: Tensor, rows: int, dtype: torch.dtype) -> None:
        super().__init__()
        self.rows, self.dtype = rows, dtype
        self.weight = nn.Parameter(own_RD, requires_grad=False)

    @contextmanager
    def whole(self) -> Iterator[Tensor]:
        """All rows, for a block of code that every process runs at the same time."""
        own_RD = self.weight.detach()
        n_padded = own_RD.shape[0] * dist.get_world_size()
        padded = own_RD.new_empty(n_padded, own_RD.shape[1], dtype=self.dtype)
        if own_RD.is_cpu:
            # Gloo gathers into a copy of the result.
            for first, part_RD in self._slices():
                padded[first : first + part_RD.shape[0]] = part_RD
        else:
            gather_into(padded, own_RD)
        yield padded[: self.rows]

    def forward(self, ids_T: Tensor) -> Tensor:
        """The rows of some ids, `[T, D]`: an embedding. No process has the whole table for it."""
        own_RD = self.weight.detach()
        out_TD = own_RD.new_empty(ids_T.shape[0], own_RD.shape[1], dtype=self.dtype)
        for first, part_RD in self._slices():
            is_there_T = (ids_T >= first) & (ids_T < first + part_RD.shape[0])
            # As many positions as tokens: none of it depends on what the ids are.
            rows_TD = F.embedding((ids_T - first).clamp(0, part_RD.shape[0] - 1), part_RD)
            out_TD = torch.where(is_there_T.unsqueeze(1), rows_TD.to(self.dtype), out_TD)
        return out_TD

    def _slices(self) -> Iterator[tuple[int, Tensor]]:
        """The rows of all processes in order, a slice at a time, with the number of the first.

        Every process goes through them at the same time. A slice may be overwritten by the next.
        """
        own_RD = self.weight.detach()
        each, width = own_RD.shape
        most = max(SLICE_BYTES // (width * own_RD.element_size()), 1) if own_RD.is_cpu else each
        received_RD = own_RD.new_empty(min(most, each), width)
        for source in range(dist.get_world_size()):
            for first in range(0, each, most):
                part_RD = own_RD[first : first + most]
                if source != dist.get_rank():
                    part_RD = received_RD[: part_RD.shape[0]]
                # As bytes, whatever types a backend knows.
                dist.broadcast(part_RD.view(torch.uint8), src=source)
                yield source * each + first, part_RD


def rows_of_each(rows: int) -> int:
    """How many rows of a table with so many each process has."""
    return -(-rows // dist.get_world_size())


@contextmanager
def whole_head(head: nn.Linear, table: DividedTable) -> Iterator[None]:
    """Set a head's weight to all rows of its table for a block of code.

    The loss makes its gradients in the forward pass, so that backward does not come back to it.
    """
    own = head.weight
    with table.whole() as weight_VD:
        head.weight = nn.Parameter(weight_VD, requires_grad=False)
        try:
            yield
        finally:
            head.weight = own


def empty_head(table: DividedTable) -> nn.Linear:
    """A head without a weight of its own, for `whole_head`."""
    head = nn.Linear(table.weight.shape[1], table.rows, bias=False, device="meta")
    empty = torch.empty(0, dtype=table.dtype, device=table.weight.device)
    head.weight = nn.Parameter(empty, requires_grad=False)
    return head
