"""A pair config as a benchmark wants it: random weights, synthetic images, nothing on disk."""

import os
import re
from typing import Any, Dict, List, Optional, Tuple

import numpy as np
import torch
from torch import Tensor, nn

try:  # needs pytorch_wavelets
    from direct import direct_loss, transform
except ImportError:
    direct_loss = None

CWD = "loss_cwd"
DIRECT = "loss_direct"


def prepared(cfg: Any, folder: str, checkpoint: Optional[str], prompts: Optional[str]) -> Any:
    """The config without downloads, with prompt files and with MMRazor's loss on the same maps."""
    from mmcv import ConfigDict

    from freekd.distill.weights import without_pretrained
    from freekd.zoo.stock import read_model

    algorithm = cfg.get("algorithm")
    if not (algorithm or {}).get("distiller"):
        raise SystemExit("expected a pair config, such as those in configs/freekd/")
    distiller = algorithm.distiller
    if distiller.teacher is None:
        raise SystemExit("expected a pair with a teacher: without one there is nothing to compare")
    for holder, key in ((algorithm.architecture, "model"), (distiller, "teacher")):
        holder[key] = without_pretrained(read_model(holder[key], key))
    distiller.teacher_checkpoint = checkpoint
    algorithm.inherit = ()
    for component in list(distiller.components):
        for loss in component.losses:
            if loss.get("prompts"):
                loss.prompts = prompts or _prompt_file(loss, folder)
    names = {loss.name for component in distiller.components for loss in component.losses}
    one_tap = [c for c in distiller.components if isinstance(c.student_module, str)]
    maps = next((c for c in one_tap if "student_channels" in c.losses[0]), None)
    if maps is not None and CWD not in names:
        ours = maps.losses[0]
        peer = dict(maps, losses=[dict(type="ChannelWiseDivergence", name=CWD)])
        widths = {k: ours[k] for k in ("student_channels", "teacher_channels")}
        if len(set(map(str, widths.values()))) > 1:
            peer["align_module"] = dict(type="conv2d", **widths)
        distiller.components.append(ConfigDict(peer))
    return cfg


def _prompt_file(loss: Any, folder: str) -> str:
    from freekd import FreeKDLoss
    from freekd.prompts.file import save_prompts
    from freekd.prompts.prompts import FrequencyPrompts
    from freekd.prompts.spec import PromptSpec

    plain = FreeKDLoss(**{k: v for k, v in loss.items() if k not in ("type", "name", "prompts")})
    gate = loss.get("gate", "auto")
    spec = PromptSpec.build(
        plain.teacher_channels,
        num_prompts=loss.get("num_prompts") or 2,
        transform=plain.transform,
        granularity=plain.granularity,
        gate="position" if gate == "auto" else gate,
    )
    path = os.path.join(folder, "prompts.pth")
    save_prompts(FrequencyPrompts(spec, init_std=0.05), path)
    return path


def build(cfg: Any, task: str, device: str, amp: Optional[str]) -> Any:
    """The algorithm, ready to train on ``device``."""
    from freekd import compat
    from freekd.engine import build, precision

    torch.manual_seed(0)
    model = build.build_model(cfg, task)
    model.init_weights()
    compat.plain_batch_norm(model)
    model.to(device).train()
    distiller = model.distiller
    if distiller.teacher_checkpoint is None:
        _settle_norms(distiller.teacher, distiller.partial_teacher)
    _settle_norms(model.architecture.model, distiller._partial(model.architecture.model))
    model.check_ready()  # before low precision, as training does it
    chosen = None if amp is None else precision.Precision(getattr(torch, amp))
    precision.prepare(model, chosen, device)
    return model


