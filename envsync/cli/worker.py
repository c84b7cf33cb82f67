"""What other processes run of envsync: a job that was sent to them, with their own environment."""

from __future__ import annotations

import os

from envsync.client.elsewhere import Finished, Site, carry_out_at
from envsync.operations.build_job import BuildJob


def work(site: Site, job: BuildJob) -> Finished:
    """Carry a job out with the logins, caches and proxies that this process's environment names."""
    return carry_out_at(site, job, dict(os.environ))
