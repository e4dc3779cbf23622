"""The order of the data and its augmentations depend on the seed alone."""

import itertools
import random

import numpy as np
import pytest
import torch

from freekd import compat

compat.apply()

from freekd.engine.data import (  # noqa: E402
    Draw,
    SeededBatchSampler,
    SeededDataset,
    build_train_loader,
    derive_seed,
    temporary_seed,
)


class Noise(torch.utils.data.Dataset):
    """Gives its index and what each of the three generators draws; two groups of images."""

    flag = np.array([0, 1, 0, 0, 1, 0, 0], dtype=np.uint8)
    CLASSES = ("a",)

    def __len__(self):
        return 7

    def __getitem__(self, index):
        return torch.tensor(
            [index, random.random(), np.random.rand(), torch.rand(1).item()], dtype=torch.float64
        )


def rows(loader, count=None):
    return torch.cat(list(itertools.islice(loader, count)))


@pytest.mark.parametrize("by_epoch", [True, False], ids=["epochs", "iterations"])
def test_order_does_not_depend_on_workers_or_on_the_models_draws(by_epoch):
    seen = []
    for workers, disturbance in ((0, 0), (0, 5), (2, 3)):
        torch.manual_seed(disturbance)
        np.random.seed(disturbance)
        random.seed(disturbance)
        loader = build_train_loader(Noise(), 2, workers, seed=4, by_epoch=by_epoch)
        seen.append(rows(loader, 5))
    assert torch.equal(seen[0], seen[1]) and torch.equal(seen[0], seen[2])
    other = build_train_loader(Noise(), 2, 0, seed=5, by_epoch=by_epoch)
    assert not torch.equal(seen[0], rows(other, 5))


def test_every_draw_has_its_own_augmentation():
    loader = build_train_loader(Noise(), 2, 0, seed=4, by_epoch=False)
    drawn = rows(loader, 40)
    for column in (1, 2, 3):
        assert len(drawn[:, column].unique()) == 80


def test_epochs_differ_and_repeat():
    sampler = SeededBatchSampler(Noise(), 2, seed=4, by_epoch=True)
    first = list(sampler)
    assert len(first) == len(sampler) == 4  # 5 + 2 images of two groups in batches of 2
    assert {draw.index for batch in first for draw in batch} == set(range(7))
    sampler.set_epoch(1)
    second = list(sampler)
    assert first != second
    assert not {d.seed for b in first for d in b} & {d.seed for b in second for d in b}
    sampler.set_epoch(0)
    assert list(sampler) == first


def test_images_of_one_batch_share_their_group():
    sampler = SeededBatchSampler(Noise(), 2, seed=4, by_epoch=False)
    for batch in itertools.islice(sampler, 20):
        assert len({int(Noise.flag[draw.index]) for draw in batch}) == 1


def test_stream_starts_at_the_resumed_iteration():
    sampler = SeededBatchSampler(Noise(), 2, seed=4, by_epoch=False)
    whole = list(itertools.islice(sampler, 12))
    sampler.start_iter = 7
    assert list(itertools.islice(sampler, 5)) == whole[7:]


@pytest.mark.parametrize("by_epoch", [True, False], ids=["epochs", "iterations"])
def test_processes_share_the_batches_of_one_process(by_epoch):
    whole = SeededBatchSampler(Noise(), 4, seed=4, by_epoch=by_epoch)
    parts = [
        SeededBatchSampler(Noise(), 2, seed=4, by_epoch=by_epoch, rank=rank, world_size=2)
        for rank in (0, 1)
    ]
    assert len(whole) == len(parts[0]) == len(parts[1])
    for batch, one, two in itertools.islice(zip(whole, *parts), 6):
        assert batch[0::2] == one and batch[1::2] == two


def test_process_generators_are_left_alone():
    torch.manual_seed(1)
    np.random.seed(1)
    random.seed(1)
    expected = torch.rand(1).item(), np.random.rand(), random.random()
    torch.manual_seed(1)
    np.random.seed(1)
    random.seed(1)
    SeededDataset(Noise())[Draw(3, 99)]
    with pytest.raises(RuntimeError), temporary_seed(3):
        torch.rand(2)
        raise RuntimeError
    assert (torch.rand(1).item(), np.random.rand(), random.random()) == expected


def test_dataset_without_groups_and_attributes_of_the_wrapped_one():
    plain = torch.utils.data.TensorDataset(torch.arange(6))
    sampler = SeededBatchSampler(plain, 3, seed=0, by_epoch=True)
    assert sorted(draw.index for batch in sampler for draw in batch) == list(range(6))
    assert SeededDataset(Noise()).CLASSES == ("a",)
    with pytest.raises(AttributeError):
        _ = SeededDataset(Noise()).PALETTE


def test_derived_seeds():
    seeds = {derive_seed(a, b, c) for a in range(3) for b in range(3) for c in range(9)}
    assert len(seeds) == 81 and all(0 <= seed < 2**32 for seed in seeds)
