"""What the rest of the house asks a task: the protocol of ``det.py``, ``seg.py`` and ``cls.py``.

A task is one kind of model and data with the package that holds both, its host: mmdet, mmseg or
mmcls. Whatever differs between them is a method here; everything else in this project is the same
for all. A task imports its host only when it is asked something that needs it, so that
``import freekd.tasks`` costs nothing and a machine may lack the hosts of the tasks it does not do.

The answers of this class are those of mmdet and mmseg where both agree. A new task is a subclass in
a file of its own, and a line in ``__init__.py``.
"""

import importlib
import inspect
from importlib.util import find_spec
from pathlib import Path
from typing import (
    Any,
    Callable,
    Dict,
    Iterator,
    List,
    Mapping,
    NamedTuple,
    Optional,
    Sequence,
    Tuple,
)

import numpy as np
import torch
from torch import Tensor, nn

from freekd.losses.step import DenseTargets, Step
from freekd.tasks.classes import ClassAxis, heads_with_classes
from freekd.tasks.objects import Objects

RunHead = Callable[[Any, Sequence[Dict[str, Any]]], Any]  # of (features, metas of the images)


class TaskError(ValueError):
    """What a task cannot do, or not here; the message says what to do."""


class BatchAugmentation(NamedTuple):
    """What a model does to a whole batch inside its own ``forward_train``: Mixup and its like.

    ``apply`` takes a batch as the models get it and gives it with other images and labels, so that
    it can be done once, before teacher and student, instead; ``remove`` takes it out of the model.
    """

    what: str  # in words
    apply: Callable[[Dict[str, Any]], Dict[str, Any]]
    remove: Callable[[], None]


class HeadNeed(NamedTuple):
    """What a head's loss needs of the data; can that loss be left out?"""

    annotations: Tuple[str, ...]
    optional: bool


class Agreement(NamedTuple):
    """How torch's result and onnxruntime's compare on one image."""

    what: str  # 'detections', 'pixels' or 'classes'
    total: int
    equal: int
    largest: str  # the largest differences among the equal ones, in words

    def __str__(self) -> str:
        if self.total == 0:
            return "no detection on this image, in torch and onnxruntime alike: nothing compared"
        return f"{self.equal} of {self.total} {self.what} agree{self.largest}"


