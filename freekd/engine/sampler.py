"""Batches of :class:`freekd.engine.seeds.Draw` in mmdet's order, see :mod:`freekd.engine.data`."""

import itertools
from typing import Any, Dict, Iterable, Iterator, List, Optional

import numpy as np
from torch.utils.data import Sampler

from freekd.config.errors import ConfigError
from freekd.engine.seeds import Draw, derive_seed

KEY = "data.train_dataloader"
_LEFT_OUT = 2  # of the seed that says which images drop_last leaves out


class _Flags:
    """What mmdet's samplers look at; other hosts' datasets have no groups of aspect ratio."""

    def __init__(self, flag: Any) -> None:
        self.flag = flag

    def __len__(self) -> int:
        return len(self.flag)


def _groups(dataset: Any) -> Any:
    """The group of aspect ratio of each image, or 0 where the dataset tells none."""
    flag = np.asarray(getattr(dataset, "flag", ()))
    return flag if len(flag) == len(dataset) else np.zeros(len(dataset), dtype=np.uint8)


class _ByClass:
    """What mmdet's ClassAwareSampler looks at.

    CocoDataset takes the categories' numbers in its file for the numbers of the classes: KeyError
    on COCO itself.
    """

    def __init__(self, dataset: Any) -> None:
        self.dataset = dataset

    def __len__(self) -> int:
        return len(self.dataset)

    def get_cat2imgs(self) -> Dict[int, List[int]]:
        from mmdet.datasets import CocoDataset

        dataset, stock = self.dataset, CocoDataset.get_cat2imgs
        if not isinstance(dataset, CocoDataset) or type(dataset).get_cat2imgs is not stock:
            images: Dict[int, List[int]] = dataset.get_cat2imgs()
            return images
        images = {label: [] for label in range(len(dataset.CLASSES))}
        for index in range(len(dataset)):
            for category in sorted(set(dataset.get_cat_ids(index))):
                if category in dataset.cat2label:
                    images[dataset.cat2label[category]].append(index)
        return images


