"""Install a list of packages with py-rattler: ``linker.py LIST FOLDER PREFIX CACHE``.

The peers' installer, in an image or beside one. It stands alone: an image has nothing of ours.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from pathlib import Path

from rattler import PackageRecord, RepoDataRecord, install
from rattler.package import BuildString
from rattler.package_cache import PackageCache, ValidationMode


async def main(listed: str, folder: str, prefix: str, cache: str) -> None:
    """Install the packages of the JSON list *listed* into *folder*, to be used at *prefix*."""
    records = [
        RepoDataRecord(
            PackageRecord(
                package["name"],
                package["version"],
                BuildString.new_unchecked(package["build"]),
                0,
                package["subdir"],
                depends=package["depends"],
                sha256=bytes.fromhex(package["sha256"]),
            ),
            package["url"].rpartition("/")[2],
            package["url"],
            package["url"].rsplit("/", 2)[0],
        )
        for package in json.loads(Path(listed).read_text(encoding="utf-8"))
    ]
    await install(
        records,
        folder,
        package_cache=PackageCache.new_layered([Path(cache)], True, ValidationMode.skip()),
        execute_link_scripts=False,
        show_progress=False,
        alternative_target_prefix=prefix,
    )


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
    # py-rattler's threads sometimes crash an interpreter that cleans up under them.
    os._exit(0)
