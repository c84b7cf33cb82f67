"""Interfaces to the outside, small on purpose; adapters implement them."""
