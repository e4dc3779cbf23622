"""The order of the data and its augmentations depend on the seed alone."""

import itertools
import random

import numpy as np
import pytest
import torch

from freekd import compat

compat.apply()

from freekd.config.errors import ConfigError
from freekd.engine.data import SeededDataset, build_train_loader
from freekd.engine.sampler import SeededBatchSampler
from freekd.engine.seeds import Draw, derive_seed, temporary_seed


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


# --------------------------------------------------------------------------- mmdet's options
class Classes(Noise):
    """Seven images of three classes, one of which has no image."""

    images = {0: [0, 1, 2, 3, 4], 1: [5, 6], 2: []}

    def get_cat2imgs(self):
        return self.images


OPTIONS = [
    pytest.param(dict(class_aware_sampler=dict(num_sample_class=1)), id="class-aware"),
    pytest.param(dict(shuffle=False), id="in-order"),
    pytest.param(dict(drop_last=True), id="drop-last"),
    pytest.param(dict(shuffle=False, drop_last=True), id="in-order-drop-last"),
]


def indices(batches):
    return [[draw.index for draw in batch] for batch in batches]


@pytest.mark.parametrize("options", OPTIONS)
def test_resumed_draws_go_on_as_the_uninterrupted_ones(options):
    stream = SeededBatchSampler(Classes(), 2, seed=4, by_epoch=False, **options)
    whole = list(itertools.islice(stream, 23))  # several epochs of 4 batches
    resumed = SeededBatchSampler(Classes(), 2, seed=4, by_epoch=False, **options)
    for start in (3, 4, 9):
        resumed.start_iter = start
        assert list(itertools.islice(resumed, 23 - start)) == whole[start:]
    run = SeededBatchSampler(Classes(), 2, seed=4, by_epoch=True, **options)
    epochs = []
    for epoch in range(3):
        run.set_epoch(epoch)
        epochs.append(list(run))
        assert len(epochs[-1]) == len(run) and all(len(batch) == 2 for batch in epochs[-1])
    resumed = SeededBatchSampler(Classes(), 2, seed=4, by_epoch=True, **options)
    resumed.set_epoch(2)
    assert list(resumed) == epochs[2]
    seeds = [draw.seed for epoch in epochs for batch in epoch for draw in batch]
    assert len(set(seeds)) == len(seeds)


@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize("by_epoch", [True, False], ids=["epochs", "iterations"])
def test_options_keep_the_batches_of_one_process(options, by_epoch):
    whole = SeededBatchSampler(Classes(), 2, seed=4, by_epoch=by_epoch, **options)
    parts = [
        SeededBatchSampler(Classes(), 1, 4, by_epoch, rank=rank, world_size=2, **options)
        for rank in (0, 1)
    ]
    assert len(whole) == len(parts[0]) == len(parts[1])
    for batch, one, two in itertools.islice(zip(whole, *parts), 9):
        assert [batch[0]] == one and [batch[1]] == two


@pytest.mark.parametrize("number", [1, 2])
def test_class_aware_is_mmdets(number):
    """Epoch after epoch what mmdet's own sampler gives, also in the endless stream."""
    from mmdet.datasets.samplers import ClassAwareSampler

    options = dict(class_aware_sampler=dict(num_sample_class=number))
    stock = ClassAwareSampler(Classes(), 4, 1, 0, seed=4, num_sample_class=number)
    expected = []
    for epoch in range(3):
        stock.set_epoch(epoch)
        expected += list(stock)
    assert len(expected) == 3 * 8  # 7 images, in batches of 4
    epochs = SeededBatchSampler(Classes(), 4, seed=4, by_epoch=True, **options)
    found = []
    for epoch in range(3):
        epochs.set_epoch(epoch)
        found += sum(indices(epochs), [])
    assert found == expected
    stream = SeededBatchSampler(Classes(), 4, seed=4, by_epoch=False, **options)
    assert sum(indices(itertools.islice(stream, 6)), []) == expected
    rare = sum(index in (5, 6) for index in found)
    assert abs(rare - len(found) / 2) <= number  # two classes, equally often; the third is empty


