"""What the work will cost: memory, operations, time."""
