"""Another source's file: what it may say, how it is read, and which of its labels are the champion's."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from medai.errors import ConfigurationError, DataRefused, MedaiError
from medai.external import Matched, match_labels, origin_of, read_site, same_reading, suite_of, words_of
from medai.outputs import Output
from medai.records import Candidate, Environment, Member, Origin

FINDINGS: dict[str, Any] = {
    "kind": "multilabel",
    "classes": {"mass": "Mass", "pleural_thickening": "Pleural thickening", "pneumonia": "Pneumonia"},
}
ILL: dict[str, Any] = {"kind": "binary", "classes": {0: "normal", 1: "pneumonia"}, "positive": "pneumonia"}
STAGES: dict[str, Any] = {"kind": "multiclass", "classes": {0: "none", 1: "mild", 2: "severe"}}
TABLE = {
    "kind": "image_table", "size": [16, 16], "table": "t.csv",
    "columns": {"path": "p", "labels": {"stage": ["None", "Mild"], "mass": "number"}},
}  # fmt: skip


@pytest.fixture
def champion(output_of: Callable[..., Output]) -> Callable[..., Candidate]:
    """A candidate of an output that was fitted on pictures of ChestX-ray14 at 16 × 16."""

    def make(**output: Any) -> Candidate:
        source = {"kind": "nih_chest_xray", "size": [16, 16], "channels": 1, "resize": "stretch", "white": 65535}
        return Candidate(
            key="c" * 32, name="net", members=(Member(kind="x", weights_sha256="w", onnx_sha256="o"),),
            thresholds={}, calibration={}, preprocessing={"kind": "pixels", "size": [16, 16], "channels": 1},
            outputs={"x": output_of(**output).model_dump(mode="json")}, statistics={}, trained_on={}, seed=0, epochs=0,
            environment=Environment(threads=1, onednn=True, instruction_set="x", libraries={}),
            origin=Origin(snapshot="s", unit="patient", source=source, cohort={"kind": "pictures"}),
        )  # fmt: skip

    return make


def written(folder: Path, **site: Any) -> str:
    """A site's file."""
    (folder / "site.yaml").write_text(yaml.safe_dump(site))
    return str(folder / "site.yaml")


def test_a_site_is_read_with_its_suite_and_near_matches(tmp_path: Path, refusal: Callable[[MedaiError], str]) -> None:
    """A packaged suite, or one beside the file; whatever is misspelt is named."""
    path = written(tmp_path, source=TABLE, labels={"Mass": "mass"}, groups=["sex"])
    site = read_site(path)
    assert (site.source.kind, site.labels, site.groups) == ("image_table", {"Mass": "mass"}, ("sex",))
    assert suite_of(site, path).name == "image_table.yaml"
    (tmp_path / "own.yaml").write_text("name: own\n")
    assert suite_of(site.model_copy(update={"suite": "own.yaml"}), path) == tmp_path / "own.yaml"
    with pytest.raises(ConfigurationError) as caught:
        suite_of(site.model_copy(update={"suite": "other.yaml"}), path)
    assert "beside the site's" in refusal(caught.value)
    for wrong, message in (({"sources": TABLE}, "did you mean 'source'?"), ({"source": {"kind": "x"}}, "image_table")):
        with pytest.raises(ConfigurationError) as caught:
            read_site(written(tmp_path, **wrong))
        assert message in refusal(caught.value)
    with pytest.raises(ConfigurationError):
        read_site(str(tmp_path / "nowhere.yaml"))


def test_what_both_readers_are_asked_for_must_be_the_same(
    champion: Callable[..., Candidate], tmp_path: Path, refusal: Callable[[MedaiError], str]
) -> None:
    """Another kind of source is no matter; another size is, and another shape of data is refused."""
    one = champion(**FINDINGS)
    asked = origin_of(read_site(written(tmp_path, source=TABLE)), one)
    assert asked is not None
    same_reading(one, asked)
    other = origin_of(read_site(written(tmp_path, source=TABLE | {"size": [24, 24]})), one)
    assert other is not None
    with pytest.raises(ConfigurationError) as caught:
        same_reading(one, other)
    assert "source.size: [24, 24]" in refusal(caught.value)
    with pytest.raises(ConfigurationError) as caught:
        origin_of(read_site(written(tmp_path, source={"kind": "physionet2012"})), one)
    assert "gives events" in refusal(caught.value)


