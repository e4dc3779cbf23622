"""How well weights of places localise: the area under the ROC curve against the boxes of a batch.

A prompt is to say where a coefficient matters. Whether its weights are larger in the boxes of
objects than elsewhere is measured as the AUC: how likely the weight of a place in a box is above
that of a place outside all boxes; .5 is chance. Their spread, the standard deviation over the mean,
says how much the choice of places can change the loss at all.
"""

from pathlib import Path
from typing import Any, Dict, List, Mapping, NamedTuple, Optional, Sequence

import numpy as np
import torch
from scipy.stats import rankdata
from torch import Tensor

from freekd.doctor.measure import Places, places_of_prompts
from freekd.doctor.report import Report
from freekd.frequency import Transform
from freekd.losses.places import box_map
from freekd.prompts.file import load_prompts
from freekd.prompts.prompts import FrequencyPrompts
from freekd.prompts.where import has_places

_IMAGES = 3  # in a picture
NO_SPREAD = 0.05  # of the mean: a loss that is weighted so differs by less than its noise


class Localisation(NamedTuple):
    """Means over levels and groups of bands; ``auc`` None where no level has both kinds of place.

    ``spread`` is also of each name of a group of bands, over the levels.
    """

    auc: Optional[float]
    spread: float
    of_groups: Dict[str, float]  # AUC by the group's name, where it has both kinds


def auc(scores: Tensor, positive: Tensor) -> Optional[float]:
    """How likely a positive's score is above a negative's, ties by half; None without both.

    >>> auc(torch.tensor([0.1, 0.4, 0.35, 0.8]), torch.tensor([False, False, True, True]))
    0.75
    """
    count = int(positive.sum())
    others = positive.numel() - count
    if not count or not others:
        return None
    ranks = rankdata(scores.detach().flatten().double().cpu().numpy())
    above = ranks[positive.flatten().cpu().numpy()].sum() - count * (count + 1) / 2
    return float(above / (count * others))


def localisation(
    weights: Sequence[Sequence[Tensor]],
    boxes: Sequence[Any],
    image: Sequence[int],
    sizes: Sequence[Sequence[int]],
    transform: Transform,
    granularity: str = "band",
) -> Localisation:
    """Of weights (N, h, w) for each level and group of bands.

    Args:
        weights: of each level, of each group.
        boxes: (x1, y1, x2, y2) in pixels of each image.
        image: (height, width) of the images, padding included.
        sizes: (H, W) of each level's maps.
        transform, granularity: whose bands they are.
    """
    aucs: Dict[str, List[float]] = {}
    spreads: List[float] = []
    for level, size in zip(weights, sizes):
        inside = torch.stack([box_map(one, image, size) for one in boxes]).unsqueeze(1)
        parts, places = transform.averaged(inside), has_places(transform)
        for group, weight in zip(transform.groups(granularity), level):
            spreads.append(float(weight.std(unbiased=False) / weight.mean().abs().clamp_min(1e-12)))
            part = parts[group.members[0]][:, 0].expand(weight.shape)
            found = auc(weight, part >= 0.5) if places else None
            if found is not None:
                aucs.setdefault(group.name, []).append(found)
    every = [value for values in aucs.values() for value in values]
    of_groups = {name: float(np.mean(values)) for name, values in aucs.items()}
    return Localisation(
        float(np.mean(every)) if every else None, float(np.mean(spreads)), of_groups
    )


def mean_of(found: Sequence[Localisation]) -> Localisation:
    """The mean over batches, of those that have an AUC."""

    def mean(values: Sequence[Optional[float]]) -> Optional[float]:
        some = [value for value in values if value is not None]
        return float(np.mean(some)) if some else None

    names = dict.fromkeys(name for one in found for name in one.of_groups)
    of_groups = {name: mean([one.of_groups.get(name) for one in found]) for name in names}
    spread = float(np.mean([one.spread for one in found]))
    told = {name: value for name, value in of_groups.items() if value is not None}
    return Localisation(mean([one.auc for one in found]), spread, told)


