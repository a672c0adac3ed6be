import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from clients.cli import app, main
from clients.testing import FakeServer
from protos.digits.v1 import prediction_pb2
from tests.unit.clients.conftest import Digits, started

Captured = pytest.CaptureFixture[str]


@pytest.fixture
def images(
    tmp_path: Path, idx_file: Callable[..., Path], digit_images: Digits, monkeypatch: pytest.MonkeyPatch
) -> Path:
    """A file of 3,000 images in the current folder."""
    monkeypatch.chdir(tmp_path)
    return idx_file(digit_images(3000).reshape(-1, 28, 28), "images")


@pytest.mark.usefixtures("images")
@pytest.mark.parametrize(
    ("arguments", "code", "complaint"),
    [
        (
            ["predict", "images", "-s", "127.0.0.1:1"],
            1,
            "no server answers at 127.0.0.1:1 (connection refused); is digit-server running there?",
        ),
        (["predict"], 2, "no files given"),
        (["predict", "images", "--output", "xml"], 2, "xml"),
        (["predict", "images", "--count", "0"], 2, "--count"),
        (["predict", "images", "--outptu", "json"], 2, "unknown option or file: --outptu"),
        (["predikt"], 2, "predikt"),
    ],
)
def test_mistake_is_one_line_and_an_exit_code(
    arguments: list[str], code: int, complaint: str, capsys: Captured
) -> None:
    assert main(arguments) == code
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("digit-client: ")
    assert err.count("\n") == 1
    assert complaint in err


def test_plot_without_matplotlib_names_the_extra(fake: FakeServer) -> None:
    script = (
        "import sys; sys.modules['matplotlib'] = None; "  # as if it were not installed
        f"from clients.cli import main; sys.exit(main(['load', '--plot', 'x.png', '-s', '{fake.address}']))"
    )
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert ended.returncode == 1
    assert (
        ended.stderr
        == "digit-client: matplotlib is not installed; in the repository: pip install '.[plot]'\n"
    )


@pytest.mark.parametrize(
    "command", [[], *([name] for name in app if not name.startswith("-")), ["load", "compare"]]
)
def test_every_help_has_two_examples(capsys: Captured, command: list[str]) -> None:
    assert main([*command, "--help"]) == 0
    _, _, examples = capsys.readouterr().out.partition("Examples:")
    wanted = 0 if command == ["--install-completion"] else 2
    assert examples.count("\n  digit-client ") == wanted


def test_reader_that_has_seen_enough_is_no_error(fake: FakeServer, images: Path) -> None:
    with started("predict", str(images), "-s", fake.address) as process:
        assert process.stdout is not None
        process.stdout.readline()
        process.stdout.close()
        assert process.stderr is not None
        assert process.stderr.read() == ""
    assert process.returncode == 0


def test_ctrl_c_ends_quietly_with_130(fake: FakeServer, images: Path) -> None:
    reached, release = threading.Event(), threading.Event()

    def answer(_: prediction_pb2.PredictRequest) -> prediction_pb2.PredictResponse:
        reached.set()
        release.wait()
        return prediction_pb2.PredictResponse()

    fake.answer = answer
    with started("predict", str(images), "-s", fake.address) as process:
        assert reached.wait(30)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=30)
    release.set()
    assert (process.returncode, err) == (130, "")


def test_help_imports_neither_grpc_nor_numpy() -> None:
    code = (
        "import sys; from clients.cli import main; main(['--help']); "
        "sys.exit('grpc' in sys.modules or 'numpy' in sys.modules)"
    )
    assert (
        subprocess.run([sys.executable, "-c", code], stdout=subprocess.DEVNULL, check=False).returncode == 0
    )
