"""Virtual packages: what a solver may assume of the machines that will run an environment.

The defaults are those of conda-lock, so that the same spec locks to the same packages with both,
with two differences: ``__glibc`` is the base image's own where there is one, and ``__cuda`` is
assumed only when the spec says so, because an image cannot promise a graphics card.
Source: https://github.com/conda/conda-lock/blob/main/conda_lock/default-virtual-packages.yaml
"""

from __future__ import annotations

from collections.abc import Mapping

DEFAULT_GLIBC = "2.28"
"""For environments without a base image: conda-lock's default, and that of manylinux_2_28."""

DEFAULT_OSX = "11.0"

_UNIX = {"__unix": "0"}
_DEFAULTS: dict[str, dict[str, str]] = {
    "linux-64": {**_UNIX, "__linux": "5.10", "__archspec": "1 x86_64"},
    "linux-aarch64": {**_UNIX, "__linux": "5.10", "__archspec": "1 aarch64"},
    "osx-64": {**_UNIX, "__osx": DEFAULT_OSX, "__archspec": "1 x86_64"},
    "osx-arm64": {**_UNIX, "__osx": DEFAULT_OSX, "__archspec": "1 arm64"},
    "win-64": {"__win": "0", "__archspec": "1 x86_64"},
}


def virtual_packages(
    platform: str, *, glibc: str | None, spec: Mapping[str, str]
) -> dict[str, str]:
    """Return name to version of all virtual packages of *platform*, sorted by name.

    *glibc* is the version in the base image: '' when the base has none (musl), None when there is
    no base. A value may carry a build after a space (``1 x86_64_v3``). The spec's own entries win;
    one with an empty value takes the package away.
    """
    found = dict(_DEFAULTS[platform])
    if platform.startswith("linux-"):
        found["__glibc"] = DEFAULT_GLIBC if glibc is None else glibc
    found.update(spec)
    return {name: found[name] for name in sorted(found) if found[name]}
