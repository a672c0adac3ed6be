"""`digit-trainer compare`: whether one model is better than another."""

from pathlib import Path

from trainer.errors import TrainerError
from trainer.evaluation.mcnemar import SIGNIFICANT, McNemar, compare_mistakes
from trainer.evaluation.mistakes import MISTAKES, read_mistakes
from trainer.run import Run


def compare(first: Path, second: Path, /) -> int:
    """Say with McNemar's test whether one of two models is really better.

    Both must have been tested on the same images; only those that one got right and the other wrong count.

    Parameters
    ----------
    first
        Run directory, or a published version.
    second
        Another one.

    """
    runs = Run(first), Run(second)
    data = [run.read_manifest()["data"] for run in runs]
    if data[0]["sha256"] != data[1]["sha256"]:
        raise TrainerError(
            f"{second}: tested on {data[1]['name']} ({data[1]['sha256'][:12]}...), expected the images of {first}: "
            f"{data[0]['name']} ({data[0]['sha256'][:12]}...)"
        )
    mistakes = [read_mistakes(run.report / MISTAKES) for run in runs]
    print(_verdict((str(first), str(second)), compare_mistakes(data[0]["test_images"], *mistakes)))
    return 0


def _verdict(names: tuple[str, str], result: McNemar) -> str:
    first_right = result.both_right + result.only_first_right
    second_right = result.both_right + result.only_second_right
    better = "first" if result.only_first_right > result.only_second_right else "second"
    if result.significant:
        verdict = f"the {better} is better"
    else:
        verdict = f"no proof that either is better: chance alone does as much more than {SIGNIFICANT:.0%} of the time"
    lines = [
        _summary("first ", names[0], first_right, result.images),
        _summary("second", names[1], second_right, result.images),
        "",
        "              second right  second wrong",
        f"first right   {result.both_right:12,}  {result.only_first_right:12,}",
        f"first wrong   {result.only_second_right:12,}  {result.both_wrong:12,}",
        "",
        f"McNemar's exact test: p = {result.p_value:.3g}; {verdict}",
    ]
    return "\n".join(lines)


def _summary(which: str, name: str, right: int, images: int) -> str:
    return f"{which}  {name}: {right / images:.2%} of {images:,} images ({images - right} wrong)"
