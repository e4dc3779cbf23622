"""Running parts of two models: taps, partial runs, the teacher's share of a step."""
