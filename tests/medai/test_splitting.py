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

from medai.cohort import Pictures, Stays, select
from medai.errors import ConfigurationError, DataRefused, MedaiError
from medai.outputs import Output
from medai.records import Cohort, QualityReport, Snapshot
from medai.sources.synthetic import Synthetic, generate
from medai.splitting import KeyedHash, Listed, Publisher, Time, most_protected, split
from medai.splitting.definition import hashed_role
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

    def make(
        subjects: list[int], roles: list[str | None], groups: list[int | None] | None = None
    ) -> tuple[Workspace, Snapshot, Cohort]:
        number = len(subjects)
        images = pl.DataFrame(
            {"row_id": range(number), "subject_id": subjects, "time": [None] * number, "publisher_role": roles},
            schema_overrides={"time": pl.Datetime("us"), "publisher_role": pl.String},
        )
        if groups is not None:
            images = images.with_columns(pl.Series("near_group", groups, pl.Int64))
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


def test_a_publishers_train_is_divided_by_patient_and_its_test_is_kept(
    chosen: Callable[..., tuple[Workspace, Snapshot, Cohort]],
) -> None:
    """By a hash of the site's id, whatever else is there; nothing of test moves, and no fraction may ask for it."""
    subjects = [subject for subject in range(60) for _ in range(2)]
    roles = ["test" if subject % 4 == 0 else "train" for subject in subjects]
    fractions = {"train": 0.5, "validation": 0.3, "gate": 0.2}
    division = {"kind": "publisher", "divide_train": {"key": "k", "fractions": fractions}}
    publisher = Publisher.model_validate(division)
    assert publisher.needed == ("train", "validation", "test", "gate")
    made = chosen(subjects, roles)
    splits = split(*made, publisher).record
    assigned = roles_of(made[0], splits.key)
    for sample, subject in enumerate(subjects):
        expected = "test" if subject % 4 == 0 else hashed_role("k", fractions, str(subject))
        assert assigned[sample] == expected
    assert set(splits.samples) == {"train", "validation", "gate", "test"}
    for wrong in ({"train": 0.5, "validation": 0.3, "test": 0.2}, {"train": 1.0}):
        with pytest.raises(ValidationError):
            Publisher.model_validate({**division, "divide_train": {"key": "k", "fractions": wrong}})


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


@pytest.fixture
def lists(tmp_path: Path) -> Callable[..., Listed]:
    """A split by lists from the files' texts."""

    def make(unlisted: str = "train", **texts: str) -> Listed:
        files = {}
        for role, text in texts.items():
            path = tmp_path / f"{role}.csv"
            path.write_text(text)
            files[role] = str(path)
        return Listed.model_validate({"kind": "list", "files": files, "unlisted": unlisted})

    return make


def test_lists_of_subjects_give_their_roles(
    chosen: Callable[..., tuple[Workspace, Snapshot, Cohort]], lists: Callable[..., Listed]
) -> None:
    """The benchmark's lists (an id and whether it is meant), plain ones with a header; who is on none is train."""
    cohort = chosen([1, 1, 2, 3, 4, 5], [None] * 6)
    made = split(*cohort, lists(test="1,0\n2,1\n3,0\n", validation="subject_id\n4\n\n99\n")).record
    assert roles_of(cohort[0], made.key) == {0: "train", 1: "train", 2: "test", 3: "train", 4: "validation", 5: "train"}
    assert made.subjects == {"train": 3, "validation": 1, "test": 1}
    # What the files say is the key, wherever they lie; another list is another split.
    again = split(*cohort, lists(validation="subject_id\n4\n\n99\n", test="1,0\n2,1\n3,0\n"))
    assert again.reused
    assert split(*cohort, lists(test="1,1\n2,1\n3,0\n", validation="4\n")).record.key != made.key


