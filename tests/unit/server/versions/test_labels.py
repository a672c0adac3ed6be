"""Valid and invalid labels.json."""

import pytest

from server.errors import RefusedError
from server.versions.repository import Label, parse_labels


def test_label_is_a_version_or_has_a_share_too() -> None:
    assert parse_labels(b'{"stable": 3, "canary": {"version": 4, "share": 0.05}, "old": {"version": 1}}') == {
        "stable": Label(3),
        "canary": Label(4, 0.05),
        "old": Label(1),
    }


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"{", "labels.json is not JSON: "),
        (b"\xff", "labels.json is not JSON: "),
        (b"[1]", "labels.json: Expected object, got array"),
        (b'{"stable": "3"}', "label 'stable' is \"3\" in labels.json, expected a version"),
        (b'{"stable": 0}', "label 'stable' is 0 in labels.json, expected a version"),
        (b'{"stable": true}', "label 'stable' is true in labels.json, expected a version"),
        (b'{"stable": {"version": 3, "weight": 1}}', "label 'stable' is {"),
        (b'{"": 3}', "labels.json has a label '', expected a name that is not a number"),
        (b'{"7": 3}', "labels.json has a label '7', expected a name that is not a number"),
        (
            b'{"canary": {"version": 4, "share": 1.5}}',
            'label \'canary\' is {"version":4,"share":1.5} in labels.json',
        ),
        (b'{"canary": {"version": 4, "share": NaN}}', "labels.json is not JSON: "),
        (
            b'{"stable": 1000000000000000000}',
            "label 'stable' is 1000000000000000000 in labels.json, expected",
        ),
        (
            b'{"a": {"version": 1, "share": 0.6}, "b": {"version": 2, "share": 0.6}}',
            "labels.json has shares that add up to 1.2, expected at most 1",
        ),
    ],
)
def test_bad_file_is_refused_with_the_label_that_is_wrong(content: bytes, message: str) -> None:
    with pytest.raises(RefusedError) as caught:
        parse_labels(content)
    assert str(caught.value).startswith(message)
