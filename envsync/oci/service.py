"""What an image says to whoever makes a web service of it: ports, routes, and a check of health.

Ports stand where every engine looks for them, routes in labels. Docker's own health check is added
where the environment has a Python to make the request with: no base is sure to have a client.
Sources: https://github.com/opencontainers/image-spec/blob/main/config.md and
https://github.com/moby/docker-image-spec/blob/main/spec.md (Healthcheck)
"""

from __future__ import annotations

from envsync.model.canonical import Json
from envsync.model.spec import InferenceConfig, Route
from envsync.oci.entry import PREFIX

LIVENESS = "io.envsync.liveness"
"""Label: port and path by which a service says that it lives, such as ``5001/healthz``."""
READINESS = "io.envsync.readiness"
"""Label: port and path by which a service says that it can be asked."""
SCORING = "io.envsync.scoring"
"""Label: port and path of the service itself."""

_SECOND = 1_000_000_000
_ASK = "import sys, urllib.request as r; r.urlopen(sys.argv[1], timeout=5)"


def exposed_ports(config: InferenceConfig) -> dict[str, Json]:
    """Return ``ExposedPorts``."""
    routes = (config.liveness_route, config.readiness_route, config.scoring_route)
    return {f"{port}/tcp": {} for port in sorted({route.port for route in routes})}


def route_labels(config: InferenceConfig) -> dict[str, str]:
    """Return the labels that say where the routes are."""
    return {
        LIVENESS: _text(config.liveness_route),
        READINESS: _text(config.readiness_route),
        SCORING: _text(config.scoring_route),
    }


def health_check(config: InferenceConfig) -> dict[str, Json]:
    """Return ``Healthcheck``: the liveness route answers; times are in nanoseconds."""
    route = config.liveness_route
    url = f"http://127.0.0.1:{route.port}{route.path}"
    return {
        "Test": ["CMD", f"{PREFIX}/bin/python", "-c", _ASK, url],
        "Interval": 30 * _SECOND,
        "Timeout": 10 * _SECOND,
        "StartPeriod": 60 * _SECOND,
        "Retries": 3,
    }


def _text(route: Route) -> str:
    return f"{route.port}{route.path}"
