"""Data in SA-1B's layout: samples, prompts, scores, the teacher's masks, lists; the bundled set."""

import json

import numpy as np
import pytest
import torch
from sam_tiny import SIDE, annotated, rectangle, write_images

import freekd.datasets.sam as sam
from freekd.datasets import make_digit_masks
from freekd.datasets.sam_lists import place_of, write_lists
from freekd.datasets.sam_pipeline import LoadSamMasks, SamplePrompts, decoded, prompts_of_masks
from freekd.datasets.sam_reference import read_reference, write_reference
from freekd.datasets.sam_scores import mean_with_error
from freekd.datasets.sam_steps import evaluation_steps, training_steps
from freekd.models.sam.predict import rle_of
from freekd.models.sam.prompts import box_of, innermost_pixel


@pytest.fixture
def folder(tmp_path):
    write_images(tmp_path / "images")
    return tmp_path / "images"


def dataset(folder, test=False, **options):
    steps = evaluation_steps(SIDE) if test else training_steps(SIDE, options.get("masks", True))
    return sam.SegmentAnythingDataset(str(folder), steps, test_mode=test, **options)


# --------------------------------------------------------------------------- samples
def test_a_training_sample(folder):
    np.random.seed(0)
    sample = dataset(folder)[1]  # 96 x 60 with three masks: two points, one box
    assert tuple(sample["img"].data.shape) == (3, SIDE, SIDE)
    height, width = sample["img_metas"].data["img_shape"][:2]
    assert (height, width) == (64, 40)
    assert sample["is_box"].data.tolist() == [False, False, True]
    masks = sample["gt_masks"].data
    assert masks.shape == (3, SIDE // 4, SIDE // 4) and masks.dtype == torch.bool
    for place in (0, 1):  # a point lies in a block of its mask, or beside it
        x, y = (int(v) // 4 for v in sample["gt_points"].data[place])
        assert masks[place, max(y - 1, 0) : y + 2, max(x - 1, 0) : x + 2].any()
    box = sample["gt_boxes"].data[2]
    assert 0 <= box[0] < box[2] <= width - 1 and 0 <= box[1] < box[3] <= height - 1
    assert not sample["gt_boxes"].data[:2].any() and not sample["gt_points"].data[2].any()


def test_the_seed_repeats_the_prompts(folder):
    def drawn(seed):
        np.random.seed(seed)
        return dataset(folder)[1]["gt_points"].data.tolist()

    assert drawn(1) == drawn(1) != drawn(2)


def test_images_alone(tmp_path, folder):
    """Any folder does, and no .json is read."""
    for path in folder.glob("*.json"):
        path.unlink()
    assert set(dataset(folder, masks=False)[0]) == {"img", "img_metas"}
    with pytest.raises(ValueError, match=r"sa_0\.json.*masks=False"):
        dataset(folder)[0]


def test_masks_are_drawn_without_replacement():
    """As many prompts as asked for; each of another mask."""
    masks = [rectangle(64, 64, (4 * i, 0, 4 * i + 3, 9)) for i in range(12)]
    results = dict(img_shape=(64, 64, 3), sam_annotations=[annotated(m) for m in masks])
    found = SamplePrompts(64, num_masks=5)(LoadSamMasks(most=8)(results))
    targets = found["gt_masks"].data
    assert len(targets) == 5 and len({int(t.any(0).nonzero()[0]) for t in targets}) == 5
    assert found["is_box"].data.tolist() == [False, False, False, True, True]


def test_masks_that_teach_nothing_are_left_out():
    """Empty ones, and one of 95 % of the image; where none is left, the next image is taken."""
    nearly = rectangle(40, 40, (0, 0, 39, 37))
    empty = dict(segmentation=rle_of(np.zeros((40, 40), bool)), area=0)
    results = dict(img_shape=(40, 40, 3), sam_annotations=[annotated(nearly), empty])
    assert LoadSamMasks()(dict(results)) is None
    good = annotated(rectangle(40, 40, (3, 3, 9, 9)))
    results["sam_annotations"].append(good)
    assert LoadSamMasks()(results)["gt_masks"].masks.sum() == 49


def test_an_image_without_masks_is_replaced_by_the_next(folder):
    path = folder / "sa_0.json"
    path.write_text(json.dumps(dict(json.loads(path.read_text()), annotations=[])))
    data = dataset(folder)
    assert data[0]["img_metas"].data["ori_filename"] == "sa_1.jpg"
    assert dataset(folder, test=True)[0]["img_metas"][0].data["ori_filename"] == "sa_0.jpg"
    for path in folder.glob("*.json"):
        path.write_text(json.dumps(dict(annotations=[])))
    with pytest.raises(ValueError, match="no mask to learn from in sa_2.jpg"):
        data[2]


# --------------------------------------------------------------------------- prompts of tests
def test_prompts_of_an_evaluation():
    """The click; without one the pixel that is farthest from the edge; the mask's box."""
    mask = rectangle(30, 40, (10, 5, 30, 9))  # its middle row is 7
    clicked, bare = annotated(mask, (12, 6)), annotated(mask)
    points = prompts_of_masks([clicked, bare], "point")
    assert points[0].tolist() == [12.0, 6.0]
    assert points[1][1] == 7 and 12 <= points[1][0] <= 28 and decoded(bare["segmentation"])[7, 12]
    assert prompts_of_masks([bare], "box").tolist() == [[10.0, 5.0, 30.0, 9.0]]
    assert prompts_of_masks([], "box").shape == (0, 4)
    at_the_edge = np.ones((3, 9), dtype=bool)  # the image's edge is one of the mask's
    assert innermost_pixel(at_the_edge)[1] == 1
    assert box_of(at_the_edge).tolist() == [0.0, 0.0, 8.0, 2.0]


# --------------------------------------------------------------------------- scores
def test_a_model_agrees_with_itself(folder, tmp_path):
    data = dataset(folder, test=True)
    images = [dict(masks=[a["segmentation"] for a in data.annotations_of(i)]) for i in range(6)]
    assert data.evaluate(images) == dict(mIoU_annotation=1.0, mIoU_annotation_standard_error=0.0)
    path = str(tmp_path / "reference.json")
    write_reference(path, data.file_names, "point", images, {})
    scores = dataset(folder, test=True, reference=path).evaluate(images)
    assert scores["mIoU"] == 1.0 and list(scores)[0] == "mIoU"
    with pytest.raises(KeyError, match="not supported"):
        data.evaluate([], metric="bbox")
    with pytest.raises(ValueError, match="expected results of 6 images, got 1"):
        data.evaluate(images[:1])


def test_mean_and_standard_error():
    """By the bootstrap over images, the same within a tenth."""
    rng = np.random.default_rng(0)
    ious = [
        np.clip(rng.normal(rng.uniform(0.3, 0.9), 0.1, n), 0, 1) for n in rng.integers(1, 9, 80)
    ]
    mean, error = mean_with_error(ious)
    assert mean == pytest.approx(np.concatenate(ious).mean())
    drawn = [np.concatenate([ious[i] for i in rng.integers(0, 80, 80)]).mean() for _ in range(2000)]
    assert error == pytest.approx(np.std(drawn), rel=0.1)
    assert np.isnan(mean_with_error([np.zeros(0)])[0])


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (dict(names=["a.jpg"]), ["those of 1 others", "tools/sam_reference.py"]),
        (dict(prompt="box"), ["prompted by a point", "those of a box"]),
        (dict(version=0), ["version 0", "tools/sam_reference.py"]),
        (None, ["found no file", "tools/sam_reference.py"]),
    ],
)
def test_a_reference_of_something_else_is_refused(change, words, tmp_path):
    path = tmp_path / "reference.json"
    write_reference(str(path), ["b.jpg", "c.jpg"], "point", [], {})
    if change is None:
        path.unlink()
    else:
        path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises((ValueError, FileNotFoundError)) as error:
        read_reference(str(path), ["b.jpg", "c.jpg"], "point")
    assert all(word in str(error.value) for word in ["data.test.reference", *words])


