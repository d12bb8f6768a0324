"""The embedded model: what it learns from, its training, and how it is measured."""
