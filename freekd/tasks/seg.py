"""Semantic segmentation, by mmseg 0.x."""

import re
from typing import Any, List, Mapping, Optional, Sequence, Tuple

import numpy as np
import torch
from torch import Tensor, nn

from freekd.tasks.base import Agreement, Task, TaskError
from freekd.tasks.classes import ClassAxis, channels_of, head_of
from freekd.tasks.det import mmdet_example

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
    def test(self, model: Any, loader: Any, distributed: bool) -> Any:
        """With what counts as it goes: all maps at once would not fit into memory."""
        apis = self.host("apis")
        run = apis.multi_gpu_test if distributed else apis.single_gpu_test
        return run(model, loader, pre_eval=True)

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
