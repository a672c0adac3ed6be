"""The supervisor's side of a worker: a process that is restarted when it ends."""

import os
import select
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

import msgspec
import structlog

import server
from server.observability.logs import RecentEvents, debugging
from server.process.worker import ASK, MISSED_REPORTS, REPORT_SECONDS, Event, Job, encode, read_message
from server.process.worker_metrics import WorkerMetrics

# -P: a server.py in the working directory would be imported instead of this package.
WORKER = (
    "import sys; sys.path.insert(0, sys.argv[1]); import server, protos; del sys.path[0];"
    "import os; from server.process.worker import main; os._exit(main(int(sys.argv[2])))"
)
FIRST_BACKOFF_SECONDS = 0.1
MAX_BACKOFF_SECONDS = 10.0
# A worker that ran for this long is restarted without a delay.
STEADY_SECONDS = 60.0
READ_BYTES = 2**16

log = structlog.get_logger()


class WorkerProcess:
    """A slot for a worker process, and the thread that restarts it."""

    def __init__(
        self, job: Job, metrics: WorkerMetrics, events: RecentEvents, changed: threading.Condition
    ) -> None:
        self._job = job
        self._metrics = metrics
        self._events = events
        self._changed = changed  # notified when `ready`, `reports` or `failure` changes
        self._slot = job.slot
        self._process: subprocess.Popen[bytes] | None = None
        self._stopping = threading.Event()
        self._was_ready = False
        self.ready = False  # the process answers calls
        self.serves = False  # the default model serves
        self.reports = 0  # number of reports received
        self.failure = ""
        self.thread = threading.Thread(target=self._keep_running, name=f"worker {job.slot}", daemon=True)
        self.thread.start()

    def send(self, signum: signal.Signals) -> None:
        """Forward a signal to the process, if there is one."""
        if (process := self._process) is not None:
            process.send_signal(signum)

    def ask(self) -> bool:
        """Request a report; return whether the process can send one."""
        process = self._process
        if process is None or process.stdin is None or not self.ready:
            return False
        with suppress(OSError):  # it has ended, or does not read
            return os.write(process.stdin.fileno(), ASK) == len(ASK)
        return False

    def stop(self, signum: signal.Signals) -> None:
        """Stop the process and do not restart it."""
        self._stopping.set()
        # Before it is ready, it has no calls to finish.
        self.send(signum if self.ready else signal.SIGKILL)

    def _keep_running(self) -> None:
        backoff = FIRST_BACKOFF_SECONDS
        while not self._stopping.is_set():
            started = time.monotonic()
            code = self._run()
            if self._stopping.is_set():
                return
            if not self._was_ready:
                self.failure = f"worker {self._slot} did not start (exit code {code}), its log says why"
                self._notify()
                return
            if time.monotonic() - started > STEADY_SECONDS:
                backoff = FIRST_BACKOFF_SECONDS
            log.error("worker died", worker=self._slot, exit_code=code, restart_in_seconds=backoff)
            self._metrics.restarted()
            self._job.beside = True
            self._stopping.wait(backoff)
            backoff = min(2 * backoff, MAX_BACKOFF_SECONDS)

    def _run(self) -> int:
        """Run one process until it ends; return its exit code."""
        reading, writing = os.pipe()
        root = str(Path(server.__file__).parents[1])
        process = subprocess.Popen(
            [sys.executable, "-P", "-c", WORKER, root, str(writing)],
            stdin=subprocess.PIPE,
            pass_fds=[writing],
        )
        os.close(writing)
        self._process = process
        assert process.stdin is not None  # noqa: S101 - asked for above
        with suppress(OSError):  # it has ended already
            self._job.debug = debugging()
            process.stdin.write(encode(self._job))
            process.stdin.flush()
            os.set_blocking(process.stdin.fileno(), False)
        if self._stopping.is_set():
            process.kill()
        self._follow(reading)
        os.close(reading)
        code = process.wait()
        self.ready = self.serves = False
        self._process = None
        with suppress(OSError):
            process.stdin.close()
        self._metrics.ended(self._slot)
        self._notify()
        return code

    def _follow(self, reading: int) -> None:
        """Read the process's messages until it ends; kill it if its data plane is stuck."""
        rest = b""
        missed = 0
        while missed < MISSED_REPORTS:
            if not select.select([reading], [], [], REPORT_SECONDS)[0]:
                missed += self.ready  # a start has no time limit
                continue
            if not (content := os.read(reading, READ_BYTES)):
                return
            *lines, rest = (rest + content).split(b"\n")
            for line in lines:
                if (alive := self._take(line)) is not None:
                    missed = 0 if alive else missed + 1
        log.error("worker is stuck", worker=self._slot, missed_reports=missed)
        self.send(signal.SIGKILL)

    def _take(self, line: bytes) -> bool | None:
        """Handle one message; return whether it says that the data plane responds."""
        try:
            message = read_message(line)
        except msgspec.MsgspecError as error:
            log.error("worker wrote no message", worker=self._slot, line=repr(line[:100]), reason=str(error))  # noqa: TRY400 - the message says it all
            return None
        if isinstance(message, Event):
            self._events.append(msgspec.structs.replace(message.event, worker=str(self._slot)))
            return None
        assert self._process is not None  # noqa: S101 - it has sent a report
        self._metrics.report(self._slot, self._process.pid, message.metrics)
        self.serves = message.ready
        if not self.ready:
            self._became_ready(self._process.pid)
        self.reports += 1
        self._notify()
        return message.alive

    def _became_ready(self, pid: int) -> None:
        log.info("worker ready", worker=self._slot, pid=pid)
        if debugging() != self._job.debug:  # debug was toggled during its start
            self.send(signal.SIGUSR2)
        self.ready = self._was_ready = True

    def _notify(self) -> None:
        with self._changed:
            self._changed.notify_all()
