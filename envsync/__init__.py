"""envsync: git says which conda environments a team has; the registry holds exactly those."""

__version__ = "0.1.0"
