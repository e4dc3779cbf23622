"""A line chart as SVG that a page's style colours: light and dark by the same markup.

Only classes are written, no colours; the page's style sheet has them as variables.
"""

import math
from typing import List, Sequence, Tuple

from markupsafe import Markup

from freekd.report.curves import Chart
from freekd.words import number

WIDTH, HEIGHT = 400, 220
LEFT, RIGHT, TOP, BOTTOM = 50, 16, 10, 26
COLORS, DASHES = 7, 4  # 28 rows look different; neighbours differ in both


def ticks(low: float, high: float, most: int = 5) -> List[float]:
    """Round numbers from ``low`` to ``high``.

    >>> ticks(0.0, 1.0), ticks(3.0, 47.0)
    ([0.0, 0.2, 0.4, 0.6, 0.8, 1.0], [10.0, 20.0, 30.0, 40.0])
    """
    span = high - low
    if not span > 0:
        return [low]
    size = 10.0 ** math.floor(math.log10(span / most))
    step = next(size * m for m in (1, 2, 5, 10) if span / (size * m) <= most + 1e-9)
    first = math.ceil(low / step - 1e-9)
    last = math.floor(high / step + 1e-9)
    return [round(i * step, 12) for i in range(first, last + 1)]


class Scale:
    """From values to pixels, straight or by logarithm."""

    def __init__(self, low: float, high: float, start: float, end: float, log: bool) -> None:
        self.log = log
        self.low, self.high = (math.log10(low), math.log10(high)) if log else (low, high)
        self.start, self.end = start, end

    def __call__(self, value: float) -> float:
        value = math.log10(value) if self.log else value
        share = (value - self.low) / (self.high - self.low) if self.high > self.low else 0.5
        return round(self.start + share * (self.end - self.start), 1)

    def ticks(self) -> List[float]:
        if not self.log:
            return ticks(self.low, self.high)
        powers = range(math.ceil(self.low - 1e-9), math.floor(self.high + 1e-9) + 1)
        shown: List[float] = [10.0**power for power in powers]
        if len(shown) < 2:
            low, high = 10**self.low, 10**self.high
            shown = sorted({low, *shown, high})
        return shown


def is_log(chart: Chart) -> bool:
    """Whether the values lie so far apart that a straight axis would hide most of them."""
    values = [point[0] for line in chart.lines for point in line.points.values()]
    return min(values) > 0 and max(values) > 30 * min(values)


def style_of(index: int) -> str:
    """The classes of the row with this number: a colour and a dash."""
    return f"c{index % COLORS} d{index % DASHES}"


def scales(chart: Chart) -> Tuple[Scale, Scale]:
    """Of steps and of values."""
    steps = chart.steps
    log = is_log(chart)
    edge = 0 if log else 1
    lows = [point[edge] for line in chart.lines for point in line.points.values()]
    highs = [point[0 if log else 2] for line in chart.lines for point in line.points.values()]
    low, high = min(lows), max(highs)
    if not log and low > 0 and low < 0.6 * high:
        low = 0.0  # a straight axis starts at zero unless that would flatten the lines
    if low == high:
        low, high = (low / 2, high * 2) if log else (low - 0.5, high + 0.5)
    across = Scale(min(steps[0], 0), max(steps[-1], 1), LEFT, WIDTH - RIGHT, False)
    return across, Scale(low, high, HEIGHT - BOTTOM, TOP, log)


def draw(chart: Chart, order: Sequence[str], name: str) -> Markup:
    """The SVG of a chart.

    Args:
        chart: with at least one point.
        order: the rows of the page; the place of a row says how its line looks.
        name: an identifier for the page's script.
    """
    across, up = scales(chart)
    parts = [
        Markup('<svg class="chart" viewBox="0 0 {} {}" role="img" tabindex="0" data-chart="{}" ')
        .format(WIDTH, HEIGHT, name),
        Markup('aria-label="{}">').format(summary(chart)),
    ]  # fmt: skip
    for value in up.ticks():
        y = up(value)
        parts.append(
            Markup('<line class="grid" x1="{}" x2="{}" y1="{}" y2="{}"/><text x="{}" y="{}" ')
            .format(LEFT, WIDTH - RIGHT, y, y, LEFT - 6, y + 4)
            + Markup('class="tick end">{}</text>').format(number(value))
        )  # fmt: skip
    for value in ticks(0, max(chart.steps[-1], 1), 4):
        parts.append(
            Markup('<text x="{}" y="{}" class="tick middle">{:.0f}</text>').format(
                across(value), HEIGHT - 8, value
            )
        )
    for line in chart.lines:
        at = [(across(step), point) for step, point in line.points.items()]
        style = style_of(order.index(line.row))
        parts.append(Markup('<g class="{}" data-row="{}">').format(style, order.index(line.row)))
        if line.seeds > 1 and not up.log:
            edge = [f"{x},{up(p[2])}" for x, p in at] + [f"{x},{up(p[1])}" for x, p in at[::-1]]
            parts.append(Markup('<polygon class="spread" points="{}"/>').format(" ".join(edge)))
        path = " ".join(f"{x},{up(p[0])}" for x, p in at)
        parts.append(Markup('<polyline class="line" points="{}"/>').format(path))
        if len(at) <= 12:
            dot = Markup('<circle class="dot" cx="{}" cy="{}" r="3"/>')
            parts += [dot.format(x, up(p[0])) for x, p in at]
        parts.append(Markup("<title>{}</title></g>").format(line.label))
    parts.append(
        Markup('<line class="cursor" y1="{}" y2="{}"/></svg>').format(TOP, HEIGHT - BOTTOM)
    )
    return Markup("").join(parts)


def summary(chart: Chart) -> str:
    """The chart in words, for those who do not see it."""
    ends = []
    for line in chart.lines[:8]:
        points = list(line.points.values())
        ends.append(f"{line.label} from {number(points[0][0])} to {number(points[-1][0])}")
    more = f", and {len(chart.lines) - 8} more" if len(chart.lines) > 8 else ""
    return f"{chart.key} over {chart.steps[-1]} iterations: {'; '.join(ends)}{more}"
