"""`digit-trainer report`: write a run's report again."""

from pathlib import Path


def report(folder: Path, /, *, data: str | None = None) -> int:
    """Measure a run's model again and rebuild everything in its report folder.

    Parameters
    ----------
    folder
        Directory of a finished run.
    data
        Where the run's data is now, if it has moved.

    """
    # Tens of modules, needed by this command alone.
    from trainer.report.record import load_run_data  # noqa: PLC0415
    from trainer.report.write import write_report  # noqa: PLC0415
    from trainer.run import Run  # noqa: PLC0415

    run = Run(folder)
    manifest = run.read_manifest()
    evidence = write_report(run, manifest, load_run_data(run, manifest, data))
    evaluation = evidence.evaluation
    print(f"test    {evaluation.accuracy:.2%} of {evaluation.images:,} images ({evaluation.errors} wrong)")
    print(f"report  {run.report / 'report.html'}")
    return 0