class SeededBatchSampler(Sampler):
    """Batches of :class:`Draw` for one process, in mmdet's order.

    Args:
        dataset: The dataset; images of one batch share its ``flag`` (aspect ratio) if it has one.
        batch_size: Images per process.
        seed: The run's seed.
        by_epoch: Finite epochs (epoch runner) or an endless stream (iteration runner).
        rank, world_size: This process, number of processes.
        shuffle: False takes the images in the dataset's order, whatever their aspect ratio.
        drop_last: An epoch has full batches of images that differ; which images are left out
            differs between epochs. The endless stream has full batches anyway.
        class_aware_sampler: ``dict(num_sample_class=n)``: mmdet's ClassAwareSampler, which takes n
            images of one class, then of the next. The endless stream is then one such epoch after
            another. None: not so.

    ``set_epoch`` and ``start_iter`` say where to begin, for epochs and for the stream.

    Raises:
        ConfigError: ``class_aware_sampler`` and the dataset cannot tell the images of a class, or
            ``shuffle=False`` beside it; ``drop_last`` and there is no full batch.
    """

    def __init__(
        self,
        dataset: Any,
        batch_size: int,
        seed: int,
        by_epoch: bool,
        rank: int = 0,
        world_size: int = 1,
        shuffle: bool = True,
        drop_last: bool = False,
        class_aware_sampler: Optional[Dict[str, Any]] = None,
    ) -> None:
        self.flag = _groups(dataset)
        self.batch_size = batch_size
        self.seed = seed
        self.by_epoch = by_epoch
        self.rank = rank
        self.world_size = world_size
        self.shuffle = shuffle
        self.drop_last = drop_last and by_epoch and class_aware_sampler is None
        self.epoch = 0
        self.start_iter = 0
        self._class_aware = None
        if class_aware_sampler is not None:
            self._class_aware = self._take_by_class(dataset, class_aware_sampler)
        if self.drop_last and len(self) == 0:
            of_one = " of one aspect ratio" if shuffle and len(set(self.flag)) > 1 else ""
            raise ConfigError(
                f"{KEY}.drop_last: expected images for at least one full batch of "
                f"{self.global_batch_size}{of_one}, got {len(self.flag)} images in groups of "
                f"{sorted(np.bincount(self.flag).tolist())}. Remove the key, or set "
                "samples_per_gpu lower."
            )

    @property
    def global_batch_size(self) -> int:
        return self.batch_size * self.world_size

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    @property
    def sampler(self) -> "SeededBatchSampler":
        """Where mmcv's DistSamplerSeedHook looks for ``set_epoch``."""
        return self

    def _take_by_class(self, dataset: Any, options: Dict[str, Any]) -> Any:
        from mmdet.datasets.samplers import ClassAwareSampler

        key = f"{KEY}.class_aware_sampler"
        if not self.shuffle:
            raise ConfigError(
                f"{key}: expected to choose the images of each batch, but {KEY}.shuffle=False asks "
                "for the dataset's order. Remove one of the two keys."
            )
        if not hasattr(dataset, "get_cat2imgs"):
            raise ConfigError(
                f"{key}: expected a dataset that can tell the images of each class (get_cat2imgs), "
                f"as mmdet's CocoDataset and VOCDataset can, but a {type(dataset).__name__} cannot."
                " Remove the key, or give data.train as one such dataset."
            )
        try:
            sampler = ClassAwareSampler(
                _ByClass(dataset), self.global_batch_size, 1, 0, seed=self.seed, **options
            )
        except (TypeError, ValueError, KeyError, AssertionError, AttributeError) as error:
            raise ConfigError(
                f"{key}: mmdet's ClassAwareSampler refuses {options} for a "
                f"{type(dataset).__name__} ({type(error).__name__}: {error}). Correct or remove "
                "the key."
            ) from error
        if sampler.num_classes == 0:
            raise ConfigError(
                f"{key}: expected images with annotations of at least one class, got none. Correct "
                "data.train, or remove the key."
            )
        return sampler

    def _epoch_order(self, epoch: int) -> Iterable[int]:
        """The images of an epoch, one full global batch after another."""
        from mmdet.datasets.samplers import DistributedGroupSampler

        size, count = self.global_batch_size, len(self.flag)
        if self._class_aware is not None:
            self._class_aware.set_epoch(epoch)
            return iter(self._class_aware)
        if not self.shuffle:
            length = self._epoch_length() * size
            return itertools.islice(itertools.cycle(range(count)), length)
        kept = self._kept(epoch) if self.drop_last else np.arange(count)
        order = DistributedGroupSampler(
            _Flags(self.flag[kept]), size, num_replicas=1, rank=0, seed=self.seed
        )
        order.set_epoch(epoch)
        return (int(kept[place]) for place in order)

    def _kept(self, epoch: int) -> Any:
        """The images that ``drop_last`` leaves in an epoch: of each group whole batches."""
        random_state = np.random.RandomState(derive_seed(self.seed, epoch, 0, _LEFT_OUT))
        size, kept = self.global_batch_size, []
        for group in np.unique(self.flag):
            members = random_state.permutation(np.flatnonzero(self.flag == group))
            kept.append(members[: len(members) // size * size])
        return np.sort(np.concatenate(kept))

    def _epoch_length(self) -> int:
        """Global batches of an epoch: the same for every epoch."""
        size = self.global_batch_size
        together = not self.shuffle or self._class_aware is not None
        groups = [len(self.flag)] if together else np.bincount(self.flag).tolist()
        return sum(count // size if self.drop_last else -(-count // size) for count in groups)

    def _global_batches(self) -> Iterator[List[int]]:
        from mmdet.datasets.samplers import InfiniteBatchSampler, InfiniteGroupBatchSampler

        size = self.global_batch_size
        if self.by_epoch or self._class_aware is not None:
            for epoch in [self.epoch] if self.by_epoch else itertools.count():
                order = list(self._epoch_order(epoch))
                for start in range(0, len(order), size):
                    yield order[start : start + size]
        else:
            stream = InfiniteGroupBatchSampler if self.shuffle else InfiniteBatchSampler
            yield from stream(
                _Flags(self.flag), size, world_size=1, rank=0, seed=self.seed, shuffle=self.shuffle
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
            return self._epoch_length()
        return max(1, len(self.flag) // self.global_batch_size)
