"""A small Segment Anything of inputs of 128 pixels: its encoder is 24 wide and 3 blocks deep."""

model = dict(
    type="SegmentAnything",
    arch=dict(
        image_size=128,
        embed_dim=24,
        depth=3,
        num_heads=3,
        global_attn_indexes=[2],
        window_size=4,
        out_chans=64,
        decoder_heads=4,
        decoder_mlp=128,
        iou_hidden=64,
    ),
)
