"""The plan as a JSON document; its schema is ``plan.schema.json`` beside this module.

``format_version`` grows in its second part when something is added, in its first when something
that was there changes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from envsync.model.canonical import Json
from envsync.planning.checks import checks_of
from envsync.planning.flags import flags_of
from envsync.planning.plan import EnvironmentPlan, Plan

if TYPE_CHECKING:
    from envsync.model.package_changes import PackageChange, PackageState

FORMAT_VERSION = "1.2"


def plan_document(plan: Plan) -> dict[str, Json]:
    """Return the plan as the values of a JSON document."""
    return {
        "format_version": FORMAT_VERSION,
        "plan_id": plan.id,
        "commit": plan.commit,
        "registry": plan.registry,
        "changes": len(plan.changing),
        "environments": [
            _environment(environment, compared=plan.base is not None)
            for environment in plan.environments
        ],
        "removed": list(plan.removed),
        "uncommitted": list(plan.uncommitted),
        "policy": {"from": plan.policy_from, "changed": plan.policy_changed},
        "base": None
        if plan.base is None
        else {"ref": plan.base.ref, "commit": plan.base.commit, "fork": plan.base.fork},
    }


def _environment(plan: EnvironmentPlan, *, compared: bool) -> dict[str, Json]:
    effort: Json = None
    if plan.effort is not None:
        effort = {
            "bytes_to_push": plan.effort.bytes_to_push,
            "layers_to_push": plan.effort.layers_to_push,
            "layers": plan.effort.layers,
        }
    return {
        "name": plan.name,
        "id": plan.id,
        "state": plan.state,
        "reasons": [{"code": reason.code, "text": reason.text} for reason in plan.reasons],
        "actions": [{"verb": action.verb, "target": action.target} for action in plan.actions],
        "before": {"version": plan.before_version, "definition": plan.before_definition},
        "after": {"version": plan.after_version, "definition": plan.definition},
        "digest": plan.digest,
        "copy_from": plan.copy_from,
        "platforms": list(plan.platforms),
        "packages": [change_document(change) for change in plan.changes],
        "effort": effort,
        "hint": plan.hint,
        "notices": [{"code": notice.code, "text": notice.text} for notice in plan.notices],
        "checks": [
            {"name": check.name, "verdict": check.verdict, "text": check.text}
            for check in checks_of(plan)
        ],
        "flags": [
            {"code": flag.code, "packages": list(flag.packages), "text": flag.text}
            for flag in flags_of(plan, compared=compared)
        ],
    }


def change_document(change: PackageChange) -> dict[str, Json]:
    """Return one package's change as JSON values."""
    asked: dict[str, Json] = {"before": change.asked_before, "after": change.asked_after}
    return {
        "name": change.name,
        "manager": change.manager,
        "class": change.change,
        "direct": change.direct,
        "why": list(change.why),
        "before_version": change.before_version,
        "after_version": change.after_version,
        "channel_changed": change.channel_changed,
        "platforms": [
            {
                "platform": detail.platform,
                "before": _state(detail.before),
                "after": _state(detail.after),
            }
            for detail in change.details
        ],
        # Who has not read the specs cannot say.
        **({"asked": asked} if any(asked.values()) else {}),
    }


def _state(state: PackageState | None) -> Json:
    if state is None:
        return None
    return {
        "version": state.version,
        "build": state.build,
        "channel": state.channel,
        "sha256": state.sha256,
    }
