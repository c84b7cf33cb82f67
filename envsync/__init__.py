"""envsync: git says which conda environments a team has; the registry holds exactly those.

What programs need stands here and is imported when it is first used::

    import os, envsync

    with envsync.Client("team", environ=os.environ) as client:
        client.environments.create_or_update(
            envsync.Environment(name="train", image="scratch", conda_file="conda.yaml")
        )
        plan = client.plan()
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from envsync.client.conda_dependencies import CondaDependencies
    from envsync.client.environment import Environment, Made
    from envsync.client.repository import Client
    from envsync.errors import (
        Conflict,
        EnvsyncError,
        Fault,
        InvalidInput,
        LockStale,
        Misuse,
        NotAllowed,
        PolicyRefused,
        Position,
        StalePlan,
        Unavailable,
        Unsatisfiable,
    )
    from envsync.model.spec import BuildContext, InferenceConfig, Route, Settings
    from envsync.operations.outcome import Outcome
    from envsync.planning.plan import Plan

__version__ = "0.1.0"

__all__ = [
    "BuildContext",
    "Client",
    "CondaDependencies",
    "Conflict",
    "Environment",
    "EnvsyncError",
    "Fault",
    "InferenceConfig",
    "InvalidInput",
    "LockStale",
    "Made",
    "Misuse",
    "NotAllowed",
    "Outcome",
    "Plan",
    "PolicyRefused",
    "Position",
    "Route",
    "Settings",
    "StalePlan",
    "Unavailable",
    "Unsatisfiable",
    "__version__",
]

_PLACES = {
    "BuildContext": "model.spec",
    "Client": "client.repository",
    "CondaDependencies": "client.conda_dependencies",
    "Environment": "client.environment",
    "InferenceConfig": "model.spec",
    "Made": "client.environment",
    "Outcome": "operations.outcome",
    "Plan": "planning.plan",
    "Route": "model.spec",
    "Settings": "model.spec",
}
"""Module of each name that is not an error; importing them all would take a second."""


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'envsync' has no attribute {name!r}")
    value = getattr(import_module(f"envsync.{_PLACES.get(name, 'errors')}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
