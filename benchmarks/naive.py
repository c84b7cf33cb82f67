"""The naive way: install into a folder, make one layer of it, copy the image to the registry."""

from __future__ import annotations

import shutil

from benchmarks.engine import install_here
from benchmarks.measure import Usage, observed, timed, together
from benchmarks.science import Science
from tests.parts.baseimage import debian_base
from tests.parts.process import tool

COMMAND = (
    "linker.py (py-rattler's install); umoci insert --image layout:latest prefix /opt/env;"
    " skopeo copy oci:layout:latest docker://host/peer/naive:latest"
)


def install_and_copy(science: Science) -> Usage:
    """Install, put the folder on the base as one layer, and push."""
    folder = science.place.folder / "naive"
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(debian_base().layout, folder / "layout")
    environment = science.place.environment
    installed = install_here(science, folder / "prefix")
    words = ["insert", "--image", f"{folder}/layout:latest", folder / "prefix", "/opt/env"]
    layered = timed([tool("umoci"), *map(str, words)], environment=environment)
    source, target = f"oci:{folder}/layout:latest", f"docker://{science.registry.host}/peer/naive"
    copy = [tool("skopeo"), "--insecure-policy", "copy", "--dest-tls-verify=false"]
    pushed = observed(
        science.registry,
        lambda: timed([*copy, source, f"{target}:latest"], environment=environment),
    )
    return together(installed, layered, pushed)
