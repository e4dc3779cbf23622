"""Where a feature map is strong: channel mean, then a softmax over all positions.

The paper's appendix shows feature maps of teacher and students in this way.
"""

from pathlib import Path
from typing import Any, Mapping, Union

import numpy as np
from numpy.typing import NDArray

from freekd.visualization.canvas import (
    CELL,
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


def spatial_softmax_heatmap(
    feat: Any, temperature: float = 0.5, absolute: bool = False
) -> NDArray[Any]:
    """Turn a feature map into a distribution over its positions.

    ``g = mean_c F_c`` (or ``mean_c |F_c|``), then ``softmax(g / temperature)`` over all H * W
    positions together. A uniform map gives 1 / (H * W) everywhere; multiplied by H * W, the result
    says how many times more than uniform a position has. Nothing is standardised: a map with
    larger values gives a sharper picture.

    Args:
        feat: (C, H, W) array or tensor.
        temperature: above 0; smaller is sharper.
        absolute: take the mean of magnitudes, for maps whose channels have both signs.

    Returns:
        (H, W) float64, positive, sum 1.

    Raises:
        ValueError: another number of axes, a value that is not finite, a temperature of 0 or less.

    Example:
        >>> spatial_softmax_heatmap(np.zeros((3, 2, 2))).tolist()
        [[0.25, 0.25], [0.25, 0.25]]
    """
    array = as_array(feat).astype(np.float64)
    if array.ndim != 3 or array.size == 0:
        raise ValueError(f"expected a feature map (C, H, W) of one image, got {array.shape}")
    if not np.isfinite(array).all():
        raise ValueError("the feature map has values that are not finite")
    if not temperature > 0:
        raise ValueError(f"temperature must be above 0, got {temperature}")
    mean = (np.abs(array) if absolute else array).mean(axis=0) / temperature
    weight = np.exp(mean - mean.max())
    return np.asarray(weight / weight.sum())


def draw_feature_maps(
    image: Any,
    features: Mapping[str, Any],
    out_path: Union[str, Path],
    temperature: float = 0.5,
    absolute: bool = False,
    cell: int = CELL,
) -> Path:
    """Draw the image, then each model's heat map over it, side by side.

    Every heat map is scaled from its own smallest to its own largest value, since the magnitudes of
    two models' features need not agree; the line below says how many times uniform its peak is.

    Args:
        image: (H, W, 3) uint8 RGB.
        features: model name -> (C, h, w), the same pyramid level of each.
        out_path: the PNG file to write.
        temperature, absolute: as for :func:`spatial_softmax_heatmap`.
        cell: side of one picture in the file, in pixels.

    Returns:
        The path of the picture.

    Raises:
        ValueError: nothing to draw, or an array of another shape.
    """
    names = same_keys([features], "features")
    picture = check_image(image)
    grid = make_grid(1, 1 + len(names), cell, bottom=84)
    axes = grid.axes[0]
    show_image(axes[0], picture)
    axes[0].set_title("image", fontsize=10, color=TEXT)
    drawn = None
    for name, ax in zip(names, axes[1:]):
        heat = spatial_softmax_heatmap(features[name], temperature, absolute)
        span = heat.max() - heat.min()
        shown = (heat - heat.min()) / span if span > 0 else np.zeros_like(heat)
        drawn = show_map(
            ax,
            picture,
            shown,
            cmap="plasma",
            vmin=0,
            vmax=1,
            alpha=0.3 + 0.55 * shown,
            interpolation="bilinear",
        )
        ax.set_title(name, fontsize=10, color=TEXT)
        ax.set_xlabel(f"peak {heat.max() * heat.size:.1f} x uniform", fontsize=8, color=TEXT)
    mean = "mean |feature|" if absolute else "mean feature"
    label = f"spatial softmax of {mean} / {temperature:g}, each map over its own range"
    place = (12 + cell + 10, 46, len(names) * (cell + 10) - 10, 8)
    add_colorbar(grid.figure, drawn, label, place, (0, 1), ("lowest", "highest"))
    return save_figure(grid.figure, out_path, named_cells(grid, ["image", *names]))
