"""The picture of a finished quickstart of Segment Anything: masks of all models side by side.

The images are the first validation images with most masks, not chosen by result.
"""

import argparse
from pathlib import Path
from typing import Any, Dict, List, Optional

import numpy as np
import torch

from freekd import compat
from freekd.study.bundled import TASKS
from freekd.study.rows import rows

TASK = TASKS["sam"]
METHODS = rows("sam")


def parse_args(argv: Optional[List[str]] = None) -> argparse.Namespace:
    """The command line of ``tools/quickstart_masks.py``."""
    parser = argparse.ArgumentParser(description="Draw the masks of a finished quickstart.")
    parser.add_argument("--teacher", required=True, help="teacher checkpoint")
    parser.add_argument("--prompts", help="prompt file; not drawn")
    parser.add_argument("--students", nargs="+", default=[], metavar="NAME=CHECKPOINT")
    parser.add_argument("--data", default=TASK.data)
    parser.add_argument("--out", default="work_dirs/digits_sam/pictures")
    parser.add_argument("--images", type=int, default=4)
    return parser.parse_args(argv)


def _model(config: str, checkpoint: str) -> Any:
    from freekd import tasks
    from freekd.models.sam.arch import PARTS
    from freekd.models.sam.weights import load_parts
    from freekd.zoo.stock import read_model

    cfg = dict(read_model(config, "config"), decoder_checkpoint=None)
    model = tasks.get(TASK.task).build_model(cfg, None, None).eval()
    load_parts(model, checkpoint, PARTS, "checkpoint")
    return model


def main(argv: Optional[List[str]] = None) -> int:
    """Entry of ``tools/quickstart_masks.py``; returns the exit code."""
    args = parse_args(argv)
    compat.apply()
    import mmcv
    from mmcv.parallel import collate, scatter

    from freekd.config.load import load_config
    from freekd.datasets.sam_pipeline import decoded
    from freekd.engine.datasets import build_dataset
    from freekd.visualization import SegmentRow, draw_segments

    cfg = load_config(TASK.teacher, {"data.test.data_root": args.data})
    dataset = build_dataset(cfg.data.test, TASK.task, test_mode=True, key="data.test")
    models = {"teacher": _model(TASK.teacher, args.teacher)}
    for pair in args.students:
        name, _, checkpoint = pair.partition("=")
        legend = METHODS[name].legend if name in METHODS else name
        models[legend] = _model(TASK.baseline, checkpoint)
    out = Path(args.out)
    out.mkdir(parents=True, exist_ok=True)

    counts = [len(dataset.annotations_of(i)) for i in range(len(dataset))]
    chosen = sorted(range(len(dataset)), key=lambda i: (-counts[i], i))[: args.images]
    found = []
    for index in chosen:
        batch: Dict[str, Any] = scatter(collate([dataset[index]], samples_per_gpu=1), [-1])[0]
        meta = batch["img_metas"][0][0]
        image = mmcv.imread(meta["filename"])[..., ::-1]
        truth = [decoded(one["segmentation"]) for one in dataset.annotations_of(index)]
        masks = {"annotation": np.stack(truth[: len(meta["sam_prompts"])])}
        for name, model in models.items():
            with torch.no_grad():
                result = model(return_loss=False, rescale=True, **batch)[0]
            masks[name] = np.stack([decoded(mask) for mask in result["masks"]])
        found.append(SegmentRow(np.ascontiguousarray(image), meta["sam_prompts"], masks))
    print(f"pictures: {draw_segments(found, out / TASK.pictures.first)}")  # type: ignore[union-attr]
    return 0
