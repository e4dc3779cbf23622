"""``FreeKDDistiller``: MMRazor's ``SingleTeacherDistiller``, with what it lacks.

The teacher stays in evaluation mode and frozen, and runs no further than the taps need; a wrong
config is refused before training; each tapped module has one hook; a RoI head of the teacher is
fed with the student's proposals. The teacher is held, see :class:`freekd.held.HoldsFrozen`: no
checkpoint, optimizer, average of weights or hook that walks modules meets it.
"""

import logging
from contextlib import contextmanager
from typing import (
    Any,
    Collection,
    Dict,
    Iterable,
    Iterator,
    List,
    Optional,
    Sequence,
    Tuple,
    Union,
)

import torch
from mmcv.utils import print_log
from mmrazor.models.builder import DISTILLERS, build_loss
from mmrazor.models.distillers import SingleTeacherDistiller
from torch import Tensor, nn

from freekd import tasks
from freekd.checks import FeatureError, check_choice
from freekd.distill.annotations import check_annotations, left_out, missing
from freekd.distill.cache import EmbeddingCache, read_options
from freekd.distill.class_maps import CLASS_MAPS
from freekd.distill.class_taps import check_classes, class_orders
from freekd.distill.components import (
    check_components,
    check_models,
    check_named,
    check_roi_head,
    check_same_images,
    read_loss,
    side_key,
    taps_of,
    task_scale_of,
    weight_of,
)
from freekd.distill.no_teacher import check_sides, check_without_teacher, takes_teacher
from freekd.distill.run import levels
from freekd.distill.run.dry_run import dry_run
from freekd.distill.run.partial import PartialRun, Proposals
from freekd.distill.run.taps import hook_output
from freekd.distill.run.teacher_run import TeacherRun, check_autocast
from freekd.distill.schedule import Schedules
from freekd.distill.terms import distillation_terms
from freekd.distill.usable import unusable
from freekd.distill.weights import (
    find_module,
    load_teacher_weights,
    resolve_model,
    set_frozen_mode,
    warn_untrained,
    without_pretrained,
)
from freekd.held import HoldsFrozen
from freekd.losses.step import Step
from freekd.prompts.file import MAKE_COMMAND, fingerprint
from freekd.state_dict import MIN_SHARE


