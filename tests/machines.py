"""Machines, users and runs that differ in everything that must not decide a digest."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

Cache = Literal["cold", "warm", "half", "records only", "segments only", "old files"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """What differs from one machine, user and run to the next."""

    umask: int = 0o022
    zone: str = "UTC"
    hash_seed: str = "0"
    locale: str = "C.UTF-8"
    cwd: str = "."
    cores: int = 2
    cache: Cache = "cold"
    """What a build before this one left: 'half' of it, or files with the times of long ago."""
    order: Literal["as written", "reversed", "shuffled"] = "as written"
    variables: dict[str, str] = field(default_factory=dict)
    options: tuple[str, ...] = ()
    """Of the interpreter."""
    open_files: int = 0
    """Limit of open files; 0 for none."""
    user: int = 0
    """Number of the user that the process takes itself for; 0 for the one that runs the tests."""
    clock: str = ""
    """Moment that the process believes it is; '' for now."""
    folder: str = "build"
    """Name of the folder of layouts and cache."""
    memory: bool = False
    """Whether that is on another file system."""
    archives: Literal["as they are", "touched", "read-only", "through a link"] = "as they are"


MACHINES = {
    "a plain one": Machine(),
    **{f"umask {umask:03o}": Machine(umask=umask) for umask in (0, 0o002, 0o027, 0o077, 0o177)},
    **{f"hash seed {seed}": Machine(hash_seed=seed) for seed in ("1", "77", "random")},
    **{
        f"time zone {zone}": Machine(zone=zone)
        for zone in ("Asia/Tokyo", "America/St_Johns", "Pacific/Kiritimati", "Etc/GMT+12")
    },
    **{
        f"locale {name or 'none'}": Machine(locale=name)
        for name in ("C", "POSIX", "en_US.UTF-8", "")
    },
    **{f"{cores} cores": Machine(cores=cores) for cores in (1, 3, 5, 16)},
    **{f"a cache that is {kind}": Machine(cache=kind) for kind in
       ("warm", "half", "records only", "segments only", "old files")},
    "packages in reverse": Machine(order="reversed"),
    "packages shuffled": Machine(order="shuffled"),
    "packages shuffled, warm, one core": Machine(order="shuffled", cache="warm", cores=1),
    "started in the root folder": Machine(cwd="/"),
    "a long name of its folder": Machine(folder="x" * 120),
    "odd letters in its folder": Machine(folder="ü (1) 'b'"),
    "another file system": Machine(memory=True),
    "another file system, warm": Machine(memory=True, cache="warm"),
    "archives with other times": Machine(archives="touched"),
    "archives that only can be read": Machine(archives="read-only"),
    "archives behind a link": Machine(archives="through a link"),
    "few open files": Machine(open_files=64, cores=5),
    "python -O": Machine(options=("-O",)),
    "python -OO": Machine(options=("-OO",)),
    "python -X dev": Machine(options=("-X", "dev")),
    "python -X utf8=0": Machine(options=("-X", "utf8=0"), locale="C"),
    "python -X utf8=1": Machine(options=("-X", "utf8=1"), locale="C"),
    "python -B": Machine(options=("-B",)),
    "python -u -W error::UserWarning": Machine(options=("-u", "-W", "error::UserWarning")),
    "SOURCE_DATE_EPOCH": Machine(variables={"SOURCE_DATE_EPOCH": "1"}),
    "GZIP and ZSTD_CLEVEL": Machine(variables={"GZIP": "-9", "ZSTD_CLEVEL": "19"}),
    "TMPDIR elsewhere": Machine(variables={"TMPDIR": "/var/tmp"}),
    "LANG and LC_COLLATE": Machine(variables={"LANG": "tr_TR.UTF-8", "LC_COLLATE": "C"}),
    "another language": Machine(variables={"LANGUAGE": "de", "LC_MESSAGES": "de_DE.UTF-8"}),
    "MALLOC_ARENA_MAX": Machine(variables={"MALLOC_ARENA_MAX": "1"}),
    "HOME that is not there": Machine(variables={"HOME": "/nowhere"}),
    "CONDA_PREFIX of somebody": Machine(
        variables={"CONDA_PREFIX": "/opt/conda", "CONDA_OVERRIDE_GLIBC": "2.5", "PATH_": "x"}
    ),
    "another user": Machine(user=65534),
    "another user, private umask": Machine(user=65534, umask=0o077),
    "1999": Machine(clock="1999-12-31 23:59:59"),
    "2037": Machine(clock="2037-06-01 12:00:00", zone="Asia/Kathmandu"),
    "all at once": Machine(
        umask=0o077, zone="Asia/Tokyo", hash_seed="5", locale="C", cwd="/", cores=5, cache="half",
        order="shuffled", options=("-OO",), memory=True, archives="touched",
    ),
}  # fmt: skip
"""By name."""
