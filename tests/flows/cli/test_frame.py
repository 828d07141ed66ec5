"""What can go wrong with a command: where it is told, with which exit status, and what it never shows."""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from medai.sources.synthetic import Synthetic, generate

PICTURE = {
    "source": {"kind": "medmnist"},
    "preprocessing": {"kind": "pixels", "size": [28, 28], "channels": 1},
    "encoder": {"kind": "small_cnn", "filters": [8, 8], "dense": 16},
}


def npz(folder: Path, **changes: Any) -> Path:
    """Generated pictures as a file."""
    return generate(Synthetic(kind="synthetic", layout="medmnist", subjects=60, seed=5, **changes), folder)


@pytest.mark.parametrize(
    ("arguments", "changes", "told"),
    [
        (("synthetic_picture",), None, "did you mean 'synthetic_pictures'?"),
        (("nowhere.yaml",), None, "nowhere.yaml"),
        ((), {"trainning": {"epochs": 1}}, "did you mean 'training'?"),
        (("--set", "training.epochz=3"), {}, "did you mean 'epochs'?"),
        (("--set", "training.epochs"), {}, "--set section.key=value"),
        (("--set", "training.epochs=-1"), {}, "training.epochs"),
        (("--set", "training.learning_rate=.nan"), {}, "training.learning_rate"),
        (("--set", "training.epochs=many"), {}, "training.epochs"),
        (("--set", "training.epochs=true"), {}, "training.epochs: true"),
        (("--data", "~nosuchuser/x.npz"), {}, "~nosuchuser/x.npz"),
        (("--set", "name.x=1"), {}, "name is a single value"),
        (("--set", "data=!!python/object:os.system"), {}, ""),
        (("--set", "inputs.picture.encoder.kind=small_cn"), {}, "did you mean 'small_cnn'?"),
        (("--set", "gate.role=gate"), {}, "role 'test'"),
        ((), {"data": None}, "--data PATH"),
        ((), {"validation": {"suite": "no/such.yaml"}}, "validation.suite"),
    ],
)
def test_what_cannot_be_followed_ends_with_status_2(
    arguments: tuple[str, ...], changes: dict[str, Any] | None, told: str, medai: Any, problems: Any, tmp_path: Path
) -> None:
    """Before any work: the message names the key and the near match, nothing is made."""
    problem = () if changes is None else (problems.pictures("wrong", **changes),)
    answer = medai("run", *problem, *arguments, "--json", home=tmp_path / "home")
    assert answer.status == 2, answer.err
    assert told in str(answer.error["expected"] + answer.error["received"] + answer.error["action"])
    assert not (tmp_path / "home" / "store").exists()
    assert not (tmp_path / "home" / "audit.jsonl").exists()


@pytest.mark.parametrize(
    ("failure", "told"),
    [
        ("class PanicException(BaseException): pass\nfailure = PanicException('a patient')", "gave up in the middle"),
        ("failure = OSError(27, 'File too large')", "a file grew past the limit"),
        ("failure = OSError(11, 'Resource temporarily unavailable')", "starts no more processes or threads"),
        (
            "import httpx\nfrom prefect.exceptions import PrefectHTTPStatusError\n"
            "asked = httpx.Request('POST', 'http://127.0.0.1/api')\n"
            "failure = PrefectHTTPStatusError('Traceback of a patient', request=asked,"
            " response=httpx.Response(500, request=asked))",
            "received: PrefectHTTPStatusError, status 500",
        ),
    ],
)
def test_what_the_machine_does_not_do_is_no_defect_of_ours(
    failure: str, told: str, bare_environment: dict[str, str], tmp_path: Path
) -> None:
    """Status 4 and a sentence: also for a panic, which is no Exception, and for an answer of Prefect's server."""
    script = f"{failure}\nfrom flows.cli.frame import answer\ndef act(_):\n    raise failure\nanswer(act, True, print)"
    ended = subprocess.run(
        [sys.executable, "-c", "import typer\napp = typer.Typer()\n@app.command()\ndef main():\n"
         + "\n".join("    " + line for line in script.splitlines()) + "\napp()"],
        env=bare_environment, cwd=tmp_path, capture_output=True, text=True, timeout=500,
    )  # fmt: skip
    assert ended.returncode == 4, ended.stderr
    assert told in ended.stderr
    assert json.loads(ended.stdout)["error"]["status"] == 4
    assert not any(word in ended.stdout + ended.stderr for word in ("patient", "Traceback"))


