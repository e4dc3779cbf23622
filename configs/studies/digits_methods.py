"""Every method on the bundled task: the same student, three seeds, against the student alone.

The rows come from the methods' cards, so that a method of your own is one of them.
"""

from freekd.study.rows import study_rows

name = "digits_methods"
work_dir = "work_dirs/studies/digits_methods"
baseline = "baseline"
seeds = [0, 1, 2]
rows = study_rows()
