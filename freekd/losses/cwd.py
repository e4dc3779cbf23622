"""CWD, MMRazor's own: its card."""

from .card import Bundled, Card

CARD = Card(
    name="cwd",
    title="CWD",
    summary="Each channel as a distribution over its positions, by MMRazor's own loss.",
    kind="ChannelWiseDivergence",
    paper="Channel-wise Knowledge Distillation for Dense Prediction, ICCV 2021, "
    "https://arxiv.org/abs/2011.13256",
    tasks=("det", "seg"),
    taps=dict(det="neck", seg="decode_head.conv_seg"),
    bundled=dict(
        cwd=Bundled(
            "configs/cwd/retinanet_r34_r18_digits.py", "ChannelWiseDivergence (MMRazor)", "CWD"
        )
    ),
)
