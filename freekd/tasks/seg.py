"""Semantic segmentation, by mmseg 0.x."""

import re
from typing import Any, Dict, List, Mapping, Optional, Sequence, Tuple

import numpy as np
import torch
from torch import Tensor, nn

from freekd.tasks.base import Agreement, Task, TaskError
from freekd.tasks.classes import ClassAxis, channels_of, head_of
from freekd.tasks.det import mmdet_example

BOUNDARY = 3  # pixels
_CLASS_LAYERS = re.compile(r"cls|seg|conf|logits|heat|pred|se_layer|mask_iou")


class Segmentation(Task):
    """See :class:`freekd.tasks.base.Task`."""

    name = "seg"
    noun = "segmentation"
    model_noun = "segmentor"
    package = "mmseg"
    wheel = "mmsegmentation"
    models = "SEGMENTORS"
    architecture = "MMSegArchitecture"
    one_size = True
    optimizer_builder = "mmseg.core.builder"
    loaded_by = {"gt_semantic_seg": "LoadAnnotations(with_seg=True)"}
    heads = ("decode_head", "auxiliary_head")
    onnx_tool = ".mim/tools/pytorch2onnx.py"
    label_hint = (
        "Check the annotations; classes count from 0 (mmseg: reduce_zero_label, 255 ignores)."
    )
    main_scores = ("mIoU", "mDice", "mFscore")

    # ----------------------------------------------------------------- models
    def build_model(self, cfg: Any, train_cfg: Any, test_cfg: Any) -> nn.Module:
        model: nn.Module = self.host("models").build_segmentor(cfg, train_cfg, test_cfg)
        return model

    def class_heads(self, model: nn.Module) -> Any:
        """STDC's head of boundaries has classes of its own."""
        counts = super().class_heads(model).items()
        return {
            path: n for path, n in counts if "STDC" not in type(model.get_submodule(path)).__name__
        }

    def class_axis(self, model: nn.Module, path: str) -> Optional[ClassAxis]:
        """What a head gives, and its last layers of that many channels."""
        head, module = head_of(model, path), dict(model.named_modules()).get(path)
        if head is None or module is None or path.split(".")[0] not in self.heads:
            return None
        # out_channels=1: foreground, of two classes
        maps = int(getattr(head, "out_channels", None) or head.num_classes)
        if module is head:
            return ClassAxis(maps)
        named = _CLASS_LAYERS.search(path.split(".", 1)[1])
        return ClassAxis(maps) if named and channels_of(module) == maps else None

    def maps_from_text(self, model: Mapping[str, Any], module: str) -> Optional[Tuple[int, int]]:
        """The last layer of a head."""
        head = model.get("decode_head")
        if module != "decode_head.conv_seg" or not isinstance(head, Mapping):
            return None
        channels = head.get("out_channels")
        channels = head.get("num_classes") if channels is None else channels
        fits = isinstance(channels, int) and not isinstance(channels, bool) and channels > 0
        return (channels, 1) if fits else None

    def reach(self, model: Any, module: str, img: Tensor, metas: Any) -> None:
        """Auxiliary heads, and hooks of a cascade's, run in training alone."""
        if not hasattr(model, "encode_decode"):
            return super().reach(model, module, img, metas)
        model.encode_decode(img, metas)
        feats, root = model.extract_feat(img), module.split(".")[0]
        heads = getattr(model, root)
        before: Tuple[Any, ...] = ()
        for head in heads if isinstance(heads, nn.ModuleList) else [heads]:
            out = head(feats, *before)
            before = (out,) if root == "decode_head" else ()
        return None

    # ----------------------------------------------------------------- data
    def labels(self, batch: Mapping[str, Any]) -> List[int]:
        maps = batch.get("gt_semantic_seg")
        if maps is None or not bool((maps != 255).any()):
            return []
        return [int(maps[maps != 255].max())]

    def told(self, batch: Mapping[str, Any]) -> str:
        return "maps of labels"

    # ----------------------------------------------------------------- evaluation
    def score_names(self, dataset: str, metric: Any, options: Mapping[str, Any]) -> Tuple[str, ...]:
        wanted = [metric or "mIoU"] if not isinstance(metric, (list, tuple)) else list(metric)
        if not {"mIoU", "mDice", "mFscore"}.issuperset(wanted):
            return ()
        more = ("mPrecision", "mRecall") if "mFscore" in wanted else ()
        return (*wanted, "aAcc", "mAcc", *more)

    def test(self, model: Any, loader: Any, distributed: bool) -> Any:
        """With what counts as it goes: all maps at once would not fit into memory."""
        apis = self.host("apis")
        run = apis.multi_gpu_test if distributed else apis.single_gpu_test
        return run(model, loader, pre_eval=True)

    # ----------------------------------------------------------------- analysis
    def results(self, model: Any, loader: Any) -> Dict[str, np.ndarray]:
        """Pixels, counted image by image: within ``BOUNDARY`` of another label, and all others."""
        dataset = loader.dataset
        if not hasattr(dataset, "get_gt_seg_map_by_idx") or not dataset.CLASSES:
            raise TaskError(
                f"data.test: expected one data set with named classes whose label maps can be "
                f"read, got a {type(dataset).__name__} without. Give one of its parts, or classes."
            )
        found = self.test(model, _Counting(loader), False)
        boundary, interior = np.sum(found, axis=0)
        return dict(boundary=boundary, interior=interior)

    # ----------------------------------------------------------------- ONNX
    def onnx_arguments(self, checkpoint: str, picture: str) -> List[str]:
        return ["--checkpoint", checkpoint]

    def onnx_example(
        self, normalize: Mapping[str, Any], picture: str, shape: Sequence[int]
    ) -> Tuple[Tensor, Any]:
        return mmdet_example(normalize, picture, shape)

    def onnx_agreement(
        self, model: Any, outputs: Sequence[Any], example: Tensor, meta: Any
    ) -> Agreement:
        with torch.no_grad():
            ours = model([example], [[meta]], return_loss=False, rescale=True)[0]
        return compare_pixels(np.asarray(ours), np.squeeze(outputs[0]))