def test_a_reference_of_other_prompts_is_refused_at_the_start(folder, tmp_path):
    """Before anything is trained: another click, or another number of masks."""
    data = dataset(folder, test=True)
    images = [
        dict(
            masks=[a["segmentation"] for a in data.annotations_of(i)],
            prompts=data.prompts_of(i).tolist(),
        )
        for i in range(6)
    ]
    path = str(tmp_path / "reference.json")
    write_reference(path, data.file_names, "point", images, {})
    dataset(folder, test=True, reference=path)
    for change in (dict(prompts=[[0.0, 0.0]] * len(images[2]["masks"])), dict(masks=[])):
        changed = [*images[:2], {**images[2], **change}, *images[3:]]
        write_reference(path, data.file_names, "point", changed, {})
        with pytest.raises(ValueError, match=r"data\.test\.reference=.*sa_2\.jpg.*Make it again"):
            dataset(folder, test=True, reference=path)


@pytest.mark.parametrize("segmentation", [[[1.0, 2.0, 3.0]], [1.0, 2.0], dict(size=[1, 1]), {}])
def test_masks_that_are_not_run_length_coded(segmentation, folder):
    (folder / "sa_0.json").write_text(
        json.dumps(dict(annotations=[dict(segmentation=segmentation)]))
    )
    with pytest.raises(ValueError, match="sa_0.json: expected a file in SA-1B's layout"):
        dataset(folder).annotations_of(0)


