"""What docs/evidence.md shows beside its table: where rows look, and what they leave unlearned.

    python docs/draw_evidence.py [--batches 8] [--seeds 1 2 3 4]

The study must have run (its folder has study.json, the prompts and the students). Prints the AUC
and the spread of each row's weights beside its gain, how far the students of some seeds are from
the teacher's maps, by region, and the other studies that have run. Writes evidence_places.png,
evidence_gain.png and evidence_curves.png in docs/images/.
"""

import argparse
import json
import logging
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from freekd import compat  # noqa: E402

compat.apply()

import torch  # noqa: E402
from matplotlib.figure import Figure  # noqa: E402
from mmcv import Config  # noqa: E402

from freekd.config.load import load_config  # noqa: E402
from freekd.distill.weights import load_teacher_weights  # noqa: E402
from freekd.doctor import examine, prepare  # noqa: E402
from freekd.doctor.measure import on_device  # noqa: E402
from freekd.losses.align import standardize  # noqa: E402
from freekd.losses.places import box_map  # noqa: E402
from freekd.study.definition import load_study  # noqa: E402
from freekd.study.result import paired  # noqa: E402
from freekd.visualization.canvas import DPI, save_figure  # noqa: E402

STUDY = str(ROOT / "configs/studies/scenes_prompts.py")
KEY = "pair.losses.freekd."
DRAWN = ("boxes_50", "energy", "prompts", "prompts_energy", "prompts_bias", "prompts_noise")
CURVES = ("alone", "uniform", "boxes_50", "energy", "prompts", "prompts_noise")
TOLD = ("alone", "uniform", "boxes_50", "energy", "prompts_noise")  # and the best peer
OTHERS = (  # studies beside STUDY
    "scenes_forms",
    "scenes_long",
    "scenes_moved",
    "scenes_wide",
    "digits_places",
    "digits_seg_places",
    "scenes_ablations",
)
DIGITS = 10  # the classes before are digits, the others letters


def pair_of(rows, study, out):
    """A config of one pair with the losses of all ``rows``, each under its row's name."""
    base = Config.fromfile(str(ROOT / study.rows[rows[0]].config))
    common = dict(base.pair.losses["freekd"], type="freekd")
    losses = {}
    for name in rows:
        said = {k[len(KEY) :]: v for k, v in study.rows[name].options.items() if k.startswith(KEY)}
        said = {k: v for k, v in said.items() if k != "student_masks_from"}  # the same at the start
        for key, value in said.items():
            if isinstance(value, str) and value.startswith("{"):
                row, rest = value[1:].split("}")
                said[key] = f"{study.work_dir}/{row}{rest}"
        losses[name] = {**common, **said}
    base.pair.losses = losses
    base.dump(str(out))
    return out


def looks(rows, study, batches, draw=None):
    """AUC and spread of each row's weights, over the first batches of the training data."""
    path = pair_of(rows, study, Path(study.work_dir) / "places.py")
    cfg = load_config(str(path), {})
    cfg.work_dir, cfg.device, cfg.seed = str(study.work_dir), "cpu", 0
    record = examine(cfg, batches, draw=draw).record["localisation"]
    return {name.replace("loss_", "", 1): found for name, found in record.items()}


