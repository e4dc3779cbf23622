"""Detection and instance segmentation, by mmdet 2.x."""

import re
from typing import Any, Dict, List, Mapping, Optional, Sequence, Tuple

import numpy as np
import torch
from torch import Tensor, nn

from freekd.losses.step import DenseTargets, Step
from freekd.tasks import det_results, det_targets
from freekd.tasks.base import Agreement, HeadNeed, Task
from freekd.tasks.classes import ClassAxis, channels_of, head_of
from freekd.tasks.objects import Objects, as_arrays

BOX_TOLERANCE, SCORE_TOLERANCE = 1e-2, 1e-3  # pixels; probability
# in what stands below the head's own name
_CLASS_LAYERS = re.compile(r"cls|seg|conf|logits|heat|pred|se_layer|mask_iou")
_SIZES = ("", "_50", "_75", "_s", "_m", "_l")  # COCO's scores: IoU thresholds, sizes of objects
# Heads with classes of their own: objects, "stuff", boundaries.
_OTHER_CLASSES = ("RPN", "Semantic", "Panoptic", "Fusion", "STDC")


class Detection(Task):
    """See :class:`freekd.tasks.base.Task`."""

    name = "det"
    noun = "detection"
    model_noun = "detector"
    package = "mmdet"
    wheel = "mmdet"
    models = "DETECTORS"
    architecture = "MMDetArchitecture"
    shared_keys = ("samples_per_gpu", "workers_per_gpu", "persistent_workers")
    renamed_keys = {"imgs_per_gpu": "samples_per_gpu"}
    shared_in_tests = ("workers_per_gpu",)
    optimizer_builder = "mmdet.core.optimizers.builder"
    loaded_by = {
        "gt_masks": "LoadAnnotations(with_mask=True)",
        "gt_semantic_seg": "LoadAnnotations(with_seg=True)",
        "gt_bboxes": "LoadAnnotations(with_bbox=True)",
        "gt_labels": "LoadAnnotations(with_bbox=True)",
        "proposals": "LoadProposals",
    }
    head_needs = {
        "roi_head.mask_head": HeadNeed(("gt_masks",), True),
        "roi_head.semantic_head": HeadNeed(("gt_semantic_seg",), True),
        "semantic_head": HeadNeed(("gt_semantic_seg",), True),
        "mask_head": HeadNeed(("gt_masks",), False),
        "segm_head": HeadNeed(("gt_masks",), False),
        "panoptic_head": HeadNeed(("gt_masks", "gt_semantic_seg"), False),
    }
    heads = ("bbox_head", "rpn_head")
    onnx_tool = ".mim/tools/deployment/pytorch2onnx.py"
    main_scores = ("bbox_mAP", "segm_mAP", "mAP")

    # ----------------------------------------------------------------- models
    def build_model(self, cfg: Any, train_cfg: Any, test_cfg: Any) -> nn.Module:
        model: nn.Module = self.host("models").build_detector(cfg, train_cfg, test_cfg)
        return model

    def class_heads(self, model: nn.Module) -> Dict[str, int]:
        """RPNs have one class of their own; a backbone's classes (of its pretraining) don't count.

        Heads of "stuff" and of boundaries have other classes than the data's things.
        """
        return {
            path: count
            for path, count in super().class_heads(model).items()
            if not any(w in type(model.get_submodule(path)).__name__ for w in _OTHER_CLASSES)
            and "rpn_head" not in path.split(".")
        }

    def class_axis(self, model: nn.Module, path: str) -> Optional[ClassAxis]:
        """Told by the layer's name and by its number of channels.

        That must be what the head makes of its ``num_classes``.
        """
        head, module = head_of(model, path), dict(model.named_modules()).get(path)
        if head is None or module is None:
            return None
        channels, classes = channels_of(module), int(head.num_classes)
        last = path.rsplit(".", 1)[-1]
        agnostic = bool(getattr(head, "reg_class_agnostic", False))
        if last == "fc_reg" and channels == 4 * classes and not agnostic:
            return ClassAxis(classes, each=4)
        named = any(_CLASS_LAYERS.search(part) for part in path.split(".")[1:])
        if not named or _within_branch(model, path):
            return None
        anchors = getattr(head, "num_base_priors", None) or getattr(head, "num_anchors", None)
        if isinstance(anchors, (list, tuple)):  # per level
            fitting = (n for n in anchors if channels in [n * (classes + i) for i in (0, 1, 5)])
            anchors = next(fitting, anchors[0])
        for groups in (1, anchors):
            if not isinstance(groups, int):
                continue
            boxes = ((5, 0),) if "convs_pred" in path else ()  # YOLOv3: box and objectness first
            extra = ((0, 2),) if last == "fc_cls" else ()  # Seesaw: background, and objectness
            for others, background in ((0, 0), (0, 1), *boxes, *extra):
                axis = ClassAxis(classes, groups, others, background)
                if axis.channels == channels:
                    return axis
        return None

    def tap(self, name: str, model: Mapping[str, Any]) -> str:
        """``dense_head``: the head that answers for every place of a map; of two stages the first.

        >>> Detection().tap("dense_head", dict(rpn_head=dict(), roi_head=dict()))
        'rpn_head'
        """
        if name != "dense_head":
            return name
        return "bbox_head" if model.get("rpn_head") is None else "rpn_head"

    def maps_from_text(self, model: Mapping[str, Any], module: str) -> Optional[Tuple[int, int]]:
        """FPNs say it; an encoder gives a level of its sequence per map of the neck."""
        neck = model.get("neck")
        if module == "neck" or module.endswith("transformer.encoder"):
            if isinstance(neck, Mapping):
                return _both(neck.get("out_channels"), neck.get("num_outs"))
        return None

    # ----------------------------------------------------------------- whole dense heads
    def check_dense_heads(self, step: Step, key: str) -> None:
        det_targets.check_heads(step, key, self.host("models.dense_heads"))

    def dense_targets(self, step: Step, student: Any, teacher: Any) -> DenseTargets:
        return det_targets.targets(step, student, teacher, self.host("models.dense_heads"))

    # ----------------------------------------------------------------- data
    def make_batches(self, dataset: Any) -> None:
        """mmdet's change of the pipelines of a dataset, its parts included."""
        if isinstance(dataset, (list, tuple)):
            for one in dataset:
                self.make_batches(one)
        elif isinstance(dataset, dict):
            if "pipeline" in dataset:
                change = self.host("datasets").replace_ImageToTensor
                dataset["pipeline"] = change(dataset["pipeline"])
            for name in ("dataset", "datasets"):
                self.make_batches(dataset.get(name))

    def why_useless(self, dataset: Any) -> Optional[str]:
        """Every class must be one of the annotation file's categories."""
        names = getattr(dataset, "CLASSES", None) or ()
        categories = getattr(getattr(dataset, "coco", None), "dataset", {}).get("categories")
        if categories is None:
            return None
        known = [category["name"] for category in categories]
        unknown = [name for name in names if name not in known]
        if not unknown:
            return None
        return (
            f"{unknown} are not among the categories of the annotation file, which has "
            f"{', '.join(known[:10])}{', ...' if len(known) > 10 else ''}. Correct the names (a "
            "single class is a tuple too: classes=('cat',))."
        )

    def labels(self, batch: Mapping[str, Any]) -> List[int]:
        return [int(label.max()) for label in batch.get("gt_labels", ()) if label.numel()]

    def told(self, batch: Mapping[str, Any]) -> str:
        if "gt_bboxes" not in batch:
            return "no boxes"
        return f"{sum(len(boxes) for boxes in batch['gt_bboxes'])} boxes"

    def why_empty(self, batch: Mapping[str, Any]) -> Optional[Tuple[str, str]]:
        if "gt_bboxes" not in batch or any(len(boxes) for boxes in batch["gt_bboxes"]):
            return None
        return (
            "No image of the batch has a box.",
            "Compare the dataset's classes with the names of its annotations' categories.",
        )

    # ----------------------------------------------------------------- evaluation
    def score_names(self, dataset: str, metric: Any, options: Mapping[str, Any]) -> Tuple[str, ...]:
        wanted = [metric or "bbox"] if not isinstance(metric, (list, tuple)) else list(metric)
        if dataset.split(".")[-1] != "CocoDataset" or not {"bbox", "segm"}.issuperset(wanted):
            return ()
        return tuple(f"{kind}_mAP{size}" for kind in wanted for size in _SIZES)

    def why_no_scores(self, model: Any, metrics: Sequence[str]) -> Optional[str]:
        masks = getattr(model, "with_mask", True) or hasattr(model, "panoptic_head")
        if "segm" not in metrics or masks:
            return None
        return (
            f"'segm' compares masks, which a {type(model).__name__} does not give. Set "
            "evaluation.metric='bbox'."
        )

    def scores_left_out(
        self, dataset: Any, prefix: str, found: Mapping[str, Any], options: Mapping[str, Any]
    ) -> List[str]:
        """The mAP that CocoDataset leaves out where there is no detection at all."""
        stock = self.host("datasets").CocoDataset.evaluate
        if type(dataset).evaluate is not stock or not dataset.coco.anns:
            return []
        wanted, missing = options.get("metric"), []
        if wanted is None:
            wanted = "bbox"  # the method's own
        for metric in wanted if isinstance(wanted, (list, tuple)) else [wanted]:
            if metric in ("bbox", "segm"):
                if not any(key.startswith(f"{prefix}{metric}_") for key in found):
                    missing.append(f"{prefix}{metric}_mAP")
        return missing

    # ----------------------------------------------------------------- analysis
    def class_names(self, dataset: Any) -> List[str]:
        """CocoDataset numbers the categories as the file does, in whatever order CLASSES has them.

        So its own names are wrong where the orders differ.
        """
        categories = getattr(getattr(dataset, "coco", None), "cats", None)
        if categories is None or not hasattr(dataset, "cat_ids"):
            return super().class_names(dataset)
        return [str(categories[number]["name"]) for number in dataset.cat_ids]

    def objects(self, dataset: Any) -> Optional[List[Objects]]:
        return det_results.labelled(dataset)

    def results(self, model: Any, loader: Any) -> Dict[str, np.ndarray]:
        """Boxes; masks are left out."""
        found = self.test(model, loader, False)
        return as_arrays([det_results.detected(one) for one in found])

    def read_results(self, dataset: Any, path: str) -> Dict[str, np.ndarray]:
        """COCO's results format, as ``--format-only`` of mmdet's test writes it."""
        return as_arrays(det_results.read(dataset, path))

    # ----------------------------------------------------------------- ONNX
    def onnx_arguments(self, checkpoint: str, picture: str) -> List[str]:
        return [checkpoint, "--input-img", picture]

    def onnx_example(
        self, normalize: Mapping[str, Any], picture: str, shape: Sequence[int]
    ) -> Tuple[Tensor, Any]:
        return mmdet_example(normalize, picture, shape)

    def onnx_agreement(
        self, model: Any, outputs: Sequence[Any], example: Tensor, meta: Any
    ) -> Agreement:
        with torch.no_grad():
            ours = model([example], [[meta]], return_loss=False, rescale=True)[0]
        rows = [np.c_[part, np.full(len(part), label)] for label, part in enumerate(ours)]
        onnx_rows = np.c_[outputs[0][0], outputs[1][0]]
        threshold = (model.test_cfg.get("rcnn") or model.test_cfg).get("score_thr", 0.0)
        # the exported NMS fills up with boxes of score 0
        return compare_detections(np.concatenate(rows), onnx_rows[onnx_rows[:, 4] > threshold])


