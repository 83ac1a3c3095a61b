"""What a backbone costs: operations and memory traffic from the shapes, peaks of GPUs, time at a peak."""
