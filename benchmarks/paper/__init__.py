"""The paper's comparison of whole methods, on this machine: python -m benchmarks.paper.

FastVLM (arXiv 2412.13303) is compared with other vision language models by time to
first token. Here every method is built from its parts with random weights and timed.
"""
