"""How cleanly transforms cut bands, beside what students learned from them (docs/evidence.md).

    python docs/draw_transforms.py

Prints a table of configs/studies/scenes_transforms.py, whose runs must be there, and writes
evidence_transforms.png in docs/images/.
"""

import json
import sys

from draw_evidence import ROOT, draw_gain, load_study, torch

from freekd.frequency import build_transform
from freekd.study.result import paired

LEVELS, SIDE = 3, 256
KEY = "pair.losses.freekd.transform"


def rectangles():
    """The frequencies of each band, as masks of a DFT of SIDE x SIDE: dyadic, by level and axis."""
    frequency = torch.fft.fftfreq(SIDE).abs()
    masks = []
    for level in range(1, LEVELS + 1):
        low, high = frequency < 0.5 / 2**level, frequency >= 0.5 / 2**level
        if level > 1:
            high &= frequency < 0.5 / 2 ** (level - 1)
        masks += [y[:, None] & x for y, x in ((high, low), (low, high), (high, high))]
    return [low[:, None] & low, *masks]


def share(transform):
    """Of white noise, what part of a band's energy is of the band's own frequencies; their mean.

    A band's own frequencies are those that it holds most of: names differ in which axis is first.
    """
    noise = torch.randn(8, 1, SIDE, SIDE, dtype=torch.float64, generator=torch.manual_seed(0))
    spectrum = torch.fft.fft2(noise)
    energies = []
    for mask in rectangles():
        bands = transform.analyse(torch.fft.ifft2(spectrum * mask).real)
        energies.append(torch.stack([band.square().sum() for band in bands.flat()]))
    found = torch.stack(energies)
    return (found.max(0).values / found.sum(0)).mean().item()


def transform_of(row):
    """The transform of a row of FreeKD's, Haar's where it has none; None for a peer."""
    if not row.config.startswith("configs/freekd"):
        return None
    said = {k[len(KEY) + 1 :]: v for k, v in row.options.items() if k.startswith(KEY)}
    return build_transform(said.pop("", None) or (said if said else "haar"))


def main():
    """All of it."""
    study = load_study(str(ROOT / "configs/studies/scenes_transforms.py"))
    content = json.loads((study.work_dir / "study.json").read_text())
    scores = {}
    for run in content["runs"]:
        if run["status"] == "done":
            scores.setdefault(run["row"], {})[run["seed"]] = run["metrics"][content["metric"]]
    points = []
    print("| row | own frequencies | mAP by seed | mean | gain |\n|---|---|---|---|---|")
    for name, of_row in scores.items():
        label, transform = study.rows[name].label, transform_of(study.rows[name])
        part = None if transform is None else share(transform)
        gain = paired(of_row, scores[study.baseline])
        values = " ".join(f"{of_row[seed]:.3f}"[1:] for seed in sorted(of_row))
        mean = sum(of_row.values()) / len(of_row)
        said = f"{gain.mean:+.3f} [{gain.low:+.3f}, {gain.high:+.3f}]"
        own = "" if part is None else f"{part:.2f}"
        print(f"| {label} | {own} | {values} | {mean:.3f} | {said} |")
        if name != study.baseline:
            points.append((label, part, gain.mean, gain.low, gain.high))
    draw_gain(points, ROOT / "docs/images/evidence_transforms.png", "mAP over Haar's wavelet")
    return 0


if __name__ == "__main__":
    sys.exit(main())
