"""The bare Haar transform and its inverse: ours, pytorch_wavelets, ptwt."""

from typing import Any, Callable, Dict, List, Sequence, Tuple

import torch
from direct import transform
from measure import copy_bandwidth, far_apart, peak_bytes, table, time_in_turn
from pytorch_wavelets import DWTInverse
from torch import Tensor

from freekd.frequency import dwt2, idwt2


def _flat(bands: Any) -> List[Tensor]:
    """All coefficients of any of the three libraries' results."""
    if torch.is_tensor(bands):
        return [bands]
    return [tensor for item in bands for tensor in _flat(item)]


def bare_rows(
    sizes: Sequence[Tuple[int, int]], batch: int, channels: int, rounds: int, device: str
) -> Tuple[List[Dict[str, Any]], str]:
    """J = 3 on all maps, forward and backward; transform alone, and there and back.

    Returns:
        Rows for JSON, and the table.
    """
    maps = [torch.randn(batch, channels, h, w, device=device).requires_grad_() for h, w in sizes]
    xfm, inverse = transform().to(device), DWTInverse(wave="haar", mode="zero").to(device)
    ways: Dict[str, Tuple[Callable, Callable]] = {
        "ours": (dwt2, lambda bands, x: idwt2(bands, size=x.shape[-2:])),
        "pytorch_wavelets": (xfm, lambda bands, x: inverse(bands)),
    }
    try:
        import ptwt
    except ImportError:
        print("ptwt is not installed: left out (pip install -r requirements/dev.txt)")
    else:
        ways["ptwt"] = (
            lambda x: ptwt.wavedec2(x, "haar", level=3, mode="zero"),
            lambda bands, x: ptwt.waverec2(bands, "haar"),
        )

    def clear() -> None:
        for x in maps:
            x.grad = None

    def step(what: str, there: Callable, back: Callable) -> Callable:
        def results() -> List[List[Tensor]]:
            if what == "transform":
                return [_flat(there(x)) for x in maps]
            return [[back(there(x), x)] for x in maps]

        grads = [[torch.randn_like(y) for y in found] for found in results()]

        def run() -> None:
            clear()
            for found, grad in zip(results(), grads):
                torch.autograd.backward(found, grad)

        return run

    def apart(there: Callable, back: Callable) -> float:
        """From ours: LL, and the energy of all bands, whose order differs; from the map: back."""
        with torch.no_grad():
            errors = []
            for x in maps:
                bands, ours = _flat(there(x)), _flat(dwt2(x))
                errors.append(far_apart([bands[0]], [ours[0]]))
                energy = [sum((y.double() ** 2).sum() for y in flat) for flat in (bands, ours)]
                errors.append(abs(float(energy[0] / energy[1]) - 1))
                errors.append(
                    far_apart([back(there(x), x)[..., : x.shape[-2], : x.shape[-1]]], [x])
                )
        return max(errors)

    size = sum(x.numel() * x.element_size() for x in maps)
    bandwidth = copy_bandwidth([x.detach() for x in maps], device)
    rows = []
    for what in ("transform", "transform and inverse"):
        steps = {name: step(what, *way) for name, way in ways.items()}
        times = time_in_turn(steps, rounds, device)
        for name in ways:
            rows.append(
                {
                    "what": what,
                    "library": name,
                    "seconds": times[name]._asdict(),
                    "over_ours": times[name].median / times["ours"].median,
                    "extra_bytes": peak_bytes(steps[name], device, clear),
                    "apart": apart(*ways[name]),
                    "floor_seconds": (4 if what == "transform" else 8) * size / bandwidth,
                }
            )
    cells = [
        [
            row["what"],
            row["library"],
            f"{row['seconds']['median'] * 1e3:.1f}",
            f"{row['over_ours']:.1f}",
            f"{row['floor_seconds'] * 1e3:.2f}",
            f"{row['extra_bytes'] / 1e6:.0f}",
            f"{row['apart']:.0e}",
        ]
        for row in rows
    ]
    header = (
        "bare Haar, forward and backward",
        "library",
        "ms",
        "over ours",
        "floor ms",
        "MB",
        "apart",
    )
    return rows, table(cells, header)
