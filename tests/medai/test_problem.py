"""Problems: the catalogue loads, and what cannot be followed is refused in words before any work."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from medai.errors import ConfigurationError
from medai.problem import catalogue, load_problem, suite_path

PICTURES = (Path(catalogue()["synthetic_pictures"])).read_text()


@pytest.fixture
def write(tmp_path: Path) -> Path:
    """A problem file of one's own, to be altered."""
    path = tmp_path / "own.yaml"
    path.write_text(PICTURES)
    return path


@pytest.mark.parametrize("name", sorted(catalogue()))
def test_every_problem_of_the_catalogue_can_be_followed(name: str) -> None:
    """It has its file's name, a question, a suite, and a gate that reads rows which the split gives."""
    problem = load_problem(name)
    assert problem.name == name
    assert problem.question.endswith("?")
    assert suite_path(problem).is_file()
    assert problem.gate is not None
    assert problem.has_gate_role == (problem.gate.role == "gate")


def test_a_file_is_the_same_problem_wherever_it_lies(write: Path) -> None:
    """By name or by path, the same hash; one changed value is another."""
    assert load_problem(str(write)).sha256 == load_problem("synthetic_pictures").sha256
    assert load_problem(str(write), ["training.epochs=5"]).sha256 != load_problem(str(write)).sha256


@pytest.mark.parametrize(
    ("override", "received"),
    [
        ("training.epochz=3", "training: unknown key 'epochz'; did you mean 'epochs'?"),
        ("trainning.epochs=3", "unknown key 'trainning'; did you mean 'training'?"),
        ("inputs.picture.encoder.filterz=[4]", "unknown key 'filterz'; did you mean 'filters'?"),
        ("inputs.picture.encoder.kind=residual_cn", "there is no kind 'residual_cn'; did you mean 'residual_cnn'?"),
        ("inputs.picture.source.kind=medmnst", "there is no kind 'medmnst'; did you mean 'medmnist'?"),
        ("training.epochs=many", 'training.epochs: "many"'),
        ("training.epochs=-3", "training.epochs: -3"),
        ("training.epochs=1.5", "training.epochs: 1.5"),
        ("training.learning_rate=0", "training.learning_rate: 0"),
        ("training.optimizer=adma", "training.optimizer: \"adma\"; did you mean 'adam'?"),
        ("training=null", "training: null"),
        ("name=Pneumonia 1", "name: a name is lower case letters"),
        ("cohort={kind: stays}", "cohort kind 'stays' does not fit a source of pictures; use pictures"),
        ("inputs.picture.encoder={kind: gru}", "encoder kind 'gru' does not fit a source of pictures"),
        ("inputs.picture.preprocessing={kind: series, variables: [HR]}", "preprocessing kind 'series' does not fit"),
        ("gate.role=gate", "gate.role is 'gate', but the split gives no fraction to gate; use role 'test'"),
        ("gate.role=train", 'gate.role: "train"'),
        ("gate.output=opacitty", "gate.output 'opacitty'; did you mean 'opacity'?"),
        ("gate.floors={aurocc: 0.8}", "gate.floors.aurocc: there is no metric 'aurocc'; did you mean 'auroc'?"),
        ("gate.floors={brier: 0.1}", "gate.floors.brier: lower is better for brier"),
        ("gate.non_inferiority={metric: auprcc}", "gate.non_inferiority.metric: there is no metric 'auprcc'"),
        ("choose_metric=acuracy", "choose_metric: there is no metric 'acuracy'; did you mean 'accuracy'?"),
        ("choose=best_on_validaton", "did you mean 'best_on_validation'?"),
        ("baselines.net={kind: logistic_regression}", "a baseline must not be named 'net'"),
        ("outputs.opacity.positive=there", "positive must be one of ['absent', 'present'], not 'there'"),
        ("outputs.second={kind: binary, classes: {0: a, 1: b}, positive: a}", "outputs: a section"),
        ("validation.tolerance=1.5", "validation.tolerance: 1.5"),
        (
            "split={kind: keyed_hash, key: k, fractions: {train: 0.5, validation: 0.2, test: 0.2}}",
            "fractions must sum to 1, they sum to 0.9",
        ),
        (
            "split={kind: keyed_hash, key: k, fractions: {train: 1.2, validation: 0.2, test: -0.4}}",
            "fractions must not be negative",
        ),
        (
            "outputs.opacity={kind: multiclass, classes: {0: a, 1: b, 2: c}}",
            "calibration.method 'platt' does not fit a multiclass output; use 'none'",
        ),
    ],
)
def test_what_cannot_be_followed_is_named(override: str, received: str) -> None:
    """The section, the key, what is wrong and, for a slip of the pen, the word that was meant."""
    with pytest.raises(ConfigurationError, match=r"the problem synthetic_pictures\.yaml cannot be followed") as raised:
        load_problem("synthetic_pictures", [override])
    assert received in raised.value.received
    assert raised.value.exit_status == 2


