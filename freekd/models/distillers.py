"""``FreeKDDistiller``: MMRazor's ``SingleTeacherDistiller``, with what it lacks.

The teacher stays in evaluation mode and frozen; a wrong config is refused when it is built; each
tapped module has one hook; a teacher tapped at the neck runs no head; and checkpoints hold the
student, not the teacher.
"""

from typing import Any, Dict, List, Mapping, Optional, Sequence, Union

import torch
from mmcv import ConfigDict
from mmrazor.models.builder import DISTILLERS
from mmrazor.models.distillers import SingleTeacherDistiller
from torch import Tensor, nn

from freekd.prompt_file import MAKE_COMMAND, fingerprint

from .utils import (
    as_levels,
    find_module,
    load_teacher_weights,
    resolve_model,
    set_frozen_mode,
    warn_untrained,
    without_pretrained,
)

_COMPONENT_KEYS = {"student_module", "teacher_module", "losses", "align_module"}


def check_components(components: Any) -> List[ConfigDict]:
    """The components of a distiller, checked.

    Raises:
        ValueError: unknown or missing keys, two losses with one name, or a name that MMRazor would
            leave out of the sum; each names the config key.
    """
    if not isinstance(components, (list, tuple)) or not components:
        raise ValueError(f"distiller.components must be a list of dicts, got {components!r}")
    checked, names = [], set()
    for i, component in enumerate(components):
        where = f"distiller.components[{i}]"
        if not isinstance(component, Mapping):
            raise ValueError(f"{where} must be a dict, got {component!r}")
        unknown = sorted(set(component) - _COMPONENT_KEYS)
        missing = sorted({"student_module", "teacher_module", "losses"} - set(component))
        if unknown or missing:
            raise ValueError(
                f"{where}: unknown keys {unknown}, missing keys {missing}; "
                f"known: {sorted(_COMPONENT_KEYS)}"
            )
        if not isinstance(component["losses"], (list, tuple)) or not component["losses"]:
            raise ValueError(f"{where}.losses must be a list of loss dicts")
        for loss in component["losses"]:
            name = loss.get("name")
            if not isinstance(name, str) or "loss" not in name or "." in name:
                raise ValueError(
                    f"{where}.losses: name={name!r}; a name must contain 'loss' (only such terms "
                    "are summed) and no '.', such as 'loss_freekd'"
                )
            if name in names:
                raise ValueError(
                    f"{where}.losses: two losses are named {name!r}; each needs its own name"
                )
            names.add(name)
        checked.append(ConfigDict(component))
    return checked


