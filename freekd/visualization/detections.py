"""Detections of several models on the same images, beside the ground truth."""

from pathlib import Path
from typing import Any, Dict, List, Literal, Mapping, NamedTuple, Optional, Sequence, Tuple, Union

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from numpy.typing import NDArray

from freekd.visualization.canvas import (
    CELL,
    TEXT,
    as_array,
    check_image,
    make_grid,
    named_cells,
    same_keys,
    save_figure,
    show_image,
)

RIGHT, WRONG, MISSED, PLAIN = "#1b9e3f", "#d1361f", "#f2b705", "#1f77b4"
_LINES: Dict[str, Literal["-", "--"]] = {RIGHT: "-", WRONG: "-", MISSED: "--", PLAIN: "-"}


class DetectionRow(NamedTuple):
    """One image and what was found on it.

    Attributes:
        image: (H, W, 3) uint8 RGB.
        detections: model name -> (bboxes (N, 5), labels (N,)); a box is x1, y1, x2, y2 in pixels
            and its score.
        ground_truth: (bboxes (M, 4), labels (M,)) or None.
    """

    image: Any
    detections: Mapping[str, Tuple[Any, Any]]
    ground_truth: Optional[Tuple[Any, Any]] = None


def draw_detections(
    rows: Sequence[DetectionRow],
    out_path: Union[str, Path],
    class_names: Sequence[str],
    score_thr: float = 0.3,
    cell: int = CELL,
) -> Path:
    """Draw one row per image: its ground truth first, where given, then one column per model.

    With ground truth, a box is green if it is right (its class, IoU of at least 0.5 with an object
    that no better-scored box has taken), red if not, and objects that nothing found are dashed
    yellow. Without ground truth all boxes are blue. Detectors suppress overlapping boxes within one
    class only; here, of boxes that coincide (IoU of at least 0.7, any class) the best one is drawn.

    Args:
        rows: :class:`DetectionRow`, or tuples of the same; all with the same model names, and
            ground truth for all or for none.
        out_path: the PNG file to write.
        class_names: by label.
        score_thr: boxes below this score are not drawn.
        cell: side of one picture in the file, in pixels.

    Returns:
        The path of the picture.

    Raises:
        ValueError: nothing to draw, rows that differ, an array of another shape, an unknown label.
    """
    rows = [DetectionRow(*row) for row in rows]
    models = same_keys([row.detections for row in rows], "detections")
    with_truth = [row.ground_truth is not None for row in rows]
    if any(with_truth) != all(with_truth):
        raise ValueError("ground truth must be given for all rows or for none")
    first = int(with_truth[0])
    grid = make_grid(
        len(rows), first + len(models), cell, bottom=44 if with_truth[0] else 12, top=34
    )
    for number, (row, axes) in enumerate(zip(rows, grid.axes)):
        image = check_image(row.image, f"image of row {number}")
        truth = None
        if row.ground_truth is not None:
            truth = _boxes_and_labels(row.ground_truth, 4, class_names, f"ground truth, {number}")
            show_image(axes[0], image)
            for box, label in zip(*truth):
                _draw_box(axes[0], box, class_names[label], RIGHT, image.shape)
        for name, ax in zip(models, axes[first:]):
            found = _boxes_and_labels(row.detections[name], 5, class_names, f"{name}, row {number}")
            show_image(ax, image)
            _draw_found(ax, found, truth, class_names, score_thr, image.shape)
    titles = ["ground truth"] * first + models
    for ax, title in zip(grid.axes[0], titles):
        ax.set_title(title, fontsize=10, color=TEXT)
    if with_truth[0]:
        legend = (("right", RIGHT), ("wrong", WRONG), ("missed", MISSED))
        handles = [
            Line2D([], [], color=color, linestyle=_LINES[color], linewidth=2, label=label)
            for label, color in legend
        ]
        grid.figure.legend(
            handles=handles, loc="lower center", ncol=3, frameon=False, fontsize=9, labelcolor=TEXT
        )
    return save_figure(grid.figure, out_path, named_cells(grid, titles))


def match_detections(
    bboxes: NDArray[Any],
    labels: NDArray[Any],
    true_bboxes: NDArray[Any],
    true_labels: NDArray[Any],
    iou_thr: float = 0.5,
) -> Tuple[NDArray[Any], NDArray[Any]]:
    """Decide which boxes are right: each takes, by falling score, the best object of its class.

    Args:
        bboxes: (N, 5) x1, y1, x2, y2, score.
        labels: (N,).
        true_bboxes: (M, 4).
        true_labels: (M,).
        iou_thr: intersection over union from which a box counts.

    Returns:
        ``right`` (N,) bool, and ``found`` (M,) bool, the objects that were taken.

    Example:
        >>> boxes = np.array([[0, 0, 9, 9, 0.6], [0, 0, 10, 10, 0.9]])
        >>> right, found = match_detections(
        ...     boxes, np.array([1, 1]), np.array([[0, 0, 10, 10]]), np.array([1]))
        >>> right.tolist(), found.tolist()
        ([False, True], [True])
    """
    right = np.zeros(len(bboxes), dtype=bool)
    found = np.zeros(len(true_bboxes), dtype=bool)
    for index in np.argsort(-bboxes[:, 4], kind="stable"):
        best, best_iou = -1, iou_thr
        for candidate in np.flatnonzero(~found & (true_labels == labels[index])):
            iou = _iou(bboxes[index], true_bboxes[candidate])
            if iou >= best_iou:
                best, best_iou = int(candidate), iou
        if best >= 0:
            right[index] = found[best] = True
    return right, found