@pytest.mark.parametrize(
    ("override", "received"),
    [
        ("variables=[HR, Lactat]", "preprocessing.variables: there is no 'Lactat'; did you mean 'Lactate'?"),
        ("variables=['']", "preprocessing.variables: there is no ''"),
        ("static=[Agee]", "preprocessing.static: there is no 'Agee'; did you mean 'Age'?"),
        ("categories={ICUTyp: [1]}", "preprocessing.categories: there is no 'ICUTyp'; did you mean 'ICUType'?"),
        ("categories={ICUType: [1, 5]}", "preprocessing.categories.ICUType: there is no 5; known: 1, 2, 3, 4"),
        ("cohort.groups=[Gendr]", "cohort.groups: there is no 'Gendr'; did you mean 'Gender'?"),
        ("cohort.groups=[ICUType, ICUType]", "a group must be named once"),
        ("cohort.groups=[subject_id]", "'subject_id' is a column that every cohort has"),
        ("cohort.groups=[death]", "cohort.groups: 'death' is an output"),
        ("cohort.observation_hours=72", "the source observes a stay for 48 hours at most, not 72"),
        ("cohort.observation_hours=1000000", "cohort.stays.observation_hours: 1000000"),
    ],
)
def test_what_a_source_cannot_give_is_found_before_any_work(override: str, received: str) -> None:
    """Names of variables, descriptors, levels and groups, and the longest time of observation: no data are needed."""
    part = "" if override.startswith("cohort") else "inputs.stay.preprocessing."
    with pytest.raises(ConfigurationError, match="cannot be followed") as raised:
        load_problem("synthetic_stays", [part + override])
    assert received in raised.value.received


@pytest.mark.parametrize(
    ("name", "override", "received"),
    [
        (
            "mimic4_kidney_injury",
            "inputs={s: {source: {kind: mimic4}, encoder: {kind: gru}, "
            "preprocessing: {kind: series, variables: [ph]}}}",
            "hours_to_kidney_injury is worked out from creatinine, urine_output, weight, and the source gives no",
        ),
        (
            "mimic4_mortality_prospective",
            "split.column=admision_year",
            "split.column: there is no 'admision_year'; did you mean 'admission_year'?",
        ),
        (
            "mimic3_mortality",
            "split={kind: time, key: k, first_year: 2017, fractions: {train: 0.5, validation: 0.3, gate: 0.2}}",
            "split.column: there is no 'admission_year'",
        ),
        (
            "mimic3_mortality",
            "cohort={kind: windows, predicates: {rate: {variable: heart_rate}}, trigger: rate}",
            "no window has a 'label', so there is nothing to learn",
        ),
        (
            "mimic3_mortality",
            "cohort={kind: windows, predicates: {rate: {variable: hart_rate}}, trigger: rate, windows: {day: {start: "
            "trigger, end: start + 1d, start_inclusive: true, end_inclusive: true, label: rate}}}",
            "cohort.predicates.rate.variable: there is no 'hart_rate'; did you mean 'heart_rate'?",
        ),
        ("mimic3_decompensation", "outputs.death.within.hour=24", "unknown key 'hour'; did you mean 'hours'?"),
        ("mimic3_decompensation", "cohort.every_hour=1", "unknown key 'every_hour'; did you mean 'every_hours'?"),
    ],
)
def test_tasks_that_a_source_cannot_answer_are_found_before_any_work(name: str, override: str, received: str) -> None:
    """What a label, a split or a cohort of a hospital's database needs, asked of names alone."""
    with pytest.raises(ConfigurationError, match="cannot be followed") as raised:
        load_problem(name, [override])
    assert received in raised.value.received


