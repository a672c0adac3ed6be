"""CPUs of a container, and their instructions."""

import os
from pathlib import Path

import pytest

from server import machine


@pytest.fixture(autouse=True)
def eight_cpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)))


def cgroup(tmp_path: Path, line: str) -> Path:
    (tmp_path / "cgroup").write_text(line + "\n")
    return tmp_path / "cgroup"


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("max 100000", 8),
        ("200000 100000", 2),
        ("150000 100000", 2),
        ("50000 100000", 1),
        ("1600000 100000", 8),
    ],
)
def test_cgroup_v2_quota_bounds_the_affinity(tmp_path: Path, content: str, expected: int) -> None:
    (tmp_path / "cpu.max").write_text(content + "\n")
    assert machine.cpus(tmp_path, cgroup(tmp_path, "0::/")) == expected


def test_the_quota_of_a_parent_counts(tmp_path: Path) -> None:
    (tmp_path / "pod" / "container").mkdir(parents=True)
    (tmp_path / "pod" / "cpu.max").write_text("300000 100000\n")
    (tmp_path / "pod" / "container" / "cpu.max").write_text("max 100000\n")
    assert machine.cpus(tmp_path, cgroup(tmp_path, "0::/pod/container")) == 3


@pytest.mark.parametrize(("quota", "expected"), [("-1", 8), ("400000", 4)])
def test_cgroup_v1_quota_bounds_the_affinity(tmp_path: Path, quota: str, expected: int) -> None:
    folder = tmp_path / "cpu,cpuacct" / "docker"
    folder.mkdir(parents=True)
    (folder / "cpu.cfs_quota_us").write_text(quota + "\n")
    (folder / "cpu.cfs_period_us").write_text("100000\n")
    (tmp_path / "cgroup").write_text("7:memory:/docker\n4:cpu,cpuacct:/docker\n")
    assert machine.cpus(tmp_path, tmp_path / "cgroup") == expected


def test_without_cgroups_the_affinity_counts(tmp_path: Path) -> None:
    assert machine.cpus(tmp_path, tmp_path / "missing") == 8


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("flags\t\t: fpu avx512f avx512_vnni", True),
        ("flags\t\t: fpu avx2 avx_vnni", True),
        ("Features\t: fp asimd asimddp", True),
        ("flags\t\t: fpu avx2 avx512f", False),
        ("flags: avx_vnni\nflags: avx2", False),  # one core without them
        ("model name\t: avx_vnni", False),
    ],
)
def test_int8_instructions_are_those_that_every_core_has(
    tmp_path: Path, content: str, expected: bool
) -> None:
    (tmp_path / "cpuinfo").write_text(content + "\n")
    assert machine.has_int8_instructions(tmp_path / "cpuinfo") == expected


def test_system_that_does_not_describe_its_cpus_has_no_int8_instructions(tmp_path: Path) -> None:
    assert not machine.has_int8_instructions(tmp_path / "missing")