class Task:
    """A task; see the module.

    Attributes:
        name: in configs, ``task="det"``.
        noun, model_noun: for messages: ``detection``, ``detector``.
        package: the host's import name, which is the scope of its registries and of stock configs.
        wheel: the name by which pip knows it.
        models: the host's registry of models, in ``<package>.models``.
        architecture: MMRazor's class round a student.
        file_keys: keys of a dataset's config that name files or folders.
        shared_keys: of the loader options that may stand in ``data`` itself, those that the host
            reads there; None: any.
        renamed_keys: old names of such options; they win where both stand.
        shared_in_tests: which of them the host takes for evaluation too; None: any.
        batches_in_tests: whether ``samples_per_gpu`` is one of these.
        one_size: whether the images of an evaluated batch must have one size.
        optimizer_builder: the module whose ``build_optimizer`` knows the host's constructors.
        loaded_by: annotation -> the step of a pipeline that loads it.
        head_needs: head -> what its loss needs beyond what ``forward_train`` names.
        heads: parts of a model, beside backbone and neck, that can be run on all features alone.
        onnx_tool: the host's export tool, inside its package.
        label_hint: for an error about a label that no class has.
        main_scores: the scores by which models are compared, the first that a dataset gives.
    """

    name = ""
    noun = ""
    model_noun = ""
    package = ""
    wheel = ""
    models = "MODELS"
    architecture = ""
    file_keys: Tuple[str, ...] = (
        "ann_file", "img_prefix", "img_dir", "ann_dir", "seg_prefix", "proposal_file",
    )  # fmt: skip
    shared_keys: Optional[Tuple[str, ...]] = None
    renamed_keys: Mapping[str, str] = {}
    shared_in_tests: Optional[Tuple[str, ...]] = None
    batches_in_tests = False
    one_size = False
    optimizer_builder = "mmcv.runner.optimizer.builder"
    loaded_by: Mapping[str, str] = {}
    head_needs: Mapping[str, HeadNeed] = {}
    heads: Tuple[str, ...] = ()
    onnx_tool = ""
    label_hint = "Check the annotations; classes count from 0."
    main_scores: Tuple[str, ...] = ()

    def __repr__(self) -> str:
        return f"<task {self.name}: {self.noun}, {self.package}>"

    # ----------------------------------------------------------------- the host
    def host(self, inner: str) -> Any:
        """The host's module ``inner``, such as ``datasets``.

        Raises:
            TaskError: it is not installed, or cannot be imported; says how to install it.
        """
        try:
            return importlib.import_module(f"{self.package}.{inner}")
        except ImportError as error:
            raise TaskError(
                f"task={self.name!r} ({self.noun}) needs {self.wheel}, but importing "
                f"{self.package}.{inner} failed ({error}). Run: bash tools/setup_env.sh"
            ) from error

    def installed(self) -> bool:
        """Whether the host is there at all; it is not imported."""
        return find_spec(self.package) is not None

    def made(self, thing: Any) -> bool:
        """Whether the class of a model or dataset comes from the host, itself or by inheritance."""
        return any(kind.__module__.split(".")[0] == self.package for kind in type(thing).__mro__)

    def looks_like(self, model: nn.Module) -> bool:
        """Whether a model of unknown origin has this task's parts."""
        return any(hasattr(model, head) for head in self.heads)

    # ----------------------------------------------------------------- models
    def knows(self, kind: str) -> bool:
        """Whether ``kind`` is the type of a model in the host's registry."""
        return kind in getattr(self.host("models"), self.models).module_dict

    def build_model(self, cfg: Any, train_cfg: Any, test_cfg: Any) -> nn.Module:
        """A plain model. ``train_cfg`` and ``test_cfg`` are those beside ``model``, the old style.

        Whatever the host's constructors raise comes through.
        """
        raise NotImplementedError

    def class_heads(self, model: nn.Module) -> Dict[str, int]:
        """``num_classes`` of each head that tells the data's classes apart, by path."""
        return {
            path: int(module.num_classes)  # type: ignore[arg-type]
            for path, module in heads_with_classes(model).items()
            if type(module).__name__.endswith("Head") and path.split(".")[0] != "backbone"
        }

    def class_axis(self, model: nn.Module, path: str) -> Optional[ClassAxis]:
        """The layout of the channels at ``path`` if they are classes; None for all others."""
        return None

    def tap(self, name: str, model: Mapping[str, Any]) -> str:
        """The module path that a method means by ``name`` in a model of this config.

        A method's card names taps that every model of the task has. Where their paths differ by
        model, it gives a word in place of a path, as ``logits`` or ``dense_head``.

        Raises:
            TaskError: the word has no path in this model; says what to give in its place.
        """
        return name

    def leading_tokens(self, model: nn.Module) -> int:
        """How many tokens of a built transformer stand before those of the patches.

        The class token, a distillation token; 0 where there is none, or no transformer.
        """
        return 0

    def maps_from_text(self, model: Mapping[str, Any], module: str) -> Optional[Tuple[int, int]]:
        """(channels, number) of the maps that ``module`` gives, where the config is certain."""
        return None

    def run_head(self, model: nn.Module, name: str) -> Optional[RunHead]:
        """What runs the head ``name`` on a neck's features; None where it cannot be run alone."""
        head = getattr(model, name, None)
        if not isinstance(head, nn.Module) or isinstance(head, nn.ModuleList):
            return None
        needed = [
            name
            for name, parameter in inspect.signature(head.forward).parameters.items()
            if parameter.default is parameter.empty
            and parameter.kind in (parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD)
        ]
        if len(needed) == 1:
            return lambda feats, metas: head(feats)
        if len(needed) == 2 and needed[1] == "img_metas":
            return lambda feats, metas: head(feats, metas)
        return None

    def reach(self, model: Any, module: str, img: Tensor, metas: List[Dict[str, Any]]) -> None:
        """Run as much of a model on an image as can reach ``module``, where parts alone cannot."""
        head = getattr(model, module.split(".")[0])
        takes = inspect.signature(head.forward).parameters
        feats = model.extract_feat(img)
        head(feats, metas) if "img_metas" in takes else head(feats)

    # ----------------------------------------------------------------- whole dense heads
    def check_dense_heads(self, step: Step, key: str) -> None:
        """Dense heads at ``step.paths`` whose rows mean the same boxes and classes in both models.

        Args:
            step: without a batch.
            key: the config key of the entry, for errors.

        Raises:
            ValueError: they do not, or the task has no such heads; says what each is.
        """
        raise TaskError(
            f"{key}: expected detectors with dense heads, got a task ({self.noun}) that has none. "
            "Remove the entry."
        )

    def dense_targets(self, step: Step, student: Any, teacher: Any) -> DenseTargets:
        """What the student's dense head was assigned in each row, beside what both heads gave.

        Args:
            step: of this training step.
            student, teacher: what the heads at ``step.paths`` gave.
        """
        raise NotImplementedError

    # ----------------------------------------------------------------- classifiers
    def mean_classifier(self, model: nn.Module, key: str) -> str:
        """The path of the linear layer that makes logits of the spatial mean of the last map.

        Args:
            model: a bare model in evaluation mode.
            key: the config key of the entry that asks, for errors.

        Raises:
            ValueError: it has none, or the task has no such models; says what there is.
        """
        raise TaskError(
            f"{key}: expected a classifier with a linear layer on the mean of its last map, got a "
            f"task ({self.noun}) that has none. Remove the entry."
        )

    # ----------------------------------------------------------------- teacher and student
    def batch_augmentation(self, model: nn.Module) -> Optional[BatchAugmentation]:
        """What a model does to a whole batch by itself; None: nothing.

        Teacher and student would each do it with other random numbers, and losses would see the
        labels from before.
        """
        return None

    def check_batch_augmentation(self, model: nn.Module, key: str) -> None:
        """Whether a model's head can learn from what its batch augmentation makes.

        Args:
            model: a bare model.
            key: how the config calls it.

        Raises:
            TaskError: it cannot; names the key.
        """

    # ----------------------------------------------------------------- data
    def files(self, dataset: Mapping[str, Any]) -> Iterator[Tuple[str, str]]:
        """(key, path) of every local file and folder that a dataset's config names."""
        root = dataset.get("data_root") or ""
        for name in self.file_keys:
            values = dataset.get(name)
            for value in values if isinstance(values, (list, tuple)) else [values]:
                if isinstance(value, str) and value and "://" not in value:
                    yield name, str(Path(root) / value)

    def check_config(self, cfg: Any) -> None:
        """Refuse what the host would do at a config's top level, and this project does not.

        Raises:
            TaskError: names the key.
        """

    def build_dataset(self, cfg: Any, test_mode: bool) -> Any:
        """A dataset, a wrapper of one, or a list of them in a row."""
        return self.host("datasets").build_dataset(cfg, dict(test_mode=True) if test_mode else None)

    def make_batches(self, dataset: Any) -> None:
        """Change the pipelines of a dataset's config so that several images make a batch."""

    def build_eval_loader(self, dataset: Any, distributed: bool, options: Dict[str, Any]) -> Any:
        """The loader of an evaluation, in the dataset's order."""
        build = self.host("datasets").build_dataloader
        return build(dataset, dist=distributed, shuffle=False, **options)

    def why_useless(self, dataset: Any) -> Optional[str]:
        """Why a dataset's labels are none of its classes: what came, and what to do."""
        return None

    def labels(self, batch: Mapping[str, Any]) -> List[int]:
        """The labels of a batch, or the largest of each image."""
        return []

    def told(self, batch: Mapping[str, Any]) -> str:
        """What a batch holds beside its images, in words."""
        return "no labels"

    def why_empty(self, batch: Mapping[str, Any]) -> Optional[Tuple[str, str]]:
        """(what, remedy) where nothing can be learned from a batch."""
        return None

    # ----------------------------------------------------------------- evaluation
    def eval_hook(self, distributed: bool) -> Any:
        """The class of the evaluation hook."""
        core = self.host("core")
        return core.DistEvalHook if distributed else core.EvalHook

    def test(self, model: Any, loader: Any, distributed: bool) -> Any:
        """The results of all images, in the dataset's order; None but on rank 0."""
        apis = self.host("apis")
        run = apis.multi_gpu_test if distributed else apis.single_gpu_test
        return run(model, loader)

    def can_evaluate(self, dataset: Any) -> bool:
        """Whether a dataset, or a wrapper of one, gives scores."""
        return hasattr(dataset, "evaluate")

    def score_names(self, dataset: str, metric: Any, options: Mapping[str, Any]) -> Tuple[str, ...]:
        """The names of the scores that an evaluation gives, the main one first.

        Args:
            dataset: the type of the dataset, as in a config.
            metric: ``evaluation.metric``.
            options: ``evaluation.metric_options``.

        Returns:
            Nothing where only the evaluation itself can tell.
        """
        return ()

    def why_no_test_sample(self, sample: Any) -> Optional[str]:
        """What a sample of a test pipeline lacks, and what it should be; None if it is right."""
        if isinstance(sample, dict) and isinstance(sample.get("img"), (list, tuple)):
            return None
        return (
            "expected what models are tested on, a list of images by MultiScaleFlipAug and "
            "Collect(keys=['img'])"
        )

    def why_no_metric(self, dataset: Any, options: Dict[str, Any]) -> Optional[str]:
        """What a dataset says of a metric that it does not know: it is asked to evaluate nothing.

        The hosts look at the name first. Whatever else they say of no results at all is no matter
        of the config.
        """
        try:
            dataset.evaluate([], **options)
        except KeyError as error:
            return str(error.args[0]) if "not supported" in str(error) else None
        except Exception:
            return None
        return None

    def why_no_scores(self, model: Any, metrics: Sequence[str]) -> Optional[str]:
        """Why a model cannot have one of these scores."""
        return None

    def scores_left_out(
        self, dataset: Any, prefix: str, found: Mapping[str, Any], options: Mapping[str, Any]
    ) -> List[str]:
        """Scores of 0 that the host leaves out of what one dataset's ``evaluate`` returned."""
        return []

    # ----------------------------------------------------------------- analysis
    def class_names(self, dataset: Any) -> List[str]:
        """What the labels 0, 1, ... of a dataset mean."""
        return [str(name) for name in getattr(dataset, "CLASSES", None) or ()]

    def objects(self, dataset: Any) -> Optional[List[Objects]]:
        """The labelled objects of each image; None where images have none, but pixels or a class.

        Raises:
            TaskError: the dataset does not tell them.
        """
        return None

    def results(self, model: Any, loader: Any) -> Dict[str, np.ndarray]:
        """A model's results on all images as plain arrays, in one process.

        With objects: the detections, as :func:`freekd.tasks.objects.as_arrays` has them. Without:
        region of the image -> (K, K) counts of what is labelled as the row's class and found as
        the column's.
        """
        raise NotImplementedError

    def read_results(self, dataset: Any, path: str) -> Dict[str, np.ndarray]:
        """The same from a file that another program has written.

        Raises:
            TaskError: it is not of this dataset, or the task has no such files.
        """
        raise TaskError(
            f"{path}: results are read from a file for detection only (COCO's results format). "
            f"Give a checkpoint of the {self.model_noun}."
        )

    # ----------------------------------------------------------------- ONNX
    def onnx_arguments(self, checkpoint: str, picture: str) -> List[str]:
        """Arguments of the export tool that differ by task."""
        return [checkpoint]

    def onnx_example(
        self, normalize: Mapping[str, Any], picture: str, shape: Sequence[int]
    ) -> Tuple[Tensor, Any]:
        """A picture as (1, 3, H, W), preprocessed, and its meta."""
        from mmcv.image import imnormalize, imread, imresize

        image = imresize(imread(picture), tuple(shape)[::-1])
        mean, std = (np.array(normalize[key], dtype=np.float32) for key in ("mean", "std"))
        image = imnormalize(image, mean, std, normalize.get("to_rgb", True))
        meta = dict(
            img_shape=(*shape, 3), ori_shape=(*shape, 3), pad_shape=(*shape, 3), filename=picture,
            scale_factor=np.ones(4, dtype=np.float32), flip=False,
        )  # fmt: skip
        return torch.from_numpy(image.transpose(2, 0, 1).copy())[None], meta

    def onnx_agreement(
        self, model: Any, outputs: Sequence[Any], example: Tensor, meta: Any
    ) -> Agreement:
        """onnxruntime's outputs for one image, compared with torch's.

        Raises:
            TaskError: they are not of one kind.
        """
        raise NotImplementedError