def matched(candidate: Candidate, labels: str, words: dict[str, tuple[str, ...]], **named: str) -> Matched:
    """What a site with these label columns can be asked."""
    return match_labels(
        candidate, tuple(labels.split()), words, {key.replace("_", " "): one for key, one in named.items()}
    )


def test_findings_go_by_their_names_and_missing_ones_are_told(champion: Callable[..., Candidate]) -> None:
    """Case, spaces and hyphens aside; a name that differs is said in the site's file; one finding alone is a binary
    output, and so is the class of a folder.
    """
    one = champion(**FINDINGS)
    some = matched(one, "Pleural-Thickening MASS other", {})
    assert some.output.model_dump()["classes"] == {"MASS": "Mass", "Pleural-Thickening": "Pleural thickening"}
    assert (some.columns["Mass"], some.missing) == ("MASS", ("Pneumonia",))
    named = matched(one, "a mass", {}, Pneumonia="a")
    assert named.output.names == ("Mass", "Pneumonia")
    assert named.missing == ("Pleural thickening",)
    alone = matched(one, "mass", {})
    assert (alone.output.kind, alone.output.names) == ("binary", ("no Mass", "Mass"))
    folder = matched(one, "label", {"label": ("NORMAL", "PNEUMONIA")})
    assert (folder.output.names, folder.output.labels) == (("no Pneumonia", "Pneumonia"), ("label",))
    assert folder.missing == ("Mass", "Pleural thickening")
    turned = matched(one, "label", {"label": ("ill", "well")}, Pneumonia="ill")
    assert turned.output.model_dump()["classes"] == {0: "Pneumonia", 1: "no Pneumonia"}


def test_classes_are_found_among_words_or_as_a_finding(champion: Callable[..., Candidate]) -> None:
    """Two classes in another order; a column of the positive class; several classes in the order of the site."""
    ill, stages = champion(**ILL), champion(**STAGES)
    folders = matched(ill, "label", {"label": ("PNEUMONIA", "NORMAL")})
    assert folders.output.model_dump()["classes"] == {0: "pneumonia", 1: "normal"}
    assert matched(ill, "dx", {"dx": ("sound", "Pneumonia")}).output.model_dump()["classes"] == {
        0: "normal",
        1: "pneumonia",
    }
    assert matched(ill, "mass pneumonia", {}).output.labels == ("pneumonia",)
    assert matched(ill, "label", {}).output.labels == ("label",)
    order = matched(stages, "s", {"s": ("severe", "none", "mild", "unknown")})
    assert order.output.model_dump()["classes"] == {0: "severe", 1: "none", 2: "mild"}


@pytest.mark.parametrize(
    ("output", "labels", "words", "named", "message"),
    [
        (FINDINGS, "edema", {}, {}, "Mass, Pleural thickening, Pneumonia"),
        (FINDINGS, "mass", {}, {"Mas": "mass"}, "did you mean 'Mass'?"),
        (FINDINGS, "mass", {}, {"Mass": "masss"}, "did you mean 'mass'?"),
        (ILL, "dx", {"dx": ("sound", "sick")}, {}, "{CLASS: WORD}"),
        (STAGES, "s", {"s": ("none", "mild")}, {}, "none, mild, severe"),
    ],
)
def test_labels_that_are_not_the_champions_are_refused(
    champion: Callable[..., Candidate],
    output: dict[str, Any],
    labels: str,
    words: dict[str, tuple[str, ...]],
    named: dict[str, str],
    message: str,
    refusal: Callable[[MedaiError], str],
) -> None:
    """Each with what would be right."""
    with pytest.raises((ConfigurationError, DataRefused)) as caught:
        match_labels(champion(**output), tuple(labels.split()), words, named)
    assert message in refusal(caught.value)


def test_words_are_those_that_the_source_names(tmp_path: Path) -> None:
    """Class folders in their order; a table's listed words; a table of findings has none."""
    folder = {"kind": "image_folder", "classes": ["NORMAL", "PNEUMONIA"], "size": [16, 16]}
    for source, words in (
        (folder, {"label": ("NORMAL", "PNEUMONIA")}),
        (TABLE, {"stage": ("None", "Mild")}),
        ({"kind": "nih_chest_xray", "size": [16, 16]}, {}),
    ):
        assert words_of(read_site(written(tmp_path, source=source)).source) == words
