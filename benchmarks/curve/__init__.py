"""One model's accuracy by resolution and latency: python -m benchmarks.curve."""
