"""``cache_embeddings``: what is kept, that nothing else changes, and what is refused."""

import json

import pytest
import torch
from mmdet.datasets.pipelines import Compose

from freekd.distill.cache import MANIFEST, EmbeddingCache, Options, read_options
from freekd.distill.cache_data import fixed_steps

TEACHER = dict(fingerprint="abc", module="image_encoder", autocast=None)
FIXED = [
    dict(type="LoadImageFromFile"),
    dict(type="Resize", img_scale=(64, 64), keep_ratio=True, backend="pillow"),
    dict(type="Normalize", mean=[0.0] * 3, std=[1.0] * 3),
    dict(type="Pad", size=(64, 64)),
]


class Data:
    """A data set, as far as a cache looks at it."""

    def __init__(self, steps=FIXED, names=("a.jpg", "b.jpg")):
        self.pipeline = Compose(steps)
        self.data_infos = [dict(filename=name) for name in names]


def meta_of(tmp_path, name="a.jpg"):
    (tmp_path / name).write_bytes(b"pixels")
    return dict(filename=str(tmp_path / name), ori_filename=name)


def cache_in(folder, dtype="float16", teacher=TEACHER, data=None):
    cache = EmbeddingCache(Options(str(folder), dtype))
    cache.prepare(teacher, data or Data())
    return cache


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_what_is_kept_is_read_again(dtype, tmp_path):
    """In half precision, on the first use as on later ones, by another process, too."""
    cache, meta = cache_in(tmp_path / "kept", dtype), meta_of(tmp_path)
    device, value = torch.device("cpu"), torch.randn(8, 4, 4)
    assert cache.load(meta, device) is None
    first = cache.keep(meta, value)
    assert torch.equal(first, value.to(getattr(torch, dtype)).float())
    again = cache_in(tmp_path / "kept", dtype)
    assert torch.equal(again.load(meta, device), first)
    assert again.load(meta_of(tmp_path, "b.jpg"), device) is None
    assert (cache.written, again.read, again.written) == (1, 1, 0)


@pytest.mark.parametrize("damage", ["cut", "bit", "empty", "image"])
def test_what_is_damaged_is_made_again(damage, tmp_path, capsys):
    """A file that was cut off or changed, and an image that was replaced by another."""
    cache, meta = cache_in(tmp_path / "kept"), meta_of(tmp_path)
    cache.keep(meta, torch.randn(8, 4, 4))
    (path,) = (tmp_path / "kept").rglob("*.embedding")
    content = path.read_bytes()
    if damage == "image":
        (tmp_path / "a.jpg").write_bytes(b"PIXELS")  # of the same size
    else:
        changed = content[:-1] + bytes([content[-1] ^ 1])
        path.write_bytes(dict(cut=content[:-3], bit=changed, empty=b"")[damage])
    assert cache.load(meta, torch.device("cpu")) is None
    kept = cache.keep(meta, torch.ones(8, 4, 4))
    assert torch.equal(cache.load(meta, torch.device("cpu")), kept)
    assert not [name for name in path.parent.iterdir() if name.name.startswith(".")]


