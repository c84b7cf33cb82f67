"""Forges: comments on pull requests."""
