"""Accuracy on benchmarks: local data in, per-question records and a figure out.

`fastvlm-mlx evaluate` is the way in. lmms-eval reaches the same models by
`lmms_plugin.py`.
"""