@pytest.mark.parametrize(
    ("texts", "error", "message"),
    [
        ({"test": "2\n", "validation": "2\n"}, DataRefused, "a subject stands on two lists"),
        ({"test": "2,1\nno,maybe\n", "validation": "3\n"}, DataRefused, "line 2 with 2 fields"),
        ({"test": "2,1,1\n", "validation": "3\n"}, DataRefused, "line 1 with 3 fields"),
        ({"test": '"2', "validation": "3\n"}, DataRefused, "is no CSV"),
        ({"test": "2\n", "validation": "77\n"}, DataRefused, "no sample is in validation"),
        ({"test": "2\n", "validation": "3\n", "unlisted": "refuse"}, DataRefused, "1 of 3 subjects on none"),
    ],
)
def test_lists_that_cannot_be_followed_are_refused(
    chosen: Callable[..., tuple[Workspace, Snapshot, Cohort]],
    lists: Callable[..., Listed],
    refusal: Callable[[MedaiError], str],
    texts: dict[str, str],
    error: type[MedaiError],
    message: str,
) -> None:
    """A line is named by its number, a subject by nothing."""
    with pytest.raises(error) as raised:
        split(*chosen([1, 2, 3], [None] * 3), lists(**texts))
    assert message in refusal(raised.value)


def test_a_list_that_is_not_there_is_a_slip_of_the_problem(
    chosen: Callable[..., tuple[Workspace, Snapshot, Cohort]], tmp_path: Path
) -> None:
    """Refused with what stands there instead; and a split by lists names one for validation and test."""
    config = Listed.model_validate({"kind": "list", "files": {"test": str(tmp_path), "validation": str(tmp_path)}})
    with pytest.raises(ConfigurationError, match="the list of subjects for test cannot be read") as raised:
        split(*chosen([1], [None]), config)
    assert raised.value.received == "a folder"
    with pytest.raises(ValidationError, match="must name a list for validation"):
        Listed.model_validate({"kind": "list", "files": {"test": "a.csv"}})


def by_time(**keys: Any) -> Time:
    """A split at the year 2017."""
    fractions = {"train": 0.6, "validation": 0.2, "gate": 0.2}
    return Time.model_validate({"kind": "time", "key": "k", "first_year": 2017, "fractions": fractions, **keys})


@pytest.fixture
def admitted(
    put: Put, event_tables: Callable[..., Any], output_of: Callable[..., Output]
) -> Callable[..., tuple[Workspace, Snapshot, Cohort]]:
    """A cohort of stays from subjects and the earliest year of each stay; hourly if asked."""

    def make(subjects: list[int], years: list[int | None], **keys: Any) -> tuple[Workspace, Snapshot, Cohort]:
        tables = event_tables([], subjects=len(subjects))
        stays = tables["stays"].with_columns(
            subject_id=pl.Series(subjects), admission_year=pl.Series(years, dtype=pl.Int64)
        )
        identifiers = pl.DataFrame({"subject_id": sorted(set(subjects))}).with_columns(
            pl.col("subject_id").cast(pl.String).alias("site_id")
        )
        workspace, snapshot, quality = put({**tables, "stays": stays, "identifiers": identifiers}, "events")
        output = output_of(kind="binary", classes={0: "a", 1: "b"}, positive="b")
        definition = Stays.model_validate({"kind": "stays", **keys})
        return workspace, snapshot, select(workspace, snapshot, quality, definition, {"x": output}).record

    return make


def test_who_came_later_is_the_test(admitted: Callable[..., tuple[Workspace, Snapshot, Cohort]]) -> None:
    """Earlier years by hash. A stay of 2015 may be of either side. Of a patient of both, the later ones leave."""
    subjects = [*range(40), 0, 1, 2, 3]
    years = [2008] * 30 + [2017] * 8 + [2015, None] + [2019, 2017, 2016, 2011]
    workspace, snapshot, cohort = admitted(subjects, years)
    made = split(workspace, snapshot, cohort, by_time()).record
    roles = roles_of(workspace, made.key)
    assert {roles[stay] for stay in range(30, 38)} == {"test"}
    assert set(roles) == {*range(38), 43}  # 38, 39 and 42 are uncertain, 40 and 41 of patients who came before
    assert made.dropped == {"uncertain": 3, "test": 2}
    assert (made.straddling, made.subjects["test"]) == (2, 8)
    assert {roles[stay] for stay in range(30)} == {"train", "validation", "gate"}
    assert roles[43] == roles[3]
    # The hash is that of the subjects' ids, as in every other split.
    assert roles[5] == by_time().role("5")
    certain = split(workspace, snapshot, cohort, by_time(uncertain_years=0)).record
    assert certain.dropped == {"uncertain": 1, "test": 2}


