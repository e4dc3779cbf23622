"""The bundled set in SA-1B's layout (tools/make_digits.py --task sam); inputs of 128 pixels."""

from freekd.datasets.sam_steps import evaluation_steps, training_steps

task = "det"
data_help = "Make it: python tools/make_digits.py --task sam"
data_root = "data/digits_sam"
test_set = dict(
    type="SegmentAnythingDataset",
    data_root=data_root,
    ann_file="val.txt",
    pipeline=evaluation_steps(128),
    reference=None,  # the teacher's masks: tools/sam_reference.py
)
data = dict(
    samples_per_gpu=8,
    workers_per_gpu=0,
    train=dict(
        type="SegmentAnythingDataset",
        data_root=data_root,
        ann_file="train.txt",
        pipeline=training_steps(128),
    ),
    val=test_set,
    test=test_set,
)
evaluation = dict(interval=1000, metric="mIoU")  # and always at the end of a run
