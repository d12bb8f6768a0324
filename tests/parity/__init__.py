"""Comparison with the PyTorch implementations, on random weights (marker `parity`)."""
