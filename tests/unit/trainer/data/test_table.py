import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainer.data.table import format_table, parse_table
from trainer.data.values import Values
from trainer.errors import TrainerError


def parse(text: str | bytes) -> Values:
    content = text.encode() if isinstance(text, str) else text
    return parse_table(io.BytesIO(content), "X.tsv")


@pytest.mark.parametrize(
    "text",
    [
        "1\t2\n3\t4\n",
        "1,2\n3,4\n",
        "1;2\n3;4\n",
        "1 2\n3  4\n",
        "1\t2\r\n3\t4\r\n",
        "1\t2\n3\t4",
        "1\t2\n\n3\t4\n\n",
        '"1","2"\n"3","4"\n',
        "1.0\t2.0\n3.000e+00\t4\n",
        "\ufeff1\t2\n3\t4\n",
    ],
)
def test_table_is_read_however_it_is_written(text: str) -> None:
    values = parse(text)
    assert values.array.tolist() == [[1, 2], [3, 4]]
    assert values.first_row == 1


@pytest.mark.parametrize("header", ["a\tb", "pixel_0\tpixel_1", "0\t1", '"x"\t"y"'])
def test_header_is_dropped_and_counted_as_a_row(header: str) -> None:
    values = parse(f"{header}\n3\t4\n5\t6\n")
    assert values.array.tolist() == [[3, 4], [5, 6]]
    assert values.first_row == 2


def test_single_column_needs_no_separator() -> None:
    assert parse("7\n2\n1\n").array.tolist() == [[7], [2], [1]]
    assert parse("Predicted\n7\n2\n").array.tolist() == [[7], [2]]


def test_first_digit_0_alone_is_no_header() -> None:
    assert parse("0\n1\n").array.tolist() == [[0], [1]]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("1\t2\n3\n", "row 2 has 1 columns, expected 2 as in row 1"),
        ("a\tb\n1\t2\n3\t4\t5\n", "row 3 has 3 columns, expected 2 as in row 1"),
        ("1\t2\n3\tx\n", "row 2, column 2 is 'x', expected a number"),
        ("1\tx\n3\t4\n", "row 1, column 2 is 'x', expected a number"),
        ("1\t2\n3\t\n", "row 2, column 2 is '', expected a number"),
        ("\n1\t2\n", "row 1 is empty, expected numbers"),
        (b"1\t2\n\xff\xfe\t4\n", "no UTF-8 text, expected a table of numbers"),
    ],
)
def test_row_that_is_no_row_of_numbers_is_named(text: str | bytes, message: str) -> None:
    with pytest.raises(TrainerError) as refused:
        parse(text)
    assert str(refused.value).startswith("X.tsv: ")
    assert message in str(refused.value)


def test_header_alone_is_refused() -> None:
    with pytest.raises(TrainerError, match="a header and no rows"):
        parse("a\tb\n")


@given(st.lists(st.lists(st.integers(0, 255), min_size=3, max_size=3), min_size=1, max_size=8), st.booleans())
def test_numbers_written_are_the_numbers_read(rows: list[list[int]], header: bool) -> None:
    array = np.array(rows, np.uint8)
    # A first row 0 1 2 would be taken for column numbers; images never begin with it.
    array[0, 0] = array[0, 0] or 9
    content = format_table(array, "\t", ["a", "b", "c"] if header else None)
    np.testing.assert_array_equal(parse(content).array, array)
