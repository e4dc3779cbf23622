"""What the teacher's forward costs, how far it must run, and in which precision."""

import argparse
import statistics
from typing import Any, Callable, Dict, List, Tuple

import torch
from measure import far_apart, peak_bytes, table, time_once
from torch import nn

from freekd import compat
from freekd.distill.run.partial import PartialRun

WHOLE = "whole forward with losses"
HEADS = "tapped heads whole, no losses"
TAPS = "as far as the taps"
INFERENCE = "as far as the taps, inference mode"
CLONED = "as far as the taps, inference mode, taps cloned"


def teacher_rows(model: Any, data: Dict[str, Any], args: argparse.Namespace) -> Dict[str, Any]:
    """Measure and print; RoI heads wait for the student's proposals and are not in it."""
    run = Teacher(model, data)
    rows: Dict[str, Callable[[], Any]] = {
        WHOLE: run.whole,
        HEADS: lambda: run.parts(run.heads),
        TAPS: lambda: run.parts(run.taps),
        INFERENCE: lambda: run.parts(run.taps, torch.inference_mode),
        CLONED: lambda: run.parts(run.taps, torch.inference_mode, clone=True),
    }
    types = ["bfloat16"] + (["float16"] if args.device == "cuda" else [])
    for name in types if args.amp is None else []:
        rows[f"as far as the taps, {name} autocast"] = lambda name=name: run.parts(
            run.taps, autocast=name
        )
    seconds: Dict[str, List[float]] = {name: [] for name in rows}
    for done in range(-args.warmup, args.steps):
        for name, step in rows.items():
            taken = time_once(step, args.device)
            if done >= 0:
                seconds[name].append(taken * 1e3)
    first = statistics.median(seconds[TAPS])
    result = []
    for name, found in seconds.items():
        less = statistics.median(a - b for a, b in zip(found, seconds[TAPS]))
        result.append(
            dict(
                variant=name,
                median_ms=statistics.median(found),
                min_ms=min(found),
                max_ms=max(found),
                more_ms=less,
                more_percent=100 * less / first,
                peak_bytes=peak_bytes(rows[name], args.device, run.forget),
            )
        )
    header = ("teacher", "median ms", "min-max", "more ms", "more %", "peak MB")
    cells = [
        [
            row["variant"],
            f"{row['median_ms']:.1f}",
            f"{row['min_ms']:.1f}-{row['max_ms']:.1f}",
            f"{row['more_ms']:.2f}",
            f"{row['more_percent']:.1f}",
            f"{row['peak_bytes'] / 1e6:.0f}",
        ]
        for row in result
    ]
    print(table(cells, header))
    ran = {"whole": layers(run, run.whole), "taps": layers(run, lambda: run.parts(run.taps))}
    print(f"\nmore: than '{TAPS}', median over rounds. All without gradient.")
    for name, (count, total) in ran.items():
        print(f"layers with weights that run, {name}: {count} of {total}")
    content = dict(rows=result, layers=ran, inference=inference(run))
    for name, said in content["inference"].items():
        print(f"{name} on inference tensors: {said}")
    content["autocast"] = {name: apart(run, name) for name in types if args.amp is None}
    for name, found in content["autocast"].items():
        for key, value in found.items():
            print(f"{name}: {key} off by {value:.2e}, relative")
    return content


class Teacher:
    """The teacher of ``model`` on one batch."""

    def __init__(self, model: Any, data: Dict[str, Any]) -> None:
        self.model, self.data = model, data
        self.distiller = model.distiller
        self.teacher = self.distiller.teacher
        self.taps = self.distiller.partial_teacher
        if not self.taps.possible:
            raise SystemExit("this teacher can only be run whole: nothing to compare")
        paths = [tap.teacher_module for tap in self.distiller.taps]
        self.heads = PartialRun(self.teacher, paths)
        self.heads.end, self.heads.untapped = None, []
        compat.run_ops_in_float32()

    def forget(self) -> None:
        self.distiller.reset_outputs(self.distiller.teacher_outputs)

    def whole(self) -> None:
        """As MMRazor's distiller runs it."""
        self.forget()
        with torch.no_grad():
            self.teacher(**self.data)

    def parts(
        self, run: Any, mode: Any = torch.no_grad, clone: bool = False, autocast: Any = None
    ) -> None:
        """As ours, in a mode and precision."""
        self.forget()
        device = self.data["img"].device
        if autocast is None:
            precision = self.distiller.teacher_run.context(device)
        else:
            precision = torch.autocast(device.type, getattr(torch, autocast))
        # the context's own no_grad lies between
        with mode(), precision, mode(), self.distiller.teacher_recorded():
            run.features(self.data["img"], self.data["img_metas"])
        if clone:
            for calls in self.distiller.teacher_outputs.values():
                calls[:] = [(_cloned(output), sizes) for output, sizes in calls]

    def losses(self, mode: Any = torch.no_grad, autocast: Any = None) -> Dict[str, Any]:
        """Each term of a training step whose teacher runs so; an error is a term's value."""
        distiller, terms = self.distiller, {}
        torch.manual_seed(0)
        components = distiller.components
        for component in components:
            if component.teacher_module.startswith("roi_head"):
                continue
            for loss in component.losses:
                distiller.components = [
                    type(c)({**c, "losses": [loss] if c is component else []}) for c in components
                ]
                self.parts(self.taps, mode, autocast=autocast)
                distiller.exec_student_forward(self.model.architecture, self.data)
                pending, distiller.teacher_run.components = distiller.teacher_run.components, ()
                try:
                    found = distiller.compute_distill_loss(self.data)
                    value = torch.stack([term.sum() for term in found.values()]).sum()
                    value.backward()
                    terms[loss.name] = float(value.detach())
                except RuntimeError as error:
                    terms[loss.name] = str(error).split(". ")[0]
                finally:
                    distiller.teacher_run.components = pending
                    self.model.zero_grad(set_to_none=True)
                    distiller.reset_outputs(distiller.student_outputs)
        distiller.components = components
        return terms


def _cloned(output: Any) -> Any:
    return output.clone() if torch.is_tensor(output) else type(output)(map(_cloned, output))


def layers(run: Teacher, step: Callable[[], Any]) -> Tuple[int, int]:
    """How many modules with weights of their own compute something, and how many there are."""
    own = [m for m in run.teacher.modules() if any(True for _ in m.parameters(recurse=False))]
    seen = set()

    def note(module: nn.Module, _: Any, output: Any) -> None:
        if not torch.is_tensor(output) or output.numel():
            seen.add(module)

    handles = [module.register_forward_hook(note) for module in own]
    step()
    for handle in handles:
        handle.remove()
    return len(seen), len(own)


def inference(run: Teacher) -> Dict[str, str]:
    """Whether each loss can learn from a teacher that ran under inference mode."""
    return {
        name: "works" if isinstance(value, float) else value
        for name, value in run.losses(torch.inference_mode).items()
    }


def apart(run: Teacher, autocast: str) -> Dict[str, float]:
    """How far autocast moves each tapped module's output and each term."""
    taps = []
    for name in (None, autocast):
        run.parts(run.taps, autocast=name)
        taps.append(
            {
                key: [
                    t
                    for output, _ in calls
                    for t in ([output] if torch.is_tensor(output) else output)
                ]
                for key, calls in run.distiller.teacher_outputs.items()
            }
        )
    exact, low = taps
    found = {key: far_apart(low[key], exact[key]) for key in exact if exact[key]}
    plain, moved = run.losses(), run.losses(autocast=autocast)
    found.update({key: abs(moved[key] - value) / abs(value) for key, value in plain.items()})
    return found
