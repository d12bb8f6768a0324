"""What the benchmarks measure with; none of these modules is a program to start."""
