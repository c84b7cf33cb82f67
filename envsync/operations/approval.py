"""Approval: of a plan as it is now, what a person has seen before and may be carried out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from envsync.errors import StalePlan

if TYPE_CHECKING:
    from envsync.operations.apply import Approve
    from envsync.operations.plan import Planned
    from envsync.planning.plan import EnvironmentPlan

SHORTEST_ID = 8
"""Digits of a plan's id that must be given."""


def only(plan_id: str) -> Approve:
    """Approve the plan with this id, or the start of it, as a whole; StalePlan for any other."""

    def approve(planned: Planned) -> Mapping[str, EnvironmentPlan]:
        now = planned.plan.id
        if not planned.plan.changing:
            return {}  # somebody did it since, or what stands in its way is reported by itself
        if len(plan_id) < SHORTEST_ID or not now.startswith(plan_id.lower()):
            raise StalePlan(
                "the plan is not the one that was reviewed",
                detail=f"Reviewed: {plan_id}. Now it would be {now[:16]}.",
                hint="Review it again:\n    envsync plan",
            )
        return {e.name: e for e in planned.plan.changing}

    return approve