def look(
    subject: Any,
    report: Report,
    places: Sequence[Mapping[str, Places]],
    batches: Sequence[Dict[str, Any]],
    draw: Optional[str] = None,
) -> None:
    """A section of the report for all that weights places; without boxes, the spread alone.

    In stage 1 also for the ``prompts.pth`` that an earlier run has left in the work folder.

    Args:
        subject, report: the doctor's.
        places: of each batch, by name.
        batches: as the model got them.
        draw: the PNG file of a picture of the first batch, or None; without those whose transform
            has no places, such as a whole DCT.
    """
    found: Dict[str, List[Localisation]] = {}
    learned: Dict[str, bool] = {}
    drawn = False
    earlier = _earlier_prompts(subject, report) if subject.kind == "stage 1" else {}
    for of_batch, batch in zip(places, batches):
        others = {
            path: places_of_prompts(subject.model, batch, prompts)
            for path, prompts in earlier.items()
        }
        of_batch = {**of_batch, **others}
        placed = {name: one for name, one in of_batch.items() if has_places(one.transform)}
        if draw is not None and placed and not drawn:
            draw_batch(placed, batch, draw)
            drawn = True
        image = batch["img"].shape[-2:]
        boxes = _boxes(batch)
        for name, of_name in of_batch.items():
            learned[name] = of_name.learned
            found.setdefault(name, []).append(
                localisation(
                    of_name.weights, boxes, image, of_name.sizes, of_name.transform,
                    of_name.granularity,
                )
            )  # fmt: skip
    if draw is not None and not drawn:
        report.notes.append(f"{draw} was not written: no loss here weights places")
    for name, of_batches in found.items():
        _tell(report, name, mean_of(of_batches), learned[name])


def draw_batch(places: Mapping[str, Places], batch: Mapping[str, Any], path: str) -> None:
    """A picture of where each loss looks on the first images of a batch.

    Args:
        places: by name.
        batch: as the model got it.
        path: the PNG file to write.
    """
    from mmcv import tensor2imgs

    from freekd.visualization import PlacesRow, draw_places

    count = min(len(batch["img"]), _IMAGES)
    norm = batch["img_metas"][0].get("img_norm_cfg") or {}
    norm = {name: norm[name] for name in ("mean", "std", "to_rgb") if name in norm}
    images = tensor2imgs(batch["img"][:count].float().cpu(), **norm)
    rows = []
    for i, (image, boxes) in enumerate(zip(images, _boxes(batch))):
        weights = {
            name: [group[i % len(group)] for level in one.weights for group in level]
            for name, one in places.items()
        }
        rows.append(PlacesRow(np.ascontiguousarray(image[..., ::-1]), weights, boxes))
    draw_places(rows, path)


def _boxes(batch: Mapping[str, Any]) -> List[List[Any]]:
    """(x1, y1, x2, y2) of each image's objects; none where the batch has no boxes."""
    found = [one.tolist() for one in batch.get("gt_bboxes") or ()]
    return found or [[] for _ in range(len(batch["img"]))]


def _earlier_prompts(subject: Any, report: Report) -> Dict[str, FrequencyPrompts]:
    """By their path; a note says why a file that is there was not looked at."""
    path = Path(str(subject.cfg.get("work_dir") or "")) / "prompts.pth"
    if not path.is_file():
        return {}
    try:
        spec = subject.model.architecture.prompts.spec
        return {str(path): load_prompts(str(path), spec).prompts}
    except (ValueError, RuntimeError, OSError, ImportError) as error:
        report.notes.append(f"{path} was not looked at: {str(error).splitlines()[0]}")
        return {}


def _tell(report: Report, name: str, found: Localisation, learned: bool) -> None:
    """A section, which says where the weights are too equal to matter."""
    lines = report.section(f"Where {name} look{'' if ' ' in name else 's'}")
    if found.auc is not None:
        lines.append(
            f"AUC of the weights against the boxes {found.auc:.2f} (.5 is chance, 1 is boxes "
            "before all else): "
            + ", ".join(f"{g} {value:.2f}" for g, value in found.of_groups.items())
        )
    lines.append(f"spread of the weights: {found.spread:.3f} of their mean")
    if found.spread < NO_SPREAD and learned:
        lines.append(
            "Weights so nearly equal cannot matter: the loss is as good as one without prompts "
            "(docs/evidence.md)."
        )
    report.record.setdefault("localisation", {})[name] = found._asdict()
