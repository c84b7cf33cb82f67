"""What is in an environment, as a software bill of materials: CycloneDX 1.6 JSON.

It has no clock and no random number, so that one lock has one bill.
Source: https://cyclonedx.org/docs/1.6/json/
"""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import quote, unquote

from envsync.model.canonical import Json
from envsync.model.lock import Lock, LockedPackage
from envsync.model.spec import SCRATCH

MEDIA_TYPE = "application/vnd.cyclonedx+json"


def bill_of_materials(name: str, lock: Lock, platform: str) -> Json:
    """Return the bill of environment *name* on one of the platforms of its lock."""
    packages = lock.packages.get(platform, ())
    refs = {package.name: _ref(package) for package in packages}
    components: list[Json] = [_component(package, lock.image.licenses) for package in packages]
    if (base := _base(lock, platform)) is not None:
        components.insert(0, base)
    return {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {
            "component": {"type": "container", "bom-ref": "environment", "name": name},
            "properties": [{"name": "envsync:platform", "value": platform}],
        },
        "components": components,
        "dependencies": [
            {"ref": "environment", "dependsOn": sorted(refs.values())},
            *(
                {
                    "ref": _ref(package),
                    "dependsOn": sorted({refs[need] for need in package.depends if need in refs}),
                }
                for package in packages
            ),
        ],
    }


def purl(package: LockedPackage) -> str:
    """Return a package's URL, such as ``pkg:conda/numpy@2.1.0?build=py311h1_0&…``.

    Source: https://github.com/package-url/purl-spec/blob/main/PURL-TYPES.rst
    """
    kind = "conda" if package.manager == "conda" else "pypi"
    version = quote(package.version, safe=".-_~")
    head = f"pkg:{kind}/{quote(package.name, safe='.-_~')}@{version}"
    if package.manager == "pip":
        return f"{head}?file_name={_qualifier(unquote(package.file_name))}"
    qualifiers = {
        "build": package.build,
        "channel": package.channel.rstrip("/").rpartition("/")[2],
        "subdir": package.subdir,
        "type": "conda" if package.file_name.endswith(".conda") else "tar.bz2",
    }
    return f"{head}?" + "&".join(f"{k}={_qualifier(v)}" for k, v in qualifiers.items() if v)


def _ref(package: LockedPackage) -> str:
    # Short, as it stands once for each package that needs this one.
    return f"{package.manager}:{package.name}"


def _component(package: LockedPackage, licenses: Mapping[str, str]) -> Json:
    found: dict[str, Json] = {
        "type": "library",
        "bom-ref": _ref(package),
        "name": package.name,
        "version": package.version,
        "purl": purl(package),
        "hashes": [{"alg": "SHA-256", "content": package.sha256}],
    }
    if text := licenses.get(package.file_name):
        # As the channel writes it: not always an identifier of SPDX.
        found["licenses"] = [{"license": {"name": text}}]
    if "://" in package.url:
        found["externalReferences"] = [{"type": "distribution", "url": package.url}]
    return found


def _base(lock: Lock, platform: str) -> Json:
    found = lock.image.platforms.get(platform)
    if found is None or not found.digest or lock.image.image == SCRATCH:
        return None
    return {
        "type": "container",
        "bom-ref": "base-image",
        "name": lock.image.location,
        "version": found.digest,
        "hashes": [{"alg": "SHA-256", "content": found.digest.removeprefix("sha256:")}],
    }


def _qualifier(text: str) -> str:
    return quote(text, safe=".-_~")
