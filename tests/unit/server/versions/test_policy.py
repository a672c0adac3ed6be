"""Version policies: syntax and choice."""

import pytest

from server.errors import StartError
from server.versions.policy import parse_policies


@pytest.mark.parametrize(
    ("text", "chosen"),
    [
        ("latest:1", [9]),
        ("latest:2", [9, 5]),
        ("latest:10", [9, 5, 3]),
        ("all", [9, 5, 3]),
        ("specific:3,5,7", [5, 3]),
    ],
)
def test_policy_chooses_among_the_versions(text: str, chosen: list[int]) -> None:
    policy = parse_policies([text])[""]
    assert policy.choose([9, 5, 3]) == chosen
    assert str(policy) == text


def test_model_may_have_its_own_policy() -> None:
    policies = parse_policies(["latest:2", "letters=all"])
    assert {model: str(policy) for model, policy in policies.items()} == {"": "latest:2", "letters": "all"}
    assert str(parse_policies(["letters=all"])[""]) == "latest:1"


@pytest.mark.parametrize(
    "text", ["", "latest", "latest:0", "latest:x", "some", "specific:", "specific:1,,2", "=all"]
)
def test_anything_else_is_refused_by_name(text: str) -> None:
    with pytest.raises(
        StartError, match=f"'{text}' is not a version policy, expected latest:N, all or specific:V,V"
    ):
        parse_policies([text])


def test_second_policy_of_a_model_is_refused() -> None:
    with pytest.raises(StartError, match="'digits=latest:2' is the second version policy of digits"):
        parse_policies(["digits=all", "digits=latest:2"])
