"""Image encoders that FastViTHD is compared with, in MLX and in their true geometry.

They are there to be timed: their weights are random. Each is checked against timm for
shapes, parameter count and, at narrow sizes, numbers (tests/parity/test_encoders.py).
"""