@pytest.mark.parametrize(
    "arguments",
    [("run",), ("run", "--jsn", "x"), ("run", "x", "--seed", "-1"), ("run", "x", "--seed", str(2**32)), ("rum",)],
)
def test_a_misused_command_ends_with_status_2(arguments: tuple[str, ...], medai: Any, home: Path) -> None:
    """A usage error says how it is used, on standard error."""
    answer = medai(*arguments, home=home)
    assert (answer.status, answer.out) == (2, "")
    assert "Usage: medai" in answer.err
    assert "Traceback" not in answer.err


@pytest.mark.parametrize(
    ("variable", "value"), [("MEDAI_THREADS", "two"), ("MEDAI_THREAD", "2"), ("MEDAI_TRACKING_URI", "http://a:b@c")]
)
def test_a_wrong_setting_ends_with_status_2(variable: str, value: str, medai: Any, home: Path, problems: Any) -> None:
    """The variable is named."""
    answer = medai("run", problems.pictures("set"), "--json", home=home, environment={variable: value})
    assert answer.status == 2
    assert variable in answer.error["wrong"]


@pytest.fixture
def damaged(tmp_path: Path) -> Callable[[str], Path]:
    """Data files that cannot be trusted."""

    def make(how: str) -> Path:
        path = npz(tmp_path)
        if how == "missing":
            path.unlink()
        elif how == "cut":
            path.write_bytes(path.read_bytes()[:-400])
        elif how == "empty":
            path.write_bytes(b"")
        elif how == "text":
            path.write_text("<html>404</html>")
        elif how == "folder":
            return tmp_path
        elif how == "flipped":
            data = bytearray(path.read_bytes())
            data[len(data) // 2] ^= 1
            path.write_bytes(data)
        return path

    return make


@pytest.mark.parametrize("how", ["missing", "cut", "empty", "text", "folder", "flipped"])
def test_data_that_cannot_be_trusted_end_with_status_3(
    how: str, damaged: Callable[[str], Path], medai: Any, home: Path, problems: Any
) -> None:
    """Refused in three parts; no stage's folder is left half made."""
    answer = medai("run", problems.pictures("refused"), "--data", str(damaged(how)), "--json", home=home)
    assert answer.status == 3, answer.err
    assert answer.error["kind"] == "DataRefused"
    assert list((home / "store").glob("*/.*.partial")) == []


@pytest.fixture
def mounted(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Path]:
    """A file system of its own, mounted with the test's options; skipped where nobody may mount."""
    place = tmp_path / "disk"
    place.mkdir()
    options = getattr(request, "param", "size=1m")
    mount = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(place)]
    if shutil.which("mount") is None or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("mounting a file system needs root")
    yield place
    subprocess.run(["umount", "--lazy", str(place)], check=True)


@pytest.mark.parametrize("mounted", ["size=64k", "size=256k", "size=600k"], indirect=True)
def test_a_full_disk_ends_with_status_4_and_works_again_with_space(mounted: Path, medai: Any, problems: Any) -> None:
    """Whatever stage meets the end of the disk, the message is the same and nothing half made is visible."""
    problem = problems.pictures("full")
    answer = medai("run", problem, "--json", home=mounted / "home")
    assert answer.status == 4, answer.err
    assert answer.error["kind"] == "ServiceFailed"
    assert "full" in answer.error["wrong"] + answer.error["received"]
    subprocess.run(["mount", "-o", "remount,size=64m", str(mounted)], check=True)
    assert medai("check", problem, "--json", home=mounted / "home").status == 0


