"""Words for taps of mmcls's models, whose paths differ by family."""

from typing import Any, Callable, Dict, Mapping

from freekd.tasks.base import TaskError

# the penultimate stage: all four-stage networks whose stages are layer1 to layer4
_STAGES_OF_FOUR = (
    "ResNet", "ResNetV1c", "ResNetV1d", "ResNet_CIFAR", "ResNeXt", "SEResNet", "SEResNeXt",
    "Res2Net", "ResNeSt", "RegNet",
)  # fmt: skip
_MIDDLE: Dict[str, str] = {
    **dict.fromkeys(_STAGES_OF_FOUR, "backbone.layer3"),
    "MobileNetV2": "backbone.layer7",  # before the last 1x1 convolution
    "ShuffleNetV2": "backbone.layers.2",  # likewise
    "ConvNeXt": "backbone.stages.2",
}
_TRANSFORMERS = ("VisionTransformer", "DistilledVisionTransformer")
_SWIN = ("SwinTransformer",)
_OF_ONE_WIDTH = (*_TRANSFORMERS, "MlpMixer")
_LATE = ("three_quarters", "final")
_STAGES = ("stage1", "stage2", "stage3", "stage4")
_HEADS = {"VisionTransformerClsHead": "head.layers.head", "DeiTClsHead": "head.layers.head"}


def path_of(word: str, model: Mapping[str, Any], host: Callable[[str], Any]) -> str:
    """The path that a word stands for in a model of this config; another word is its own path.

    ``logits``: the classifier layer. ``middle``: the penultimate stage of the backbone; in a Swin
    transformer its last block, as the stage itself goes on to the next one's size; in a plain
    vision transformer block L / 2. ``last_tokens``: the last block's tokens after the final norm.
    ``stage1`` to ``stage4``: the backbone's four stages, before any norm of what comes out; of a
    transformer or mixer of one width, L blocks, those after L / 6, L / 3, 5 L / 6 and L blocks.
    ``three_quarters`` and ``final``: stages 3 and 4 likewise, but of one width those after 3 L / 4
    and L blocks, and ``final`` after the last norm, as a Swin transformer's, too.

    Args:
        word: of a card, or a path.
        model: the config of a classifier.
        host: gives a module of mmcls by name.

    Raises:
        TaskError: the family of the model has no such tap; names the key and an example.
    """
    if word == "logits":
        return _logits(model.get("head") or {})
    backbone = model.get("backbone") or {}
    kind = _kind(backbone)
    if word == "middle":
        if kind in _TRANSFORMERS:
            return f"backbone.layers.{max(1, _layers(backbone, host) // 2) - 1}"
        if kind in _SWIN:
            return f"backbone.stages.2.blocks.{_depths(backbone, host)[2] - 1}"
        if kind in _MIDDLE:
            return _MIDDLE[kind]
        raise TaskError(
            f"module: there is no default for the tap 'middle' of a {kind or 'model'}: the output "
            "of the backbone's penultimate stage. Give all taps, such as module=dict("
            "logits='head.fc', middle='backbone.layer3')."
        )
    if word in _STAGES:
        return _stage(_STAGES.index(word), backbone, host)
    if word in _LATE:
        return _late(word, backbone, host)
    if word == "last_tokens":
        if kind not in _TRANSFORMERS:
            raise TaskError(
                f"module: there is no default for the tokens of the last block of a "
                f"{kind or 'model'}, only of {' and '.join(_TRANSFORMERS)}. Give all taps, such as "
                "module=dict(first='backbone.layers.0', second='backbone.layers.1', "
                "last='backbone.ln1')."
            )
        if backbone.get("final_norm", True):
            return "backbone.ln1"
        return f"backbone.layers.{_layers(backbone, host) - 1}"
    return word


def _stage(
    number: int,
    backbone: Mapping[str, Any],
    host: Callable[[str], Any],
    example: str = "student=dict(logits='head.fc', stage1='backbone.layer1', ...), "
    "teacher=dict(logits='head.fc', stage1='head.fc', ...)",
) -> str:
    kind = _kind(backbone)
    if kind in _STAGES_OF_FOUR:
        return f"backbone.layer{number + 1}"
    if kind == "MobileNetV2":  # 24, 32, 96 and 1280 channels at strides 4, 8, 16 and 32
        return f"backbone.{('layer2', 'layer3', 'layer5', 'conv2')[number]}"
    if kind == "ConvNeXt":
        return f"backbone.stages.{number}"
    if kind in _SWIN:
        return f"backbone.stages.{number}.blocks.{_depths(backbone, host)[number] - 1}"
    if kind in _OF_ONE_WIDTH:
        after = _layers(backbone, host) * (2, 4, 10, 12)[number] // 12
        return f"backbone.layers.{max(1, after) - 1}"
    raise TaskError(
        f"module: there is no default for the four stages of a {kind or 'model'}. Give all taps, "
        f"such as module=dict({example})."
    )


def _late(word: str, backbone: Mapping[str, Any], host: Callable[[str], Any]) -> str:
    kind = _kind(backbone)
    if word == "three_quarters" and kind in _OF_ONE_WIDTH:
        return f"backbone.layers.{max(1, _layers(backbone, host) * 3 // 4) - 1}"
    if word == "final" and kind in _SWIN:
        return "backbone"
    if word == "final" and kind in _OF_ONE_WIDTH and backbone.get("final_norm", True):
        return "backbone.ln1"
    example = (
        "student=dict(s3='backbone.layer3', s4='backbone.layer4'), teacher=dict(s3=..., s4=...)"
    )
    return _stage(_LATE.index(word) + 2, backbone, host, example)


def _kind(cfg: Mapping[str, Any]) -> str:
    return str(cfg.get("type", "")).split(".")[-1]


def _logits(head: Mapping[str, Any]) -> str:
    if _kind(head) == "StackedLinearClsHead":
        return f"head.layers.{len(head.get('mid_channels') or ())}.fc"
    return _HEADS.get(_kind(head), "head.fc")


def _arch(backbone: Mapping[str, Any], host: Callable[[str], Any]) -> Mapping[str, Any]:
    """What ``arch`` stands for: a name of the class's own list, or the settings themselves."""
    taken = host("models").BACKBONES.get(_kind(backbone))
    usual = "deit-base" if "Distilled" in _kind(backbone) else "base"
    arch = backbone.get("arch", "tiny" if _kind(backbone) in _SWIN else usual)
    if isinstance(arch, Mapping):
        return arch
    known: Mapping[str, Any] = taken.arch_zoo
    if not isinstance(arch, str) or arch.lower() not in known:
        raise TaskError(
            f"backbone.arch: expected a name that {_kind(backbone)} knows ("
            f"{', '.join(known)}), or a dict, got {arch!r}."
        )
    found: Mapping[str, Any] = known[arch.lower()]
    return found


def _layers(backbone: Mapping[str, Any], host: Callable[[str], Any]) -> int:
    return int(_arch(backbone, host)["num_layers"])


def _depths(backbone: Mapping[str, Any], host: Callable[[str], Any]) -> Any:
    return _arch(backbone, host)["depths"]
