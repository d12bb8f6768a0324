"""What is remembered between requests, in memory and on disk."""
