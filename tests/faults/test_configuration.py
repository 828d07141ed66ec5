"""Configuration: Problems, suites, ``--set`` and settings that cannot be followed are refused before any work."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from pydantic import ValidationError

from flows.settings import Settings
from medai.errors import MedaiError
from medai.lines import Protocol
from medai.problem import catalogue, load_problem
from medai.promotion import Case, Rules, decide
from medai.records import Candidate, Scorecard
from medai.validation import catalogue_suite, load_suite
from medai.workspace import Workspace
from tests.faults.case import refused
from tests.faults.conftest import meets

PROBLEM, STAYS, SUITE, SET, SETTING = "Problem", "Problem of stays", "suite", "--set", "setting"
ROWS = {
    "unknown or misspelt key": (PROBLEM, STAYS, SUITE, SET, SETTING),
    "wrong type": (PROBLEM, SUITE, SET, SETTING),
    "number that cannot be": (PROBLEM, SUITE, SET, SETTING),
    "fractions that do not sum to 1": (STAYS, SET),
    "parts that do not fit": (PROBLEM, STAYS, SUITE, SET),
    "YAML that surprises": (PROBLEM, SUITE, SET),
    "no such file": (PROBLEM, SUITE, SET, SETTING),
    "secret": (PROBLEM, SET, SETTING),
}
FILES = {PROBLEM: "pneumonia_mnist", STAYS: "physionet2012_mortality", SUITE: "medmnist"}


@dataclass(frozen=True)
class Asked:
    """A configuration that cannot be followed.

    Attributes:
        row, source: of ``ROWS``.
        name: what is wrong with it.
        change: of the file's text; for ``--set`` and settings, the words or variables themselves.
        words: that the message holds.
        secrets: that it does not.
    """

    row: str
    source: str
    name: str
    change: Callable[[str], str | bytes] | tuple[str, ...] | dict[str, str]
    words: tuple[str, ...]
    secrets: tuple[str, ...] = ()

    @property
    def id(self) -> str:
        """The name that pytest shows."""
        return f"{self.row} | {self.source} | {self.name}"


def _replaced(old: str, new: str) -> Callable[[str], str]:
    def change(text: str) -> str:
        assert old in text, f"{old!r} is not in the sound file"
        return text.replace(old, new, 1)

    return change


def _added(line: str) -> Callable[[str], str]:
    return lambda text: f"{text.rstrip()}\n{line}\n"


SECRET = "s3cr3t-Wert-9173"  # noqa: S105 - planted, to be searched for


def _asked() -> Iterator[Asked]:
    row = "unknown or misspelt key"
    yield Asked(
        row,
        PROBLEM,
        "epochz",
        _replaced("epochs:", "epochz:"),
        ("training: unknown key 'epochz'; did you mean 'epochs'?",),
    )
    yield Asked(
        row,
        PROBLEM,
        "a section",
        _replaced("training:", "trainning:"),
        ("unknown key 'trainning'; did you mean 'training'?",),
    )
    yield Asked(
        row,
        PROBLEM,
        "a kind",
        _replaced("kind: medmnist", "kind: medmnst"),
        ("there is no kind 'medmnst'; did you mean 'medmnist'?",),
    )
    yield Asked(row, PROBLEM, "a metric", _replaced("auroc:", "auorc:"), ("auorc", "did you mean 'auroc'?"))
    yield Asked(row, STAYS, "a variable", _replaced("Lactate", "Lactat"), ("Lactat", "did you mean 'Lactate'?"))
    yield Asked(row, STAYS, "a group", _replaced("ICUType", "ICUTyp"), ("ICUTyp",))
    yield Asked(
        row,
        SUITE,
        "at the top",
        _replaced("tolerance:", "tolerence:"),
        ("key 'tolerence'", "did you mean 'tolerance'?"),
    )
    yield Asked(
        row, SUITE, "an argument", _replaced("min_value", "min_valu"), ("min_valu", "did you mean 'min_value'?")
    )
    yield Asked(
        row,
        SUITE,
        "a type",
        _replaced("expect_table_row_count_to_be_between", "expect_table_row_count_to_be_betwen"),
        ("did you mean 'expect_table_row_count_to_be_between'?",),
    )
    yield Asked(
        row, SUITE, "an action", _replaced("action: set_aside", "action: setaside"), ("did you mean 'set_aside'?",)
    )
    yield Asked(row, SUITE, "a reason left out", _replaced("reason: row_without_id, ", ""), ("key 'reason'",))
    yield Asked(row, SET, "a key", ("training.epochz=3",), ("did you mean 'epochs'?",))
    yield Asked(row, SET, "a section", ("trainin.epochs=3",), ("did you mean 'training'?",))
    yield Asked(
        row, SETTING, "MEDAI_HOEM", {"MEDAI_HOEM": "x"}, ("MEDAI_HOEM is no setting", "did you mean 'MEDAI_HOME'?")
    )
    row = "wrong type"
    yield Asked(
        row,
        PROBLEM,
        "a word for a number",
        _replaced("epochs: ", "epochs: many # "),
        ("training.epochs", "a whole number", '"many"'),
    )
    yield Asked(
        row,
        PROBLEM,
        "a number in quotes",
        _replaced("batch_size: ", 'batch_size: "32" # '),
        ("training.batch_size", '"32"'),
    )
    yield Asked(
        row,
        PROBLEM,
        "true for a number",
        _replaced("batch_size: ", "batch_size: true # "),
        ("training.batch_size", "true"),
    )
    yield Asked(row, PROBLEM, "a list for a section", _added("evaluation: [1, 2]"), ("evaluation",))
    yield Asked(
        row,
        PROBLEM,
        "a class said twice, as number and as text",
        _replaced("{0: ", '{"0": a, 0: '),
        ("a key as a number and again as text",),
    )
    yield Asked(
        row,
        SUITE,
        "a text for a bound",
        _replaced("min_value: 20", 'min_value: "20"'),
        ("kwargs.min_value", "a finite number"),
    )
    yield Asked(
        row, SUITE, "tables as a list", lambda text: "name: x\ntables: [1]\n", ("a table → list of rules mapping",)
    )
    yield Asked(row, SET, "a word for a number", ("training.epochs=many",), ("training.epochs", '"many"'))
    yield Asked(
        row,
        SET,
        "a value where keys are asked for",
        ("training.epochs.more=1",),
        ("goes into a value that has no keys",),
    )
    yield Asked(row, SETTING, "threads=two", {"MEDAI_THREADS": "two"}, ("MEDAI_THREADS", "'two'"))
    yield Asked(row, SETTING, "onednn=perhaps", {"MEDAI_ONEDNN": "perhaps"}, ("MEDAI_ONEDNN",))
    row = "number that cannot be"
    for value in ("-3", "0", "1.5", ".nan", ".inf", "1e999", "null"):
        yield Asked(row, PROBLEM, f"epochs: {value}", _replaced("epochs: ", f"epochs: {value} # "), ())
        yield Asked(row, SET, f"epochs={value}", (f"training.epochs={value}",), ())
    for value in ("0", "-0.1", ".NaN", "1e400", "9" * 30):
        yield Asked(row, SET, f"learning_rate={value}", (f"training.learning_rate={value}",), ())
    for value in ("-0.1", "1.1", ".nan", "two"):
        yield Asked(row, SUITE, f"tolerance: {value}", _replaced("tolerance: 0.2", f"tolerance: {value}"), ())
        yield Asked(row, SET, f"tolerance={value}", (f"validation.tolerance={value}",), ())
    yield Asked(
        row,
        SUITE,
        "bounds in the wrong order",
        _replaced("min_value: 8, max_value: 1024", "min_value: 1024, max_value: 8"),
        ("in this order",),
    )
    for name, value in {"THREADS": "0", "LOCK_SECONDS": "nan", "SERVICE_SECONDS": "-1"}.items():
        yield Asked(row, SETTING, f"{name}={value}", {f"MEDAI_{name}": value}, (f"MEDAI_{name}",))
    row = "fractions that do not sum to 1"
    yield Asked(
        row,
        STAYS,
        "0.9 in all",
        lambda text: _fractions(text, "{test: 0.2, validation: 0.2, train: 0.5}"),
        ("fractions must sum to 1",),
    )
    yield Asked(
        row,
        STAYS,
        "a negative one",
        lambda text: _fractions(text, "{test: -0.2, validation: 0.2, train: 1.0}"),
        ("must not be negative",),
    )
    yield Asked(
        row,
        STAYS,
        "nothing to test on",
        lambda text: _fractions(text, "{validation: 0.2, train: 0.8}"),
        ("must give test a share",),
    )
    yield Asked(
        row,
        STAYS,
        "a role that is none",
        lambda text: _fractions(text, "{test: 0.2, valid: 0.2, train: 0.6}"),
        ("valid",),
    )
    yield Asked(
        row,
        SET,
        "1.2 in all",
        ("split={kind: keyed_hash, key: k, fractions: {test: 0.4, validation: 0.4, train: 0.4}}",),
        ("fractions must sum to 1, they sum to 1.2",),
    )
    row = "parts that do not fit"
    yield Asked(
        row,
        PROBLEM,
        "a cohort of stays on pictures",
        _replaced("kind: pictures", "kind: stays"),
        ("does not fit a source of pictures",),
    )
    yield Asked(
        row,
        PROBLEM,
        "a positive class that is none",
        _replaced("positive: pneumonia", "positive: Mustermann"),
        ("Mustermann",),
    )
    yield Asked(row, STAYS, "a gate without rows", _replaced("role: gate", "role: nobody"), ("nobody",))
    yield Asked(
        row,
        SUITE,
        "set_aside of a whole table",
        _replaced("reason: too_few_pictures, action: block", "reason: too_few_pictures, action: set_aside"),
        ("set_aside only for a rule on rows",),
    )
    yield Asked(
        row,
        SUITE,
        "a condition that cannot be read",
        _replaced("publisher_role == ", "publisher_role = "),
        ("row_condition",),
    )
    yield Asked(
        row,
        SUITE,
        "a pattern that Rust and Python read differently",
        _added(
            '  more:\n    - {type: expect_column_values_to_match_regex, kwargs: {column: a, regex: "(?=x)"}, '
            'meta: {reason: odd, action: block, why: "Because."}}'
        ),
        ("a pattern that Python and Rust read alike",),
    )
    yield Asked(
        row,
        SET,
        "an output named as a column",
        ("outputs={role: {kind: binary, classes: {0: a, 1: b}, positive: b}}",),
        ("an output must not be named 'role'",),
    )
    row = "YAML that surprises"
    for source in (PROBLEM, SUITE):
        for name, change, words in (
            ("a tag that builds objects", _added("more: !!python/object/apply:os.system [true]"), ("uses a tag",)),
            ("an anchor", _added("more: &one [1]"), ("uses an anchor or alias",)),
            ("a key twice", _added("name: again"), ("says 'name' twice",)),
            ("a second document", _added("---\nname: again"), ("holds a second document",)),
            ("tabs", _added("more:\n\t- 1"), ("is not YAML",)),
            ("a brace that is never closed", _added("more: {a: 1"), ("is not YAML",)),
            ("a number of 40 digits", _added(f"more: {'9' * 40}"), ("whole number",)),
            ("a deep nest", _added("more: " + "[" * 90 + "]" * 90), ("nested too deeply",)),
            ("a half character", _added('more: "\\ud800"'), ()),
            ("a list at the top", lambda text: "- 1\n", ("does not hold a mapping",)),
            ("nothing", lambda text: "", ("does not hold a mapping",)),
            ("Latin-1", lambda text: text.encode() + b"# M\xfcller\n", ("is not UTF-8",)),
            ("zeros", lambda text: bytes(99), ()),
            ("2 MiB", lambda text: text + "#" * (2 << 20), ("is too large",)),
        ):
            yield Asked(row, source, name, change, words)
    yield Asked(row, SET, "a tag", ("training.epochs=!!int 3",), ("uses a tag",))
    yield Asked(row, SET, "no equals sign", ("training.epochs",), ("an override cannot be read", "section.key=value"))
    yield Asked(row, SET, "a line end", ("training.epochs=3\nname: x",), ("an override cannot be read",))
    row = "no such file"
    yield Asked(
        row,
        PROBLEM,
        "a name that is misspelt",
        {"name": "pneumonia_mnst"},
        ("there is no problem", "did you mean 'pneumonia_mnist'?"),
    )
    yield Asked(row, PROBLEM, "a path to nothing", {"name": "nothing/here.yaml"}, ("does not exist",))
    yield Asked(row, PROBLEM, "a folder", {"name": "folder.yaml"}, ("is a folder",))
    yield Asked(row, SUITE, "a folder", {"name": "folder.yaml"}, ("is a folder",))
    yield Asked(
        row,
        SET,
        "a suite that is misspelt",
        ("validation.suite=medmnst",),
        ("there is no suite named 'medmnst'", "medmnist"),
    )
    yield Asked(
        row,
        SET,
        "a suite's path to nothing",
        ("validation.suite=nothing.yaml",),
        ("the suite of pneumonia_mnist is not there",),
    )
    yield Asked(
        row,
        SET,
        "a location outside the data",
        ("inputs.picture.location=../elsewhere",),
        ("a location is a relative path without '..'",),
    )
    yield Asked(row, SETTING, "a home that is a file", {"MEDAI_HOME": "file.txt"}, ("MEDAI_HOME", "it is a file"))
    row = "secret"
    yield Asked(
        row,
        PROBLEM,
        "a password under a key that is none",
        _added(f"password: {SECRET}"),
        ("unknown key 'password'",),
        (SECRET,),
    )
    yield Asked(row, PROBLEM, "the key of the split, of the wrong type", _split_key, ("split",), (SECRET,))
    yield Asked(row, SET, "a token for a number", (f"training.token={SECRET}",), ("unknown key 'token'",), (SECRET,))
    yield Asked(
        row,
        SETTING,
        "a password in an address",
        {"MEDAI_TRACKING_URI": f"http://ward:{SECRET}@host"},
        ("MEDAI_TRACKING_URI",),
        (SECRET,),
    )
    yield Asked(
        row,
        SETTING,
        "a token in a query",
        {"MEDAI_PREFECT_API_URL": f"http://host/api?token={SECRET}"},
        ("MEDAI_PREFECT_API_URL",),
        (SECRET,),
    )


def _split_key(text: str) -> str:
    assert "split:" in text
    return text.replace(
        "split: {kind: publisher}", f"split: {{kind: keyed_hash, key: [{SECRET}], fractions: {{train: 1}}}}"
    )


def _fractions(text: str, fractions: str) -> str:
    lines = text.splitlines()
    at = next(number for number, line in enumerate(lines) if line.strip().startswith("fractions:"))
    lines[at] = lines[at].partition("fractions:")[0] + f"fractions: {fractions}"
    return "\n".join(lines) + "\n"


ASKED = list(_asked())


def _follow(asked: Asked, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Read the configuration, as a command would."""
    if asked.source == SETTING:
        assert isinstance(asked.change, dict)
        for name, value in asked.change.items():
            monkeypatch.setenv(name, value)
        Settings.load()
        return
    read: Callable[[str], object] = (lambda name: load_suite(Path(name))) if asked.source == SUITE else load_problem
    if isinstance(asked.change, tuple):
        load_problem(FILES[PROBLEM], asked.change)
    elif isinstance(asked.change, dict):
        read(asked.change["name"])
    else:
        sound = catalogue_suite(FILES[SUITE]) if asked.source == SUITE else catalogue()[FILES[asked.source]]
        changed = asked.change(sound.read_text())
        assert changed != sound.read_text(), "the case changes nothing"
        file = folder / "own.yaml"
        file.write_bytes(changed if isinstance(changed, bytes) else changed.encode())
        read(str(file))