@pytest.mark.parametrize(
    ("override", "expected", "received"),
    [
        ("training.epochs=true", "training.epochs: a number", "training.epochs: true"),
        ("training.epochs='5'", "training.epochs: a number", 'training.epochs: "5"'),
        ("training.learning_rate='0.1'", "training.learning_rate: a number", 'training.learning_rate: "0.1"'),
        ("gate.floors={auroc: true}", "gate.floors.auroc: a number", "gate.floors.auroc: true"),
        ("inputs.picture.preprocessing.size=[28, '28']", "preprocessing.size.1: a number", '"28"'),
        ("gate.floors={auroc: 80}", "gate.floors.auroc: at most 1", "gate.floors.auroc: 80"),
        ("monitoring.floors={auroc: 2}", "monitoring.floors.auroc: at most 1", "monitoring.floors.auroc: 2"),
        ("gate.floors={auroc: -5}", "gate.floors.auroc: at least 0", "gate.floors.auroc: -5"),
        ("gate.non_inferiority.margin=5", "gate.non_inferiority.margin: at most 1", "margin: 5"),
        ("evaluation.seed=-1", "evaluation.seed: at least 0", "evaluation.seed: -1"),
        ("evaluation.resamples=1000000000000", "evaluation.resamples: at most 100000", "resamples: 1000000000000"),
        ("training.optimizer=sdg", "training.optimizer: 'adam'", "\"sdg\"; did you mean 'sgd'?"),
        ("inputs.picture.location=../x.npz", "keys and values", "location: a location is a relative path without '..'"),
        ("inputs.picture.location=/etc/x.npz", "keys and values", "location: a location is a relative path"),
        ('baselines={"../x": {kind: logistic_regression}}', "keys and values", "baselines: a name is lower case"),
        ('baselines={"": {kind: logistic_regression}}', "keys and values", "baselines: a name is lower case"),
        (
            'outputs={"a/b": {kind: binary, classes: {0: a, 1: b}, positive: b}}',
            "keys",
            "outputs: a name is lower case",
        ),
        ("outputs={subject_id: {kind: binary, classes: {0: a, 1: b}, positive: b}}", "keys", "must not be named"),
        ('outputs.opacity.classes={0: absent, 1: present, "0": other}', "each key once", "and again as text"),
        ("split.key=5", "split.keyed_hash.key: text", "a value that is not shown"),
    ],
)
def test_each_fault_says_what_was_expected_and_what_stands_there(override: str, expected: str, received: str) -> None:
    """True and texts are no numbers, bounds are told, names and locations are plain, what looks secret is not shown."""
    problem = "synthetic_stays" if override.startswith("split") else "synthetic_pictures"
    with pytest.raises(ConfigurationError, match="cannot be followed") as raised:
        load_problem(problem, [override])
    assert expected in raised.value.expected
    assert received in raised.value.received


def test_a_class_is_overridden_by_its_label_value() -> None:
    """A number in a dotted path is the number that stands in the file."""
    problem = load_problem("synthetic_pictures", ["outputs.opacity.classes.0=none"])
    output = problem.outputs["opacity"]
    assert output.classes == {0: "none", 1: "present"}


@pytest.mark.parametrize("trick", ["training.epochs=3\nfoo: 9", "question=a\x1b[2J", "question=\udcff"])
def test_an_override_is_one_line_of_text(trick: str) -> None:
    """Neither a second line nor a control character gets in by --set."""
    with pytest.raises(ConfigurationError, match="an override cannot be read"):
        load_problem("synthetic_pictures", [trick])


