"""What conda's activation does, done when a container starts.

Variables of ``etc/conda/env_vars.d`` become variables of the image. Scripts of
``etc/conda/activate.d`` need a shell, so they are run by a small entry point, which is only there
when an environment has any.
Source: https://docs.conda.io/projects/conda/en/stable/dev-guide/deep-dives/activation.html
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from envsync.errors import InvalidInput
from envsync.model.json_text import read_json
from envsync.oci.entry import PREFIX, ROOT

ENTRY_POINT = f"{PREFIX}/.envsync/entrypoint"
"""The program that runs activation scripts, then what the container was asked to run."""

SETUP = f"{PREFIX}/.envsync/setup"
"""The script that prepares a node, where the spec has one."""
SETUP_LABEL = "io.envsync.setup"
"""Label: where that script is."""

VARIABLES = f"{ROOT}/etc/conda/env_vars.d/"
"""Folder of the files that set variables."""
_SCRIPTS = f"{ROOT}/etc/conda/activate.d/"

# Packages test their activation scripts with bash; under a plainer sh a syntax error in one of them
# would end the container, so bash is preferred where there is one. `exec` makes the program process
# 1, so that it gets the signals.
SCRIPT = f"""\
#!/bin/sh
if [ -z "${{BASH_VERSION:-}}" ] && [ -x "$(command -v bash)" ]; then
    exec bash "$0" "$@"
fi
for envsync_script in {PREFIX}/etc/conda/activate.d/*.sh; do
    [ -r "$envsync_script" ] && . "$envsync_script"
done
unset envsync_script
if [ "$#" -eq 0 ]; then
    set -- /bin/sh
fi
exec "$@"
""".encode()


def setup_file(script: str) -> bytes:
    """Return the file of a setup script; one that does not say what reads it is a shell's."""
    text = script if script.startswith("#!") else f"#!/bin/sh\n{script}"
    return (text if text.endswith("\n") else f"{text}\n").encode()


def has_scripts(paths: Iterable[str]) -> bool:
    """Tell whether a container must run activation scripts, by the paths of its environment."""
    return any(path.startswith(_SCRIPTS) and path.endswith(".sh") for path in paths)


def package_variables(files: Mapping[str, str]) -> dict[str, str]:
    """Return what the files of ``env_vars.d``, path to text, set in the order of their names."""
    found: dict[str, str] = {}
    for path in sorted(files):
        try:
            document = read_json(files[path])
            variables = {str(name): str(value) for name, value in document.items()}
        except (ValueError, AttributeError) as error:
            raise InvalidInput(
                f"/{path} is not a JSON object", detail=f"A package installs it. {error}"
            ) from error
        found |= variables
    if bad := [name for name in found if not name or "=" in name or "\0" in name + found[name]]:
        raise InvalidInput(f"{bad[0]!r} cannot be an environment variable", detail=VARIABLES)
    return found
