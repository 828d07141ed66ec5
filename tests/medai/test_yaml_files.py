"""The small YAML language of Problems and suites."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medai.errors import ConfigurationError
from medai.yaml_files import LARGEST_BYTES, parse_yaml, read_yaml


def test_plain_data() -> None:
    """Numbers, words, lists and mappings arrive as plain data; YAML 1.1's surprises stay text."""
    text = """
    # a comment
    epochs: 20
    rate: 1e-3
    half: .5
    classes: {0: normal, 1: pneumonia}
    answer: no
    time: 1:30
    day: 2020-01-01
    padded: 012
    empty:
    quoted: "true"
    yes_really: true
    list: [a, -2, 3.5, null]
    """
    assert parse_yaml(text) == {
        "epochs": 20,
        "rate": 0.001,
        "half": 0.5,
        "classes": {0: "normal", 1: "pneumonia"},
        "answer": "no",
        "time": "1:30",
        "day": "2020-01-01",
        "padded": "012",
        "empty": None,
        "quoted": "true",
        "yes_really": True,
        "list": ["a", -2, 3.5, None],
    }


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("a: 1\nb: 2\na: 3", "says 'a' twice (line 3)"),
        ("a:\n  x: 1\n  x: 2", "says 'x' twice (line 3)"),
        ("a: !!python/object/apply:os.system [ls]", "uses a tag (line 1)"),
        ("a: 1\nb: !secret x", "uses a tag (line 2)"),
        ("a: &x 1\nb: *x", "uses an anchor or alias (line 1)"),
        ("a: .nan", "holds a number that is not finite (line 1)"),
        ("a: -.inf", "holds a number that is not finite (line 1)"),
        ("a: [1, NaN]", "holds a number that is not finite (line 1)"),
        ("a: 1e400", "holds a number that is not finite (line 1)"),
        ("a: [1", "is not YAML (line 1)"),
        ("a: 1\n--- \nb: 2", "holds a second document (line 2)"),
        ("[1, 2]", "does not hold a mapping"),
        ("", "does not hold a mapping"),
        ("1.5: a", "has a key that is neither text nor a whole number (line 1)"),
        ("[a]: b", "has a key that is neither text nor a whole number (line 1)"),
        ("true: b", "has a key that is neither text nor a whole number (line 1)"),
        ("a: " + "[" * 40 + "]" * 40, "is nested too deeply (line 1)"),
        ("a: " + "[" * 500_000, "is nested too deeply (line 1)"),  # an hour, where all of it is read first
        ("a: \x00", "is not YAML"),
        ('a: "\\UFFFFFFFF"', "is not YAML"),
        ('a: "\\0"', "holds a character that is no text (line 1)"),
        ('a: 1\nb: "\\e[2J"', "holds a character that is no text (line 2)"),
        ('"\\ud800": 1', "holds a character that is no text (line 1)"),
        ("a: " + "9" * 5000, "holds a whole number of more than 18 digits (line 1)"),
    ],
)
def test_refusals_name_the_line(text: str, wrong: str) -> None:
    """What the language does not allow is refused with status 2, by file and line."""
    with pytest.raises(ConfigurationError) as refused:
        parse_yaml(text, "problem.yaml")
    assert refused.value.wrong == f"problem.yaml {wrong}"
    assert refused.value.exit_status == 2


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    """A missing file, a folder, another encoding and a huge file are each named for what they are."""
    (tmp_path / "latin.yaml").write_bytes(b"a: \xe9")
    (tmp_path / "huge.yaml").write_bytes(b"a: 1\n" + b"#" * LARGEST_BYTES)
    for name, wrong in [
        ("absent.yaml", "absent.yaml does not exist"),
        (".", " is a folder"),
        ("latin.yaml", "latin.yaml is not UTF-8"),
        ("huge.yaml", "huge.yaml is too large"),
    ]:
        with pytest.raises(ConfigurationError) as refused:
            read_yaml(tmp_path / name)
        assert refused.value.wrong.endswith(wrong)
        assert str(tmp_path.parent) not in str(refused.value)


@given(st.text(max_size=80))
def test_any_text_is_read_or_refused(text: str) -> None:
    """No text makes the parser fail in another way than by refusing it."""
    with contextlib.suppress(ConfigurationError):
        assert isinstance(parse_yaml(text), dict)
