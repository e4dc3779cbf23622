"""From a training checkpoint to what users keep: student, prompts, ONNX, a file to publish."""