def test_a_catalogue_name_belongs_to_the_catalogue(write: Path) -> None:
    """A line of champions belongs to one problem: another one needs another name; an equal copy is the same."""
    assert load_problem(str(write), ["training.epochs=9"]).name == "synthetic_pictures"
    write.write_text(PICTURES.replace("epochs: 4", "epochs: 5"))
    with pytest.raises(ConfigurationError, match="calls its problem 'synthetic_pictures'") as raised:
        load_problem(str(write))
    assert "change `name`" in raised.value.action
    assert load_problem(str(write), ["name=ours"]).training.epochs == 5


@pytest.mark.parametrize("make", ["long", "loop", "pipe", "through a file", "nobody's home", "nul"])
def test_a_path_that_leads_nowhere_is_refused_at_once(make: str, tmp_path: Path) -> None:
    """As a problem and as a suite: status 2, in words, never a wait."""
    path = tmp_path / "x.yaml"
    if make == "long":
        path = tmp_path / ("x" * 300 + ".yaml")
    elif make == "loop":
        path.symlink_to(path)
    elif make == "pipe":
        os.mkfifo(path)
    elif make == "through a file":
        (tmp_path / "file").touch()
        path = tmp_path / "file" / "x.yaml"
    elif make == "nobody's home":
        path = Path("~nosuchuser/x.yaml")
    text = "a\0b.yaml" if make == "nul" else str(path)
    with pytest.raises(ConfigurationError) as raised:
        load_problem(text)
    assert "Errno" not in str(raised.value)
    assert len(str(raised.value)) < 700
    if make != "nul":
        with pytest.raises(ConfigurationError):
            load_problem("synthetic_pictures", [f"validation.suite={path}"])


def test_series_have_no_pixels_to_augment() -> None:
    """Told when the file is read, not after the arrays are made."""
    with pytest.raises(ConfigurationError) as raised:
        load_problem("synthetic_stays", ["training.augmentation={flip: horizontal}"])
    assert "training.augmentation is for pictures" in raised.value.received


@pytest.mark.parametrize(
    ("override", "received"),
    [
        ("inputs.radiograph.source.size=[128, 128]", "size and channels must be the source's own"),
        ("inputs.radiograph.preprocessing.channels=3", "size and channels must be the source's own"),
        ("outputs.pneumonia={kind: multilabel, classes: {a: mass, b: edema}}", "gives one class a picture"),
        ("inputs.radiograph.source.classes=[NORMAL, train]", "'train' names a publisher's role"),
        ("inputs.radiograph.source.subject=person", "needs a group named subject"),
    ],
)
def test_a_picture_folder_s_parts_fit_together(override: str, received: str) -> None:
    """Pictures are resized once, when they are decoded; a folder of class folders tells one class."""
    with pytest.raises(ConfigurationError) as raised:
        load_problem("chest_xray_pneumonia", [override])
    assert received in raised.value.received


def test_pictures_are_made_smaller_where_the_problem_says_so() -> None:
    """A crop of a larger picture keeps its detail; larger than its source no picture becomes."""
    smaller = "inputs.radiograph.preprocessing={kind: pixels, size: [96, 96], resize: area, crop: {kind: lung_field}}"
    prepared = load_problem("chest_xray_pneumonia", [smaller]).input.preprocessing
    assert prepared.model_dump()["crop"] == {"kind": "lung_field", "margin": 0.05}
    with pytest.raises(ConfigurationError, match="cannot be followed") as raised:
        load_problem("chest_xray_pneumonia", [smaller.replace("[96, 96]", "[225, 96]")])
    assert "size and channels must be the source's own" in raised.value.received


VOLUME = "inputs.cube.preprocessing={kind: volume, size: [8, 8, 8]%s}"


@pytest.mark.parametrize(
    ("override", "received"),
    [
        ("inputs.cube.preprocessing={kind: pixels, size: [8, 8]}", "cnn3d and the preprocessing volume go together"),
        ("inputs.cube.encoder={kind: small_cnn}", "cnn3d and the preprocessing volume go together"),
        (VOLUME % ", spacing: [2, 1, 1]", "a cohort of slice_series and a volume's spacing go together"),
        ("cohort={kind: slice_series}", "a cohort of slice_series and a volume's spacing go together"),
        (VOLUME % ", spacing: [2, 1, 0]", "inputs.cube.preprocessing.volume.spacing.2: 0"),
    ],
)
def test_a_volume_s_parts_fit_together(override: str, received: str) -> None:
    """Net and preprocessing are of three dimensions both; millimetres are those of a series of slices."""
    with pytest.raises(ConfigurationError) as raised:
        load_problem("synthetic_nodules", [override])
    assert received in raised.value.received