def distances(study, names, seed, batches=19):
    """Mean squared difference of standardised maps on the validation images, by region.

    Regions of each level's cells: in a digit's box, else in a letter's box, else neither. The
    student's maps go through the best linear map of its channels to the teacher's, by least squares
    over all places, so that a student that has learned alone can be compared, too.
    """
    from pycocotools.coco import COCO

    found = {}
    coco = COCO(str(ROOT / "data/scenes/annotations/val.json"))
    for name in names:
        folder = Path(study.work_dir) / f"seed{seed}" / name
        cfg = load_config(str(ROOT / study.rows["uniform"].config), {KEY + "prompts": None})
        cfg.work_dir, cfg.device, cfg.seed = str(folder), "cpu", 0
        cfg.data.train.update(
            ann_file="data/scenes/annotations/val.json", img_prefix="data/scenes/val/"
        )
        subject = prepare(cfg)
        load_teacher_weights(subject.student, str(folder / "latest.pth"), "the student")
        levels = {}
        with torch.no_grad():
            for index, batch in enumerate(subject.loader):
                if index == batches:
                    break
                batch = on_device(subject.wrapped, batch)
                ours = subject.student.eval().extract_feat(batch["img"])
                theirs = subject.teacher.eval().extract_feat(batch["img"])
                image = batch["img"].shape[-2:]
                for level, (s, t) in enumerate(zip(ours, theirs)):
                    region = torch.stack(
                        [regions(coco, meta, image, s.shape[-2:]) for meta in batch["img_metas"]]
                    )
                    levels.setdefault(level, []).append((s, t, region))
        sums, counts, energies = torch.zeros(3), torch.zeros(3), torch.zeros(3)
        for parts in levels.values():
            s, t = (standardize(torch.cat([p[i] for p in parts])) for i in (0, 1))
            s, t = (x.permute(0, 2, 3, 1).flatten(0, 2) for x in (s, t))
            region = torch.cat([p[2] for p in parts]).flatten()
            s = torch.cat([s, torch.ones(len(s), 1)], 1)
            far = (s @ torch.linalg.lstsq(s, t).solution - t).square().mean(1)
            for k in range(3):
                of = region == k
                sums[k] += far[of].sum()
                counts[k] += of.sum()
                energies[k] += t[of].square().mean(1).sum()
        found[name] = (sums / counts).tolist()
        share, energy = (counts / counts.sum()).tolist(), (energies / counts).tolist()
    return found, share, energy


def regions(coco, meta, image, size):
    """(H, W): 0 in a digit's box, else 1 in a letter's, else 2."""
    number = next(i for i, img in coco.imgs.items() if img["file_name"] == meta["ori_filename"])
    marks = torch.full(tuple(size), 2)
    for kind in (1, 0):
        boxes = [
            (x, y, x + w, y + h)
            for one in coco.imgToAnns[number]
            for x, y, w, h in [one["bbox"]]
            if (one["category_id"] - min(coco.cats) >= DIGITS) == bool(kind)
        ]
        marks[box_map(boxes, image, size) > 0] = kind
    return marks


def axes_of(size, place):
    """One pair of axes, open to the top and the right, on a figure of ``size`` inches."""
    axes = Figure(figsize=size, dpi=DPI, facecolor="white").add_axes(place)
    axes.spines[["top", "right"]].set_visible(False)
    return axes


def draw_gain(points, path, over="mAP over all places alike"):
    """Each row's gain with its 95 % interval; the best AUC, or other figure, on top.

    Args:
        points: (label, AUC or another figure or None, gain, low, high) of each row.
        path: of the picture.
        over: what the gain is of.
    """
    points = sorted(points, key=lambda point: point[1] or 0)
    axes = axes_of((8.5, 0.8 + 0.34 * len(points)), (0.46, 0.16, 0.51, 0.82))
    axes.axvline(0, color="#999999", linewidth=1)
    for height, (_, auc, gain, low, high) in enumerate(points):
        error = [[gain - low], [high - gain]]
        color = "#999999" if auc is None else "#3b6ea5"
        axes.errorbar([gain], [height], xerr=error, fmt="o", color=color, capsize=3)
    axes.set_yticks(range(len(points)))
    axes.set_yticklabels(
        [label if auc is None else f"{label}   {auc:.2f}" for label, auc, *_ in points], fontsize=9
    )
    axes.set_xlabel(f"{over} (95 % interval)", fontsize=9)
    save_figure(axes.figure, path)


def draw_curves(study, names, path):
    """The student's own loss in training, mean over the seeds that left a log, each ten steps."""
    from freekd.analysis.logs import read_runs

    axes = axes_of((7.5, 4.0), (0.1, 0.14, 0.86, 0.8))
    for name in names:
        found = sorted(Path(study.work_dir).glob(f"seed*/{name}"))
        curves = []
        for run in read_runs([str(folder) for folder in found if [*folder.glob("*.log.json")]]):
            whose = "" if study.rows[name].student_only else "student."
            parts = [run.curve(f"{whose}loss_{part}") for part in ("cls", "bbox")]
            curves.append({step: sum(part[step] for part in parts) for step in parts[0]})
        if curves:
            mean = {s: sum(c[s] for c in curves) / len(curves) for s in curves[0]}
            label = f"{study.rows[name].label} ({len(curves)} seeds)"
            axes.plot(list(mean), list(mean.values()), label=label, linewidth=1.4)
    axes.set_xlabel("iteration", fontsize=9)
    axes.set_ylabel("the student's task loss in training", fontsize=9)
    axes.set_ylim(1.3, 3.0)
    axes.legend(fontsize=8, frameon=False)
    save_figure(axes.figure, path)


