"""Training data in an order, and with augmentations, that depend on the seed alone.

Every drawn image carries its own seed, derived from the run's seed and its place in the stream of
draws. So two runs with one seed see the same images with the same augmentations, whatever the
number of workers and whatever the models draw from the random generators; and a resumed run goes
on as the uninterrupted one. The order itself is mmdet's: its samplers draw the global batches, and
process r of R takes the items r, r + R, ... of each. So R processes with n images each see the
batches of one process with R n images.
"""

import contextlib
import random
from functools import partial
from typing import Any, Iterator, List, NamedTuple

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset, Sampler


class Draw(NamedTuple):
    """One image to load: its index in the dataset and the seed of its augmentations."""

    index: int
    seed: int


def derive_seed(*numbers: int) -> int:
    """A 32-bit seed that depends on all of ``numbers``, as independent as a hash makes it.

    >>> derive_seed(0, 1) != derive_seed(1, 0)
    True
    """
    return int(np.random.SeedSequence([int(n) for n in numbers]).generate_state(1)[0])


@contextlib.contextmanager
def temporary_seed(seed: int) -> Iterator[None]:
    """Seed random, numpy and torch (CPU) for the block, then put their states back."""
    states = random.getstate(), np.random.get_state(), torch.get_rng_state()
    random.seed(seed)
    np.random.seed(seed)
    torch.default_generator.manual_seed(seed)
    try:
        yield
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])
        torch.set_rng_state(states[2])


class SeededDataset(Dataset):
    """A dataset asked by :class:`Draw` instead of index; everything else is the wrapped one's."""

    def __init__(self, dataset: Any) -> None:
        self.dataset = dataset

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, draw: Draw) -> Any:
        with temporary_seed(draw.seed):
            return self.dataset[draw.index]

    def __getattr__(self, name: str) -> Any:
        if name == "dataset" or name.startswith("__"):
            raise AttributeError(name)
        return getattr(self.dataset, name)


class _Flags:
    """What mmdet's samplers look at; mmseg's datasets have no groups of aspect ratio."""

    def __init__(self, dataset: Any) -> None:
        self.flag = np.asarray(getattr(dataset, "flag", np.zeros(len(dataset), dtype=np.uint8)))

    def __len__(self) -> int:
        return len(self.flag)


class SeededBatchSampler(Sampler):
    """Batches of :class:`Draw` for one process, in mmdet's order.

    Args:
        dataset: The dataset; images of one batch share its ``flag`` (aspect ratio) if it has one.
        batch_size: Images per process.
        seed: The run's seed.
        by_epoch: Finite epochs (epoch runner) or an endless stream (iteration runner).
        rank, world_size: This process, number of processes.

    ``set_epoch`` and ``start_iter`` say where to begin, for epochs and for the stream.
    """

    def __init__(
        self,
        dataset: Any,
        batch_size: int,
        seed: int,
        by_epoch: bool,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        self.flags = _Flags(dataset)
        self.batch_size = batch_size
        self.seed = seed
        self.by_epoch = by_epoch
        self.rank = rank
        self.world_size = world_size
        self.epoch = 0
        self.start_iter = 0

    @property
    def global_batch_size(self) -> int:
        return self.batch_size * self.world_size

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def _epoch_order(self) -> Any:
        from mmdet.datasets.samplers import DistributedGroupSampler

        order = DistributedGroupSampler(
            self.flags, self.global_batch_size, num_replicas=1, rank=0, seed=self.seed
        )
        order.set_epoch(self.epoch)
        return order

    def _global_batches(self) -> Iterator[List[int]]:
        size = self.global_batch_size
        if self.by_epoch:
            order = list(self._epoch_order())
            for start in range(0, len(order), size):
                yield order[start : start + size]
        else:
            from mmdet.datasets.samplers import InfiniteGroupBatchSampler

            yield from InfiniteGroupBatchSampler(
                self.flags, size, world_size=1, rank=0, seed=self.seed
            )

    def __iter__(self) -> Iterator[List[Draw]]:
        epoch = self.epoch if self.by_epoch else 0
        first = 0 if self.by_epoch else self.start_iter
        mine = slice(self.rank, None, self.world_size)
        for number, batch in enumerate(self._global_batches()):
            if number < first:
                continue
            position = number * self.global_batch_size
            draws = [
                Draw(index, derive_seed(self.seed, epoch, position + offset))
                for offset, index in enumerate(batch)
            ]
            yield draws[mine]

    def __len__(self) -> int:
        if self.by_epoch:
            return len(self._epoch_order()) // self.global_batch_size
        return max(1, len(self.flags) // self.global_batch_size)


def _start_worker(worker_id: int) -> None:
    """OpenCV would start a thread per core; spawned workers come without the work-arounds."""
    import cv2

    from freekd import compat

    cv2.setNumThreads(0)
    compat.apply_in_worker()


def build_train_loader(
    dataset: Any,
    samples_per_gpu: int,
    workers_per_gpu: int,
    seed: int,
    by_epoch: bool,
    rank: int = 0,
    world_size: int = 1,
    **options: Any,
) -> DataLoader:
    """The training DataLoader; ``options`` go to :class:`torch.utils.data.DataLoader`."""
    from mmcv.parallel import collate

    if workers_per_gpu == 0:
        for name in ("persistent_workers", "prefetch_factor"):
            options.pop(name, None)
    return DataLoader(
        SeededDataset(dataset),
        batch_sampler=SeededBatchSampler(
            dataset, samples_per_gpu, seed, by_epoch, rank=rank, world_size=world_size
        ),
        num_workers=workers_per_gpu,
        collate_fn=partial(collate, samples_per_gpu=samples_per_gpu),
        worker_init_fn=_start_worker,
        **options,
    )
