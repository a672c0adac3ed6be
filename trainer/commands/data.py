"""`digit-trainer data`: look at labelled images and change their format."""

from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter

from trainer.data.convert import Format
from trainer.data.convert import convert as write
from trainer.data.describe import describe as count
from trainer.data.describe import description_text, save_picture, sketch
from trainer.data.source import load_data

app = App(name="data", help="Look at labelled images and write them in another format.")


@app.command
def describe(source: str, /, *, picture: Path | None = None) -> int:
    """Say what a data set holds: counts, class balance, checksum, samples.

    Parameters
    ----------
    source
        sample, mnist, a folder, an npz file, or X_train,y_train,X_test,y_test.
    picture
        Also write a sheet of training images, a row a digit, as PNG.

    """
    dataset = load_data(source)
    print(description_text(count(dataset)))
    print(f"\n{sketch(dataset)}")
    if picture:
        save_picture(picture, dataset)
        print(f"\npicture {picture}")
    return 0


@app.command
def convert(
    source: str,
    folder: Path,
    /,
    *,
    form: Annotated[Format, Parameter(name="--to")],
    header: bool = False,
    one_hot: bool = False,
) -> int:
    """Write a data set into a folder in another format.

    Parameters
    ----------
    source
        sample, mnist, a folder, an npz file, or X_train,y_train,X_test,y_test.
    folder
        Where the files go; none of them may be there yet.
    form
        idx, idx-gz (as MNIST is published), npz (as Keras ships it), tsv (as in the tutorial) or csv.
    header
        Tables begin with a line of column names.
    one_hot
        Tables hold digits as ten columns of 0 and 1.

    """
    for path in write(load_data(source), folder, form, header=header, one_hot=one_hot):
        print(path)
    return 0