def test_hourly_samples_take_the_year_of_their_stay(
    admitted: Callable[..., tuple[Workspace, Snapshot, Cohort]],
) -> None:
    """Many samples a stay, one year."""
    workspace, snapshot, cohort = admitted(list(range(20)), [2008] * 15 + [2018] * 5, every_hours=12)
    made = split(workspace, snapshot, cohort, by_time()).record
    assert made.samples["test"] == 5 * cohort.samples // 20
    assert made.subjects["test"] == 5


def test_a_split_by_time_needs_years(
    admitted: Callable[..., tuple[Workspace, Snapshot, Cohort]],
    chosen: Callable[..., tuple[Workspace, Snapshot, Cohort]],
) -> None:
    """A source without years, or pictures, are refused with the near match."""
    with pytest.raises(DataRefused, match="needs the year of each stay") as raised:
        split(*admitted([1, 2], [2008, 2018]), by_time(column="admision_year"))
    assert "did you mean 'admission_year'" in raised.value.received
    with pytest.raises(DataRefused, match="needs the year of each stay"):
        split(*chosen([1], [None]), by_time())


@pytest.mark.parametrize(
    ("fractions", "message"),
    [
        ({"train": 0.5, "validation": 0.2, "test": 0.3}, "the test is the later period"),
        ({"train": 0.5, "validation": 0.2}, "they sum to 0.7"),
        ({"train": 1.0}, "must give validation a share"),
    ],
)
def test_fractions_of_the_earlier_period(fractions: dict[str, float], message: str) -> None:
    """They divide the earlier period alone."""
    with pytest.raises(ValidationError, match=message):
        by_time(fractions=fractions)


def test_patients_whose_pictures_look_alike_stand_on_one_side(chosen: Any) -> None:
    """Along a chain of likenesses, on the most protected side that one of them has; the others keep their own."""
    own = [keyed().role(str(subject)) for subject in range(40)]
    judge, learner, friend, chooser, pupil = (
        own.index("test"), *[at for at, role in enumerate(own) if role == "train"][:2],
        own.index("validation"), [at for at, role in enumerate(own) if role == "train"][2],
    )  # fmt: skip
    groups: list[int | None] = [None] * 80
    groups[judge] = groups[learner] = 0
    groups[40 + learner] = groups[friend] = 1  # by another picture of the learner's
    groups[chooser] = groups[pupil] = 2
    workspace, snapshot, cohort = chosen(list(range(40)) * 2, [None] * 80, groups)
    assert split(workspace, snapshot, cohort, keyed()).record.joined == 0
    together = keyed().model_copy(update={"near_duplicates": "together"})
    record = split(workspace, snapshot, cohort, together).record
    assert record.joined == 3
    expected = dict(enumerate(own)) | {learner: "test", friend: "test", pupil: "validation"}
    assert roles_of(workspace, record.key) == {sample: expected[sample % 40] for sample in range(80)}


def test_within_the_publishers_train_alike_patients_are_divided_together(chosen: Any) -> None:
    """A likeness to somebody of the publisher's test moves nobody: that is for validation to set aside."""
    division = {"key": "k", "fractions": {"train": 0.6, "validation": 0.4}, "near_duplicates": "together"}
    publisher = Publisher.model_validate({"kind": "publisher", "divide_train": division})
    assert publisher.divide_train is not None
    own = [publisher.divide_train.role(str(subject)) for subject in range(10)]
    learner, judge = own.index("train"), own.index("validation")
    groups: list[int | None] = [0 if subject in (learner, judge, 10) else None for subject in range(12)]
    workspace, snapshot, cohort = chosen(list(range(12)), ["train"] * 10 + ["test"] * 2, groups)
    record = split(workspace, snapshot, cohort, publisher).record
    assert record.joined == 1
    expected = dict(enumerate([*own, "test", "test"])) | {learner: "validation"}
    assert roles_of(workspace, record.key) == expected


def test_a_source_that_compares_no_pictures_cannot_keep_them_together(chosen: Any) -> None:
    """It says so, and what to leave out."""
    workspace, snapshot, cohort = chosen(list(range(12)), [None] * 12)
    with pytest.raises(DataRefused, match="near-duplicates cannot be kept together") as refused:
        split(workspace, snapshot, cohort, keyed().model_copy(update={"near_duplicates": "together"}))
    assert refused.value.action == "leave near_duplicates of the split out"
