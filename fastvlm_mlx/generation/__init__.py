"""Embeddings in, tokens out; no files, no images, no tokenizer."""