@pytest.mark.parametrize(
    ("override", "received"),
    [
        ("training={epochs: 1, sampling: over, class_weights: balanced}", "both even classes out; use one of them"),
        (
            "training.class_weights={absent: 1, here: 3}",
            "there is no class 'here'; give one for each of absent, present",
        ),
        ("training.class_weights={present: 3}", "not every class has a weight"),
        ("training.class_weights={absent: 1, present: 0}", "training.class_weights.by_class.present: more than 0"),
        ("training.class_weights=even", "training.class_weights.balanced: 'balanced'"),
        ("training.focal=0", "training.focal: more than 0"),
    ],
)
def test_imbalance_is_met_in_one_way(override: str, received: str) -> None:
    """By weights of classes that there are, or by sampling; what cannot be followed is told before any work."""
    with pytest.raises(ConfigurationError) as raised:
        load_problem("synthetic_pictures", [override])
    assert received in raised.value.expected + raised.value.received


def test_findings_are_not_sampled() -> None:
    """A row may have a rare finding and lack a common one: there is no class to draw it by."""
    with pytest.raises(ConfigurationError) as raised:
        load_problem("mimic3_phenotyping", ["training.sampling=under"])
    assert "needs one class a sample; for findings use class_weights or focal" in raised.value.received


def test_the_first_faults_of_many_are_told() -> None:
    """Five, and how many more there are."""
    overrides = [f"training.{key}=-1" for key in ("epochs", "batch_size", "learning_rate", "weight_decay")]
    overrides += [f"gate.minimum_{key}=0" for key in ("positives", "negatives")]
    with pytest.raises(ConfigurationError) as raised:
        load_problem("synthetic_pictures", overrides)
    assert raised.value.expected.count("at least 1") == 3
    assert raised.value.received.count(": -1") == 4
    assert raised.value.received.endswith("; and 1 more")


@pytest.mark.parametrize(
    ("old", "new", "wrong"),
    [
        ("epochs: 4", "epochs: .nan", "not finite"),
        ("epochs: 4", "epochs: .inf", "not finite"),
        ("epochs: 4", "epochs: 4\n  epochs: 5", "says 'epochs' twice"),
        ("epochs: 4", "epochs: !!python/object/apply:os.system ['true']", "uses a tag"),
        ("epochs: 4", "epochs: &four 4", "uses an anchor or alias"),
        ("epochs: 4", "epochs: [4", "is not YAML"),
    ],
)
def test_yaml_that_surprises_is_refused(write: Path, old: str, new: str, wrong: str) -> None:
    """No number, a key twice, tags, anchors, a syntax error: by the file's name and line."""
    write.write_text(PICTURES.replace(old, new))
    with pytest.raises(ConfigurationError, match=wrong) as raised:
        load_problem(str(write))
    assert "own.yaml" in raised.value.wrong
    assert "line " in raised.value.wrong


def test_a_missing_key_is_named(write: Path) -> None:
    """The question is required."""
    write.write_text("".join(line for line in PICTURES.splitlines(True) if not line.startswith("question")))
    with pytest.raises(ConfigurationError) as raised:
        load_problem(str(write))
    assert raised.value.received == "question: this key is required"


@pytest.mark.parametrize(
    ("override", "wrong", "received"),
    [
        ("training.epochs", "an override cannot be read", "--set training.epochs"),
        ("=3", "an override cannot be read", "--set =…"),
        ("training..epochs=3", "an override cannot be read", "--set training..epochs=…"),
        ("name.first=x", "--set name.first goes into a value that has no keys", "name is a single value"),
        ("training.epochs=!x 3", "--set training.epochs uses a tag", "a value with '!'"),
    ],
)
def test_an_override_that_cannot_be_read_is_refused(override: str, wrong: str, received: str) -> None:
    """Its value is not repeated: it may be a secret."""
    with pytest.raises(ConfigurationError) as raised:
        load_problem("synthetic_pictures", [override])
    assert wrong in raised.value.wrong
    assert raised.value.received == received


