"""Confusion matrices as a picture."""

from pathlib import Path
from typing import Any, List, Tuple

import numpy as np

from freekd.analysis.matching import of_rows
from freekd.visualization.canvas import DPI, FAINT, TEXT, add_colorbar, save_figure

NUMBERS = 20  # with more classes the cells are too small for numbers


def draw_confusion(matrices: Any, path: Path) -> Path:
    """Each model's matrix in percent of its rows; below, what others have more than the first.

    Args:
        matrices: :class:`freekd.analysis.confusion.Matrices`.
        path: the PNG file to write.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    shares = {name: 100 * of_rows(counts) for name, counts in matrices.counts.items()}
    names, count = list(shares), len(matrices.classes)
    cell = max(12 if count > NUMBERS + 1 else 25, 270 // count)
    side = cell * count
    longest = max(map(len, matrices.classes))
    left, top, gap = 36 + 7 * longest, 34, 34 + (7 * longest if longest > 2 else 14)
    rows = 2 if len(names) > 1 else 1
    width = left + len(names) * side + (len(names) - 1) * left + 20
    height = rows * (top + side + gap) + 62
    figure = Figure(figsize=(width / DPI, height / DPI), dpi=DPI, facecolor="white")
    FigureCanvasAgg(figure)

    def axes(row: int, column: int) -> Any:
        x = left + column * (side + left)
        y = height - top - row * (top + side + gap) - side
        return figure.add_axes((x / width, y / height, side / width, side / height))

    # a row of the background may hold few boxes: it sets no limits
    inner = slice(0, count - 1 if count > 2 else count)
    changes = {name: shares[name] - shares[names[0]] for name in names[1:]}
    largest = max([10.0, *(float(np.abs(change[inner]).max()) for change in changes.values())])
    limit = 10 * float(np.ceil(largest / 10))
    labelled: List[Tuple[Any, str, int]] = []
    for column, name in enumerate(names):
        image = _matrix(axes(0, column), shares[name], matrices.classes, name, "Blues", (0, 100))
        if column == 0:
            labelled.append((image, "percent of the row", left))
        if column > 0:
            title = f"{name} minus {names[0]}"
            ax = axes(1, column)
            image = _matrix(ax, changes[name], matrices.classes, title, "RdBu", (-limit, limit))
            x = left + column * (side + left)
            labelled.append((image, "percentage points", x))
    for image, label, x in labelled:
        low, high = image.get_clim()
        add_colorbar(figure, image, label, (x, 42, side, 9), [low, (low + high) / 2, high])
    return save_figure(figure, path)


def _matrix(
    ax: Any, values: np.ndarray, classes: List[str], title: str, colours: str, limits: Any
) -> Any:
    image = ax.imshow(values, cmap=colours, vmin=limits[0], vmax=limits[1])
    ticks = range(len(classes))
    turned = 90 if max(map(len, classes)) > 2 else 0
    small = 6 if len(classes) > NUMBERS + 1 else 7
    ax.set_xticks(ticks, labels=classes, fontsize=small, rotation=turned, color=TEXT)
    ax.set_yticks(ticks, labels=classes, fontsize=small, color=TEXT)
    ax.tick_params(length=0)
    for spine in ax.spines.values():
        spine.set_color(FAINT)
        spine.set_linewidth(0.5)
    ax.set_title(title, fontsize=9, color=TEXT, pad=5)
    ax.set_xlabel("found as", fontsize=7, color=FAINT, labelpad=2)
    ax.set_ylabel("labelled as", fontsize=7, color=FAINT, labelpad=2)
    if len(classes) <= NUMBERS + 1:
        dark = limits[1] * 0.65
        for row, column in zip(*np.nonzero(np.abs(values) >= 0.5)):
            value = values[row, column]
            text = f"{value:+.0f}" if limits[0] < 0 else f"{value:.0f}"
            colour = "white" if abs(value) > dark else TEXT
            ax.text(column, row, text, ha="center", va="center", fontsize=6, color=colour)
    return image
