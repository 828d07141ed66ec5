"""Conditions as groups of diagnosis codes: what an admission is said to have had, once it is over.

Diagnoses are coded when a patient has left. They may be what is predicted, never what is predicted from.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field

from medai.records import Frozen
from medai.yaml_files import named_file, read_as

PREFIX = "phenotype_"
"""A label's column is this and the condition's name."""
_BEGINNING = "phenotypes"
"""Files of this package that begin so hold conditions; all others hold clinical variables."""


class Phenotype(Frozen):
    """One condition.

    Attributes:
        label: its name for people.
        ccs: number of the category in HCUP's Clinical Classifications Software.
        course: acute or chronic; mixed where it is either.
        icd9: ICD-9-CM codes without the point, each in full.
        icd10: how its ICD-10-CM codes begin, without the point.
    """

    label: str
    ccs: int
    course: Literal["acute", "chronic", "mixed"]
    icd9: tuple[str, ...] = Field(min_length=1)
    icd10: tuple[str, ...] = ()


class Phenotypes(Frozen):
    """The conditions of one file.

    Attributes:
        origin: where the groups come from.
        phenotypes: name → condition.
    """

    name: str
    origin: str
    phenotypes: dict[str, Phenotype] = Field(min_length=1)

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns of the labels table, in the order of the file."""
        return tuple(PREFIX + name for name in self.phenotypes)

    def columns_of(self, version: int, code: str) -> tuple[str, ...]:
        """The columns of the conditions that a diagnosis code stands for.

        Args:
            version: 9 or 10, of ICD-CM; no other has groups.
            code: without the point.

        >>> load_phenotypes("phenotypes25").columns_of(10, "A4151")
        ('phenotype_septicemia',)
        """
        if version == 9:
            return tuple(PREFIX + name for name, one in self.phenotypes.items() if code in one.icd9)
        if version == 10:
            return tuple(PREFIX + name for name, one in self.phenotypes.items() if code.startswith(one.icd10))
        return ()


def phenotype_files() -> dict[str, Path]:
    """Name → file of every list of conditions that medai brings along."""
    return {path.stem: path for path in sorted(Path(__file__).parent.glob(f"{_BEGINNING}*.yaml"))}


def load_phenotypes(name: str) -> Phenotypes:
    """Read a packaged list of conditions.

    Raises:
        ConfigurationError: there is none of this name, or its file cannot be followed.
    """
    return read_as(Phenotypes, named_file("list of phenotypes", name, phenotype_files()), f"the phenotypes {name}")
