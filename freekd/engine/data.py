"""Training data in an order, and with augmentations, that depend on the seed alone.

Every drawn image carries its own seed, derived from the run's seed and its place in the stream of
draws. So two runs with one seed see the same images with the same augmentations, whatever the
number of workers and whatever the models draw from the random generators; and a resumed run goes
on as the uninterrupted one. The order itself is mmdet's: its samplers draw the global batches, and
process r of R takes the items r, r + R, ... of each. So R processes with n images each see the
batches of one process with R n images. Every batch is full: an epoch's last one is filled with
images of the epoch again, or left out by ``drop_last``.
"""

from functools import partial
from typing import Any, Dict, Optional

from torch.utils.data import DataLoader, Dataset

from freekd.engine.sampler import SeededBatchSampler
from freekd.engine.seeds import Draw, temporary_seed


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

    def __setattr__(self, name: str, value: Any) -> None:
        """A hook that changes ``runner.data_loader.dataset`` means the wrapped one."""
        if name == "dataset":
            super().__setattr__(name, value)
        else:
            setattr(self.dataset, name, value)


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
    shuffle: bool = True,
    drop_last: bool = False,
    class_aware_sampler: Optional[Dict[str, Any]] = None,
    **options: Any,
) -> DataLoader:
    """The training DataLoader.

    Args:
        dataset: Of any task.
        samples_per_gpu, workers_per_gpu: Images in a batch, and worker processes, of one process.
        seed, by_epoch, rank, world_size, shuffle, drop_last, class_aware_sampler: see
            :class:`SeededBatchSampler`.
        **options: For :class:`torch.utils.data.DataLoader`, as
            :func:`freekd.engine.loader_options.train_loader_options` checks them.

    Raises:
        ConfigError: As :class:`SeededBatchSampler`.
    """
    from mmcv.parallel import collate

    return DataLoader(
        SeededDataset(dataset),
        batch_sampler=SeededBatchSampler(
            dataset, samples_per_gpu, seed, by_epoch, rank, world_size, shuffle, drop_last,
            class_aware_sampler,
        ),
        num_workers=workers_per_gpu,
        collate_fn=partial(collate, samples_per_gpu=samples_per_gpu),
        worker_init_fn=_start_worker,
        **usable_with(workers_per_gpu, options),
    )  # fmt: skip


# What torch refuses where no worker processes are
_OF_WORKERS = ("persistent_workers", "prefetch_factor", "multiprocessing_context", "timeout")


def usable_with(workers: int, options: Dict[str, Any]) -> Dict[str, Any]:
    """``options`` of a DataLoader without those that need workers, where there are none."""
    return {k: v for k, v in options.items() if workers > 0 or k not in _OF_WORKERS}
