"""``split``: patients never straddle and never move."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from medai.cohort import Pictures, select
from medai.errors import DataRefused, MedaiError
from medai.outputs import Output
from medai.records import Cohort, QualityReport, Snapshot
from medai.sources.synthetic import Synthetic, generate
from medai.splitting import KeyedHash, Publisher, most_protected, split
from medai.workspace import Workspace

Put = Callable[..., tuple[Workspace, Snapshot, QualityReport]]
GOLDEN = [
    "train",
    "test",
    "test",
    "validation",
    "validation",
    "test",
    "train",
    "train",
    "train",
    "train",
    "train",
    "gate",
]
FRACTIONS = {"train": 0.5, "validation": 0.15, "gate": 0.15, "test": 0.2}


def keyed(key: str = "k", **fractions: float) -> KeyedHash:
    """A keyed hash."""
    return KeyedHash.model_validate({"kind": "keyed_hash", "key": key, "fractions": fractions or FRACTIONS})


@pytest.fixture
def chosen(put: Put, output_of: Callable[..., Output]) -> Callable[..., tuple[Workspace, Snapshot, Cohort]]:
    """A cohort of pictures from subjects and the publisher's roles."""

    def make(subjects: list[int], roles: list[str | None]) -> tuple[Workspace, Snapshot, Cohort]:
        number = len(subjects)
        images = pl.DataFrame(
            {"row_id": range(number), "subject_id": subjects, "time": [None] * number, "publisher_role": roles},
            schema_overrides={"time": pl.Datetime("us"), "publisher_role": pl.String},
        )
        identifiers = pl.DataFrame({"subject_id": sorted(set(subjects))}).with_columns(
            pl.col("subject_id").cast(pl.String).alias("site_id")
        )
        labels = pl.DataFrame({"row_id": range(number), "label": [0] * number})
        workspace, snapshot, quality = put({"images": images, "labels": labels, "identifiers": identifiers}, "images")
        output = output_of(kind="binary", classes={0: "well", 1: "ill"}, positive="ill")
        return (
            workspace,
            snapshot,
            select(workspace, snapshot, quality, Pictures(kind="pictures"), {"ill": output}).record,
        )

    return make


def roles_of(workspace: Workspace, key: str) -> dict[int, str]:
    """Sample to role."""
    table = pl.read_parquet(workspace.folder("split", key) / "splits.parquet")
    return dict(table.select("sample_id", "role").iter_rows())


def test_the_publishers_roles_are_kept(picture_road: Any) -> None:
    """Seven tenths, one and two, as the synthetic publisher gave them; the table is its owner's alone."""
    assert picture_road.splits.samples == {"train": 84, "validation": 12, "test": 24}
    joined = picture_road.table("select").join(picture_road.table("split"), on="sample_id")
    assert (joined["publisher_role"] == joined["role"]).all()
    path = picture_road.workspace.folder("split", picture_road.splits.key) / "splits.parquet"
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_patient_on_two_sides_is_refused(
    chosen: Callable[..., tuple[Workspace, Snapshot, Cohort]], refusal: Callable[[MedaiError], str]
) -> None:
    """The publisher's list is not believed where it breaks the law; the message counts, it does not name."""
    made = chosen([901, 902, 903, 902], ["train", "validation", "test", "test"])
    with pytest.raises(DataRefused, match="the same patient stands on two sides of the split") as raised:
        split(*made, Publisher(kind="publisher"))
    assert raised.value.received == "1 of 3 subjects in several roles"
    assert "902" not in refusal(raised.value)


