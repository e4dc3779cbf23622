"""Logs as mmcv 1.x writes them, by hand: what the tests of reading logs have in common."""

import json

COCO = """
dataset_type = 'CocoDataset'
runner = dict(type='{runner}', {length})
evaluation = dict(interval={interval}, metric='bbox')
data = dict(
    val=dict(type='CocoDataset', ann_file='{root}annotations/instances_val2017.json',
             pipeline=[dict(type='Resize', img_scale=(1333, -800))]))
"""


def config(runner="EpochBasedRunner", length="max_epochs=3", interval=1, root="data/coco/"):
    return COCO.format(runner=runner, length=length, interval=interval, root=root)


def train(epoch, iteration, loss=1.0, **more):
    line = dict(mode="train", epoch=epoch, iter=iteration, lr=0.01, memory=3, data_time=0.01)
    return dict(line, loss=loss, time=0.5, **more)


def val(epoch, iteration, score, **more):
    return dict(mode="val", epoch=epoch, iter=iteration, lr=0.01, bbox_mAP=score, **more)


def write(folder, lines, name="20230101_000000", meta=None, end="\n"):
    folder.mkdir(parents=True, exist_ok=True)
    first = dict(env_info="torch", config=config(), seed=3, exp_name="pair.py")
    lines = [{**first, **(meta or {})}, *lines]
    path = folder / f"{name}.log.json"
    path.write_text("\n".join(json.dumps(line) for line in lines) + end)
    return path
