"""Time against size, from what benchmarks/loss.py measured."""

import os
from typing import Any, Dict


def draw_growth(content: Dict[str, Any], path: str) -> None:
    """One panel per device: direct, ours and the floor over the number of pixels, per T."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    devices = content["devices"]
    figure, axes = plt.subplots(
        1, len(devices), figsize=(7.0 * len(devices), 3.6), squeeze=False, constrained_layout=True
    )
    for axis, found in zip(axes[0], devices):
        rows = found["growth"]
        counts = sorted({row["num_prompts"] for row in rows})
        for place, count in enumerate(counts):
            chosen = sorted((r for r in rows if r["num_prompts"] == count), key=_pixels)
            shade = 0.35 + 0.65 * (place + 1) / len(counts)
            for name, color in (("direct", "tab:red"), ("ours", "tab:blue")):
                axis.plot(
                    [_pixels(row) for row in chosen],
                    [row["seconds"][name]["median"] * 1e3 for row in chosen],
                    marker="o",
                    color=color,
                    alpha=shade,
                    label=f"{name}, T = {count}",
                )
        chosen = sorted((r for r in rows if r["num_prompts"] == counts[0]), key=_pixels)
        axis.plot(
            [_pixels(row) for row in chosen],
            [row["floor_seconds"] * 1e3 for row in chosen],
            "k--",
            label="floor: maps read, gradient written",
        )
        axis.set_xscale("log")
        axis.set_yscale("log")
        axis.set_xticks([_pixels(row) for row in chosen], [_name(row) for row in chosen])
        axis.minorticks_off()
        axis.set_xlabel(f"one map, batch {content['batch']}, {content['channels']} channels")
        axis.set_ylabel("ms, forward and backward")
        about = found["machine"]
        axis.set_title(about.get("gpu") or f"{about['threads']} CPU threads", fontsize=10)
        axis.grid(alpha=0.3)
        axis.legend(fontsize=7, loc="upper left", bbox_to_anchor=(1.0, 1.0))
    part = f"{path}.part"
    figure.savefig(part, format=os.path.splitext(path)[1][1:] or "png", dpi=120)
    plt.close(figure)
    os.replace(part, path)


def _pixels(row: Dict[str, Any]) -> int:
    return sum(height * width for height, width in row["sizes"])


def _name(row: Dict[str, Any]) -> str:
    return " ".join(f"{height}x{width}" for height, width in row["sizes"])