def test_straddling_patients_may_keep_their_most_protected_role(
    chosen: Callable[..., tuple[Workspace, Snapshot, Cohort]],
) -> None:
    """Train goes before validation before test; what is dropped has no role and is counted, nobody else moves."""
    subjects = [1, 1, 2, 2, 3, 3, 3, 4, 5, 6, 6]
    roles: list[str | None] = [
        "train", "train", "train", "validation", "train", "validation", "test", "validation", "test", "validation",
        "test",
    ]  # fmt: skip
    workspace, snapshot, cohort = chosen(subjects, roles)
    splits = split(workspace, snapshot, cohort, Publisher(kind="publisher", straddling="drop_from_train")).record
    assert roles_of(workspace, splits.key) == {
        0: "train", 1: "train", 3: "validation", 6: "test", 7: "validation", 8: "test", 10: "test",
    }  # fmt: skip
    assert splits.samples == {"train": 2, "validation": 2, "test": 3}
    assert splits.subjects == {"train": 1, "validation": 2, "test": 3}
    assert (splits.straddling, splits.dropped) == (3, {"train": 2, "validation": 2})


def test_without_straddlers_nothing_is_dropped(picture_road: Any) -> None:
    """The option changes nothing where the publisher kept the law."""
    publisher = Publisher(kind="publisher", straddling="drop_from_train")
    splits = split(picture_road.workspace, picture_road.snapshot, picture_road.cohort, publisher).record
    assert (splits.straddling, splits.dropped) == (0, {})
    assert splits.samples == picture_road.splits.samples
    assert splits.test_sha256 == picture_road.splits.test_sha256


def test_a_role_that_dropping_empties_is_refused(chosen: Callable[..., tuple[Workspace, Snapshot, Cohort]]) -> None:
    """Every train patient also stands in test: there is nobody to learn from."""
    made = chosen([1, 2, 3, 1, 2], ["train", "train", "validation", "test", "test"])
    with pytest.raises(DataRefused, match="no sample is in train"):
        split(*made, Publisher(kind="publisher", straddling="drop_from_train"))


def test_the_choice_is_spelt_right() -> None:
    """Another word is refused."""
    with pytest.raises(ValidationError, match="'refuse' or 'drop_from_train'"):
        Publisher.model_validate({"kind": "publisher", "straddling": "drop"})


@given(st.lists(st.tuples(st.integers(1, 6), st.sampled_from(["train", "validation", "test"])), min_size=1))
def test_dropping_never_leaves_a_patient_on_two_sides(stands: list[tuple[int, str]]) -> None:
    """Whatever the publisher wrote: the kept role is the patient's most protected one (the rule, in plain Python)."""
    order = {"train": 0, "validation": 1, "test": 2}
    best: dict[int, str] = {}
    for subject, role in stands:
        best[subject] = max(role, best.get(subject, "train"), key=order.__getitem__)
    table = pl.DataFrame(stands, schema={"subject_id": pl.Int64, "role": pl.String}, orient="row")
    found = most_protected(table)
    assert dict(found.select("subject_id", "kept").iter_rows()) == best
    assert dict(found.select("subject_id", "roles").iter_rows()) == {
        subject: len({role for other, role in stands if other == subject}) for subject in best
    }


def test_a_sample_without_a_publishers_role_is_refused(
    chosen: Callable[..., tuple[Workspace, Snapshot, Cohort]],
) -> None:
    """It is not given to train in silence."""
    made = chosen([1, 2, 3, 4], ["train", "validation", "test", None])
    with pytest.raises(DataRefused, match="does not name every sample's role") as raised:
        split(*made, Publisher(kind="publisher"))
    assert raised.value.received == "1 of 4 samples without a role"


@pytest.mark.parametrize(
    ("division", "message"),
    [
        (Publisher(kind="publisher"), "no sample is in validation"),
        (keyed(train=0.5, validation=1e-12, test=0.5 - 1e-12), "no sample is in validation"),
        (keyed(train=0.4, validation=0.3, gate=1e-12, test=0.3 - 1e-12), "no sample is in gate"),
    ],
)
def test_a_role_without_samples_is_refused(
    chosen: Callable[..., tuple[Workspace, Snapshot, Cohort]], division: Publisher | KeyedHash, message: str
) -> None:
    """Also the gate's, when it was asked for: before a model is fitted, not after."""
    made = chosen(list(range(60)), ["train", "test"] * 30)
    with pytest.raises(DataRefused, match=message) as raised:
        split(*made, division)
    assert message.rsplit(" ", 1)[1] + ": 0" in raised.value.received


