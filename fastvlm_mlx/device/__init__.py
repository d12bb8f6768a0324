"""The machine underneath: backend, BLAS, malloc, memory."""
