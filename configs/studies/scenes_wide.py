"""Does it matter where a student looks if it has the capacity? A student as wide as the teacher.

python tools/study.py configs/studies/scenes_wide.py --jobs 2        (docs/evidence_more.md)
"""

from freekd.study.shorthand import loss_row

name = "scenes_wide"
work_dir = "work_dirs/studies/scenes_wide"
baseline = "uniform"
seeds = [0, 1, 2]
options = {"pair.student": "configs/_base_/models/retinanet_r18w32_scenes.py"}
_pair = "configs/freekd/retinanet_r18w32_r18w8_scenes.py"
_said = dict(loss_weight=1.0, prompts=None, shift=False)
_boxes = dict(where="boxes", box_share=0.5)
_moved = dict(_said, shift=True)
rows = dict(
    alone=dict(config=_pair, student_only=True, label="student alone"),
    uniform=loss_row(_pair, "freekd", "all places alike", **_said),
    boxes_50=loss_row(_pair, "freekd", "oracle: boxes get half of the weight", **_said, **_boxes),
    dct_alike=loss_row(_pair, "freekd", "DCT, all places alike", transform="dct", **_said),
    shift=loss_row(_pair, "freekd", "Haar, moved, all places alike", **_moved),
)