def test_an_interrupted_write_leaves_nothing(tmp_path, monkeypatch):
    cache, meta = cache_in(tmp_path / "kept"), meta_of(tmp_path)
    from freekd.distill import cache as module

    def fails(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(module.os, "replace", fails)
    with pytest.raises(KeyboardInterrupt):
        cache.keep(meta, torch.ones(8, 4, 4))
    assert cache.load(meta, torch.device("cpu")) is None
    assert [path.name for path in (tmp_path / "kept").rglob("*") if path.is_file()] == [MANIFEST]


def test_a_full_disk_ends_no_training(tmp_path, monkeypatch, logged):
    """The value is given as it would be read; one warning; what is written later is read."""
    cache, meta = cache_in(tmp_path / "kept"), meta_of(tmp_path)
    value, said = torch.randn(8, 4, 4), logged("freekd.distill.cache")

    def fails(*_):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("freekd.distill.cache.os.replace", fails)
        for _ in range(2):
            assert torch.equal(cache.keep(meta, value), value.half().float())
    assert sum("No space left on device" in line for line in said) == 1 and cache.written == 0
    assert cache.load(meta, torch.device("cpu")) is None
    assert [path.name for path in (tmp_path / "kept").rglob("*") if path.is_file()] == [MANIFEST]
    cache.keep(meta, value)
    assert cache.load(meta, torch.device("cpu")) is not None


def test_a_teacher_in_another_precision_has_its_own(tmp_path):
    """A run in bfloat16 does not read what one in float32 has kept."""
    cache, meta = cache_in(tmp_path / "kept"), meta_of(tmp_path)
    device = torch.device("cpu")
    cache.keep(meta, torch.ones(8, 4, 4))
    assert cache.load(meta, device, "bfloat16") is None
    cache.keep(meta, torch.zeros(8, 4, 4), "bfloat16")
    assert cache.load(meta, device).min() == 1 and cache.load(meta, device, "bfloat16").max() == 0


@pytest.mark.parametrize("place", ["file", "below a file"])
def test_a_folder_that_cannot_be_made(place, tmp_path):
    (tmp_path / "there").write_text("")
    folder = tmp_path / "there" / ("" if place == "file" else "kept")
    with pytest.raises(ValueError, match="pair.cache_embeddings=.*can be made.*another folder"):
        cache_in(folder)


def test_a_comparison_writes_nothing(tmp_path):
    cache = EmbeddingCache(Options(str(tmp_path / "kept")))
    cache.prepare(TEACHER, Data(), write=False)
    assert not (tmp_path / "kept").exists() and not cache.ready
    cache_in(tmp_path / "kept")
    with pytest.raises(ValueError, match="another images"):
        cache.prepare(TEACHER, Data(names=("c.jpg",)), write=False)


def test_values_that_do_not_fit(tmp_path):
    cache, meta = cache_in(tmp_path / "kept"), meta_of(tmp_path)
    with pytest.raises(ValueError, match="float16 cannot hold.*dtype='bfloat16'"):
        cache.keep(meta, torch.full((8, 4, 4), 1e6))
    cache_in(tmp_path / "wide", "bfloat16").keep(meta, torch.full((8, 4, 4), 1e6))


@pytest.mark.parametrize(
    ("change", "word"),
    [
        (dict(teacher=dict(TEACHER, fingerprint="other")), "teacher"),
        (dict(data=Data(names=("a.jpg", "c.jpg"))), "images"),
        (dict(data=Data([FIXED[0], dict(FIXED[1], img_scale=(32, 32)), *FIXED[2:]])), "pipeline"),
        (dict(data=Data([FIXED[0], dict(FIXED[1], backend="cv2"), *FIXED[2:]])), "pipeline"),
        (dict(dtype="bfloat16"), "dtype"),
    ],
)
def test_a_folder_of_something_else_is_refused(change, word, tmp_path):
    cache_in(tmp_path)
    with pytest.raises(ValueError, match=f"another {word}.*Give another folder"):
        cache_in(tmp_path, **change)


def test_a_folder_without_a_manifest_is_refused(tmp_path):
    (tmp_path / "photo.jpg").write_bytes(b"")
    with pytest.raises(ValueError, match="photo.jpg and no manifest"):
        cache_in(tmp_path)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / MANIFEST).write_text("{")
    with pytest.raises(ValueError, match="cannot be read"):
        cache_in(tmp_path / "other")


@pytest.mark.parametrize(
    "step",
    [
        dict(type="RandomFlip", flip_ratio=0.5),
        dict(type="PhotoMetricDistortion"),
        dict(type="Resize", img_scale=[(64, 64), (96, 96)], keep_ratio=True),
        dict(type="Resize", img_scale=(64, 64), ratio_range=(0.5, 2.0)),
    ],
)
def test_an_augmentation_is_refused(step):
    with pytest.raises(ValueError) as error:
        fixed_steps(Data([FIXED[0], step, *FIXED[2:]]))
    assert "data.train.pipeline" in str(error.value) and step["type"] in str(error.value)


@pytest.mark.parametrize(
    ("steps", "word"),
    [
        ([*FIXED[:3], dict(type="Pad", size_divisor=32)], "one size.*Give Pad a size"),
        ([*FIXED, dict(type="Collect", keys=["img"], meta_keys=("img_shape",))], "'filename'"),
    ],
)
def test_images_that_have_no_embedding_of_their_own(steps, word):
    """Padded as the batch has it; or of no known file."""
    with pytest.raises(ValueError, match=f"data.train.pipeline: .*{word}"):
        fixed_steps(Data(steps))


def test_images_resized_to_one_size_need_no_pad():
    steps = [FIXED[0], dict(type="Resize", img_scale=(64, 64), keep_ratio=False)]
    assert len(fixed_steps(Data(steps))[0]) == 2


def test_wrapped_data_is_looked_into():
    class Repeated:
        dataset = Data([FIXED[0], dict(type="RandomFlip", flip_ratio=0.5)])

    with pytest.raises(ValueError, match="RandomFlip"):
        fixed_steps(Repeated())


@pytest.mark.parametrize("value", ["", 3, dict(dtype="float16"), dict(folder="a", size=3)])
def test_options_that_cannot_be(value):
    with pytest.raises(ValueError, match="cache_embeddings: expected a folder"):
        read_options(value)


def test_the_other_precision_is_named():
    assert read_options(dict(folder="a", dtype="bfloat16")) == Options("a", "bfloat16")
    assert read_options(None) is None
    with pytest.raises(ValueError, match="dtype.*'int8'"):
        read_options(dict(folder="a", dtype="int8"))


def test_the_manifest_says_of_what(tmp_path):
    cache_in(tmp_path)
    said = json.loads((tmp_path / MANIFEST).read_text())
    assert said["teacher"] == TEACHER and said["images"]["count"] == 2
    assert any("backend=pillow" in step for step in said["pipeline"][0])
