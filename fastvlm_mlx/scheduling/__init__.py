"""The loop: which request gets what the device can do next."""
