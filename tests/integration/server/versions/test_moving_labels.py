"""Labels that move while a real server serves, and the shares of canaries."""

import json
from pathlib import Path
from typing import Any

import pytest

from protos.digits.v1 import prediction_pb2 as pb
from tests.integration.server.versions.watching import IMAGE, Arrive, watching
from tests.process import WAIT_SECONDS, failure


def write_labels(repository: Path, **labels: Any) -> None:
    path = repository / "digits" / ".labels.json"
    path.write_text(json.dumps(labels))
    path.rename(repository / "digits" / "labels.json")


def test_labels_name_versions_move_and_go(repository: Path, arrive: Arrive) -> None:
    arrive(1)
    arrive(2)
    write_labels(repository, stable=1, canary=2)
    with watching(repository) as server:
        assert [server.predict(IMAGE, label=label).version for label in ("stable", "canary")] == [1, 2]
        assert server.predict(IMAGE).version == 1  # unlabelled requests follow stable
        write_labels(repository, stable=2)
        server.look()
        server.serves(2, stable=2)
        assert server.predict(IMAGE, label="stable").version == 2
        assert server.predict(IMAGE).version == 2
        assert failure(lambda: server.predict(IMAGE, label="canary")) == (
            "NOT_FOUND",
            "model 'digits' has no label 'canary'; available: stable",
        )


def test_label_takes_effect_with_its_version_and_not_before(repository: Path, arrive: Arrive) -> None:
    arrive(1)
    write_labels(repository, stable=1)
    with watching(repository) as server:
        write_labels(repository, stable=2)
        server.look()
        problem = "model 'digits': label 'stable' points at version 2, which does not exist"
        assert server.event("repository problem")["problem"] == problem
        assert server.predict(IMAGE, label="stable").version == 1
        assert server.metric("digits_repository_problems") == 1
        arrive(2)
        server.look()
        server.serves(2, stable=2)
        assert server.predict(IMAGE, label="stable").version == 2
        assert server.metric("digits_repository_problems") == 0


def test_broken_labels_change_nothing(repository: Path, arrive: Arrive) -> None:
    arrive(1)
    arrive(2)
    write_labels(repository, stable=1)
    with watching(repository) as server:
        (repository / "digits" / "labels.json").write_text('{"stable": ')
        server.look()
        assert "model 'digits': labels.json is not JSON" in server.event("repository problem")["problem"]
        assert server.predict(IMAGE).version == 1


def test_canary_gets_its_share_and_metrics_of_its_own(repository: Path, arrive: Arrive) -> None:
    arrive(3)
    arrive(4)
    write_labels(repository, stable=3, canary={"version": 4, "share": 0.05})
    with watching(repository) as server:
        calls = [
            server.stub.Predict.future(pb.PredictRequest(images=IMAGE), timeout=WAIT_SECONDS)
            for _ in range(1000)
        ]
        answered = [call.result().version for call in calls]
        assert answered.count(4) == pytest.approx(50, abs=3)
        assert answered.count(3) == 1000 - answered.count(4)
        for version in (3, 4):
            count = server.metric("digits_predictions_total", model="digits", version=str(version))
            assert count == answered.count(version)
            assert server.metric("digits_compute_duration_seconds_count", version=str(version)) > 0
        models = {each.version: each for each in server.stub.ListModels(pb.ListModelsRequest()).models}
        assert (list(models[4].labels), models[4].share) == (["canary"], pytest.approx(0.05))
        assert (list(models[3].labels), models[3].share) == (["stable"], pytest.approx(0.95))
        write_labels(repository, stable=3)  # the rollout is called off
        server.look()
        server.serves(4, 3, stable=3)
        assert {server.predict(IMAGE).version for _ in range(50)} == {3}
