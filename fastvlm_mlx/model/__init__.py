"""The network: arrays and a config in, arrays out; no files, no text."""
