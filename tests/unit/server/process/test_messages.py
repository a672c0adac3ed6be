"""Messages between supervisor and workers."""

from server.observability.logs import RecentEvent
from server.observability.metrics import Metrics
from server.observability.table import REQUEST_DURATION
from server.process.listeners import Listener
from server.process.worker import Event, Job, Report, encode, read_job, read_message
from server.settings import Settings


def test_job_of_a_worker_comes_as_it_was_sent() -> None:
    settings = Settings(provider_options={"device_id": "1"}, version_policy=("all", "letters=latest:2"))
    job = Job(settings, 3, (Listener(("127.0.0.1:8500", "[::1]:8500"), 8500), None), 0.6)
    assert read_job(encode(job)) == job


def test_report_of_a_worker_comes_as_it_was_sent() -> None:
    metrics = Metrics()
    metrics.loaded("digits", 1)
    metrics.finished("service", "Predict", "OK", 0.1)
    metrics.store.exemplify(REQUEST_DURATION, "Predict", value=0.1, trace_id="abc")
    for message in (
        Report(metrics.read(), ready=True, alive=False),
        Event(RecentEvent(1.5, "version loaded", "info", "model digits")),
    ):
        assert read_message(encode(message)) == message