def best_boxes(bboxes: NDArray[Any], iou_thr: float = 0.7) -> NDArray[Any]:
    """Indices of the boxes with no better-scored one at the same place, by falling score.

    Args:
        bboxes: (N, 5) x1, y1, x2, y2, score.
        iou_thr: intersection over union from which two boxes are at the same place.

    Returns:
        (K,) int.

    Example:
        >>> best_boxes(np.array([[0, 0, 9, 9, 0.4], [0, 0, 10, 9, 0.9], [5, 5, 9, 9, 0.5]]))
        array([1, 2])
    """
    kept: List[int] = []
    for index in np.argsort(-bboxes[:, 4], kind="stable"):
        if all(_iou(bboxes[index], bboxes[other]) < iou_thr for other in kept):
            kept.append(int(index))
    return np.array(kept, dtype=int)


def _iou(one: NDArray[Any], other: NDArray[Any]) -> float:
    sides = np.minimum(one[2:4], other[2:4]) - np.maximum(one[:2], other[:2])
    shared = float(np.prod(np.clip(sides, 0, None)))
    areas = [float(np.prod(box[2:4] - box[:2])) for box in (one, other)]
    return shared / max(sum(areas) - shared, 1e-9)


def _boxes_and_labels(
    pair: Tuple[Any, Any], columns: int, class_names: Sequence[str], what: str
) -> Tuple[NDArray[Any], NDArray[Any]]:
    """Check shapes and labels; an empty list stands for no boxes."""
    bboxes, labels = as_array(pair[0]).astype(float), as_array(pair[1])
    if bboxes.size == 0 and labels.size == 0:
        return np.zeros((0, columns)), np.zeros(0, dtype=int)
    if bboxes.ndim != 2 or bboxes.shape[1] != columns or labels.shape != (len(bboxes),):
        raise ValueError(
            f"{what}: expected bboxes (N, {columns}) and labels (N,), got {bboxes.shape} and "
            f"{labels.shape}"
        )
    if labels.min() < 0 or labels.max() >= len(class_names):
        raise ValueError(
            f"{what}: labels go from {labels.min()} to {labels.max()}, but class_names has "
            f"{len(class_names)} entries"
        )
    return bboxes, labels.astype(int)


def _draw_found(
    ax: Axes,
    found: Tuple[NDArray[Any], NDArray[Any]],
    truth: Optional[Tuple[NDArray[Any], NDArray[Any]]],
    class_names: Sequence[str],
    score_thr: float,
    shape: Sequence[int],
) -> None:
    """Draw what one model found on one image; the best score comes last, on top."""
    keep = found[0][:, 4] >= score_thr
    bboxes, labels = found[0][keep], found[1][keep]
    best = best_boxes(bboxes)
    bboxes, labels = bboxes[best], labels[best]
    colors: List[str] = [PLAIN] * len(bboxes)
    missed = np.zeros((0, 4))
    if truth is not None:
        right, taken = match_detections(bboxes, labels, *truth)
        colors = [RIGHT if hit else WRONG for hit in right]
        missed = truth[0][~taken]
    for index in reversed(range(len(bboxes))):
        text = f"{class_names[labels[index]]}  {bboxes[index, 4]:.2f}"
        _draw_box(ax, bboxes[index], text, colors[index], shape)
    for box in missed:  # last, so that its dashes show on a wrong box at the same place
        _draw_box(ax, box, "", MISSED, shape)


def _draw_box(ax: Axes, box: NDArray[Any], text: str, color: str, shape: Sequence[int]) -> None:
    """One box in pixel coordinates; its text stands above, or inside at the top of the image."""
    x1, y1, x2, y2 = box[:4]
    ax.add_patch(
        Rectangle((x1, y1), x2 - x1, y2 - y1, fill=False, edgecolor=color, lw=1.8, ls=_LINES[color])
    )
    if text:
        above = y1 > 0.09 * shape[0]
        ax.text(
            min(max(x1, 0), 0.8 * shape[1]),
            y1 if above else max(y1, 0),
            text,
            va="bottom" if above else "top",
            fontsize=7.5,
            color="white",
            bbox={"facecolor": color, "edgecolor": "none", "pad": 1.2, "alpha": 0.9},
            clip_on=True,
        )
