"""What ``tools/analysis/errors.py`` found, as pictures."""

from pathlib import Path
from typing import Any, Dict, List, Sequence

from freekd.analysis.mistakes import KINDS
from freekd.analysis.precision import SIZES
from freekd.visualization.canvas import DPI, FAINT, TEXT, save_figure

# of Okabe and Ito: told apart by colour-blind readers too
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")


def draw(record: Dict[str, Any], out: Path) -> List[Path]:
    """The pictures of ``errors.json``, written into the folder ``out``."""
    if "compared" in record:
        return [_mistakes(record, out / "errors.png"), _curves(record, out / "curves.png")]
    return [_by_region(record, out / "errors.png")]


def _figure(width: int, height: int, columns: int, rows: int = 1) -> Any:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    size = (width / DPI, height / DPI)
    figure = Figure(figsize=size, dpi=DPI, facecolor="white", layout="constrained")
    FigureCanvasAgg(figure)
    return figure, figure.subplots(rows, columns, squeeze=False)


def _plain(ax: Any, title: str, label: str) -> None:
    ax.set_title(title, fontsize=9, color=TEXT, loc="left")
    ax.set_ylabel(label, fontsize=7.5, color=FAINT)
    ax.tick_params(labelsize=7, colors=TEXT, length=2)
    ax.grid(axis="y", color="#e4e4e4", linewidth=0.6)
    ax.set_axisbelow(True)
    for side in ("top", "right"):
        ax.spines[side].set_visible(False)


def _bars(ax: Any, names: Sequence[str], values: Sequence[Sequence[Any]], form: str) -> None:
    """Groups of bars: ``values[model][name]``; a bar that has no value says so."""
    width = 0.8 / max(len(values), 1)
    for number, row in enumerate(values):
        places = [at + (number - (len(values) - 1) / 2) * width for at in range(len(names))]
        heights = [0.0 if value is None else value for value in row]
        ax.bar(places, heights, width * 0.92, color=COLOURS[number % len(COLOURS)])
        small = len(names) * len(values) > 24
        for place, value in zip(places, row):
            text = "none" if value is None else form.format(value)
            if not small:
                ax.text(place, value or 0, text, ha="center", va="bottom", fontsize=6, color=TEXT)
    if form == "{:.0f}":
        ax.yaxis.get_major_locator().set_params(integer=True)
    ax.set_xticks(range(len(names)), labels=names)


def _legend(figure: Any, names: Sequence[str]) -> None:
    from matplotlib.patches import Patch

    marks = [Patch(color=COLOURS[i % len(COLOURS)], label=name) for i, name in enumerate(names)]
    figure.legend(
        handles=marks, loc="outside upper center", ncols=min(len(names), 4), frameon=False,
        fontsize=8,
    )  # fmt: skip


def _percent(value: Any) -> Any:
    return None if value is None else 100 * value


def _mistakes(record: Dict[str, Any], path: Path) -> Path:
    """The cost of each kind; AP by size; and what becomes of objects that the first model finds."""
    models = record["models"]
    names = [one["name"] for one in models]
    figure, axes = _figure(1100, 720, 2, 2)
    ax = axes[0][0]
    _bars(ax, KINDS, [[_percent(one["cost"][kind]) for kind in KINDS] for one in models], "{:.1f}")
    _plain(ax, "What each kind of mistake costs", "AP50 if it were mended, in points")
    ax = axes[0][1]
    labels = [f"{size}\n{models[0]['by_size'][size]['objects']} objects" for size in SIZES]
    rows = [[one["AP"], *(one["by_size"][size]["AP"] for size in SIZES)] for one in models]
    _bars(ax, ["all", *labels], [[_percent(value) for value in row] for row in rows], "{:.1f}")
    _plain(ax, "AP by size", "AP in percent")
    ax = axes[1][0]
    counts = [{**one["detections"], **one["objects"]} for one in models]  # duplicate, background
    _bars(ax, KINDS, [[row[kind] for kind in KINDS] for row in counts], "{:.0f}")
    _plain(ax, f"Mistakes at a score of {record['score_thr']} or more", "objects; boxes")
    ax = axes[1][1]
    if record["compared"]:
        tables = [one["mistakes_of_model"] for one in record["compared"]]
        own = [[row[kind]["own"] for kind in KINDS] for row in tables]
        _bars(ax, KINDS, [[0] * len(KINDS), *own], "{:.0f}")
        _plain(ax, f"... of them, those that {names[0]} does not make", "objects; boxes")
    else:
        ax.set_axis_off()
    _legend(figure, names)
    return save_figure(figure, path)


def _curves(record: Dict[str, Any], path: Path) -> Path:
    """Precision over recall at two thresholds of IoU, and AP of each class."""
    models = record["models"]
    classes = record["classes"]
    figure, axes = _figure(1100, 420, 2)
    ax = axes[0][0]
    for number, one in enumerate(models):
        for key, style in (("0.50", "-"), ("0.75", "--")):
            values = [float("nan") if v is None else 100 * v for v in one["curves"][key]]
            recall = [100 * r for r in one["curves"]["recall"]]
            colour = COLOURS[number % len(COLOURS)]
            ax.plot(recall, values, style, color=colour, linewidth=1.3)
    _plain(ax, "Precision over recall (line: IoU 0.5, dashes: 0.75)", "precision in percent")
    ax.set_xlabel("recall in percent", fontsize=7.5, color=FAINT)
    ax.set_xlim(0, 100)
    ax.set_ylim(0, 102)
    ax = axes[0][1]
    shown = classes[:20]
    rows = [[_percent(one["by_class"][name]["AP"]) for name in shown] for one in models]
    _bars(ax, shown, rows, "{:.0f}")
    more = "" if len(shown) == len(classes) else f", the first {len(shown)} of {len(classes)}"
    _plain(ax, f"AP by class{more}", "AP in percent")
    if max(map(len, shown)) * len(shown) > 60:
        ax.tick_params(axis="x", labelrotation=90)
    _legend(figure, [one["name"] for one in models])
    return save_figure(figure, path)


def _by_region(record: Dict[str, Any], path: Path) -> Path:
    """IoU of each class, by region."""
    models, regions = record["models"], list(record["models"][0]["regions"])
    shown = record["classes"][:20]
    figure, axes = _figure(1100, 90 + 260 * len(regions), 1, len(regions))
    for (ax,), region in zip(axes, regions):
        tables = [one["regions"][region] for one in models]
        rows = [
            [_percent(t["mIoU"]), *(_percent(t["by_class"][c]["IoU"]) for c in shown)]
            for t in tables
        ]
        _bars(ax, ["mean", *shown], rows, "{:.0f}")
        _plain(ax, f"IoU by class: {region}", "IoU in percent")
        if max(map(len, shown)) * len(shown) > 100:
            ax.tick_params(axis="x", labelrotation=90)
    _legend(figure, [one["name"] for one in models])
    return save_figure(figure, path)
