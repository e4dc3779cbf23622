"""Labelled and detected boxes of mmdet's data sets and models, as plain objects."""

import json
from pathlib import Path
from typing import Any, Dict, List

import numpy as np

from freekd.tasks.base import TaskError
from freekd.tasks.objects import Objects, objects


def labelled(dataset: Any) -> List[Objects]:
    """The objects of each image of a dataset in test mode.

    Of COCO's annotations all that COCO's own evaluation counts, with their areas. Of others what
    ``get_ann_info`` tells.

    Raises:
        TaskError: the dataset is none of both, as a concatenation.
    """
    if hasattr(dataset, "coco") and hasattr(dataset, "cat2label"):
        return [_of_coco(dataset, info["id"]) for info in dataset.data_infos]
    if not hasattr(dataset, "get_ann_info") or hasattr(dataset, "datasets"):
        raise TaskError(
            f"data.test: expected one data set with boxes, got a {type(dataset).__name__}. Give "
            "one of its parts."
        )
    classes = len(dataset.CLASSES or ())
    return [_of_info(dataset.get_ann_info(index), classes) for index in range(len(dataset))]


def _of_coco(dataset: Any, image: int) -> Objects:
    found = dataset.coco.loadAnns(dataset.coco.getAnnIds(imgIds=[image]))
    found = [one for one in found if one["category_id"] in dataset.cat2label]
    return objects(
        [one["bbox"] for one in found],
        [dataset.cat2label[one["category_id"]] for one in found],
        ignored=[bool(one.get("iscrowd", 0)) for one in found],
        areas=[one.get("area", one["bbox"][2] * one["bbox"][3]) for one in found],
    )


def _of_info(info: Dict[str, Any], classes: int) -> Objects:
    boxes = np.asarray(info["bboxes"], dtype=np.float64).reshape(-1, 4)
    labels = np.asarray(info["labels"], dtype=np.int64).reshape(-1)
    more = np.asarray(info.get("bboxes_ignore", ()), dtype=np.float64).reshape(-1, 4)
    unknown = np.full(len(more), -1)
    of_more = np.asarray(info.get("labels_ignore", unknown), dtype=np.int64).reshape(-1)
    of_more = of_more if len(of_more) == len(more) else unknown
    return objects(
        _to_xywh(np.concatenate([boxes, more])),
        np.concatenate([labels, of_more]),
        ignored=np.arange(len(boxes) + len(more)) >= len(boxes),
    )


def _to_xywh(corners: np.ndarray) -> np.ndarray:
    return np.concatenate([corners[:, :2], corners[:, 2:4] - corners[:, :2]], axis=1)


def detected(result: Any) -> Objects:
    """One image's result of any detector: boxes by class, with or without masks."""
    if isinstance(result, dict):  # panoptic
        result = result.get("ins_results", ())
    if isinstance(result, tuple):
        result = result[0] if result else ()
    per_class = [np.asarray(boxes, dtype=np.float64).reshape(-1, 5) for boxes in result]
    boxes = np.concatenate([np.zeros((0, 5)), *per_class])
    labels = np.repeat(np.arange(len(per_class)), [len(one) for one in per_class])
    return objects(_to_xywh(boxes), labels, boxes[:, 4])


def read(dataset: Any, path: str) -> List[Objects]:
    """Detections of a file in COCO's results format, image by image.

    Raises:
        TaskError: it is no such file, or of other images or categories than the dataset's.
    """
    want = "a JSON list of {image_id, category_id, bbox: [x, y, w, h], score}"
    if not hasattr(dataset, "coco"):
        raise TaskError(
            f"{path}: results in COCO's format need a CocoDataset as data.test, got a "
            f"{type(dataset).__name__}. Give the checkpoint instead."
        )
    try:
        rows = json.loads(Path(path).read_text(encoding="utf-8"))
        if not isinstance(rows, list):
            raise TypeError(f"a {type(rows).__name__}")
        found = [
            (row["image_id"], row["category_id"], [float(v) for v in row["bbox"]], row["score"])
            for row in rows
        ]
        hash(tuple(row[:2] for row in found))  # a list is no id
        bad = [row for row in found if len(row[2]) != 4 or not np.isfinite([*row[2], row[3]]).all()]
    except (ValueError, KeyError, TypeError) as error:
        raise TaskError(
            f"{path}: expected {want}, got something else ({type(error).__name__}: {error}). Write "
            "it with mmdet's tools/test.py --format-only; its name ends in .bbox.json."
        ) from error
    if bad:
        raise TaskError(f"{path}: expected {want}, got bbox={bad[0][2]}, score={bad[0][3]}.")
    places = {info["id"]: place for place, info in enumerate(dataset.data_infos)}
    for kind, known, ids in (
        ("image_id", places, {row[0] for row in found}),
        ("category_id", dataset.cat2label, {row[1] for row in found}),
    ):
        foreign = sorted(ids - set(known), key=str)
        if foreign:
            raise TaskError(
                f"{path}: {kind} {foreign[0]} and {len(foreign) - 1} others are not in data.test "
                f"({dataset.ann_file}). Give the results of this data set."
            )
    by_image: List[List[Any]] = [[] for _ in places]
    for image, category, box, score in found:
        by_image[places[image]].append((box, dataset.cat2label[category], score))
    return [objects(*zip(*one)) if one else objects([], []) for one in by_image]