def test_all_samples_of_a_patient_share_a_role(chosen: Callable[..., tuple[Workspace, Snapshot, Cohort]]) -> None:
    """The hash is of the subject, not of the sample; samples and subjects are counted apart."""
    subjects = [row // 3 for row in range(180)]
    workspace, snapshot, cohort = chosen(subjects, [None] * 180)
    splits = split(workspace, snapshot, cohort, keyed()).record
    roles = roles_of(workspace, splits.key)
    assert all(len({roles[3 * subject + at] for at in range(3)}) == 1 for subject in range(60))
    assert splits.samples == {role: 3 * count for role, count in splits.subjects.items()}
    assert sum(splits.subjects.values()) == 60
    assert all(roles[3 * subject] == keyed().role(str(subject)) for subject in range(60))


def test_nobody_moves_when_the_data_grow(
    tmp_path: Path, walk_stays: Callable[[Path, Path], Any], stay_road: Any
) -> None:
    """Five per cent more subjects: each old one keeps its role, and old test patients stay test patients."""
    raw = tmp_path / "raw"
    raw.mkdir()
    config = Synthetic(kind="synthetic", layout="physionet2012", subjects=158, prevalence=0.4, signal=0.8)
    grown = walk_stays(tmp_path / "home", generate(config, raw))
    before = dict(stay_road.table("split").select("subject_id", "role").iter_rows())
    after = dict(grown.table("split").select("subject_id", "role").iter_rows())
    assert (len(before), len(after)) == (150, 158)
    assert {subject: after[subject] for subject in before} == before


def test_fractions_come_out_near_what_was_asked() -> None:
    """Of 20,000 subjects each role gets its share, to within five standard deviations (at most 0.018)."""
    division = keyed()
    counts = dict.fromkeys(FRACTIONS, 0)
    for subject in range(20_000):
        counts[division.role(f"patient-{subject}")] += 1
    for role, share in FRACTIONS.items():
        assert abs(counts[role] / 20_000 - share) < 5 * (share * (1 - share) / 20_000) ** 0.5


@given(st.text(min_size=1, max_size=20), st.floats(0.05, 0.5))
def test_moving_the_border_of_train_leaves_test_alone(site_id: str, validation: float) -> None:
    """Test is cut first: another share for validation moves nobody into or out of test."""
    one = keyed(train=0.75, validation=0.05, test=0.2).role(site_id)
    other = keyed(train=0.8 - validation, validation=validation, test=0.2).role(site_id)
    assert (one == "test") == (other == "test")


def test_another_key_is_another_split() -> None:
    """Roles under two keys agree no more than by chance."""
    names = [str(number) for number in range(400)]
    same = sum(keyed("one").role(name) == keyed("two").role(name) for name in names)
    expected = sum(share**2 for share in FRACTIONS.values()) * 400
    assert abs(same - expected) < 60


@pytest.mark.parametrize(
    ("fractions", "message"),
    [
        ({"train": 0.5, "validation": 0.2, "test": 0.2}, "fractions must sum to 1, they sum to 0.9"),
        ({"train": 0.8, "test": 0.2}, "fractions must give validation a share"),
        ({"train": 1.2, "validation": 0.2, "test": -0.4}, "fractions must not be negative"),
        ({"train": 0.5, "validation": 0.25, "test": 0.25, "holdout": 0.0}, "Input should be 'train'"),
        ({"train": float("nan"), "validation": 0.5, "test": 0.5}, "finite"),
    ],
)
def test_fractions_that_mean_nothing_are_refused(fractions: dict[str, float], message: str) -> None:
    """They sum to one, none is negative, and the three roles that every run needs have a share."""
    with pytest.raises(ValidationError, match=message):
        keyed("k", **fractions)


def test_the_hash_is_golden() -> None:
    """Recorded once: a patient's role must be the same in every later version of medai."""
    found = [keyed("medai").role(str(number)) for number in range(12)]
    assert found == GOLDEN
