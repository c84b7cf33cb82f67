"""The order in which rattler links packages: it decides who provides a path that several bring."""

from __future__ import annotations

from collections.abc import Sequence

from rattler import PackageRecord
from rattler.package import BuildString

from envsync.oci.inventory import Inventory


def linking_order(packages: Sequence[Inventory]) -> list[Inventory]:
    """Return conda packages, dependencies before what depends on them."""
    by_name = {one.package.name: one for one in packages}
    records = [
        PackageRecord(
            one.package.name,
            one.package.version,
            BuildString.new_unchecked(one.package.build),
            0,
            one.package.subdir,
            depends=list(one.depends),
            sha256=bytes.fromhex(one.package.sha256),
        )
        for one in packages
    ]
    return [by_name[record.name.source] for record in PackageRecord.sort_topologically(records)]
