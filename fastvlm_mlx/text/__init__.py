"""Messages to token ids and back; the only package that imports a tokenizer."""
