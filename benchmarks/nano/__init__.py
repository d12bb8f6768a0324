"""The nano FastVLM: a small model trained from scratch on easy-vqa, in train form."""
