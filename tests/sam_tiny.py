"""A Segment Anything small enough for tests, and drawn images in SA-1B's layout."""

import json

import numpy as np
from PIL import Image

SIDE = 64
ARCH = dict(
    image_size=SIDE, embed_dim=24, depth=2, num_heads=3, global_attn_indexes=[1], window_size=3,
    out_chans=32, decoder_heads=4, decoder_mlp=64, iou_hidden=32,
)  # fmt: skip
WIDE = dict(ARCH, embed_dim=48, depth=4, global_attn_indexes=[1, 3])
SIZES = ((60, 96), (96, 60), (64, 64), (48, 90), (100, 100), (80, 70))  # height, width


def rectangle(height, width, box):
    """A mask that is true in (x_min, y_min, x_max, y_max), the last ones included."""
    mask = np.zeros((height, width), dtype=bool)
    mask[box[1] : box[3] + 1, box[0] : box[2] + 1] = True
    return mask


def annotated(mask, point=None):
    """An annotation of SA-1B."""
    from freekd.models.sam.predict import rle_of

    rows, columns = np.nonzero(mask)
    found = dict(
        segmentation=rle_of(mask), area=int(mask.sum()),
        bbox=[int(columns.min()), int(rows.min()), int(np.ptp(columns)) + 1, int(np.ptp(rows)) + 1],
    )  # fmt: skip
    return found if point is None else dict(found, point_coords=[list(map(float, point))])


def write_images(folder, count=6, seed=0):
    """``count`` images with two or three rectangles of another colour; returns their names."""
    rng = np.random.default_rng(seed)
    folder.mkdir(parents=True, exist_ok=True)
    names = []
    for number in range(count):
        height, width = SIZES[number % len(SIZES)]
        picture = rng.integers(90, 160, (height, width, 3), dtype=np.uint8)
        annotations = []
        for _ in range(2 + number % 2):
            x, y = int(rng.integers(0, width // 2)), int(rng.integers(0, height // 2))
            box = (x, y, x + int(rng.integers(12, 20)), y + int(rng.integers(12, 20)))
            mask = rectangle(height, width, box)
            picture[mask] = rng.integers(0, 255, 3)
            annotations.append(annotated(mask, (x + 3, y + 3)))
        name = f"sa_{number}.jpg"
        Image.fromarray(picture).save(folder / name, quality=95)
        image = dict(image_id=number, width=width, height=height, file_name=name)
        text = json.dumps(dict(image=image, annotations=annotations))
        (folder / name).with_suffix(".json").write_text(text)
        names.append(name)
    return names
