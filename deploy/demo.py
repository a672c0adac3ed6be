"""The main job end to end: train, export, publish, serve, predict, look at the metrics.

Every step is the command that a user would type, run as a process of its own. The run, its report, the
repository and the pictures stay in demo/ until the next demo.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from PIL import Image
from prometheus_client.parser import text_string_to_metric_families
from rich.console import Console

from trainer.data.dataset import load_sample

BIN = Path(sys.executable).parent
DEMO = Path("demo")
# A shorter training than the recipe's, for CI.
EPOCHS = os.environ.get("DEMO_EPOCHS")
PICTURES = 10
STOP_SECONDS = 30

console = Console(highlight=False)


def main() -> int:
    """Run the demo; return 0 only if every step worked."""
    started = time.monotonic()
    try:
        shutil.rmtree(DEMO, ignore_errors=True)
        DEMO.mkdir()
        right = demo(DEMO)
    except subprocess.CalledProcessError as error:
        console.print(f"\n[red]demo failed:[/] {Path(error.cmd[0]).name} exited {error.returncode}")
        return 1
    if right < PICTURES - 1:
        console.print(f"\n[red]demo failed:[/] only {right} of {PICTURES} digits were right")
        return 1
    console.print(
        f"\n[green]All of it worked[/] in {time.monotonic() - started:.0f} seconds: "
        f"{right} of {PICTURES} digits right. Nothing was left running."
    )
    bin_folder = BIN.relative_to(Path.cwd()) if BIN.is_relative_to(Path.cwd()) else BIN
    console.print(
        f"\n[bold cyan]Go on[/]\n"
        f"  open {DEMO}/run/report/report.html\n"
        f"  {bin_folder}/digit-server --model-repository {DEMO}/repository\n"
        f"  {bin_folder}/digit-client web      # beside the server: draw a digit",
        soft_wrap=True,
    )
    return 0


def demo(folder: Path) -> int:
    """Go from images to predictions in `folder`; return how many pictures were read rightly."""
    repository = folder / "repository"

    step(1, "Train a CNN on 4,000 real digits, export it to ONNX, check it, publish it")
    run("digit-trainer", "train", "--recipe", "digits", "--data", "sample", "--repository", repository,
        "--run-dir", folder / "run", *(("--epochs", EPOCHS) if EPOCHS else ()))  # fmt: skip

    step(2, "Serve it: a gRPC server on a free port, in a process of its own")
    with serving(repository, folder / "server.log") as ready:
        console.print(f"ready after {ready['seconds']} s: gRPC on port {ready['grpc_port']}, "
                      f"metrics on port {ready['metrics_port']}")  # fmt: skip

        step(3, f"Ask it about {PICTURES} pictures that it has never seen")
        pictures = held_out_pictures(folder / "pictures")
        server = f"localhost:{ready['grpc_port']}"
        run("digit-client", "predict", "--show", pictures[0], "--server", server)
        run("digit-client", "predict", *pictures, "--server", server)
        lines = output("digit-client", "predict", *pictures, "--server", server, "--output", "json")
        answers = [json.loads(line) for line in lines.splitlines()]
        right = sum(answer["digit"] == digit_in(path) for answer, path in zip(answers, pictures, strict=True))
        console.print(f"{right} of {PICTURES} right (each file is named after its digit)")

        step(4, "Look at its metrics")
        show_metrics(f"http://localhost:{ready['metrics_port']}/metrics")
    console.print("server stopped cleanly on SIGTERM")
    return right


def step(number: int, what: str) -> None:
    """Print the headline of a step."""
    console.print(f"\n[bold cyan]{number}. {what}[/]")


def run(command: str, *arguments: object) -> None:
    """Run one of the project's commands where the person sees it."""
    words = [str(argument) for argument in arguments]
    shown = re.sub(r"(\S+/)0\.png( \S+\.png)+", r"\1*.png", " ".join(words))
    console.print(f"[dim]$ {command} {shown}[/]", soft_wrap=True)
    subprocess.run([BIN / command, *words], check=True)


def output(command: str, *arguments: object) -> str:
    """Run one of the project's commands; return what it prints."""
    words = [str(argument) for argument in arguments]
    return subprocess.run([BIN / command, *words], check=True, stdout=subprocess.PIPE, text=True).stdout


@contextmanager
def serving(repository: Path, log: Path) -> Iterator[dict[str, float]]:
    """Run a server for the length of a block; yield what it says when it is ready."""
    ports = ["--grpc-port", "0", "--metrics-port", "0", "--drain-seconds", "0"]
    command = [BIN / "digit-server", "--model-repository", repository, *ports, "--log-format", "json"]
    console.print(f"[dim]$ digit-server --model-repository {repository} --grpc-port 0[/]")
    with log.open("w") as stderr, subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None  # noqa: S101 - asked for above
        try:
            for line in process.stderr:
                stderr.write(line)
                if '"ready"' in line:
                    yield json.loads(line)
                    break
        finally:
            process.terminate()
            process.communicate(timeout=STOP_SECONDS)
    if process.returncode:
        console.print(log.read_text())
        raise subprocess.CalledProcessError(process.returncode, command)


def held_out_pictures(folder: Path) -> list[Path]:
    """Write one held-out picture of each digit as PNG, named after its digit."""
    dataset = load_sample()
    folder.mkdir()
    paths = []
    for digit in range(PICTURES):
        image = dataset.x_test[np.flatnonzero(dataset.y_test == digit)[0]]
        paths.append(folder / f"{digit}.png")
        Image.fromarray(image.reshape(28, 28)).save(paths[-1])
    return paths


def digit_in(path: Path) -> int:
    """Return the digit that a picture is named after."""
    return int(path.stem)


def show_metrics(url: str) -> None:
    """Scrape the server as Prometheus would, and print what its numbers say."""
    with urllib.request.urlopen(url, timeout=STOP_SECONDS) as page:  # noqa: S310 - the demo's own server
        families = text_string_to_metric_families(page.read().decode())
    values = {}
    for family in families:
        for sample in family.samples:
            values[sample.name] = values.get(sample.name, 0.0) + sample.value
    calls, images = values["digits_request_duration_seconds_count"], values["digits_batch_images_sum"]
    console.print(
        f"{calls:.0f} calls, {images:.0f} images in {values['digits_batch_images_count']:.0f} batches"
    )
    latency, compute = (
        1e3 * values[f"digits_{name}_duration_seconds_sum"] / calls for name in ("request", "compute")
    )
    console.print(
        f"mean latency inside the server {latency:.2f} ms a call, of it {compute:.2f} ms in the model"
    )


if __name__ == "__main__":
    sys.exit(main())
