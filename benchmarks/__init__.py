"""Benchmarks: envsync beside the programs it would replace, as ratios. ``python -m benchmarks``."""
