import io
import json
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import numpy as np
import pytest
import trustme
from numpy.typing import NDArray
from PIL import Image

from clients.cli import app, main
from clients.testing import FakeServer, first_pixel
from protos.digits.v1 import prediction_pb2

Digits = Callable[[int], NDArray[np.uint8]]
Captured = pytest.CaptureFixture[str]


@pytest.fixture
def pictures(tmp_path: Path, digit_images: Digits, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for digit in (1, 2):
        Image.fromarray(digit_images(3)[digit].reshape(28, 28)).save(tmp_path / f"{digit}.png")
    return tmp_path


@pytest.mark.usefixtures("pictures")
def test_json_is_one_object_a_line(fake: FakeServer, capsys: Captured) -> None:
    assert main(["predict", "2.png", "1.png", "--server", fake.address, "--output", "json"]) == 0
    assert [json.loads(line) for line in capsys.readouterr().out.splitlines()] == [
        {"file": "2.png", "digit": 2, "confidence": 0.75, "model": "digits", "version": 3},
        {"file": "1.png", "digit": 1, "confidence": 0.75, "model": "digits", "version": 3},
    ]


@pytest.mark.usefixtures("pictures")
def test_table_is_aligned_and_shows_doubt(fake: FakeServer, capsys: Captured) -> None:
    def answer(request: prediction_pb2.PredictRequest) -> prediction_pb2.PredictResponse:
        response = first_pixel(request)
        if response.digits[0] == 1:
            response.confidences[:] = [0.9]
            response.probabilities[:] = [0.1, 0.9] + [0.0] * 8
        return response

    fake.answer = answer
    assert main(["predict", "1.png", "2.png", "--server", fake.address]) == 0
    assert capsys.readouterr().out == (
        "file   digit  confidence  model\n"
        "1.png      1      0.9000  digits/3\n"
        "2.png      2      0.7500  digits/3  not sure: 2 (75 %) or 0 (3 %)\n"
    )


@pytest.mark.usefixtures("pictures")
def test_tsv_has_a_head_and_tabs(fake: FakeServer, capsys: Captured) -> None:
    assert main(["predict", "1.png", "--server", fake.address, "--output", "tsv"]) == 0
    assert capsys.readouterr().out == "file\tdigit\tconfidence\tmodel\n1.png\t1\t0.7500\tdigits/3\n"


def test_idx_images_have_an_index(
    fake: FakeServer, capsys: Captured, digit_images: Digits, idx_file: Callable[..., Path]
) -> None:
    path = idx_file(digit_images(300).reshape(-1, 28, 28))
    assert main(["predict", str(path), "--count", "290", "-s", fake.address, "-o", "json"]) == 0
    answers = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [(a["file"], a["index"], a["digit"]) for a in answers] == [
        (str(path), n, n % 10) for n in range(290)
    ]


@pytest.mark.usefixtures("pictures")
def test_show_draws_the_image(fake: FakeServer, capsys: Captured, pictures: Path) -> None:
    image = np.zeros((28, 28), np.uint8)
    image[0, 0], image[0:2, 1], image[1, 2] = 255, 255, 255
    Image.fromarray(image).save(pictures / "dots.png")
    assert main(["predict", "dots.png", "--show", "-s", fake.address]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("▀█▄")
    assert any("digit       5" in line for line in lines)


def test_server_comes_from_the_environment(
    fake: FakeServer, capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DIGITS_SERVER", fake.address)
    assert main(["health"]) == 0
    assert capsys.readouterr().out == f"{fake.address} is ready\n"


def test_server_that_is_not_ready_is_exit_code_1(fake: FakeServer, capsys: Captured) -> None:
    fake.set_ready("", ready=False)
    assert main(["health", "-s", fake.address]) == 1
    assert "NOT ready" in capsys.readouterr().out


def test_watch_prints_a_line_a_change_until_ctrl_c(fake: FakeServer) -> None:
    command = [sys.executable, "-m", "clients.cli", "health", "digits", "--watch", "-s", fake.address]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        lines = [process.stdout.readline()]
        for ready in (True, False):
            fake.set_ready("digits", ready=ready)
            lines.append(process.stdout.readline())
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=30)
    assert [line.split(" is ")[1].strip() for line in lines] == ["unknown", "ready", "not ready"]
    assert process.returncode == 130
    assert err == ""


def test_models_are_listed(fake: FakeServer, capsys: Captured) -> None:
    state = prediction_pb2.Model.State
    fake.models = [
        prediction_pb2.Model(
            name="digits",
            version=3,
            state=state.STATE_SERVING,
            accuracy=0.9912,
            labels=["canary", "stable"],
            share=0.05,
        ),
        prediction_pb2.Model(
            name="digits", version=4, state=state.STATE_REFUSED, reason="golden set differs"
        ),
    ]
    assert main(["models", "-s", fake.address]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == [
        "model", "version", "state", "labels", "traffic", "accuracy", "recipe", "provider", "created",
    ]  # fmt: skip
    assert lines[1].split() == ["digits", "3", "serving", "canary,stable", "5%", "99.12%", "-", "-", "-"]
    assert "refused: golden set differs" in lines[2]


@pytest.mark.usefixtures("pictures")
def test_bad_file_is_reported_and_the_others_answered(
    fake: FakeServer, capsys: Captured, pictures: Path
) -> None:
    (pictures / "notes.png").write_text("buy milk\nand honey\n")
    assert main(["predict", "notes.png", "1.png", "-s", fake.address, "-o", "json"]) == 1
    out, err = capsys.readouterr()
    assert [json.loads(line)["digit"] for line in out.splitlines()] == [1]
    assert err.startswith("digit-client: notes.png: ")
    assert err.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "code", "complaint"),
    [
        (
            ["predict", "1.png", "-s", "127.0.0.1:1"],
            1,
            "no server answers at 127.0.0.1:1 (connection refused); is digit-server running there?",
        ),
        (["predict"], 2, "no files given"),
        (["predict", "1.png", "--output", "xml"], 2, "xml"),
        (["predict", "x", "--count", "0"], 2, "--count"),
        (["predict", "1.png", "--outptu", "json"], 2, "unknown option or file: --outptu"),
        (["predikt"], 2, "predikt"),
    ],
)
@pytest.mark.usefixtures("pictures")
def test_mistake_is_one_line_and_an_exit_code(
    capsys: Captured, arguments: list[str], code: int, complaint: str
) -> None:
    assert main(arguments) == code
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("digit-client: ")
    assert err.count("\n") == 1
    assert complaint in err


@pytest.mark.usefixtures("pictures")
def test_folder_pattern_and_stdin_are_read(
    fake: FakeServer, capsys: Captured, pictures: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (pictures / "more").mkdir()
    (pictures / "1.png").rename(pictures / "more" / "1.png")
    (pictures / "more" / ".hidden").write_text("not to be read")
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper((pictures / "2.png").open("rb")))
    assert main(["predict", "more", "?.png", "-", "-s", fake.address, "-o", "json"]) == 0
    answers = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [(a["file"], a["digit"]) for a in answers] == [("more/1.png", 1), ("2.png", 2), ("-", 2)]


@pytest.mark.usefixtures("pictures")
def test_explain_shows_all_probabilities_and_what_was_done(
    fake: FakeServer, capsys: Captured, pictures: Path
) -> None:
    page = np.full((200, 200), 255, np.uint8)
    page[40:160, 90:110] = 0
    Image.fromarray(page).save(pictures / "photo.png")
    assert main(["predict", "photo.png", "--explain", "-s", fake.address]) == 0
    out = capsys.readouterr().out
    assert out.count("%") == 10
    assert "75.0%" in out
    assert "  - dark ink on light background" in out
    assert main(["predict", "photo.png", "--explain", "-s", fake.address, "-o", "json"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert len(record["probabilities"]) == 10


@pytest.mark.usefixtures("pictures")
def test_several_digits_have_boxes_and_make_a_number(
    fake: FakeServer, capsys: Captured, pictures: Path
) -> None:
    page = np.full((200, 400), 255, np.uint8)
    for left in (50, 150, 250):
        page[40:160, left : left + 20] = 0
    Image.fromarray(page).save(pictures / "code.png")
    Image.fromarray(page[:, :100]).save(pictures / "1.png")
    assert main(["predict", "code.png", "1.png", "--several", "-s", fake.address]) == 0
    assert capsys.readouterr().out == (
        "code.png  000    (lowest 0.7500, digit 1 not sure: 0 (75 %) or 1 (3 %))\n"
        "1.png     0      (lowest 0.7500, digit 1 not sure: 0 (75 %) or 1 (3 %))\n"
    )
    main(["predict", "code.png", "--several", "-s", fake.address, "-o", "json"])
    boxes = [json.loads(line)["box"] for line in capsys.readouterr().out.splitlines()]
    assert [round(box[0] / 10) for box in boxes] == [5, 15, 25]
    assert main(["predict", "code.png", "-s", fake.address, "-o", "json"]) == 0
    out, err = capsys.readouterr()
    assert out.count("\n") == 1
    assert "code.png: 3 digits found, the largest is predicted; --several reads all of them" in err


@pytest.mark.usefixtures("pictures")
def test_file_whose_name_starts_with_a_hyphen_is_read(
    fake: FakeServer, capsys: Captured, pictures: Path
) -> None:
    (pictures / "2.png").rename(pictures / "-7.png")
    assert main(["predict", "-s", fake.address, "-o", "json", "--", "-7.png"]) == 0
    assert json.loads(capsys.readouterr().out)["file"] == "-7.png"


@pytest.mark.usefixtures("pictures")
def test_model_version_and_label_are_asked_for(fake: FakeServer) -> None:
    asked = ["--model", "fast", "--model-version", "2", "--label", "canary"]
    main(["predict", "1.png", "-s", fake.address, *asked])
    assert (fake.requests[0].model, fake.requests[0].version, fake.requests[0].label) == ("fast", 2, "canary")


@pytest.mark.parametrize("where", ["empty", "no/*.png"])
def test_nothing_to_read_is_named(fake: FakeServer, capsys: Captured, pictures: Path, where: str) -> None:
    (pictures / "empty").mkdir()
    assert main(["predict", where, "-s", fake.address]) == 1
    assert f"{where}: no files there" in capsys.readouterr().err


def test_metadata_tells_what_the_server_knows(fake: FakeServer, capsys: Captured) -> None:
    fake.models = [prediction_pb2.Model(name="digits", version=3, sha256="abc", recipe="digits")]
    assert main(["metadata", "-s", fake.address]) == 0
    assert capsys.readouterr().out.split() == ["name", "digits", "version", "3", "state", "unspecified",
                                               "sha256", "abc", "recipe", "digits"]  # fmt: skip
    assert main(["metadata", "none", "-s", fake.address]) == 1
    assert "model 'none' is not known" in capsys.readouterr().err


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


def test_status_shows_health_models_and_traffic(fake: FakeServer, capsys: Captured) -> None:
    serving = prediction_pb2.Model.STATE_SERVING
    fake.models = [
        prediction_pb2.Model(name="digits", version=3, state=serving, share=0.95),
        prediction_pb2.Model(name="digits", version=4, state=serving, labels=["canary"], share=0.05),
    ]
    fake.set_ready("digits", ready=True)
    assert main(["status", "-s", fake.address]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[:3] == [
        f"server         {fake.address}, ready",
        "default model  digits",
        "digits         ready",
    ]
    assert [line.split()[4] for line in lines[5:]] == ["95%", "5%"]
    fake.set_ready("", ready=False)
    assert main(["status", "-s", fake.address, "-o", "json"]) == 1
    assert json.loads(capsys.readouterr().out)["health"] == {"digits": "ready"}


def test_wait_waits_until_the_server_is_ready(fake: FakeServer, capsys: Captured) -> None:
    fake.set_ready("", ready=False)
    threading.Timer(0.1, lambda: fake.set_ready("", ready=True)).start()
    assert main(["health", "--wait", "30", "-s", fake.address]) == 0
    fake.set_ready("", ready=False)
    assert main(["health", "--wait", "0.1", "-s", fake.address]) == 1
    assert "was not ready within 0.1 s" in capsys.readouterr().err


def test_reader_that_has_seen_enough_is_no_error(
    fake: FakeServer, digit_images: Digits, idx_file: Callable[..., Path]
) -> None:
    path = idx_file(digit_images(3000).reshape(-1, 28, 28))
    command = [sys.executable, "-m", "clients.cli", "predict", str(path), "-s", fake.address]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        process.stdout.close()
        assert process.stderr is not None
        assert process.stderr.read() == b""
    assert process.returncode == 0


def test_ctrl_c_ends_quietly_with_130(
    fake: FakeServer, digit_images: Digits, idx_file: Callable[..., Path]
) -> None:
    reached, release = threading.Event(), threading.Event()

    def answer(_: prediction_pb2.PredictRequest) -> prediction_pb2.PredictResponse:
        reached.set()
        release.wait()
        return prediction_pb2.PredictResponse()

    fake.answer = answer
    path = idx_file(digit_images(3).reshape(-1, 28, 28))
    command = [sys.executable, "-m", "clients.cli", "predict", str(path), "-s", fake.address]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert reached.wait(30)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=30)
    release.set()
    assert process.returncode == 130
    assert err == b""


def test_tls_and_token_options_reach_the_server(
    tmp_path: Path, digit_images: Digits, capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    certificate = authority.issue_cert("127.0.0.1")
    np.save(tmp_path / "images.npy", digit_images(3))
    monkeypatch.setenv("DIGITS_TOKEN", "s3cret")
    pair = (
        certificate.private_key_pem.bytes(),
        b"".join(blob.bytes() for blob in certificate.cert_chain_pems),
    )
    with FakeServer(credentials=grpc.ssl_server_credentials([pair])) as fake:
        secure = ["-s", fake.address, "--tls-ca-file", str(tmp_path / "ca.pem"), "-o", "tsv"]
        assert main(["predict", str(tmp_path / "images.npy"), *secure]) == 0
        assert fake.metadata[0]["authorization"] == "Bearer s3cret"
    rows = capsys.readouterr().out.splitlines()[1:]
    assert [row.split("\t")[1] for row in rows] == ["0", "1", "2"]


def test_tls_against_plaintext_and_plaintext_against_tls_are_named(
    fake: FakeServer, capsys: Captured, tmp_path: Path
) -> None:
    assert main(["models", "--tls", "-s", fake.address]) == 1
    assert "(it does not speak TLS); try without TLS" in capsys.readouterr().err
    certificate = trustme.CA().issue_cert("127.0.0.1")
    chain = b"".join(blob.bytes() for blob in certificate.cert_chain_pems)
    with FakeServer(
        credentials=grpc.ssl_server_credentials([(certificate.private_key_pem.bytes(), chain)])
    ) as secure:
        assert main(["models", "-s", secure.address]) == 1
        assert "does it expect TLS? try --tls" in capsys.readouterr().err
        trustme.CA().cert_pem.write_to_path(tmp_path / "other.pem")
        assert main(["models", "-s", secure.address, "--tls-ca-file", str(tmp_path / "other.pem")]) == 1
        assert "its TLS certificate is not trusted" in capsys.readouterr().err


def test_proxy_in_the_environment_is_named(
    fake: FakeServer, capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    monkeypatch.delenv("no_proxy", raising=False)
    assert main(["models", "-s", fake.address]) == 1
    err = capsys.readouterr().err
    assert "http_proxy=http://127.0.0.1:1 in the environment sends the connection through a proxy" in err
    assert "no_grpc_proxy=127.0.0.1 connects directly" in err
    monkeypatch.setenv("no_grpc_proxy", "127.0.0.1")
    assert main(["models", "-s", fake.address]) == 0


def test_server_of_another_kind_is_told_apart(capsys: Captured) -> None:
    server = grpc.server(ThreadPoolExecutor(1))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        assert main(["models", "-s", f"127.0.0.1:{port}"]) == 1
    finally:
        server.stop(None).wait()
    assert "does not offer this call" in capsys.readouterr().err


def test_help_imports_neither_grpc_nor_numpy() -> None:
    code = (
        "import sys; from clients.cli import main; main(['--help']); "
        "sys.exit('grpc' in sys.modules or 'numpy' in sys.modules)"
    )
    assert (
        subprocess.run([sys.executable, "-c", code], stdout=subprocess.DEVNULL, check=False).returncode == 0
    )