def test_a_home_that_cannot_be_written_ends_with_status_4(mounted: Path, medai: Any, problems: Any) -> None:
    """A read-only disk."""
    problem = problems.pictures("read_only")
    subprocess.run(["mount", "-o", "remount,ro", str(mounted)], check=True)
    answer = medai("run", problem, "--json", home=mounted / "home")
    assert answer.status == 4, answer.err
    assert answer.error["kind"] == "ServiceFailed"


@pytest.mark.parametrize(
    "command", [("history",), ("promote", "1", "--reason", "x"), ("rollback", "--reason", "x"), ("run",), ("check",)]
)
def test_a_state_folder_that_is_none_is_named(
    command: tuple[str, ...], medai: Any, problems: Any, tmp_path: Path
) -> None:
    """A home that is a file is a wrong setting, status 2; a lock folder or an audit that is none, status 4. Both are
    named by path and setting, in words.
    """
    (tmp_path / "file").touch()
    home = tmp_path / "home"
    (home / "audit.jsonl").mkdir(parents=True)
    (home / "locks").touch()
    problem = problems.pictures("nowhere")
    for place, status in ((tmp_path / "file", 2), (home, 4)):
        answer = medai(command[0], problem, *command[1:], "--json", home=place)
        assert answer.status == status, answer.err
        assert "MEDAI_HOME" in str(answer.error)
        assert str(place) in str(answer.error)
        assert "rrno" not in str(answer.error)


def test_data_are_found_in_the_folder_of_data_sets_and_nowhere_else(medai: Any, problems: Any, tmp_path: Path) -> None:
    """``--data`` may name that folder, as MEDAI_DATA does; a link that leads out of it is refused."""
    source = {"picture": PICTURE | {"location": "sets/pictures.npz"}}
    problem = problems.pictures("located", data=None, inputs=source)
    sets = tmp_path / "all" / "sets"
    sets.mkdir(parents=True)
    made = npz(tmp_path)
    (sets / "pictures.npz").symlink_to(made)
    for given, environment in ((("--data", str(sets.parent)), {}), ((), {"MEDAI_DATA": str(sets.parent)})):
        answer = medai("check", problem, *given, "--json", home=tmp_path / "home", environment=environment)
        assert (answer.status, answer.error["wrong"]) == (3, "the data's location leads out of the folder of data sets")
    (sets / "pictures.npz").unlink()
    made.rename(sets / "pictures.npz")
    answer = medai("check", problem, "--data", str(sets.parent), "--json", home=tmp_path / "home")
    assert answer.json["passed"] is True
    nowhere = medai("check", problem, "--json", home=tmp_path / "home")
    assert nowhere.error["action"] == f"medai check {problem} --data PATH"


@pytest.mark.parametrize("arguments", [["show", "synthetic_stays", "--json"], ["show", "synthetic_stay", "--json"]])
def test_a_standard_output_that_is_full_ends_with_status_4(
    arguments: list[str], bare_environment: dict[str, str], tmp_path: Path
) -> None:
    """In three parts and without a traceback, for an answer as for a refusal; a reader that left is no failure."""
    command = [sys.executable, "-c", "from flows.cli import main; main()", *arguments]
    with Path("/dev/full").open("w") as full:
        answer = subprocess.run(
            command, stdout=full, stderr=subprocess.PIPE, text=True, env=bare_environment, cwd=tmp_path, check=False
        )
    assert answer.returncode == 4
    assert "medai: standard output takes no more." in answer.stderr
    assert "Traceback" not in answer.stderr
    assert "Exception ignored" not in answer.stderr


@pytest.mark.parametrize("argument", ["\udcff.yaml", "p\udcff"])
def test_an_argument_that_is_no_text_ends_with_status_2(argument: str, medai: Any, home: Path) -> None:
    """Bytes that are not UTF-8 can be neither logged nor answered."""
    for arguments in (("show", argument), ("check", "synthetic_stays", "--data", argument)):
        answer = medai(*arguments, "--json", home=home)
        assert (answer.status, answer.error["wrong"]) == (2, "an argument is no text")


# -- whose names are never shown -----------------------------------------------------------------------------------