@pytest.mark.parametrize("asked", ASKED, ids=lambda asked: asked.id)
def test_what_cannot_be_followed_is_refused_before_any_work(
    asked: Asked, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, record_property: Callable[[str, object], None]
) -> None:
    """Exit status 2, the near match, no secret, and nothing written."""
    record_property("fault", (asked.row, asked.source, "refused", False))
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.startswith("MEDAI_")]:
        monkeypatch.delenv(name)
    (tmp_path / "folder.yaml").mkdir()
    (tmp_path / "file.txt").write_text("x")
    seen = sorted(tmp_path.rglob("*"))
    with pytest.raises(MedaiError) as raised:
        _follow(asked, tmp_path, monkeypatch)
    if (tmp_path / "own.yaml").exists():
        seen.append(tmp_path / "own.yaml")
    meets(raised.value, refused(*asked.words, status=2))
    for secret in asked.secrets:
        assert secret not in str(raised.value) + repr(raised.value) + json.dumps(raised.value.as_dict())
    assert sorted(tmp_path.rglob("*")) == sorted(seen)


def test_a_file_that_is_edited_meanwhile_does_not_reach_the_run(
    tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    """A Problem is read once and cannot be changed: the run goes on with what it read, and the hash says so."""
    record_property("fault", ("edited while the run goes", PROBLEM, "frozen", False))
    file = tmp_path / "own.yaml"
    file.write_text(catalogue()[FILES[PROBLEM]].read_text())
    problem = load_problem(str(file))
    before = problem.sha256
    file.write_text("name: [")
    assert problem.sha256 == before
    with pytest.raises(ValidationError, match="frozen"):
        problem.name = "another"  # type: ignore[misc]


def test_without_a_gate_nothing_is_promoted(tmp_path: Path, record_property: Callable[[str, object], None]) -> None:
    """The verdict is ``no_gate``, whatever the figures are."""
    record_property("fault", ("no gate", PROBLEM, "nothing promoted", False))
    candidate = Candidate.model_construct(key="c" * 32)
    scorecard = Scorecard.model_construct(key="5" * 32)
    rules = Rules(gate=None, evaluation=load_problem(FILES[PROBLEM]).evaluation)
    decision = decide(Workspace(tmp_path), rules, {}, Case(candidate, scorecard, Protocol()), None).record
    assert decision.verdict == "no_gate"


@pytest.mark.parametrize(
    ("name", "arguments", "environment", "status", "word"),
    [
        ("a misspelt key", ["show", "pneumonia_mnist", "--set", "training.epochz=3"], {}, 2, "did you mean 'epochs'?"),
        ("a misspelt setting", ["problems"], {"MEDAI_HOEM": "x"}, 2, "did you mean 'MEDAI_HOME'?"),
        ("a Problem that is not there", ["show", "pneumonia_mnst"], {}, 2, "did you mean 'pneumonia_mnist'?"),
        ("data that are not there", ["check", "pneumonia_mnist", "--data", "nothing"], {}, 3, "nothing at this path"),
        ("a home below a file", ["history", "pneumonia_mnist"], {"MEDAI_HOME": "file.txt/home"}, 2, "MEDAI_HOME"),
        ("a folder for the audit", ["history", "pneumonia_mnist"], {"MEDAI_HOME": "home"}, 4, "cannot be used"),
    ],
)
def test_the_command_line_ends_with_the_stated_status(
    name: str,
    arguments: list[str],
    environment: dict[str, str],
    status: int,
    word: str,
    tmp_path: Path,
    record_property: Callable[[str, object], None],
) -> None:
    """The three parts on standard error, one object on standard output, no traceback."""
    record_property("fault", (f"exit status {status}", "command line", "refused", False))
    (tmp_path / "file.txt").write_text("x")
    (tmp_path / "home" / "audit.jsonl").mkdir(parents=True)
    ours = {key: value for key, value in os.environ.items() if not key.startswith(("MEDAI_", "PREFECT_", "MLFLOW_"))}
    command = [sys.executable, "-c", "from flows.cli import main; main()", *arguments, "--json"]
    root = Path(__file__).parents[2]
    ended = subprocess.run(
        command,
        cwd=tmp_path,
        env=ours | {"PYTHONPATH": str(root)} | environment,
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert ended.returncode == status, ended.stderr
    assert "Traceback" not in ended.stdout + ended.stderr
    error = json.loads(ended.stdout)["error"]
    assert error["status"] == status
    assert word in " ".join(str(part) for part in error.values())
    assert all(part in ended.stderr for part in ("expected:", "received:", "next step:"))


def test_every_row_has_a_case_for_every_source() -> None:
    """The table of configuration is covered: no row without a case where it makes sense, no case without a row."""
    assert {(row, source) for row, sources in ROWS.items() for source in sources} == {
        (one.row, one.source) for one in ASKED
    }
