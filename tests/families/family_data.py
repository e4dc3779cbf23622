"""Two small images with every kind of annotation that a family wants, and the config of the data.

One folder holds all: boxes and masks of two things in COCO's form, stuff as a semantic map (for
HTC), and mmseg's label maps of three classes.
"""

import json
from pathlib import Path
from typing import Any, Dict, Tuple

import cv2
import numpy as np

HEIGHT, WIDTH = 64, 96  # of the files
THINGS = ("cat", "dog")
REGIONS = ("sky", "wall", "road")
BOXES = (((6, 8, 40, 44), 0), ((50, 20, 36, 36), 1))  # x, y, width, height; class
_NORM = dict(mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375], to_rgb=True)


def write(root: Path) -> None:
    """The images and annotations below ``root``."""
    generator = np.random.default_rng(0)
    for folder in ("images", "stuff", "labels"):
        (root / folder).mkdir()
    images, annotations = [], []
    for number in range(2):
        picture = generator.integers(0, 255, (HEIGHT, WIDTH, 3), dtype=np.uint8)
        for (x, y, w, h), kind in BOXES:
            picture[y : y + h, x : x + w, kind] = 255
            outline = [x, y, x + w, y, x + w, y + h, x, y + h]
            annotations.append(
                dict(
                    id=len(annotations) + 1, image_id=number, category_id=kind + 1, iscrowd=0,
                    bbox=[x, y, w, h], area=w * h, segmentation=[outline],
                )
            )  # fmt: skip
        cv2.imwrite(str(root / "images" / f"{number}.png"), picture)
        images.append(dict(id=number, file_name=f"{number}.png", width=WIDTH, height=HEIGHT))
        labels = np.repeat(np.arange(HEIGHT, dtype=np.uint8)[:, None] * 3 // HEIGHT, WIDTH, 1)
        cv2.imwrite(str(root / "labels" / f"{number}.png"), labels)
        cv2.imwrite(str(root / "stuff" / f"{number}.png"), labels)
    categories = [dict(id=i + 1, name=name) for i, name in enumerate(THINGS)]
    _dump(root / "boxes.json", images, annotations, categories)


def _dump(path: Path, images: Any, annotations: Any, categories: Any) -> None:
    path.write_text(json.dumps(dict(images=images, annotations=annotations, categories=categories)))


def config(root: Path, needs: str, size: Tuple[int, int]) -> Dict[str, Any]:
    """The config key ``data``.

    Args:
        root: where :func:`write` wrote.
        needs: what a family is trained on, see ``family_list.Family``.
        size: (height, width) of the images that the model sees.
    """
    labels, masks, stuff = (word in needs for word in ("label maps", "masks", "stuff"))
    load: Dict[str, Any] = dict(type="LoadAnnotations")
    keys = ["gt_semantic_seg"]
    if labels:
        train: Dict[str, Any] = dict(
            type="CustomDataset", classes=REGIONS, palette=[[0, 0, 0], [90, 90, 90], [255, 0, 0]],
            img_dir=str(root / "images"), ann_dir=str(root / "labels"), img_suffix=".png",
        )  # fmt: skip
    else:
        keys = ["gt_bboxes", "gt_labels"] + ["gt_masks"] * masks + keys * stuff
        load.update(with_bbox=True, with_mask=masks, with_seg=stuff)
        train = dict(
            type="CocoDataset", classes=THINGS, ann_file=str(root / "boxes.json"),
            img_prefix=str(root / "images"), seg_prefix=str(root / "stuff"),
        )  # fmt: skip
    read = [dict(type="LoadImageFromFile"), load]
    change = [
        dict(type="Resize", img_scale=size[::-1], keep_ratio=False),
        dict(type="RandomFlip", **{"prob" if labels else "flip_ratio": 0.0}),
        dict(type="Normalize", **_NORM),
        *[dict(type="SegRescale", scale_factor=1 / 8)] * stuff,
        dict(type="DefaultFormatBundle"),
        dict(type="Collect", keys=["img", *keys]),
    ]
    if "mixed" in needs:
        inner = dict(train, pipeline=read, filter_empty_gt=False)
        train = dict(type="MultiImageMixDataset", dataset=inner, pipeline=change)
    else:
        train["pipeline"] = [*read, *change]
    return dict(samples_per_gpu=2, workers_per_gpu=0, train=train)