@DISTILLERS.register_module()
class FreeKDDistiller(HoldsFrozen, SingleTeacherDistiller):
    """A distiller with one frozen teacher, or with none.

    Args:
        teacher: a model dict, the path of a config file, or a stock config such as
            ``mmdet::retinanet/retinanet_r101_fpn_2x_coco.py``; None: there is no teacher, for
            losses that take none (``takes_teacher``).
        teacher_checkpoint: the teacher's weights, path or address, loaded by ``init_weights``.
        components: as in MMRazor: ``student_module``, ``teacher_module``, ``losses`` (each with a
            ``name``, and maybe ``start``, ``stop`` and ``warmup``, see
            :mod:`freekd.distill.schedule`), optionally ``align_module``, ``resize`` (True: maps of
            another size are meant), ``levels`` (a dict from ``student``, ``teacher`` or both to
            the numbers, from 0, of the module's maps that are compared; else all are) and ``key``
            (what errors call the component). A component of
            losses that take no teacher has no ``teacher_module``. Both modules may
            be dicts of named taps, for losses that take those (``named_taps``). A loss whose
            ``forward`` has a third argument ``step`` gets a :class:`freekd.losses.step.Step`; one
            with ``task_scale`` scales the student's own losses by it. A loss that is not made for a
            tuple of pyramid levels (MMRazor's and mmdet's own) is applied to each level, or each
            call of a head, and summed. Where ``teacher_module`` lies in the RoI head, that head
            sees the student's proposals.
        save_teacher: keep the teacher in checkpoints; by default they have the student's size.
        min_share: the least share of the teacher's weights that its checkpoint must fill.
        teacher_autocast: ``bfloat16`` or ``float16``: the teacher alone runs under autocast; None:
            as the whole run does.
        class_map: where something indexed by class is tapped (or inherited) and the teacher's file
            names the classes in another order: None, an error; ``by_name``, channels of one name
            are compared; ``by_index``, as they stand, whatever their names.
        cache_embeddings: a folder in which what the teacher gives for each image is kept, for data
            without augmentation, see :mod:`freekd.distill.cache`.

    Raises:
        ValueError: see :func:`freekd.distill.components.check_components`; a module path that does
            not exist, with the nearest ones; another ``teacher_autocast``.
    """

    def __init__(
        self,
        teacher: Optional[Union[str, Dict[str, Any]]],
        components: Sequence[Dict[str, Any]],
        teacher_checkpoint: Optional[str] = None,
        save_teacher: bool = False,
        min_share: float = MIN_SHARE,
        teacher_autocast: Optional[str] = None,
        class_map: Optional[str] = None,
        cache_embeddings: Any = None,
        **kwargs: Any,
    ) -> None:
        if kwargs.pop("teacher_trainable", False):
            raise ValueError("distiller.teacher_trainable=True: the teacher of FreeKD is frozen")
        check_autocast(teacher_autocast)
        check_choice("distiller.class_map", class_map, CLASS_MAPS)
        check_without_teacher(
            teacher,
            teacher_checkpoint=teacher_checkpoint,
            save_teacher=save_teacher,
            teacher_autocast=teacher_autocast,
            class_map=class_map,
            cache_embeddings=cache_embeddings,
        )
        kept = read_options(cache_embeddings)
        if teacher is not None:
            teacher = resolve_model(teacher, "distiller.teacher")
        if teacher_checkpoint is not None:
            teacher = without_pretrained(teacher)
        super().__init__(teacher=teacher, components=(), **kwargs)
        self.teacher_run: Optional[TeacherRun] = None
        self.cache = None if kept is None else EmbeddingCache(kept)
        self.schedules = Schedules()
        self.tried = False  # the terms that come later, in the first step
        self._build_components(check_components(components))
        self.teacher_checkpoint = teacher_checkpoint
        self.min_share = min_share
        self.teacher_autocast = teacher_autocast
        self.teacher_share: Optional[float] = None  # of the weights that the checkpoint filled
        self.teacher_classes: Optional[Sequence[str]] = None  # as its checkpoint names them
        self.class_map = class_map
        self.class_orders: Dict[int, Tensor] = {}  # tap -> the student's channels reordered
        self.handles: List[Any] = []
        self.recording = False
        self.teacher_runs = False  # a loss that calls a part of the teacher is no run of it
        self.save_teacher = save_teacher
        if self.teacher is not None:
            self.hold("teacher")
            self.teacher.requires_grad_(False)
            self.teacher.eval()
        if save_teacher:
            self._register_state_dict_hook(_put_teacher_in)

    def build_teacher(self, cfg: Any) -> Optional[nn.Module]:
        """The teacher, which MMRazor's constructor asks for; None where there is none."""
        return None if cfg is None else super().build_teacher(cfg)

    def _build_components(self, components: List[Any]) -> None:
        """What MMRazor's constructor makes of them; a component may have several taps here."""
        self.components = components
        self.taps = taps_of(components)
        for tap in self.taps:
            self.student_outputs[tap.student_module] = []
            if tap.teacher_module is not None:
                self.teacher_outputs[tap.teacher_module] = []
        for i, component in enumerate(components):
            if component.get("align_module") is not None:
                self.align_modules[f"component_{i}"] = self.build_align_module(
                    component.align_module
                )
            for j, loss in enumerate(component.losses):
                schedule, options = read_loss(component, i, j)
                self.schedules.add(loss.name, schedule)
                self.losses[loss.name] = build_loss(options)
                check_sides(self.losses[loss.name], loss, component, i, self.teacher is not None)
                check_named(self.losses[loss.name], loss, component, i)
                task_scale_of(self.losses[loss.name])

    def _load_from_state_dict(
        self, state_dict: Dict[str, Tensor], prefix: str, *args: Any, **kwargs: Any
    ) -> None:
        """With ``save_teacher``, a checkpoint's teacher takes the place of this one."""
        if self.save_teacher:
            start = f"{prefix}teacher."
            kept = {k[len(start) :]: v for k, v in state_dict.items() if k.startswith(start)}
            self.teacher.load_state_dict(kept, strict=bool(kept))
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)

    def init_weights(self) -> None:
        """Load the teacher's checkpoint, or, without one, run its config's own init."""
        if self.teacher is None:
            super().init_weights()
            return
        if self.teacher_checkpoint is None:
            warn_untrained("distiller.teacher_checkpoint")
            self.teacher.init_weights()
            super().init_weights()
        else:
            self.teacher_share, self.teacher_classes = load_teacher_weights(
                self.teacher,
                self.teacher_checkpoint,
                "algorithm.distiller.teacher_checkpoint",
                self.min_share,
            )
        self.teacher.requires_grad_(False)

    # ----------------------------------------------------------------- checks before training
    def check_ready(self) -> None:
        """Refuse prompts that were made with another teacher, or for another module of it.

        Raises:
            ValueError: names both and the command that makes prompts.
        """
        found = None
        for text in unusable(self.student, self.taps, self.losses):
            print_log(text, "root", logging.WARNING)
        for tap in self.taps:
            for loss in tap.losses:
                note = getattr(self.losses[loss.name], "note", str)()
                if note:
                    print_log(f"{loss.name}: {note}", "root")
                info = getattr(self.losses[loss.name], "prompt_info", {})
                module = info.get("teacher_module")
                if module is not None and module != tap.teacher_module:
                    raise ValueError(
                        f"{loss.name}: the prompts were made for teacher_module={module!r}, the "
                        f"component taps {tap.teacher_module!r}"
                    )
                chosen = levels.of_side(tap, "teacher")
                levels.check_prompts(loss.name, self.losses[loss.name], chosen)
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

    def check_annotations(self, given: Collection[str]) -> None:
        """A teacher that can only be run whole computes its losses, which want their annotations.

        Raises:
            ValueError: the data does not give one, and its head cannot be left out.
        """
        if self.teacher_run is not None and not self.teacher_run.partial.possible:
            optional = [need.head for need in missing(self.teacher, given) if need.optional]
            check_annotations(self.teacher, given, optional, "teacher")

    def check_class_names(self, student: nn.Module) -> List[str]:
        """Where a tap is indexed by class, both must mean the same, see :mod:`.class_taps`.

        Returns:
            What it has warned of.
        """
        self.class_orders, notes = class_orders(
            student,
            self.teacher_classes,
            self.taps,
            self.class_map,
            f"the teacher's checkpoint ({self.teacher_checkpoint})",
            self.losses,
        )
        for note in notes:
            print_log(note, "root", logging.WARNING)
        return notes

    def check_shapes(
        self, student: nn.Module, image: Optional[Sequence[int]] = None
    ) -> Dict[str, List[str]]:
        """Send one blank image through both models, see :mod:`freekd.distill.run.dry_run`."""
        return dry_run(self, student, self._partial(student), image)

    # ----------------------------------------------------------------- hooks
    def prepare_from_student(self, student: nn.Module) -> None:
        """Hook the tapped modules, each once.

        Raises:
            ValueError: no such module, with the nearest names; or class maps of other classes.
        """
        self._models = (student.model, self.teacher)  # in a tuple: no submodule
        if self.teacher is not None:
            self.teacher_run = TeacherRun(self.teacher, self.taps, self.teacher_autocast)
        for tap in self.taps:
            find_module(student.model, tap.student_module, side_key(tap, "student"))
            if tap.teacher_module is not None:
                find_module(self.teacher, tap.teacher_module, side_key(tap, "teacher"))
                check_classes(student.model, self.teacher, tap, tap.where)
                check_roi_head(self.teacher, self.partial_teacher, tap, tap.where)
        self._task = tasks.of_built(student.model)
        check_models(self.losses, self.components, self.step({}))
        if self.teacher_run is not None:
            self.teacher_run.check_precision()
        check_same_images(student.model, self.teacher)
        self.remove_hooks()
        for model, outputs in (
            (student.model, self.student_outputs),
            (self.teacher, self.teacher_outputs),
        ):
            modules = {} if model is None else dict(model.named_modules())
            for name, calls in outputs.items():
                record = self._record(calls, name, of_teacher=outputs is self.teacher_outputs)
                self.handles.append(hook_output(modules[name], record))
        self._proposals = Proposals(self._partial(student.model))
        self.handles += self._proposals.handles

    def _partial(self, student: nn.Module) -> PartialRun:
        return PartialRun(student, [tap.student_module for tap in self.taps])

    @property
    def student(self) -> nn.Module:
        """The bare student."""
        student: nn.Module = self._models[0]
        return student

    @property
    def partial_teacher(self) -> PartialRun:
        """Which of the teacher's parts its taps need; there must be one."""
        assert self.teacher_run is not None
        return self.teacher_run.partial

    def step(self, data: Dict[str, Any]) -> Step:
        """What a loss may need beyond its taps."""
        return Step(data, *self._models, self._task)

    def outputs_of(self, tap: Any) -> Tuple[List[Any], List[Any]]:
        """What a tap has recorded of student and teacher, call by call.

        Where the tap names ``levels``, these maps alone. Without a teacher's tap: (None, None) for
        each of the student's calls.
        """
        students = _of_levels(self.student_outputs[tap.student_module], tap, "student")
        if tap.teacher_module is None:
            return students, [(None, None)] * len(students)
        return students, _of_levels(self.teacher_outputs[tap.teacher_module], tap, "teacher")

    def _record(self, outputs: List[Any], name: str, of_teacher: bool) -> Any:
        root = name.split(".")[0]

        def record(output: Any, sizes: Any) -> None:
            runs = self.training and (self.teacher_runs or not of_teacher)
            if not (runs or self.recording):
                return
            if root == "roi_head":  # OHEM and its like run the head before: the last call counts
                outputs.clear()
            elif root == "decode_head" and outputs:  # cascades run a head again for the next one
                return
            outputs.append((output, sizes))

        return record

    def reset_outputs(self, outputs: Dict[str, List[Any]]) -> None:
        """Forget what the taps of student or teacher gave."""
        for recorded in outputs.values():
            recorded.clear()

    def remove_hooks(self) -> None:
        """Take all hooks off student and teacher."""
        for handle in self.handles:
            handle.remove()
        self.handles = []

    def train(self, mode: bool = True) -> "FreeKDDistiller":
        """Training mode for the losses' own layers; the teacher stays in evaluation mode."""
        nn.Module.train(self, mode)
        if self.teacher is not None:
            set_frozen_mode(self.teacher, mode)
        if not mode:
            self.forget()
        return self

    # ----------------------------------------------------------------- a step
    def exec_teacher_forward(self, data: Dict[str, Any]) -> Any:
        """Run the teacher without gradient, and no further than the taps need.

        Its RoI heads wait for the student's proposals, see :meth:`compute_distill_loss`. In an
        iteration without any term that takes it, it does not run.
        """
        self.forget()
        if not self.needs_teacher() or self.teacher_run is None:
            return None
        with self.teacher_recorded():
            if not self.partial_teacher.possible:  # run whole, with losses that nobody wants
                lacking = [need for need in missing(self.teacher, data) if need.optional]
                with left_out(self.teacher, [need.head for need in lacking]):
                    return super().exec_teacher_forward(data)
            self.reset_ctx_teacher_mode(True)
            if self.cache is not None and self.cache.ready:
                return self._cached_features(self.cache, data["img"], data["img_metas"])
            return self.teacher_run.features(data["img"], data.get("img_metas", ()))

    def check_cache(self, dataset: Any, write: bool = True) -> None:
        """Whether the teacher's embeddings can be kept, and are those of the cache's folder.

        Without ``write`` nothing is kept from here on, and nothing written.

        Raises:
            ValueError: more than one tap, a teacher that is run whole, or see
                :meth:`freekd.distill.cache.EmbeddingCache.prepare`.
        """
        if self.cache is None:
            return
        if len(self.teacher_outputs) != 1 or self.partial_teacher.end is None:
            raise ValueError(
                "pair.cache_embeddings: expected one tapped module of the teacher, which its "
                f"encoder or neck gives, got {list(self.teacher_outputs)}. Remove the key"
            )
        said = dict(
            fingerprint=fingerprint(self.teacher),
            module=next(iter(self.teacher_outputs)),
        )
        self.cache.prepare(said, dataset, write)

    def _cached_features(self, cache: EmbeddingCache, img: Tensor, metas: Sequence[Any]) -> None:
        """As if the teacher had run: its tap's output, one image after the other."""
        assert self.teacher_run is not None
        (outputs,) = self.teacher_outputs.values()
        found, precision = [], self.teacher_run.precision
        for i, meta in enumerate(metas):
            embedding = cache.load(meta, img.device, precision)
            if embedding is None:
                self.teacher_run.features(img[i : i + 1], [meta])
                given = outputs.pop()[0]
                if not torch.is_tensor(given) or given.dim() != 4:
                    raise FeatureError(
                        "pair.cache_embeddings: expected a tapped module that gives one map "
                        f"(N, C, H, W), got {type(given).__name__}. Remove the key"
                    )
                embedding = cache.keep(meta, given[0], precision)
            found.append(embedding)
        outputs.append((torch.stack(found), None))

    @contextmanager
    def teacher_recorded(self) -> Iterator[None]:
        """Within it the teacher's taps record what runs, and nowhere else.

        A loss may call parts of the teacher, which its backward pass may even compute again.
        """
        self.teacher_runs = True
        try:
            yield
        finally:
            self.teacher_runs = False

    def compute_distill_loss(self, data: Optional[Dict[str, Any]] = None) -> Dict[str, Tensor]:
        """Each term by name, after teacher and student have run.

        Raises:
            RuntimeError: a tapped module did not run, or not as often in student and teacher.
        """
        if self.needs_teacher() and self.teacher_run is not None:
            with self.teacher_recorded():
                self.teacher_run.roi_heads(self._proposals.rois)
        step = None if data is None else self.step(data)
        terms = distillation_terms(self, step)
        if self.teacher_run is not None:
            self.teacher_run.forget()
        self._proposals.forget()
        self.tried = True
        return terms

    def is_to_try(self, name: str) -> bool:
        """Whether this step, the first, computes the term of a loss that starts later."""
        return not self.tried and self.schedules.comes_later(name)

    def computes(self, names: Iterable[str]) -> bool:
        """Whether one of these losses is computed in this step."""
        return any(self.schedules.factor(name) > 0 or self.is_to_try(name) for name in names)

    @property
    def comparing(self) -> List[str]:
        """The losses that take the teacher."""
        return [name for name, loss in self.losses.items() if takes_teacher(loss)]

    def needs_teacher(self) -> bool:
        """Whether one of them is computed in this step."""
        return self.computes(self.comparing)

    def weights_in_force(self) -> Dict[str, float]:
        """The weight, in this iteration, of each loss that does not always act."""
        found = {}
        for name in self.schedules:
            weight = weight_of(self.losses[name])
            found[name] = (1.0 if weight is None else weight) * self.schedules.factor(name)
        return found

    def parts_in_force(self) -> Iterator[Tuple[str, str, float]]:
        """Loss, part and value of the losses that tell what they are the sum of (``parts``)."""
        for name, loss in self.losses.items():
            parts = getattr(loss, "parts", None)
            if isinstance(parts, dict) and parts and self.schedules.factor(name) > 0:
                values = torch.stack([part.detach().float() for part in parts.values()]).tolist()
                for part, value in zip(parts, values):
                    yield name, part, value

    def exec_student_forward(self, student: nn.Module, data: Dict[str, Any]) -> Any:
        """The student's own losses, scaled by the ``task_scale`` of losses that have one."""
        losses = super().exec_student_forward(student, data)
        scale = self.task_scale
        if scale == 1 or not isinstance(losses, dict):
            return losses
        return {
            name: _scaled(value, scale) if "loss" in name else value
            for name, value in losses.items()
        }

    @property
    def task_scale(self) -> float:
        """By what the student's own losses are multiplied: 1, unless a loss says otherwise.

        A loss whose weight is multiplied by f in this iteration scales by 1 - f (1 - its factor).
        """
        scale = 1.0
        for name, loss in self.losses.items():
            factor = self.schedules.factor(name)
            own = task_scale_of(loss)
            scale *= own if factor == 1 else 1 - factor * (1 - own)
        return scale

    def forget(self) -> None:
        """The taps let go of the last step's maps, which would outlive its backward pass."""
        self.reset_outputs(self.student_outputs)
        self.reset_outputs(self.teacher_outputs)


def _of_levels(calls: List[Any], tap: Any, who: str) -> List[Any]:
    """Each call's (output, sizes), with the maps that the tap names for this side."""
    chosen = levels.of_side(tap, who)
    if chosen is None:
        return calls
    key = f"{side_key(tap, who)}={tap[f'{who}_module']!r}"
    return [(levels.choose(*output, chosen, key), None) for output in calls]


def _scaled(value: Any, scale: float) -> Any:
    """A term of a host's losses: a tensor, or a list of them."""
    return value * scale if torch.is_tensor(value) else [item * scale for item in value]


def _put_teacher_in(module: Any, state_dict: Dict[str, Tensor], prefix: str, *_: Any) -> None:
    for name, value in module.teacher.state_dict().items():
        state_dict[f"{prefix}teacher.{name}"] = value.clone()  # averages are taken in place
