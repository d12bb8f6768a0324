"""Image files to pixels to embeddings; the only package that imports PIL."""
