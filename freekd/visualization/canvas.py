"""What the pictures share: checked inputs, a grid of axes in pixels, writing a file whole.

Figures are matplotlib objects on an Agg canvas; pyplot and its global state stay untouched.
"""

import io
import json
from pathlib import Path
from typing import Any, Dict, List, Mapping, NamedTuple, Optional, Sequence, Union

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray

from freekd.fileio import atomic_write_bytes

DPI = 120
"""Pixels per inch of every picture; only the size of text depends on it."""

CELL = 264
"""Default side of a picture cell in pixels."""

TEXT = "#222222"
FAINT = "#6b6b6b"


class Grid(NamedTuple):
    """A figure and its axes, ``axes[row][column]``."""

    figure: Figure
    axes: List[List[Axes]]


def as_array(values: Any) -> NDArray[Any]:
    """Give a tensor (on any device, with or without gradient) or array-like as a numpy array."""
    if hasattr(values, "detach"):
        values = values.detach().cpu()
        values = values.float() if values.is_floating_point() else values
        values = values.numpy()
    return np.asarray(values)


def check_image(image: Any, what: str = "image") -> NDArray[Any]:
    """Return an (H, W, 3) uint8 RGB array.

    Raises:
        ValueError: another shape or type; the message says both.
    """
    array = as_array(image)
    if array.ndim != 3 or array.shape[2] != 3 or array.dtype != np.uint8:
        raise ValueError(
            f"{what}: expected an RGB array (H, W, 3) of uint8, got {array.shape} of {array.dtype}"
        )
    return array


def same_keys(mappings: Sequence[Mapping[str, Any]], what: str) -> List[str]:
    """Keys of the first mapping, in order, after checking that all mappings have them.

    Raises:
        ValueError: no mapping, an empty one, or different keys.
    """
    if not mappings or not mappings[0]:
        raise ValueError(f"{what}: nothing to draw")
    names = list(mappings[0])
    for position, mapping in enumerate(mappings):
        if list(mapping) != names:
            raise ValueError(
                f"{what}: entry 0 has {names}, but entry {position} has {list(mapping)}"
            )
    return names


def make_grid(
    rows: int,
    columns: int,
    cell: int = CELL,
    left: int = 12,
    right: int = 12,
    top: int = 34,
    bottom: int = 12,
    gap: int = 10,
) -> Grid:
    """Lay out ``rows`` x ``columns`` square axes without ticks.

    Args:
        rows, columns: number of cells each way.
        cell: side of a cell.
        left, right, top, bottom: margins around all cells.
        gap: space between cells.

    All in pixels of the file: its width is ``left + columns * cell + (columns - 1) * gap + right``,
    its height likewise.
    """
    width = left + columns * cell + (columns - 1) * gap + right
    height = top + rows * cell + (rows - 1) * gap + bottom
    figure = Figure(figsize=(width / DPI, height / DPI), dpi=DPI, facecolor="white")
    FigureCanvasAgg(figure)
    axes: List[List[Axes]] = []
    for row in range(rows):
        axes.append([])
        for column in range(columns):
            x = left + column * (cell + gap)
            y = height - top - row * (cell + gap) - cell
            place = (x / width, y / height, cell / width, cell / height)
            ax = figure.add_axes(place, xticks=[], yticks=[])
            for spine in ax.spines.values():
                spine.set_visible(False)
            axes[row].append(ax)
    return Grid(figure, axes)


def show_image(ax: Axes, image: NDArray[Any]) -> None:
    """Fill the cell with an (H, W, 3) uint8 picture, smoothly enlarged, in pixel coordinates."""
    height, width = image.shape[:2]
    ax.imshow(image, extent=(0, width, height, 0), interpolation="bicubic")
    ax.set_xlim(0, width)
    ax.set_ylim(height, 0)


def show_map(ax: Axes, image: NDArray[Any], values: NDArray[Any], **options: Any) -> Any:
    """Lay a map (h, w) in colour over the picture in grey, stretched over all of it.

    Args:
        ax: the cell.
        image: (H, W, 3) uint8.
        values: (h, w).
        options: for ``Axes.imshow``: cmap, vmin, vmax, alpha, interpolation.

    Returns:
        What ``Axes.imshow`` returned, for a colour bar.
    """
    grey = 45.0 + 0.75 * (image @ np.array([0.299, 0.587, 0.114]))  # pale, so that colours read
    show_image(ax, np.repeat(grey[..., None], 3, axis=2).astype(np.uint8))
    height, width = image.shape[:2]
    return ax.imshow(values, extent=(0, width, height, 0), aspect="equal", **options)


def add_colorbar(
    figure: Figure,
    mappable: Any,
    label: str,
    place: Sequence[float],
    ticks: Sequence[float],
    tick_labels: Optional[Sequence[str]] = None,
) -> Any:
    """Add a horizontal colour bar at ``place`` (left, bottom, width, height) in pixels."""
    width, height = figure.get_size_inches() * DPI
    fractions = (place[0] / width, place[1] / height, place[2] / width, place[3] / height)
    bar = figure.colorbar(mappable, cax=figure.add_axes(fractions), orientation="horizontal")
    if bar.solids is not None:
        bar.solids.set_alpha(1)
    bar.outline.set_visible(False)
    bar.ax.tick_params(labelsize=7, length=2, color=FAINT, labelcolor=TEXT)
    bar.set_ticks(ticks, labels=tick_labels or [f"{tick:g}" for tick in ticks])
    labels = bar.ax.get_xticklabels()
    labels[0].set_horizontalalignment("left")
    labels[-1].set_horizontalalignment("right")
    bar.set_label(label, fontsize=8, color=TEXT)
    return bar


CELLS = "freekd-cells"
"""The PNG text entry with the place and name of each cell, in JSON."""


def named_cells(grid: Grid, names: Sequence[str]) -> List[Dict[str, Any]]:
    """Where each cell of a grid is in its file: what :func:`save_figure` notes there.

    Args:
        grid: with the same columns in every row.
        names: of the columns, the first columns if there are fewer.

    Returns:
        For each cell its name, row and box (left, top, right, bottom) in pixels.
    """
    width, height = (round(side * DPI) for side in grid.figure.get_size_inches())
    found = []
    for row, axes in enumerate(grid.axes):
        for name, ax in zip(names, axes):
            place = ax.get_position(original=True)
            sides = (place.x0 * width, (1 - place.y1) * height)
            ends = (place.x1 * width, (1 - place.y0) * height)
            found.append({"name": name, "row": row, "box": [round(v) for v in (*sides, *ends)]})
    return found


def save_figure(
    figure: Figure,
    out_path: Union[str, Path],
    cells: Optional[Sequence[Mapping[str, Any]]] = None,
) -> Path:
    """Write the figure as PNG to a temporary name, then rename; parents are made.

    Args:
        figure: the picture.
        out_path: a name that ends in ``.png``.
        cells: of :func:`named_cells`; kept in the file, so that a report can show one beside
            another.

    Returns:
        The path.

    Raises:
        ValueError: ``out_path`` does not end in ``.png``.
    """
    path = Path(out_path)
    if path.suffix.lower() != ".png":
        raise ValueError(f"pictures are PNG files: expected a name ending in .png, got {path}")
    buffer = io.BytesIO()
    metadata = {CELLS: json.dumps(list(cells))} if cells else None
    figure.savefig(buffer, format="png", dpi=DPI, metadata=metadata)
    path.parent.mkdir(parents=True, exist_ok=True)
    atomic_write_bytes(path, buffer.getvalue())
    return path
