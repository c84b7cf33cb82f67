"""Real registries, engines, channels and git remotes for tests, demo and benchmarks."""
