"""Where each loss looks: how much a place of the image counts, beside the objects' boxes."""

from pathlib import Path
from typing import Any, List, Mapping, NamedTuple, Sequence, Tuple, Union

import numpy as np
from matplotlib.patches import Rectangle
from numpy.typing import NDArray

from freekd.visualization.canvas import (
    TEXT,
    add_colorbar,
    as_array,
    check_image,
    make_grid,
    named_cells,
    same_keys,
    save_figure,
    show_image,
    show_map,
)

_MOST = 4.0  # times the mean: both ends of the colours
_TICKS = (0.25, 0.5, 1.0, 2.0, 4.0)


class PlacesRow(NamedTuple):
    """One image and the weights of its places.

    Attributes:
        image: (H, W, 3) uint8 RGB.
        weights: name -> maps (h, w) of any sizes, each of which covers the image.
        boxes: (x1, y1, x2, y2) in pixels.
    """

    image: Any
    weights: Mapping[str, Sequence[Any]]
    boxes: Sequence[Sequence[float]] = ()


def mean_map(maps: Sequence[Any], size: Tuple[int, int]) -> NDArray[Any]:
    """The mean of maps that cover the same image, each divided by its own mean: (H, W).

    Args:
        maps: (h, w) of any sizes, none below 0; one that is 0 everywhere counts as 1.
        size: (H, W) in pixels. A place is one flat tile.

    >>> mean_map([np.array([[0.0, 2.0]]), np.array([[3.0]])], (2, 2)).tolist()
    [[0.5, 1.5], [0.5, 1.5]]
    """
    total = np.zeros(size)
    for values in maps:
        array = as_array(values).astype(np.float64)
        rows = np.arange(size[0]) * array.shape[0] // size[0]
        columns = np.arange(size[1]) * array.shape[1] // size[1]
        mean = array.mean()
        total += array[rows[:, None], columns] / mean if mean > 0 else 1.0
    return total / len(maps)


def draw_places(
    rows: Sequence[PlacesRow],
    out_path: Union[str, Path],
    cell: int = 180,
) -> Path:
    """Draw one row per image: the image with its boxes, then one column per loss.

    The colour of a place is its weight, the mean over levels and bands, over the mean of all
    places: from a quarter of it to four times, on a logarithmic scale.

    Args:
        rows: :class:`PlacesRow`, all with the same names.
        out_path: the PNG file to write.
        cell: side of one picture in the file, in pixels.

    Returns:
        The path of the picture.

    Raises:
        ValueError: nothing to draw, other names, or no maps of a name.
    """
    names = same_keys([row.weights for row in rows], "weights")
    for row in rows:
        empty = [name for name, maps in row.weights.items() if not len(maps)]
        if empty:
            raise ValueError(f"weights of {', '.join(empty)}: expected at least one map, got none")
    grid = make_grid(len(rows), len(names) + 1, cell, top=46, bottom=62)
    limit = np.log2(_MOST)
    style = dict(cmap="RdYlBu_r", alpha=0.65, interpolation="nearest", vmin=-limit, vmax=limit)
    drawn = None
    for row, axes in zip(rows, grid.axes):
        picture = check_image(row.image)
        show_image(axes[0], picture)
        for ax, name in zip(axes[1:], names):
            weight = mean_map(row.weights[name], picture.shape[:2])
            drawn = show_map(ax, picture, np.log2(np.maximum(weight, 1e-6)), **style)
        for ax in axes:
            for x1, y1, x2, y2 in row.boxes:
                ax.add_patch(
                    Rectangle((x1, y1), x2 - x1, y2 - y1, fill=False, edgecolor=TEXT, linewidth=1)
                )
    titles: List[str] = ["image and boxes", *names]
    for ax, text in zip(grid.axes[0], titles):
        ax.set_title(text, fontsize=9, color=TEXT)
    place = (12 + cell + 10, 40, max(cell, (len(names) * (cell + 10)) // 2), 8)
    ends = [float(np.log2(tick)) for tick in _TICKS]
    labels = [f"{tick:g}" for tick in _TICKS]
    add_colorbar(grid.figure, drawn, "weight over the mean of all places", place, ends, labels)
    return save_figure(grid.figure, out_path, named_cells(grid, titles))