def compare_pixels(ours: np.ndarray, onnx: np.ndarray) -> Agreement:
    """Compare two label maps."""
    if ours.shape != onnx.shape:
        raise TaskError(f"torch gives a label map {ours.shape}, onnxruntime {onnx.shape}.")
    return Agreement("pixels", ours.size, int((ours == onnx).sum()), "")


class _Counting:
    """A loader, and in the place of its dataset what counts the pixels of each batch.

    The host asks ``loader.dataset.pre_eval`` about each batch.
    """

    def __init__(self, loader: Any) -> None:
        self.loader, self.batch_sampler, self.dataset = loader, loader.batch_sampler, self

    def __len__(self) -> int:
        return len(self.loader.dataset)

    def __iter__(self) -> Any:
        return iter(self.loader)

    def pre_eval(self, results: Any, indices: Sequence[int]) -> List[np.ndarray]:
        pairs = zip(results, indices)
        return [count_pixels(self.loader.dataset, np.asarray(one), at) for one, at in pairs]


def count_pixels(dataset: Any, prediction: np.ndarray, index: int) -> np.ndarray:
    """(2, K, K): pixels of a label (row) that were found as a class (column).

    First those near a boundary: within ``BOUNDARY`` pixels, each way, stands another label. Then
    all others. Ignored pixels are in neither, but the edge of an ignored region is a boundary.
    """
    labels = np.asarray(dataset.get_gt_seg_map_by_idx(index)).astype(np.int64)
    ignore, classes = int(dataset.ignore_index), len(dataset.CLASSES)
    if dataset.reduce_zero_label:  # label 0 is no class
        labels = np.where((labels == 0) | (labels == ignore), ignore, labels - 1)
    if labels.shape != prediction.shape:
        raise TaskError(
            f"data.test: image {index} has a label map {labels.shape}, the model gives "
            f"{prediction.shape}. The test pipeline must give results of the image's own size."
        )
    if prediction.size and int(prediction.max()) >= classes:
        raise TaskError(
            f"data.test.classes: {classes} are named, the model found class {prediction.max()}. "
            "Correct the names, or num_classes of the head."
        )
    near = near_boundary(labels)
    counted = (labels != ignore) & (labels >= 0) & (labels < classes)
    pairs = classes * labels + prediction
    counts = [
        np.bincount(pairs[counted & where].astype(np.int64), minlength=classes**2)
        for where in (near, ~near)
    ]
    return np.stack(counts).reshape(2, classes, classes)


def near_boundary(labels: np.ndarray, width: int = BOUNDARY) -> np.ndarray:
    """Pixels that have another label within ``width`` pixels, in a square.

    >>> near_boundary(np.array([[0, 0, 0, 1, 1]]), 1)
    array([[False, False,  True,  True, False]])
    """
    from scipy import ndimage

    size = 2 * width + 1
    smallest = ndimage.minimum_filter(labels, size, mode="nearest")
    largest = ndimage.maximum_filter(labels, size, mode="nearest")
    return np.asarray(smallest != largest)