@torch.no_grad()
def _settle_norms(model: nn.Module, run: Any) -> None:
    """Norm statistics of random weights from random images: else 100 layers grow without bound."""
    norms = [m for m in model.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    if not norms or not run.possible:
        return
    before = [(norm.training, norm.momentum) for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.training, norm.momentum = True, None
    shape = (192, 192, 3)
    img = torch.randn(2, 3, *shape[:2], device=next(model.parameters()).device)
    metas = [dict(img_shape=shape, pad_shape=shape) for _ in range(2)]
    run.features(img, metas)
    for norm, (training, momentum) in zip(norms, before):
        norm.training, norm.momentum = training, momentum


# --------------------------------------------------------------------------- data
def image_size(cfg: Any, text: Optional[str]) -> Tuple[int, int]:
    """Height and width: as asked for, else the config's own crop or scale, in multiples of 32."""
    if text:
        found = re.fullmatch(r"(\d+)x(\d+)", text)
        if not found:
            raise SystemExit(f"--size: expected HxW such as 800x1344, got {text!r}")
        return int(found[1]), int(found[2])
    sizes: List[Tuple[int, int]] = []
    for step in cfg.data.train.get("pipeline") or cfg.data.train.dataset.pipeline:
        for key in ("img_scale", "crop_size"):
            value = step.get(key)
            if value is not None:
                value = value[0] if isinstance(value, list) else value
                sizes.append((min(value), max(value)))
    height, width = sizes[-1] if sizes else (800, 1333)
    return -(-height // 32) * 32, -(-width // 32) * 32


def synthetic(
    model: Any, task: str, size: Tuple[int, int], batch: int, device: str, boxes: int = 8
) -> Dict[str, Any]:
    """A batch as the data loader gives it: noise, and ``boxes`` objects in each image."""
    height, width = size
    rng = np.random.default_rng(0)
    shape = (height, width, 3)
    meta = dict(
        img_shape=shape, pad_shape=shape, ori_shape=shape, batch_input_shape=size,
        scale_factor=np.ones(4, dtype=np.float32), flip=False, filename="", ori_filename="",
    )  # fmt: skip
    both = model.architecture.model, model.distiller.teacher
    counts = [getattr(m, "num_classes", None) for one in both for m in one.modules()]
    classes = min(count for count in counts if isinstance(count, int) and count > 0)
    data = dict(
        img=torch.randn(batch, 3, height, width, device=device),
        img_metas=[dict(meta) for _ in range(batch)],
    )
    if task == "seg":
        truth = rng.integers(0, classes, (batch, 1, height, width))
        return dict(data, gt_semantic_seg=torch.from_numpy(truth).to(device))
    corners, labels = [], []
    for _ in range(batch):
        start = rng.uniform(0, 0.6, (boxes, 2))
        extent = rng.uniform(0.05, 0.4, (boxes, 2))
        found = np.concatenate([start, start + extent], axis=1) * [width, height, width, height]
        corners.append(torch.tensor(found, dtype=torch.float32, device=device))
        labels.append(torch.from_numpy(rng.integers(0, classes, boxes)).to(device))
    data.update(gt_bboxes=corners, gt_labels=labels)
    if getattr(both[1], "with_mask", False):
        from mmdet.core import BitmapMasks

        planes = np.zeros((batch, boxes, height, width), dtype=np.uint8)
        for i, found in enumerate(corners):
            for j, (x1, y1, x2, y2) in enumerate(found.int().tolist()):
                planes[i, j, y1:y2, x1:x2] = 1
        data["gt_masks"] = [BitmapMasks(plane, height, width) for plane in planes]
    return data


def real(cfg: Any, task: str, batch: int, device: str) -> Dict[str, Any]:
    """The first images of the config's training data, through its pipeline."""
    from mmcv.parallel import collate

    from freekd.engine.datasets import build_dataset

    dataset = build_dataset(cfg.data.train, task)
    parts = collate([dataset[i] for i in range(batch)], samples_per_gpu=batch)

    def moved(value: Any) -> Any:
        if isinstance(value, list):
            return [moved(item) for item in value]
        return value.to(device) if torch.is_tensor(value) else value

    return {key: moved(part.data[0]) for key, part in parts.items()}


# --------------------------------------------------------------------------- direct formulation
class DirectLoss(nn.Module):
    """The direct formulation with the alignment, prompts and options of a ``FreeKDLoss``."""

    takes_levels = True

    def __init__(self, ours: Any) -> None:
        super().__init__()
        xi = ours.transform
        self.ours = [ours]  # its parameters stay its own
        self.xfm = transform(xi.wavelet, xi.levels, xi.mode)

    def forward(self, student_feats: Any, teacher_feats: Any) -> Tensor:
        """As ``FreeKDLoss``."""
        ours = self.ours[0]
        student, teacher = ours.check_feats(student_feats, teacher_feats)
        with torch.autocast(teacher[0].device.type, enabled=False):
            teacher = [feat.detach().float() for feat in teacher]
            student = [feat.float() for feat, _ in ours.aligned(student, teacher)]
            frozen = ours.prompts
            gate = None if frozen is None or frozen.gate is None else frozen.gate.mlps
            value = direct_loss(
                student,
                teacher,
                None if frozen is None else list(frozen.prompts),
                gate,
                self.xfm,
                ours.granularity,
                ours.distance,
                ours.bands,
            )
        return ours.loss_weight * value


def add_direct(distiller: Any, device: str) -> bool:
    """The direct formulation beside the first ``FreeKDLoss``; False where it has no such option."""
    if direct_loss is None:
        return False
    for component in distiller.components:
        for loss in component.losses:
            ours = distiller.losses[loss.name]
            if type(ours).__name__ == "FreeKDLoss" and ours.normalize is None:
                distiller.losses[DIRECT] = DirectLoss(ours).to(device)
                component.losses = [*component.losses, type(loss)(name=DIRECT)]
                return True
    return False
