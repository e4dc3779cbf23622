"""Does it matter where a student looks in a longer training? The narrow student, 24 epochs for 6.

python tools/study.py configs/studies/scenes_long.py --jobs 2        (docs/evidence_more.md)
"""

_base_ = ["scenes_wide.py"]
name = "scenes_long"
work_dir = "work_dirs/studies/scenes_long"
options = {"_delete_": True, "runner.max_epochs": 24}