def compare_elsewhere():
    """Print the rows of the other studies, with gains over their own form of the loss."""
    for name in OTHERS:
        file = ROOT / f"work_dirs/studies/{name}/study.json"
        if not file.is_file():
            continue
        content, scores, labels = json.loads(file.read_text()), {}, {}
        for run in content["runs"]:
            if run["status"] == "done" and run["seed"] is not None:
                scores.setdefault(run["row"], {})[run["seed"]] = run["metrics"][content["metric"]]
                labels[run["row"]] = run["label"]
        print(f"\n| {name} | {content['metric']} by seed | gain |\n|---|---|---|")
        for row, of_row in scores.items():
            if len(of_row) < 2:  # trained once: a teacher, prompts
                continue
            alike = f"{row.split('_')[0]}_uniform"
            base = alike if alike in scores else content["baseline"]
            gain = paired(of_row, scores[base]) if row != base else None
            said = f"{gain.mean:+.3f} [{gain.low:+.3f}, {gain.high:+.3f}]" if gain else ""
            values = " ".join(f"{of_row[seed]:.3f}"[1:] for seed in sorted(of_row))
            print(f"| {labels[row]} | {values} | {said} |")


def main():
    """All of it."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--batches", type=int, default=8)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3, 4], help="of students")
    args = parser.parse_args()
    logging.disable(logging.INFO)  # of init_weights
    study = load_study(STUDY)
    of_row = {
        row["row"]: row for row in json.loads((study.work_dir / "study.json").read_text())["rows"]
    }
    placed = [
        name
        for name, row in study.rows.items()
        if row.options.get(KEY + "where") or row.options.get(KEY + "prompts")
    ]
    images = ROOT / "docs/images"
    looks([name for name in DRAWN if name in placed], study, 1, str(images / "evidence_places.png"))
    found = looks(placed, study, args.batches)
    points = []
    print("| row | AUC | spread | gain |\n|---|---|---|---|")
    for name in placed:
        row, seen = of_row.get(name, {}), found[name]
        gain = row.get("gain")
        ends = row.get("gain_low"), row.get("gain_high")
        said = "-" if None in ends else f"{gain:+.3f} [{ends[0]:+.3f}, {ends[1]:+.3f}]"
        print(f"| {study.rows[name].label} | {seen['auc']:.2f} | {seen['spread']:.2f} | {said} |")
        if None not in ends:
            points.append((study.rows[name].label, seen["auc"], gain, *ends))
    own = ("configs/freekd", "configs/prompt")
    peers = [name for name, row in study.rows.items() if not row.config.startswith(own)]
    best = max(peers, key=lambda name: of_row[name]["mean"] or 0)
    if points:
        peer = of_row[best]
        ends = peer["gain"], peer["gain_low"], peer["gain_high"]
        draw_gain([*points, (study.rows[best].label, None, *ends)], images / "evidence_gain.png")
    draw_curves(study, (*CURVES, best), images / "evidence_curves.png")
    told = (*TOLD, best)
    looked = [distances(study, told, seed) for seed in args.seeds]
    _, share, energy = looked[0]  # the teacher's: the same for all
    print(f"\n| students of seeds {args.seeds} | digits | letters | elsewhere |\n|---|---|---|---|")
    print("| (share of places) | " + " | ".join(f"{x:.2f}" for x in share) + " |")
    print("| (teacher's mean square) | " + " | ".join(f"{x:.2f}" for x in energy) + " |")
    for name in told:
        values = torch.tensor([far[name] for far, _, _ in looked]).mean(0).tolist()
        label = study.rows[name].label
        print(f"| {label} | " + " | ".join(f"{x:.3f}" for x in values) + " |")
    compare_elsewhere()
    return 0


if __name__ == "__main__":
    sys.exit(main())
