"""The machine that the process runs on: its CPUs, a thread's priority, the allocator's memory."""

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
# Instructions that add products of 8-bit integers, as the kernel names them: AVX512-VNNI, AVX-VNNI, and ARM's
# dot product. Without them ONNX Runtime computes an 8-bit graph slower than the float one.
INT8_FLAGS = frozenset({"avx512_vnni", "avx_vnni", "asimddp"})
# Nice enough that a core that serves is hardly shared: docs/versions.md has the effect on latency.
NICENESS = 10


def cpus(root: Path = CGROUP_ROOT, of_process: Path = CGROUP_OF_PROCESS) -> int:
    """Return the smaller of the CPUs in this process's affinity and its cgroup's quota, at least 1.

    A quota that is not whole counts as the next whole CPU. Sources: cgroups(7), `cpu.max` of cgroup v2,
    `cpu.cfs_quota_us` and `cpu.cfs_period_us` of v1.
    """
    affinity = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quotas = [quota for folder in _folders(root, of_process) if (quota := _quota(folder)) is not None]
    return max(1, math.ceil(min([affinity, *quotas])))


def has_int8_instructions(cpu_info: Path = CPU_INFO) -> bool:
    """Tell whether the CPU has instructions for 8-bit graphs; False where the system does not say."""
    try:
        lines = cpu_info.read_text().splitlines()
    except OSError:  # not Linux
        return False
    features = [line.partition(":")[2] for line in lines if line.startswith(("flags", "Features"))]
    return bool(features) and all(INT8_FLAGS & set(each.split()) for each in features)


def give_way() -> None:
    """Lower the calling thread's priority below every other's; it cannot be raised again."""
    if sys.platform == "linux":  # where a thread has a priority of its own
        with suppress(OSError):  # a sandbox without priorities
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICENESS)


def return_memory() -> None:
    """Return free memory of the allocator to the system; glibc would keep most of a released model's."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


def _folders(root: Path, of_process: Path) -> list[Path]:
    """List the folders that may hold the limits of this process's cgroup and its parents.

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