def mmdet_example(
    normalize: Mapping[str, Any], picture: str, shape: Sequence[int]
) -> Tuple[Tensor, Any]:
    """A picture as mmdet's export tool preprocesses it; mmseg's normalises in the same way."""
    from mmdet.core.export import preprocess_example_input

    example, meta = preprocess_example_input(
        dict(input_shape=(1, 3, *shape), input_path=picture, normalize_cfg=normalize)
    )
    meta["scale_factor"] = np.ones(4, dtype=np.float32)
    return example.detach().contiguous(), meta


def compare_detections(ours: np.ndarray, onnx: np.ndarray) -> Agreement:
    """Match two sets of detections (n, 6): box, score, label; each at most once, best first.

    A pair agrees with the same label, boxes within BOX_TOLERANCE, scores within SCORE_TOLERANCE.
    """
    free = np.ones(len(onnx), dtype=bool)
    equal, box, score = 0, 0.0, 0.0
    for row in ours[np.argsort(-ours[:, 4], kind="stable")]:
        boxes = np.abs(onnx[:, :4] - row[:4]).max(axis=1, initial=0.0)
        scores = np.abs(onnx[:, 4] - row[4])
        fits = free & (onnx[:, 5] == row[5])
        fits &= (boxes <= BOX_TOLERANCE) & (scores <= SCORE_TOLERANCE)
        if fits.any():
            best = int(np.argmin(np.where(fits, boxes, np.inf)))
            free[best] = False
            equal += 1
            box, score = max(box, float(boxes[best])), max(score, float(scores[best]))
    largest = f" (largest difference of a box {box:.1e} pixels, of a score {score:.1e})"
    return Agreement("detections", max(len(ours), len(onnx)), equal, largest)


def _within_branch(model: nn.Module, path: str) -> bool:
    """A convolution with norm or activation gives features, whatever its width."""
    modules = dict(model.named_modules())
    parents = (modules[path], modules.get(path.rpartition(".")[0]))
    return any(
        type(module).__name__ == "ConvModule" and (module.with_norm or module.with_activation)
        for module in parents
    )


def _both(channels: Any, count: Any) -> Optional[Tuple[int, int]]:
    numbers = (channels, count)
    if all(isinstance(n, int) and not isinstance(n, bool) and n > 0 for n in numbers):
        return channels, count
    return None
