"""Image classification, by mmcls 0.25."""

import re
from typing import Any, Dict, Iterator, List, Mapping, Optional, Sequence, Tuple

import numpy as np
import torch
from torch import Tensor, nn

from freekd.tasks.base import Agreement, BatchAugmentation, RunHead, Task, TaskError
from freekd.tasks.classes import ClassAxis, channels_of, head_of, heads_with_classes
from freekd.tasks.cls_mean import mean_classifier
from freekd.tasks.cls_taps import path_of

PROBABILITY_TOLERANCE = 1e-4
_FETCHED = re.compile(r"^(CIFAR\d+|MNIST|FashionMNIST)$")  # data sets that mmcls downloads itself
_NO_SCORES = ("RepeatDataset", "ClassBalancedDataset")  # their evaluate only raises


class Classification(Task):
    """See :class:`freekd.tasks.base.Task`."""

    name = "cls"
    noun = "classification"
    model_noun = "classifier"
    package = "mmcls"
    wheel = "mmcls"
    models = "CLASSIFIERS"
    architecture = "MMClsArchitecture"
    file_keys = ("data_prefix", "ann_file")
    batches_in_tests = True
    one_size = True
    loaded_by = {"gt_label": "ToTensor(keys=['gt_label'])"}
    heads = ("head",)
    onnx_tool = ".mim/tools/deployment/pytorch2onnx.py"
    main_scores = ("accuracy_top-1", "accuracy")

    def host(self, inner: str) -> Any:
        """With the work-arounds for mmcls."""
        module = super().host(inner)
        if inner == "apis":
            from freekd.compat.mmcls import collect_results_on_cpu

            collect_results_on_cpu(module)
        return module

    def looks_like(self, model: nn.Module) -> bool:
        return hasattr(getattr(model, "head", None), "simple_test")

    # ----------------------------------------------------------------- models
    def knows(self, kind: str) -> bool:
        """mmcls has one registry for all parts, so that ``ResNet`` is in it as well."""
        models = self.host("models")
        found = models.CLASSIFIERS.module_dict.get(kind)
        base = self.host("models.classifiers.base").BaseClassifier
        return isinstance(found, type) and issubclass(found, base)

    def build_model(self, cfg: Any, train_cfg: Any, test_cfg: Any) -> nn.Module:
        if train_cfg is not None and cfg.get("train_cfg") is None:
            cfg = type(cfg)(cfg, train_cfg=train_cfg)
        model: nn.Module = self.host("models").build_classifier(cfg)
        return model

    def class_heads(self, model: nn.Module) -> Dict[str, int]:
        """The head's; the backbone's (VGG, AlexNet, LeNet) where the head has none."""
        found = super().class_heads(model)
        if found:
            return found
        backbones = heads_with_classes(model).items()
        return {path: int(module.num_classes) for path, module in backbones}  # type: ignore

    def class_axis(self, model: nn.Module, path: str) -> Optional[ClassAxis]:
        """Logits: a layer with as many channels as its head has classes."""
        head, module = head_of(model, path), dict(model.named_modules()).get(path)
        if head is None or module is None:
            return None
        # a hidden layer may be as wide as there are classes, a backbone's map too
        last = isinstance(module, nn.Linear) or module is head
        fits = last and channels_of(module) == head.num_classes
        return ClassAxis(int(head.num_classes)) if fits and "pre_logits" not in path else None

    def tap(self, name: str, model: Mapping[str, Any]) -> str:
        """``logits``, ``middle`` or ``last_tokens``, see :mod:`freekd.tasks.cls_taps`.

        >>> Classification().tap("logits", dict(head=dict(type="VisionTransformerClsHead")))
        'head.layers.head'
        """
        return path_of(name, model, self.host)

    def leading_tokens(self, model: nn.Module) -> int:
        backbone: Any = getattr(model, "backbone", None)
        with_them = getattr(backbone, "with_cls_token", True)
        return int(getattr(backbone, "num_extra_tokens", 0)) if with_them else 0

    def run_head(self, model: nn.Module, name: str) -> Optional[RunHead]:
        """mmcls's heads have no forward: their logits come out of ``simple_test``."""
        head: Any = getattr(model, name, None)
        if not hasattr(head, "simple_test"):
            return None
        several = isinstance(head, self.host("models.heads").MultiLabelClsHead)
        raw = {"sigmoid" if several else "softmax": False, "post_process": False}
        return lambda feats, metas: head.simple_test(feats, **raw)

    def reach(self, model: Any, module: str, img: Tensor, metas: Any) -> None:
        model.simple_test(img)

    def mean_classifier(self, model: nn.Module, key: str) -> str:
        return mean_classifier(self, model, key)

    # ----------------------------------------------------------------- teacher and student
    def batch_augmentation(self, model: nn.Module) -> Optional[BatchAugmentation]:
        """Mixup, CutMix and their like; they make soft labels (N, K)."""
        augments: Any = getattr(model, "augments", None)
        if not getattr(augments, "augments", None):
            return None

        def apply(data: Dict[str, Any]) -> Dict[str, Any]:
            images = data["img"].clone()  # CutMix pastes into what it gets
            images, labels = augments(images, data["gt_label"])
            return {**data, "img": images, "gt_label": labels}

        def remove() -> None:
            model.augments = None  # type: ignore[assignment]

        names = [type(one).__name__.replace("Layer", "") for one in augments.augments]
        return BatchAugmentation(", ".join(names), apply, remove)

    def check_batch_augmentation(self, model: nn.Module, key: str) -> None:
        """Of so many classes as the head has, and a head that counts no right answers."""
        augments: Any = getattr(model, "augments", None)
        head: Any = getattr(model, "head", None)
        for one in getattr(augments, "augments", None) or ():
            name, mixed = type(one).__name__.replace("Layer", ""), getattr(one, "num_classes", None)
            ours = getattr(head, "num_classes", mixed)
            if mixed != ours:
                raise TaskError(
                    f"{key}: {name} of train_cfg.augments makes labels of {mixed} classes, the "
                    f"head has {ours}. Give both the same num_classes."
                )
            if getattr(head, "cal_acc", False):
                raise TaskError(
                    f"{key}: expected head.cal_acc=False, as {name} of train_cfg.augments mixes "
                    "the labels, so that none is right alone, got True. Set it to False, or "
                    "train_cfg=dict(augments=None)."
                )

    # ----------------------------------------------------------------- data
    def files(self, dataset: Mapping[str, Any]) -> Iterator[Tuple[str, str]]:
        """mmcls joins nothing, and a list of class names may be a file too."""
        if _FETCHED.match(str(dataset.get("type")).split(".")[-1]):
            return
        yield from super().files({**dataset, "data_root": None})
        if isinstance(dataset.get("classes"), str):
            yield "classes", dataset["classes"]

    def check_config(self, cfg: Any) -> None:
        if cfg.get("sampler") is not None:
            raise TaskError(
                f"sampler: expected None, got {dict(cfg.sampler)}: the order of the images is "
                "chosen so that a run can be resumed exactly. Remove the key (sampler=None)."
            )

    def why_useless(self, dataset: Any) -> Optional[str]:
        """Labels must be numbers of the named classes."""
        names = getattr(dataset, "CLASSES", None)
        if not names or not hasattr(dataset, "get_gt_labels") or not len(dataset):
            return None
        labels = np.asarray(dataset.get_gt_labels())
        if labels.ndim != 1 or (labels.min() >= 0 and labels.max() < len(names)):
            return None
        return (
            f"expected labels from 0 to {len(names) - 1}, as {len(names)} classes are named, got "
            f"{labels.min()} to {labels.max()}. Correct the annotations, or the names."
        )

    def labels(self, batch: Mapping[str, Any]) -> List[int]:
        labels = batch.get("gt_label")
        if labels is None or labels.dim() != 1 or labels.is_floating_point():
            return []
        return [int(label) for label in labels]

    def told(self, batch: Mapping[str, Any]) -> str:
        labels = batch.get("gt_label")
        if labels is None:
            return "no labels"
        different = f", {len(labels.unique())} different" if labels.dim() == 1 else ""
        return f"{len(labels)} labels{different}"

    def build_eval_loader(self, dataset: Any, distributed: bool, options: Dict[str, Any]) -> Any:
        """mmcls pins memory unless it is told otherwise, and torch warns where there is no GPU."""
        options = dict(dict(pin_memory=torch.cuda.is_available()), **options)
        return super().build_eval_loader(dataset, distributed, options)

    # ----------------------------------------------------------------- evaluation
    def can_evaluate(self, dataset: Any) -> bool:
        return super().can_evaluate(dataset) and type(dataset).__name__ not in _NO_SCORES

    def why_no_test_sample(self, sample: Any) -> Optional[str]:
        if isinstance(sample, dict) and torch.is_tensor(sample.get("img")):
            return None
        return (
            "expected what models are tested on, an image by ImageToTensor(keys=['img']) and "
            "Collect(keys=['img'])"
        )

    def score_names(self, dataset: str, metric: Any, options: Mapping[str, Any]) -> Tuple[str, ...]:
        if metric not in (None, "accuracy", ["accuracy"]):
            return ()
        top = options.get("topk", (1, 5))
        return tuple(f"accuracy_top-{k}" for k in top) if isinstance(top, tuple) else ("accuracy",)

    def why_no_metric(self, dataset: Any, options: Dict[str, Any]) -> Optional[str]:
        """mmcls looks at the results first: the dataset is asked about one image, without a clue.

        Then whatever it refuses it would refuse after training as well, as more top classes than
        there are.
        """
        names = getattr(dataset, "CLASSES", None)
        stock = self.host("datasets").BaseDataset.evaluate
        if type(dataset).evaluate is not stock or not names or not len(dataset):
            return None
        try:
            dataset.evaluate([np.zeros((1, len(names)))], indices=[0], **options)
        except Exception as error:
            text = str(error.args[0]) if isinstance(error, KeyError) and error.args else str(error)
            if "out of range" in text:
                text = f"{text} (metric_options.topk: there are {len(names)} classes)"
            return text or type(error).__name__
        return None

    # ----------------------------------------------------------------- analysis
    def results(self, model: Any, loader: Any) -> Dict[str, np.ndarray]:
        """Images, by label and best-scored class."""
        dataset = loader.dataset
        classes = len(getattr(dataset, "CLASSES", None) or ())
        labels = np.asarray(dataset.get_gt_labels() if hasattr(dataset, "get_gt_labels") else [])
        fits = labels.ndim == 1 and len(labels) == len(dataset) > 0 and labels.min() >= 0
        if not fits or labels.max() >= classes:
            raise TaskError(
                f"data.test: expected one data set with named classes and one label of them for "
                f"each image, got a {type(dataset).__name__} without. Give one of that kind."
            )
        scores = np.stack([np.asarray(one) for one in self.test(model, loader, False)])
        if scores.ndim != 2 or scores.shape[1] != classes:
            raise TaskError(
                f"data.test.classes: {classes} are named, the model gives scores of shape "
                f"{scores.shape[1:]} for an image. Correct the names, or num_classes."
            )
        pairs = classes * labels.astype(np.int64) + scores.argmax(axis=1)
        return dict(images=np.bincount(pairs, minlength=classes**2).reshape(classes, classes))

    # ----------------------------------------------------------------- ONNX
    def onnx_arguments(self, checkpoint: str, picture: str) -> List[str]:
        return ["--checkpoint", checkpoint]

    def onnx_agreement(
        self, model: Any, outputs: Sequence[Any], example: Tensor, meta: Any
    ) -> Agreement:
        """Probabilities, class by class."""
        with torch.no_grad():
            ours = np.asarray(model(example, return_loss=False, img_metas=[meta]))[0]
        theirs = np.squeeze(outputs[0])
        if ours.shape != theirs.shape:
            raise TaskError(f"torch gives {ours.shape} scores, onnxruntime {theirs.shape}.")
        apart = np.abs(ours - theirs)
        largest = f" (largest difference of a probability {apart.max():.1e})"
        return Agreement(
            "classes", apart.size, int((apart <= PROBABILITY_TOLERANCE).sum()), largest
        )
