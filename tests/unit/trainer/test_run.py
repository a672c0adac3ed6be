"""Run directories: refusals that protect work."""

from collections.abc import Callable
from dataclasses import replace as changed
from pathlib import Path

import pytest
from msgspec.structs import replace

from trainer.errors import TrainerError, UsageError
from trainer.recipe import load_recipe
from trainer.run import Epoch, Run, fingerprint_of, load_checkpoint

DIGITS = load_recipe("digits")
EPOCH = Epoch(1, 2, 0.5, 0.9, 0.4, 0.95, 1e-3, 2.0)


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """A run that has begun."""
    run = Run(tmp_path / "run")
    assert not run.begin(DIGITS, "a", "sample", resume=False, overwrite=False)
    return run


def finish(run: Run) -> None:
    run.manifest.write_text("{}")


def stop(run: Run) -> None:
    run.checkpoint.write_bytes(b"")


@pytest.mark.parametrize(
    ("state", "word"),
    [(finish, "holds a finished run; --overwrite"), (stop, "holds an unfinished run; --resume")],
)
def test_run_that_would_be_lost_is_refused_without_a_word(
    state: Callable[[Run], None], word: str, run: Run
) -> None:
    run.check(resume=False, overwrite=False)
    state(run)
    with pytest.raises(UsageError, match=word):
        run.check(resume=False, overwrite=False)
    run.check(resume=False, overwrite=True)
    run.check(resume=True, overwrite=False)


def test_resume_without_a_run_is_a_usage_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"--resume: .* has no run"):
        Run(tmp_path).check(resume=True, overwrite=False)
    Run(tmp_path).check(resume=True, overwrite=True)


def test_overwriting_removes_what_would_make_it_look_finished(run: Run) -> None:
    finish(run)
    stop(run)
    run.integer_model.write_bytes(b"of the run before")
    assert not run.begin(DIGITS, "b", "sample", resume=False, overwrite=True)
    assert not any(path.exists() for path in (run.manifest, run.checkpoint, run.integer_model))


def test_resuming_goes_on_where_it_is_the_same_training(run: Run) -> None:
    stop(run)
    assert not run.begin(DIGITS, "a", "sample", resume=True, overwrite=False)
    assert run.checkpoint.exists()
    finish(run)
    assert run.begin(DIGITS, "a", "sample", resume=True, overwrite=False)
    with pytest.raises(
        TrainerError, match="holds a run with another recipe, seed, number of epochs, precision"
    ):
        run.begin(DIGITS, "b", "sample", resume=True, overwrite=False)
    assert not run.begin(DIGITS, "b", "sample", resume=True, overwrite=True)
    assert not run.manifest.exists()


def test_fingerprint_covers_all_that_decides_the_training() -> None:
    variants = {
        fingerprint_of(DIGITS, 1, 2, "float32", "d"),
        fingerprint_of(DIGITS, 2, 2, "float32", "d"),
        fingerprint_of(DIGITS, 1, 3, "float32", "d"),
        fingerprint_of(DIGITS, 1, 2, "mixed_bfloat16", "d"),
        fingerprint_of(DIGITS, 1, 2, "float32", "e"),
        fingerprint_of(replace(DIGITS, fit=replace(DIGITS.fit, batch_size=3)), 1, 2, "float32", "d"),
    }
    assert len(variants) == 6
    moved = replace(DIGITS, source="elsewhere.toml", summary="other words")
    assert fingerprint_of(moved, 1, 2, "float32", "d") in variants


def test_recipe_and_history_read_as_they_were_written(run: Run) -> None:
    rows = (EPOCH, changed(EPOCH, epoch=2))
    run.write_history(rows)
    assert run.read_history() == rows
    assert replace(run.read_recipe(), source="") == replace(DIGITS, source="")


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 half an archive"])
def test_damaged_checkpoint_is_named(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.npz"
    path.write_bytes(content)
    with pytest.raises(TrainerError, match=r"checkpoint\.npz: damaged checkpoint"):
        load_checkpoint(path)


def test_folder_that_is_no_run_is_named(tmp_path: Path) -> None:
    for read in (Run(tmp_path).read_manifest, Run(tmp_path).read_recipe, Run(tmp_path).read_history):
        with pytest.raises(TrainerError, match=f"{tmp_path}/.*: No such file"):
            read()