def test_overrides_are_yaml_applied_in_order() -> None:
    """The last of two counts; a section that the file leaves out is made; null takes the gate away."""
    problem = load_problem(
        "synthetic_pictures",
        [
            "training.epochs=2",
            "training.epochs=3",
            "evaluation.resamples=100",
            "gate=null",
            "validation.tolerance=1e-1",
        ],
    )
    assert (problem.training.epochs, problem.evaluation.resamples, problem.gate) == (3, 100, None)
    assert problem.validation.tolerance == 0.1
    assert problem.rules.gate is None


def test_the_rules_key_is_of_gate_and_evaluation_alone() -> None:
    """Another fit under the same rules is judged by the same rules."""
    base = load_problem("synthetic_pictures").rules.key
    assert load_problem("synthetic_pictures", ["training.epochs=9"]).rules.key == base
    assert load_problem("synthetic_pictures", ["gate.floors={auroc: 0.9}"]).rules.key != base
    assert load_problem("synthetic_pictures", ["evaluation.seed=1"]).rules.key != base


def test_a_problem_that_is_not_there_is_told_with_the_near_match(tmp_path: Path) -> None:
    """A catalogue name is guessed at; a path is named by its file alone."""
    with pytest.raises(ConfigurationError, match="there is no problem 'synthetic_picture'") as raised:
        load_problem("synthetic_picture")
    assert "did you mean 'synthetic_pictures'?" in raised.value.received
    with pytest.raises(ConfigurationError, match=r"missing\.yaml does not exist") as raised:
        load_problem(str(tmp_path / "missing.yaml"))
    assert str(tmp_path) not in str(raised.value)


@pytest.mark.parametrize(
    ("folders", "classes", "refused"),
    [
        ("[sick, healthy]", "{0: healthy, 1: sick}", True),
        ('["Sick", "HEALTHY"]', "{0: healthy, 1: sick}", True),
        ("[healthy, sick]", "{0: healthy, 1: sick}", False),
        ("[a, b]", "{0: healthy, 1: sick}", False),
    ],
)
def test_folders_named_as_the_classes_stand_in_their_order(folders: str, classes: str, refused: bool) -> None:
    """Another order would turn every label round without a word; other names are a person's to look at."""
    given = [
        f"inputs.radiograph.source.classes={folders}", f"outputs.pneumonia.classes={classes}",
        "outputs.pneumonia.positive=sick",
    ]  # fmt: skip
    if refused:
        with pytest.raises(ConfigurationError) as raised:
            load_problem("chest_xray_pneumonia", given)
        assert "another folder's class" in raised.value.received
        assert "→ healthy" in raised.value.received
    else:
        names = load_problem("chest_xray_pneumonia", given).class_folders["pneumonia"]
        assert [label for _, label in names] == ["healthy", "sick"]


def test_a_suite_of_ones_own_is_found_or_told(
    write: Path, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By path, beside the problem's file before the working directory; a packaged one by name; a missing one before
    any work. Where the file lies is no part of the problem.
    """
    own = tmp_path / "suite.yaml"
    own.write_text("name: own")
    assert suite_path(load_problem(str(write), [f"validation.suite={own}"])) == own
    packaged = suite_path(load_problem(str(write), ["validation.suite=physionet2012"]))
    assert packaged.name == "physionet2012.yaml"
    beside = write.parent / "beside.yaml"
    beside.write_text("name: beside")
    problem = load_problem(str(write), ["validation.suite=beside.yaml"])
    assert suite_path(problem) == beside
    monkeypatch.chdir(tmp_path)
    here = tmp_path / "here.yaml"
    here.write_text("name: here")
    assert suite_path(load_problem(str(write), ["validation.suite=here.yaml"])).samefile(here)
    assert str(beside.parent) not in problem.model_dump_json()
    with pytest.raises(ConfigurationError, match="the suite of synthetic_pictures is not there"):
        load_problem(str(write), ["validation.suite=nowhere.yaml"])
