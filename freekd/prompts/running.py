"""Means over everything that a training has seen, in buffers."""

from typing import List, Sequence

import torch
import torch.distributed as dist
from torch import Tensor, nn


class RunningMeans(nn.Module):
    """One tensor of means for each pyramid level, pooled over batches, positions and processes.

    After n batches of w_1 ... w_n positions, over all processes, with means m_1 ... m_n,
    the mean is sum_i w_i m_i / sum_i w_i. What it is taken of does not change while it is taken (a
    frozen teacher's maps), so the mean of all is a better estimate than one that forgets; and after
    the first batch it is that batch's.

    Args:
        shapes: of the means, one for each level.
        dtype: of the buffers; float64 for moments that are subtracted from each other.

    Attributes:
        mean_0, seen_0, ...: the means of a level, 0 before the first batch, and from how many
            positions they are.
    """

    def __init__(self, shapes: Sequence[Sequence[int]], dtype: torch.dtype = torch.float32) -> None:
        super().__init__()
        self.levels = len(shapes)
        for level, shape in enumerate(shapes):
            self.register_buffer(f"mean_{level}", torch.zeros(*shape, dtype=dtype))
            self.register_buffer(f"seen_{level}", torch.zeros((), dtype=torch.int64))

    def mean(self, level: int) -> Tensor:
        """The means of a level."""
        return self.get_buffer(f"mean_{level}")

    @torch.no_grad()
    def update(self, means: Sequence[Tensor], counts: Sequence[int]) -> None:
        """Take in a batch; in a process group all must call it, and all get the same.

        Args:
            means: of each level, of this process's batch. A level with a value that is not finite
                is left out.
            counts: of how many positions each is the mean.
        """
        rows: List[Tensor] = []
        for mean, count in zip(means, counts):
            sums = mean.double().flatten() * count
            row = torch.cat([sums.new_full((1,), count), sums])
            rows.append(torch.where(sums.isfinite().all(), row, torch.zeros_like(row)))
        flat = torch.cat(rows)
        if dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1:
            dist.all_reduce(flat)
        for level, row in enumerate(flat.split([len(row) for row in rows])):
            kept, seen = self.mean(level), self.get_buffer(f"seen_{level}")
            seen += row[0].to(seen.dtype)
            share = row[0] / seen.clamp_min(1)
            batch = (row[1:] / row[0].clamp_min(1)).view_as(kept)
            kept += (share * (batch - kept)).to(kept.dtype)
