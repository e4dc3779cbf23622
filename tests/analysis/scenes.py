"""Random scenes for the tests of this folder: objects, and detections near them or not."""

import numpy as np

from freekd.tasks.objects import objects


def scenes(seed, classes=3, images=10, crowds=0.0, shift=5, stretch=0.5):
    """(truth, found): by image; of a legacy generator, whose numbers do not change."""
    random = np.random.RandomState(seed)
    truth, found = [], []
    for _ in range(images):
        count = random.randint(0, 5)
        boxes = np.c_[random.uniform(0, 80, (count, 2)), random.uniform(8, 40, (count, 2))]
        labels = random.randint(0, classes, count)
        truth.append(objects(boxes, labels, ignored=random.uniform(size=count) < crowds))
        near, kinds = [], []
        for box, label in zip(boxes, labels):
            for _ in range(random.randint(0, 4)):
                corner = box[:2] + random.normal(0, shift, 2)
                size = box[2:] * random.uniform(1 - stretch, 1 + stretch, 2)
                near.append([*corner, *np.maximum(size, 2)])
                kinds.append(label if random.uniform() < 0.6 else random.randint(classes))
        for _ in range(random.randint(0, 3)):
            near.append([*random.uniform(0, 80, 2), *random.uniform(8, 40, 2)])
            kinds.append(random.randint(classes))
        found.append(objects(near, kinds, random.uniform(size=len(kinds))))
    return truth, found
