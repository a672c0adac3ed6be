"""How many CPUs this process may use: the container's quota and affinity, not the host's cores."""

import math
import os
from pathlib import Path

CGROUP_ROOT = Path("/sys/fs/cgroup")
CGROUP_OF_PROCESS = Path("/proc/self/cgroup")


def available(root: Path = CGROUP_ROOT, of_process: Path = CGROUP_OF_PROCESS) -> int:
    """Return the smaller of the CPUs in this process's affinity and its cgroup's quota, at least 1.

    A quota that is not whole counts as the next whole CPU. Sources: cgroups(7), `cpu.max` of cgroup v2,
    `cpu.cfs_quota_us` and `cpu.cfs_period_us` of v1.
    """
    cpus = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quotas = [quota for folder in _folders(root, of_process) if (quota := _quota(folder)) is not None]
    return max(1, math.ceil(min([cpus, *quotas])))


def _folders(root: Path, of_process: Path) -> list[Path]:
    """List where this process's cgroup and its parents may keep their limits.

    Inside a container the cgroup's own folder is the root of the mount; outside, it lies below.
    """
    try:
        lines = of_process.read_text().splitlines()
    except OSError:  # not Linux
        return []
    folders = []
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers and "cpu" not in controllers.split(","):
            continue
        mount = root / controllers if controllers else root
        folder = mount / path.lstrip("/")
        folders += [each for each in (folder, *folder.parents) if each.is_relative_to(mount)]
    return folders


def _quota(folder: Path) -> float | None:
    """Return the limit of one cgroup in CPUs; None where it has none."""
    try:
        if (v2 := folder / "cpu.max").exists():
            quota, period = v2.read_text().split()
        elif (v1 := folder / "cpu.cfs_quota_us").exists():
            quota, period = v1.read_text().strip(), (folder / "cpu.cfs_period_us").read_text()
        else:
            return None
    except OSError:
        return None
    return None if quota in {"max", "-1"} else int(quota) / int(period)
