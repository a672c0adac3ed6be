import hashlib
import json
import os
import random
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.runs import make_run
from trainer.repository.publish import Destination, publish
from trainer.repository.versions import versions
from trainer.run import Run

pytestmark = pytest.mark.slow

KILLS = 20

PUBLISH_FOR_EVER = """
import sys
from pathlib import Path
from trainer.repository.publish import Destination, publish
from trainer.run import Run
run, to = Run(Path(sys.argv[1])), Destination(repository=Path(sys.argv[2]), label="stable")
print("ready", flush=True)
while True:
    print(publish(run, to).name, flush=True)
"""


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return make_run(tmp_path / "run", model=os.urandom(300_000))


def verify(folder: Path) -> None:
    """Killed publishers leave complete versions and a valid label."""
    for version in versions(folder):
        manifest = json.loads((folder / str(version) / "manifest.json").read_text())
        assert manifest["version"] == version
        for name, facts in manifest["files"].items():
            content = (folder / str(version) / name).read_bytes()
            assert facts == {"sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}
    if (folder / "labels.json").exists():
        assert json.loads((folder / "labels.json").read_text())["stable"] in versions(folder)


def test_publisher_killed_at_any_moment_leaves_a_readable_repository(run: Run, tmp_path: Path) -> None:
    repository = tmp_path / "repository"
    rng = random.Random(1)  # moments, not secrets
    announced: list[int] = []
    for _ in range(KILLS):
        process = subprocess.Popen(
            [sys.executable, "-c", PUBLISH_FOR_EVER, str(run.folder), str(repository)],
            stdout=subprocess.PIPE,
            text=True,
        )
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        # A random moment: after this many versions, and within the next.
        lines = [process.stdout.readline() for _ in range(rng.randrange(3))]
        for _ in range(rng.randrange(20_000)):
            pass
        process.send_signal(signal.SIGKILL)
        rest, _ = process.communicate()
        announced += [int(line) for line in (*lines, *rest.splitlines())]
        verify(repository / "digits")
    assert len(announced) == len(set(announced))
    assert set(announced) <= set(versions(repository / "digits"))

    last = publish(run, Destination(repository=repository))
    assert int(last.name) > max(announced)
    assert [entry for entry in last.parent.iterdir() if entry.name.startswith(".publishing")] == []
