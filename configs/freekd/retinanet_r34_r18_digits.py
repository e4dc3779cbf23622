"""Stage 2 on the bundled task: FreeKD on standardised channels, squared difference."""

_base_ = ["../_base_/pairs/retinanet_r34_r18_digits.py"]
pair = dict(
    losses=dict(
        freekd=dict(
            prompts="work_dirs/digits/prompts/prompts.pth",
            align="conv1x1",
            normalize="channel",
            distance="l2",
            loss_weight=2.0,
        )
    )
)
