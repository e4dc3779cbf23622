"""Pictures of a finished quickstart: detections, masks of the prompts, feature maps.

The images are the first validation images with most objects, not chosen by result.
"""

import argparse
from pathlib import Path
from typing import Any, Dict, List, Optional, Tuple

import numpy as np
import torch

from freekd import compat
from freekd.study.bundled import TASKS
from freekd.study.rows import rows

TEACHER_CONFIG, STUDENT_CONFIG = TASKS["det"].teacher, TASKS["det"].baseline
METHODS = rows("det")


def parse_args(argv: Optional[List[str]] = None) -> argparse.Namespace:
    """The command line of ``tools/quickstart_pictures.py``."""
    parser = argparse.ArgumentParser(description="Draw the pictures of a finished quickstart.")
    parser.add_argument("--teacher", required=True, help="teacher checkpoint")
    parser.add_argument("--prompts", required=True, help="prompt file")
    parser.add_argument("--students", nargs="+", default=[], metavar="NAME=CHECKPOINT")
    parser.add_argument("--data", default="data/digits")
    parser.add_argument("--out", default="work_dirs/digits/pictures")
    parser.add_argument("--images", type=int, default=4)
    return parser.parse_args(argv)


class Tapped:
    """A stock detector with what its neck gave in the last forward pass."""

    def __init__(self, config: str, checkpoint: str) -> None:
        from mmdet.models import build_detector

        from freekd.distill.weights import load_teacher_weights, resolve_model, without_pretrained

        self.model = build_detector(without_pretrained(resolve_model(config, "config"))).eval()
        load_teacher_weights(self.model, checkpoint, "checkpoint")
        self.feats: Tuple[torch.Tensor, ...] = ()
        self.model.neck.register_forward_hook(self._keep)

    def _keep(self, _: Any, __: Any, output: Tuple[torch.Tensor, ...]) -> None:
        self.feats = tuple(output)

    @torch.no_grad()
    def __call__(self, batch: Dict[str, Any]) -> Tuple[np.ndarray, np.ndarray]:
        """Boxes (N, 5) and labels (N,) of one image."""
        per_class = self.model(return_loss=False, rescale=True, **batch)[0]
        labels = [np.full(len(boxes), label) for label, boxes in enumerate(per_class)]
        return np.concatenate(per_class), np.concatenate(labels)


def main(argv: Optional[List[str]] = None) -> int:
    """Entry of ``tools/quickstart_pictures.py``; returns the exit code."""
    args = parse_args(argv)
    compat.apply()
    import mmcv
    from mmcv.parallel import collate, scatter
    from mmdet.datasets import build_dataset

    from freekd.prompts.file import load_prompts
    from freekd.visualization import (
        DetectionRow,
        draw_detections,
        draw_feature_maps,
        draw_prompt_mask_levels,
        draw_prompt_masks,
    )

    cfg = mmcv.Config.fromfile(TEACHER_CONFIG)
    cfg.data.test.update(
        ann_file=f"{args.data}/annotations/val.json", img_prefix=f"{args.data}/val/", test_mode=True
    )
    dataset = build_dataset(cfg.data.test)
    models = {"teacher": Tapped(TEACHER_CONFIG, args.teacher)}
    for pair in args.students:
        name, _, checkpoint = pair.partition("=")
        legend = METHODS[name].legend if name in METHODS else name
        models[legend] = Tapped(STUDENT_CONFIG, checkpoint)
    prompts = load_prompts(args.prompts).prompts
    spec = prompts.spec
    names = [group.name for group in spec.transform.groups(spec.granularity)]
    out = Path(args.out)
    out.mkdir(parents=True, exist_ok=True)

    counts = [len(dataset.get_ann_info(i)["labels"]) for i in range(len(dataset))]
    chosen = sorted(range(len(dataset)), key=lambda i: (-counts[i], i))[: args.images]
    rows = []
    for number, index in enumerate(chosen):
        batch = scatter(collate([dataset[index]], samples_per_gpu=1), [-1])[0]
        truth = dataset.get_ann_info(index)
        image = mmcv.imread(f"{args.data}/val/{dataset.data_infos[index]['filename']}")[..., ::-1]
        found = {name: model(batch) for name, model in models.items()}
        rows.append(DetectionRow(image, found, (truth["bboxes"], truth["labels"])))
        feats = {name: model.feats[0][0] for name, model in models.items()}
        draw_feature_maps(image, feats, out / f"features_{number}.png")
        # channels of a neck have both signs: their mean size shows where there is something
        draw_feature_maps(image, feats, out / f"features_abs_{number}.png", absolute=True)
        with torch.no_grad():
            masks = prompts.masks(models["teacher"].feats)
        levels = {
            f"P{level + 3}": {name: mask[0] for name, mask in zip(names, masks[level])}
            for level in range(len(masks))
        }
        first = next(iter(levels.values()))
        draw_prompt_masks(
            image, first, out / f"masks_{number}.png", "P3, the first FPN level (stride 8)"
        )
        draw_prompt_mask_levels(
            image, levels, out / f"mask_sums_{number}.png", "sum over the prompts, all FPN levels"
        )
    draw_detections(rows, out / "detections.png", dataset.CLASSES)
    print(f"pictures: {out}")
    return 0