@DISTILLERS.register_module()
class FreeKDDistiller(SingleTeacherDistiller):
    """A distiller with one frozen teacher.

    Args:
        teacher: a model dict, or the path of a config file.
        teacher_checkpoint: the teacher's weights, loaded by ``init_weights``.
        components: as in MMRazor: ``student_module``, ``teacher_module``, ``losses`` (each with a
            ``name``), optionally ``align_module``. A loss that is not made for a tuple of pyramid
            levels (MMRazor's own) is applied to each level and summed.
        save_teacher: keep the teacher in checkpoints; by default they have the student's size.
        min_share: the least share of the teacher's weights that its checkpoint must fill.

    Raises:
        ValueError: see :func:`check_components`; or a module path that does not exist, with the
            nearest ones.
    """

    def __init__(
        self,
        teacher: Union[str, Dict[str, Any]],
        components: Sequence[Dict[str, Any]],
        teacher_checkpoint: Optional[str] = None,
        save_teacher: bool = False,
        min_share: float = 0.95,
        **kwargs: Any,
    ) -> None:
        if kwargs.pop("teacher_trainable", False):
            raise ValueError("distiller.teacher_trainable=True: the teacher of FreeKD is frozen")
        teacher = resolve_model(teacher, "distiller.teacher")
        if teacher_checkpoint is not None:
            teacher = without_pretrained(teacher)
        super().__init__(teacher=teacher, components=check_components(components), **kwargs)
        self.teacher_checkpoint = teacher_checkpoint
        self.min_share = min_share
        self.handles: List[Any] = []
        self.teacher.requires_grad_(False)
        self.teacher.eval()
        if not save_teacher:
            self._register_state_dict_hook(_leave_teacher_out)
            self._register_load_state_dict_pre_hook(self._fill_teacher_in)

    def _fill_teacher_in(self, state_dict: Dict[str, Tensor], prefix: str, *_: Any) -> None:
        """On loading, what the checkpoint leaves out stays as it is and is not 'missing'."""
        for name, value in self.teacher.state_dict().items():
            state_dict.setdefault(f"{prefix}teacher.{name}", value)

    def init_weights(self) -> None:
        """Load the teacher's checkpoint, or, without one, run its config's own init."""
        if self.teacher_checkpoint is None:
            warn_untrained("distiller.teacher_checkpoint")
            super().init_weights()
        else:
            load_teacher_weights(
                self.teacher,
                self.teacher_checkpoint,
                "distiller.teacher_checkpoint",
                self.min_share,
            )
        self.teacher.requires_grad_(False)

    def check_ready(self) -> None:
        """Refuse prompts that were made with another teacher, or for another module of it.

        Raises:
            ValueError: names both and the command that makes prompts.
        """
        found = None
        for component in self.components:
            for loss in component.losses:
                info = getattr(self.losses[loss.name], "prompt_info", {})
                module = info.get("teacher_module")
                if module is not None and module != component.teacher_module:
                    raise ValueError(
                        f"{loss.name}: the prompts were made for teacher_module={module!r}, the "
                        f"component taps {component.teacher_module!r}"
                    )
                made_with = info.get("teacher_fingerprint")
                if made_with is None:
                    continue
                found = found or fingerprint(self.teacher)
                if made_with != found:
                    raise ValueError(
                        f"{loss.name}: the prompts were made with a {info.get('teacher')} of "
                        f"fingerprint {made_with} ({info.get('teacher_checkpoint')}), this teacher "
                        f"({self.teacher_checkpoint}) has {found}. Set distiller."
                        f"teacher_checkpoint to the former, or make new prompts: {MAKE_COMMAND}"
                    )

    def prepare_from_student(self, student: nn.Module) -> None:
        """Hook the tapped modules, each once.

        Raises:
            ValueError: no such module, with the nearest names.
        """
        for i, component in enumerate(self.components):
            key = f"distiller.components[{i}]"
            find_module(student.model, component.student_module, f"{key}.student_module")
            find_module(self.teacher, component.teacher_module, f"{key}.teacher_module")
        self.remove_hooks()
        for model, outputs in (
            (student.model, self.student_outputs),
            (self.teacher, self.teacher_outputs),
        ):
            modules = dict(model.named_modules())
            for name in outputs:
                self.handles.append(
                    modules[name].register_forward_hook(self._record(outputs, name))
                )

    def _record(self, outputs: Dict[str, List[Any]], name: str) -> Any:
        def hook(_: nn.Module, __: Any, output: Any) -> None:
            if self.training:
                outputs[name].append(output)

        return hook

    def remove_hooks(self) -> None:
        """Take all hooks off student and teacher."""
        for handle in self.handles:
            handle.remove()
        self.handles = []

    def train(self, mode: bool = True) -> "FreeKDDistiller":
        """Training mode for the losses' own layers; the teacher stays in evaluation mode."""
        nn.Module.train(self, mode)
        set_frozen_mode(self.teacher, mode)
        return self

    @property
    def needs_features_only(self) -> bool:
        """Whether every tapped module of the teacher lies in its backbone or neck."""
        return hasattr(self.teacher, "extract_feat") and all(
            component.teacher_module.split(".")[0] in ("backbone", "neck")
            for component in self.components
        )

    def exec_teacher_forward(self, data: Dict[str, Any]) -> Any:
        """Run the teacher without gradient, and no further than the taps need."""
        if not self.needs_features_only:
            return super().exec_teacher_forward(data)
        self.reset_ctx_teacher_mode(True)
        self.reset_outputs(self.teacher_outputs)
        half = bool(getattr(self.teacher, "fp16_enabled", False))  # extract_feat alone ignores it
        with torch.no_grad(), torch.autocast(data["img"].device.type, enabled=half):
            return self.teacher.extract_feat(data["img"])

    def compute_distill_loss(self, data: Optional[Dict[str, Any]] = None) -> Dict[str, Tensor]:
        """Each term by name.

        Raises:
            RuntimeError: a tapped module did not run, or not as often in student and teacher.
        """
        terms: Dict[str, Tensor] = {}
        for i, component in enumerate(self.components):
            students = self.student_outputs[component.student_module]
            teachers = self.teacher_outputs[component.teacher_module]
            if not students or len(students) != len(teachers):
                raise RuntimeError(
                    f"distiller.components[{i}]: {component.student_module!r} ran {len(students)} "
                    f"times in the student, {component.teacher_module!r} {len(teachers)} times in "
                    "the teacher; they must run equally often, at least once"
                )
            align = (
                self.align_modules[f"component_{i}"]
                if (f"component_{i}" in self.align_modules)
                else None
            )
            for call, (s_out, t_out) in enumerate(zip(students, teachers)):
                for loss in component.losses:
                    module = self.losses[loss.name]
                    module.current_data = data
                    terms[f"{loss.name}.{call}"] = self._term(
                        module, s_out, t_out, align, f"distiller.components[{i}]"
                    )
                    module.current_data = None
        return terms

    def _term(
        self, loss: nn.Module, s_out: Any, t_out: Any, align: Optional[nn.Module], where: str
    ) -> Tensor:
        if torch.is_tensor(s_out) and torch.is_tensor(t_out):
            return loss(_aligned(s_out, align), t_out)
        student = as_levels(s_out, f"{where}.student_module")
        teacher = as_levels(t_out, f"{where}.teacher_module")
        student = [_aligned(level, align) for level in student]
        if getattr(loss, "takes_levels", False):
            return loss(student, teacher)
        if len(student) != len(teacher):
            raise ValueError(
                f"{where}: the student module gives {len(student)} levels, the teacher module "
                f"{len(teacher)}"
            )
        return torch.stack([loss(s, t) for s, t in zip(student, teacher)]).sum()


def _aligned(feat: Tensor, align: Optional[nn.Module]) -> Tensor:
    """``align_module`` on a map of any precision."""
    return feat if align is None else align(feat.to(next(align.parameters()).dtype))


def _leave_teacher_out(
    module: nn.Module, state_dict: Dict[str, Tensor], prefix: str, *_: Any
) -> None:
    for name in [name for name in state_dict if name.startswith(f"{prefix}teacher.")]:
        del state_dict[name]
