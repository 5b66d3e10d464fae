"""Measured claims: each module prints a table whose ratios come from one run. See docs/benchmarks.md."""
