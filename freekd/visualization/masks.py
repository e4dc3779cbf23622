"""The masks of frequency prompts, laid over the image: which mask is which band.

In the loss only the sum of a band's masks counts (``|s a - s b| = s |a - b|``), so the sum is drawn
beside the single masks.
"""

from pathlib import Path
from typing import Any, List, Mapping, Union

import numpy as np
from numpy.typing import NDArray

from freekd.visualization.canvas import (
    TEXT,
    add_colorbar,
    as_array,
    check_image,
    make_grid,
    same_keys,
    save_figure,
    show_image,
    show_map,
)

_STYLE = {"cmap": "RdYlBu_r", "alpha": 0.65, "interpolation": "nearest"}
_KINDS = {
    "LL": "low band",
    "LH": "horizontal\ndetails",
    "HL": "vertical\ndetails",
    "HH": "diagonal\ndetails",
}


def draw_prompt_masks(
    image: Any,
    masks: Mapping[str, Any],
    out_path: Union[str, Path],
    title: str = "",
    cell: int = 130,
) -> Path:
    """Draw one row per band and, in it, each prompt's mask and their sum over the image.

    Args:
        image: (H, W, 3) uint8 RGB.
        masks: band name (``LL3``, ``LH1``, ... or ``level1``, ...) -> (T, h, w), each 0 to 1, after
            the sigmoid, of one image and one pyramid level. Rows come in this order.
        out_path: the PNG file to write.
        title: a line above the columns, e.g. the pyramid level.
        cell: side of one picture in the file, in pixels.

    A mask is stretched over the whole image, each of its positions one flat tile. The colours run
    from 0 to 1 for single masks and from 0 to T for the sum, so that the same colour is the same
    mean mask: at the start of stage 1 every tile has the middle colour.

    Returns:
        The path of the picture.

    Raises:
        ValueError: nothing to draw, masks of another shape or with other T, values outside 0 to 1.
    """
    names = same_keys([masks], "masks")
    picture = check_image(image)
    arrays = _check_masks(masks, "")
    prompts = arrays[0].shape[0]
    grid = make_grid(
        len(names), prompts + 2, cell, left=100, top=60 if title else 34, bottom=62, gap=12
    )
    single = total = None
    for row, (name, array) in enumerate(zip(names, arrays)):
        axes = grid.axes[row]
        show_image(axes[0], picture)
        _label_band(axes[0], name, array)
        for prompt in range(prompts):
            single = show_map(axes[prompt + 1], picture, array[prompt], vmin=0, vmax=1, **_STYLE)
        total = show_map(axes[-1], picture, array.sum(axis=0), vmin=0, vmax=prompts, **_STYLE)
    columns = ["image"] + [f"prompt {i + 1}" for i in range(prompts)] + [f"sum of {prompts}"]
    for ax, text in zip(grid.axes[0], columns):
        ax.set_title(text, fontsize=9, color=TEXT)
    step = cell + 12
    add_colorbar(grid.figure, single, "mask", (100 + step, 40, prompts * step - 12, 8), (0, 0.5, 1))
    place = (100 + (prompts + 1) * step, 40, cell, 8)
    add_colorbar(grid.figure, total, "sum of masks", place, (0, prompts / 2, prompts))
    _add_title(grid.figure, title)
    return save_figure(grid.figure, out_path)


def draw_prompt_mask_levels(
    image: Any,
    levels: Mapping[str, Mapping[str, Any]],
    out_path: Union[str, Path],
    title: str = "",
    cell: int = 110,
) -> Path:
    """Draw the sum of masks of every band: one row per pyramid level, one column per band.

    Args:
        image: (H, W, 3) uint8 RGB.
        levels: pyramid level (``P3``, ...) -> band name -> (T, h, w), as for
            :func:`draw_prompt_masks`; the same bands and T in every level.
        out_path: the PNG file to write.
        title: a line above the columns.
        cell: side of one picture in the file, in pixels.

    Returns:
        The path of the picture.

    Raises:
        ValueError: as for :func:`draw_prompt_masks`, or levels with different bands.
    """
    picture = check_image(image)
    bands = same_keys(list(levels.values()), "levels")
    arrays = [_check_masks(masks, f"{level}, ") for level, masks in levels.items()]
    counts = sorted({row[0].shape[0] for row in arrays})
    if len(counts) > 1:
        raise ValueError(f"all levels must have the same number of prompts, got {counts}")
    grid = make_grid(
        len(levels), len(bands), cell, left=44, top=60 if title else 34, bottom=62, gap=6
    )
    drawn = None
    for level, row, axes in zip(levels, arrays, grid.axes):
        for array, ax in zip(row, axes):
            drawn = show_map(ax, picture, array.sum(axis=0), vmin=0, vmax=counts[0], **_STYLE)
        axes[0].set_ylabel(level, fontsize=10, color=TEXT)
    for ax, band in zip(grid.axes[0], bands):
        ax.set_title(band, fontsize=10, color=TEXT)
    width = len(bands) * (cell + 6) - 6
    label = f"sum of the {counts[0]} masks" if counts[0] > 1 else "mask"
    place = (44 + width // 4, 40, width // 2, 8)
    add_colorbar(grid.figure, drawn, label, place, (0, counts[0] / 2, counts[0]))
    _add_title(grid.figure, title)
    return save_figure(grid.figure, out_path)


def _check_masks(masks: Mapping[str, Any], where: str) -> List[NDArray[Any]]:
    """Arrays (T, h, w) in the order given, all with one T and values 0 to 1."""
    arrays = [as_array(values).astype(np.float64) for values in masks.values()]
    for name, array in zip(masks, arrays):
        if array.ndim != 3 or array.size == 0 or array.shape[0] != arrays[0].shape[0]:
            raise ValueError(
                f"{where}{name}: expected masks (T, h, w) with the same T in every band, got "
                f"{array.shape} beside {arrays[0].shape}"
            )
        if not (array.min() >= 0 and array.max() <= 1):
            raise ValueError(
                f"{where}{name}: masks must lie in 0 to 1 (after the sigmoid), got "
                f"{array.min():.3g} to {array.max():.3g}"
            )
    return arrays


def _label_band(ax: Any, name: str, array: NDArray[Any]) -> None:
    """Write the band's name, kind and number of positions left of its row."""
    kind = _KINDS.get(name[:2], "") if name[2:].isdigit() else ""
    ax.text(-0.08, 0.68, name, transform=ax.transAxes, ha="right", fontsize=11, weight="bold")
    detail = f"{kind}\n{array.shape[1]} x {array.shape[2]}".strip()
    ax.text(
        -0.08, 0.6, detail, transform=ax.transAxes, ha="right", va="top", fontsize=7.5, color=TEXT
    )


def _add_title(figure: Any, title: str) -> None:
    if title:
        height = figure.get_size_inches()[1] * figure.dpi
        figure.text(0.5, 1 - 8 / height, title, ha="center", va="top", fontsize=11, color=TEXT)
