"""Properties of the machine: CPUs, thread priority, memory of the allocator."""

import ctypes
import math
import os
import sys
import threading
from contextlib import suppress
from pathlib import Path

CGROUP_ROOT = Path("/sys/fs/cgroup")
CGROUP_OF_PROCESS = Path("/proc/self/cgroup")
CPU_INFO = Path("/proc/cpuinfo")
# Instructions for dot products of 8-bit integers, by the kernel's names: AVX512-VNNI, AVX-VNNI, and ARM's.
# Without them ONNX Runtime runs an 8-bit graph more slowly than the float graph.
INT8_FLAGS = frozenset({"avx512_vnni", "avx_vnni", "asimddp"})
# Leaves nearly all of a shared core to serving threads; docs/versions.md has the effect on latency.
NICENESS = 10


def cpus(root: Path = CGROUP_ROOT, of_process: Path = CGROUP_OF_PROCESS) -> int:
    """Return the smaller of the CPUs in this process's affinity and its cgroup's quota, at least 1.

    A fractional quota is rounded up. Sources: cgroups(7), `cpu.max` of cgroup v2, `cpu.cfs_quota_us` and
    `cpu.cfs_period_us` of v1.
    """
    affinity = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quotas = [quota for folder in _folders(root, of_process) if (quota := _quota(folder)) is not None]
    return max(1, math.ceil(min([affinity, *quotas])))


def has_int8_instructions(cpu_info: Path = CPU_INFO) -> bool:
    """Tell whether the CPU has instructions for 8-bit graphs; False if that is unknown."""
    try:
        lines = cpu_info.read_text().splitlines()
    except OSError:  # not Linux
        return False
    features = [line.partition(":")[2] for line in lines if line.startswith(("flags", "Features"))]
    return bool(features) and all(INT8_FLAGS & set(each.split()) for each in features)


def give_way() -> None:
    """Lower the calling thread's priority, irreversibly."""
    if sys.platform == "linux":  # Linux: threads have priorities of their own
        with suppress(OSError):  # not permitted in some sandboxes
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICENESS)


def return_memory() -> None:
    """Return free memory to the system; glibc keeps most memory of a released model."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


def _folders(root: Path, of_process: Path) -> list[Path]:
    """List the folders with the limits of this process's cgroup and its parents.

    In a container, the cgroup's folder is the root of the mount; outside, it is below the root.
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
    """Return the limit of a cgroup in CPUs; None without one."""
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