def test_without_shuffling_the_order_is_the_datasets():
    epochs = SeededBatchSampler(Noise(), 2, seed=4, by_epoch=True, shuffle=False)
    assert indices(epochs) == [[0, 1], [2, 3], [4, 5], [6, 0]]  # filled with the first
    epochs = SeededBatchSampler(Noise(), 2, seed=4, by_epoch=True, shuffle=False, drop_last=True)
    assert indices(epochs) == [[0, 1], [2, 3], [4, 5]]
    stream = SeededBatchSampler(Noise(), 2, seed=4, by_epoch=False, shuffle=False)
    assert indices(itertools.islice(stream, 5)) == [[0, 1], [2, 3], [4, 5], [6, 0], [1, 2]]
    few = SeededBatchSampler(Noise(), 10, seed=4, by_epoch=True, shuffle=False)
    assert indices(few) == [[0, 1, 2, 3, 4, 5, 6, 0, 1, 2]]


def test_dropping_the_last_leaves_full_batches_of_different_images():
    """Groups of 5 and 2 images: two batches of 2 and one of 2; one image of the 5 is left out."""
    sampler = SeededBatchSampler(Noise(), 2, seed=4, by_epoch=True, drop_last=True)
    left_out = set()
    for epoch in range(20):
        sampler.set_epoch(epoch)
        batches = indices(sampler)
        used = sum(batches, [])
        assert len(batches) == len(sampler) == 3 and len(set(used)) == 6
        assert all(len({int(Noise.flag[index]) for index in batch}) == 1 for batch in batches)
        left_out |= set(range(7)) - set(used)
    assert left_out == {0, 2, 3, 5, 6}  # each of the larger group once, none of the other
    # batches of 3: none of the group of 2
    sampler = SeededBatchSampler(Noise(), 3, seed=4, by_epoch=True, drop_last=True)
    assert len(sampler) == 1 and not {1, 4} & set(sum(indices(sampler), []))


@pytest.mark.parametrize(
    ("dataset", "size", "options", "words"),
    [
        (Noise(), 6, dict(drop_last=True), ["drop_last", "full batch of 6 of one", r"\[2, 5\]"]),
        (Noise(), 8, dict(drop_last=True, shuffle=False), ["drop_last", "of 8,", "7 images"]),
        (Noise(), 2, dict(class_aware_sampler={}), ["class_aware_sampler", "cat2imgs", "Noise"]),
        (
            Classes(), 2, dict(class_aware_sampler={}, shuffle=False),
            ["class_aware_sampler", "shuffle=False", "Remove one"],
        ),
        (Classes(), 2, dict(class_aware_sampler=dict(num=1)), ["class_aware_sampler", "num"]),
        (
            Classes(), 2, dict(class_aware_sampler=dict(num_sample_class=0)),
            ["class_aware_sampler", "AssertionError"],
        ),
    ],
)  # fmt: skip
def test_options_that_cannot_work(dataset, size, options, words):
    with pytest.raises(ConfigError, match=r"data\.train_dataloader\." + ".*".join(words)):
        SeededBatchSampler(dataset, size, seed=4, by_epoch=True, **options)


def test_no_annotations_for_the_class_aware_sampler():
    class Empty(Classes):
        images = {0: [], 1: []}

    with pytest.raises(ConfigError, match="annotations of at least one class, got none"):
        SeededBatchSampler(Empty(), 2, seed=4, by_epoch=True, class_aware_sampler={})


def test_options_of_torchs_loader():
    """They change how the images are loaded, not which; without workers some say nothing."""
    ours = dict(persistent_workers=True, prefetch_factor=3, timeout=60, pin_memory=False)
    ours["multiprocessing_context"] = "fork"
    loaders = [build_train_loader(Noise(), 2, n, seed=4, by_epoch=True, **ours) for n in (0, 2)]
    assert torch.equal(rows(loaders[0]), rows(loaders[1]))
    assert loaders[1].prefetch_factor == 3 and loaders[1].timeout == 60
    loaders[1].batch_sampler.set_epoch(1)  # the workers of the first epoch go on
    loaders[0].batch_sampler.set_epoch(1)
    assert torch.equal(rows(loaders[0]), rows(loaders[1]))


def test_hooks_change_the_dataset_that_is_wrapped():
    """As ``runner.data_loader.dataset.pipeline = ...`` does in a hook for a plain loader."""

    class Plain:
        scale = 1

        def __len__(self):
            return 3

        def __getitem__(self, index):
            return index * self.scale

    plain = Plain()
    wrapped = SeededDataset(plain)
    wrapped.scale = 10
    assert plain.scale == 10 and wrapped[Draw(2, 0)] == 20
    assert "scale" not in vars(wrapped)
    sampler = SeededBatchSampler(plain, 1, 0, by_epoch=True)
    sampler.sampler.set_epoch(4)  # DistSamplerSeedHook's way
    assert sampler.epoch == 4
