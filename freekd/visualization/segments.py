"""Masks of several models for the same prompts, side by side."""

from pathlib import Path
from typing import Any, List, Mapping, NamedTuple, Sequence, Union

import numpy as np

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

# of the prompts, one after the other; distinct for most eyes (Okabe and Ito's palette)
COLORS = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00")
ALPHA = 0.55


class SegmentRow(NamedTuple):
    """One image and the masks of its prompts.

    Attributes:
        image: (H, W, 3) uint8 RGB.
        points: (K, 2) as x, y in pixels.
        masks: model name -> (K, H, W) bool.
    """

    image: Any
    points: Any
    masks: Mapping[str, Any]


def draw_segments(rows: Sequence[SegmentRow], out_path: Union[str, Path], cell: int = CELL) -> Path:
    """Draw one row per image: a column per model, each prompt and its mask in one colour.

    Args:
        rows: all with the same model names.
        out_path: the PNG file to write.
        cell: side of one picture in the file, in pixels.

    Returns:
        The path of the picture.

    Raises:
        ValueError: nothing to draw, rows that differ, or an array of another shape.
    """
    names: List[str] = same_keys([row.masks for row in rows], "masks")
    grid = make_grid(len(rows), len(names), cell)
    for number, (row, axes) in enumerate(zip(rows, grid.axes)):
        image = check_image(row.image, f"image of row {number}")
        height, width = image.shape[:2]
        points = as_array(row.points).reshape(-1, 2)
        for name, ax in zip(names, axes):
            masks = as_array(row.masks[name]).astype(bool)
            if masks.shape != (len(points), height, width):
                raise ValueError(
                    f"{name}, row {number}: expected masks {(len(points), height, width)}, one for "
                    f"each point, got {masks.shape}"
                )
            show_image(ax, image)
            for place, (mask, point) in enumerate(zip(masks, points)):
                color = COLORS[place % len(COLORS)]
                layer = np.zeros((height, width, 4))
                layer[mask] = [*(int(color[i : i + 2], 16) / 255 for i in (1, 3, 5)), ALPHA]
                ax.imshow(layer, extent=(0, width, height, 0), interpolation="nearest")
                ax.plot(
                    point[0] + 0.5, point[1] + 0.5, "o", markersize=6, markerfacecolor=color,
                    markeredgecolor="white", markeredgewidth=1.2,
                )  # fmt: skip
    for ax, title in zip(grid.axes[0], names):
        ax.set_title(title, fontsize=10, color=TEXT)
    return save_figure(grid.figure, out_path, named_cells(grid, names))
