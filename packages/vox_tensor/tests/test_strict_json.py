from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vox_tensor.errors import DataError
from vox_tensor.strict_json import MAX_DEPTH, MAX_INTEGER_DIGITS, parse_json

WHERE = "a.json"
SENTINEL = "private"

JSON_VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


def code_of(text: str) -> str:
    with pytest.raises(DataError) as caught:
        parse_json(text, WHERE)
    (problem,) = caught.value.problems
    assert problem.where == WHERE
    assert SENTINEL not in str(problem)
    return problem.code


@given(JSON_VALUES, st.booleans())
def test_what_json_writes_is_read_as_it_was(value: object, ensure_ascii: bool) -> None:
    assert parse_json(json.dumps(value, ensure_ascii=ensure_ascii), WHERE) == value


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        f'{{"{SENTINEL}": 1',
        f'{{"a": "{SENTINEL}',
        f'{{"a": "{SENTINEL}\\q"}}',
        f"{{{SENTINEL}: 1}}",
        '{"a": 1,}',
        "{'a': 1}",
        '{"a": 1} {"b": 2}',
        '{"a": "\x01"}',
        '{"a": 01}',
        '{"a": 1_000}',
        '{"a": .5}',
        '{"a": +1}',
        '{"a": 0x10}',
        "{} // comment",
        "\ufeff{}",
        "\x0c{}",
        "{}\x00",
    ],
)
def test_what_is_not_json_is_refused_at_a_character(text: str) -> None:
    assert code_of(text) == "MENS-D005"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ('{"a" 1}', "Expecting ':' delimiter at character 6."),
        ('{"a": "b', "Unterminated string starting at character 7."),
    ],
)
def test_the_message_says_what_was_expected_where(text: str, reason: str) -> None:
    with pytest.raises(DataError) as caught:
        parse_json(text, WHERE)
    assert caught.value.problems[0].what == f"this is not JSON: {reason}"


@pytest.mark.parametrize("text", ['{"a": 1, "a": 1}', '{"b": [{"a": 1, "\\u0061": 2}]}'])
def test_a_repeated_key_is_refused_at_any_depth(text: str) -> None:
    assert code_of(text) == "MENS-D006"


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999", "-1e999"])
def test_numbers_json_does_not_have_are_refused(number: str) -> None:
    assert code_of(f'{{"a": [{number}]}}') == "MENS-D007"


def test_small_and_large_numbers_are_kept() -> None:
    assert parse_json("[1e308, -1e-320, 18446744073709551616]", WHERE) == [1e308, -1e-320, 2**64]


@pytest.mark.parametrize(
    "text", [r'"\ud800"', r'"\uDFFF"', r'{"\udbff": 1}', r'[{"a": "x\udc00\ud800"}]']
)
def test_half_of_a_surrogate_pair_is_refused_in_keys_and_values(text: str) -> None:
    assert code_of(text) == "MENS-D008"


def test_whole_pairs_and_escaped_backslashes_are_kept() -> None:
    assert parse_json(r'["\ud83d\ude00", "\\ud800"]', WHERE) == ["\U0001f600", r"\ud800"]


@pytest.mark.parametrize(("opening", "closing"), [("[", "]"), ('{"a":', "}")])
def test_nesting_is_limited(opening: str, closing: str) -> None:
    def nested(depth: int) -> str:
        return opening * depth + "1" + closing * depth

    assert json.loads(nested(MAX_DEPTH)) == parse_json(nested(MAX_DEPTH), WHERE)
    assert code_of(nested(MAX_DEPTH + 1)) == "MENS-D010"
    assert code_of(nested(200_000)) == "MENS-D010"


def test_brackets_in_strings_do_not_count_as_nesting() -> None:
    assert parse_json(json.dumps("[{" * 1000), WHERE) == "[{" * 1000


def test_wide_values_do_not_count_as_nesting() -> None:
    assert parse_json("[" + "[],{}," * 500 + "1]", WHERE) == [[], {}] * 500 + [1]


def test_long_integers_are_refused() -> None:
    assert parse_json("9" * MAX_INTEGER_DIGITS, WHERE) == int("9" * MAX_INTEGER_DIGITS)
    assert code_of("9" * (MAX_INTEGER_DIGITS + 1)) == "MENS-D011"
    assert code_of("-" + "9" * 6000) == "MENS-D011"
