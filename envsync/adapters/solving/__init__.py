"""Solving: conda requests with rattler, wheels with uv, and what they have to know."""
