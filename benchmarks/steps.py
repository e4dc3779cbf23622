"""Training steps of a pair, with any of its distillation terms, and each term by itself."""

from typing import Any, Collection, Dict, Optional

import torch


class Steps:
    """Training steps of one algorithm with any of its distillation terms."""

    def __init__(self, model: Any, data: Dict[str, Any], cfg: Any, device: str, amp: Any) -> None:
        from freekd import compat
        from freekd.engine.optimizers import build_optimizer

        self.model, self.data = model, data
        self.components = list(model.distiller.components)
        options = compat.usable_optimizer(cfg.optimizer, device)
        self.optimizer = build_optimizer(model, options, "det")
        for group in self.optimizer.param_groups:
            group["lr"] = 1e-9  # random weights would run away; a step costs the same
        self.clip = (cfg.get("optimizer_config") or {}).get("grad_clip")
        self.scaler = torch.amp.GradScaler(device) if amp == "float16" else None

    def only(self, active: Collection[str]) -> None:
        """From now on these terms count, and no others."""
        self.model.distiller.components = [
            type(c)({**c, "losses": [loss for loss in c.losses if loss.name in active]})
            for c in self.components
        ]

    def run(self, active: Optional[Collection[str]]) -> None:
        """One step; None: the student alone."""
        distiller = self.model.distiller
        if active is None:
            distiller.training = False  # its hooks record nothing
            loss, _ = self.model._parse_losses(self.model.architecture(**self.data))
            distiller.training = True
        else:
            self.only(active)
            loss = self.model.train_step(self.data, None)["loss"]
        if self.scaler is None:
            loss.backward()
        else:
            self.scaler.scale(loss).backward()
            self.scaler.unscale_(self.optimizer)
        if self.clip:
            learning = [p for p in self.model.parameters() if p.grad is not None]
            torch.nn.utils.clip_grad_norm_(learning, **self.clip)
        if self.scaler is None:
            self.optimizer.step()
        else:
            self.scaler.step(self.optimizer)
            self.scaler.update()
        self.forget()

    def forget(self) -> None:
        """Free what a step leaves behind, so that each starts with the same memory."""
        distiller = self.model.distiller
        self.optimizer.zero_grad(set_to_none=True)
        distiller.reset_outputs(distiller.student_outputs)
        distiller.reset_outputs(distiller.teacher_outputs)

    def alone(self, maps: Any, name: str) -> None:
        """One term, forward and backward, on maps of :meth:`record`; no model runs."""
        self.only([name])
        distiller = self.model.distiller
        run = distiller.teacher_run
        tapped, run.components = run.components, ()  # RoI heads have run
        for outputs, recorded in zip((distiller.student_outputs, distiller.teacher_outputs), maps):
            for key, calls in recorded.items():
                outputs[key].extend(calls)
        terms = distiller.compute_distill_loss(self.data)
        run.components = tapped
        torch.stack([term.sum() for term in terms.values()]).sum().backward()
        for output, _ in (call for calls in maps[0].values() for call in calls):
            for leaf in [output] if torch.is_tensor(output) else output:
                leaf.grad = None
        self.forget()

    def record(self) -> Any:
        """What student and teacher give at the taps, as leaves; the student's take gradients."""
        distiller = self.model.distiller
        self.only([loss.name for c in self.components for loss in c.losses])
        self.model.train_step(self.data, None)

        def leaf(output: Any, learns: bool) -> Any:
            if torch.is_tensor(output):
                return output.detach().clone().requires_grad_(learns)
            return type(output)(leaf(item, learns) for item in output)

        both = ((distiller.student_outputs, True), (distiller.teacher_outputs, False))
        maps = [
            {
                k: [(leaf(out, learns), sizes) for out, sizes in calls]
                for k, calls in outputs.items()
            }
            for outputs, learns in both
        ]
        self.forget()
        return maps