def test_images_alone_want_a_pipeline_for_them(folder):
    for test, step in ((False, "LoadSamMasks"), (True, "SamTestPrompts")):
        steps = evaluation_steps(SIDE) if test else training_steps(SIDE)
        with pytest.raises(ValueError, match=f"masks=False: .*{step}"):
            sam.SegmentAnythingDataset(str(folder), steps, masks=False, test_mode=test)


# --------------------------------------------------------------------------- lists
def test_lists_are_disjoint_now_and_later(tmp_path):
    write_images(tmp_path / "a", count=60)
    counts = write_lists(str(tmp_path), str(tmp_path), share=0.3, most=10)
    names = {s: (tmp_path / f"{s}.txt").read_text().split() for s in ("train", "val")}
    assert {split: len(found) for split, found in names.items()} == counts
    assert counts["val"] == 10 and not set(names["train"]) & set(names["val"])
    assert all(place_of(name) >= 0.3 for name in names["train"])
    (tmp_path / "a" / "alone.jpg").write_bytes(b"")  # an image without masks
    write_images(tmp_path / "b", count=80)
    write_lists(str(tmp_path), str(tmp_path), share=0.3, most=10)
    later = set((tmp_path / "train.txt").read_text().split())
    assert "a/alone.jpg" not in later and set(names["train"]) <= later
    assert not later & set(names["val"])
    data = dataset(tmp_path, ann_file="train.txt", most=3)
    assert data.file_names == sorted(later)[:3] and len(data[0]["is_box"].data)


def test_lists_of_nothing(tmp_path):
    with pytest.raises(ValueError, match="got none for train.txt"):
        write_lists(str(tmp_path), str(tmp_path))
    with pytest.raises(ValueError, match="--share"):
        write_lists(str(tmp_path), str(tmp_path), share=1.0)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (dict(data_root="none"), ["data_root='none'", "make_digits.py --task sam"]),
        (dict(ann_file="none.txt"), ["none.txt", "list_sa1b.py"]),
    ],
)
def test_data_that_is_not_there(options, words, folder):
    with pytest.raises(FileNotFoundError) as error:
        dataset(options.pop("data_root", folder), **options)
    assert all(word in str(error.value) for word in words)


# --------------------------------------------------------------------------- the bundled set
def test_the_bundled_set_is_in_the_layout(tmp_path):
    made = make_digit_masks(tmp_path / "digits", num_train=12, num_val=4)
    names = {s: (made / f"{s}.txt").read_text().split() for s in ("train", "val")}
    assert [len(names[split]) for split in ("train", "val")] == [12, 4]
    shapes = set()
    for name in names["train"] + names["val"]:
        content = json.loads((made / name).with_suffix(".json").read_text())
        image = content["image"]
        shapes.add((image["height"], image["width"]))
        for one in content["annotations"]:
            mask = decoded(one["segmentation"])
            x, y = one["point_coords"][0]
            assert mask.shape == (image["height"], image["width"])
            assert mask[int(y), int(x)] and mask.sum() == one["area"] >= 24
            left, top, width, height = one["bbox"]
            assert [left, top, left + width - 1, top + height - 1] == box_of(mask).tolist()
    assert len(shapes) > 4 and max(max(shape) for shape in shapes) == 128
    assert make_digit_masks(tmp_path / "digits", num_train=12, num_val=4) == made  # left alone
    with pytest.raises(FileExistsError, match="num_val is 4 there"):
        make_digit_masks(tmp_path / "digits", num_train=12, num_val=5)
