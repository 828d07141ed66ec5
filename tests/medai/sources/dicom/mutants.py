"""Damaged DICOM files: seeded mutants of pydicom's own test files and of medai's synthetic ones.

Whatever a mutant holds, reading gives its pictures or a reason, and de-identifying a file or a reason. The tests take a
few hundred of them; many more, by both roads, in worker processes as the real reading does:

    python -m tests.medai.sources.dicom.mutants [HOW MANY] [FIRST SEED]
"""

from __future__ import annotations

import io
import random
import struct
import sys
import tempfile
import traceback
from collections import Counter
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import NamedTuple

from medai.deidentification import Key
from medai.deidentification.outcomes import REASONS, SetAside
from medai.deidentification.pictures import rewritten
from medai.sources.dicom.decoding import FAULTS, Target, decode
from medai.sources.dicom.elements import ASKED, quiet
from medai.sources.pictures.workers import Lost, each_decoded
from medai.sources.synthetic import SyntheticDicom
from medai.sources.synthetic.dicom_files import write_dicom
from tests.oracles.dicom_pixels import files

LARGEST = 300_000
"""Bytes of a file that mutants are made of."""
VRS = (
    "AE", "AS", "AT", "CS", "DA", "DS", "DT", "FD", "FL", "IS", "LO", "LT", "OB", "OD", "OF", "OW", "PN", "SH", "SL",
    "SQ", "SS", "ST", "SV", "TM", "UC", "UI", "UL", "UN", "UR", "US", "UT", "UV", "ZZ", "\0\0",
)  # fmt: skip
LONG = frozenset({"OB", "OD", "OF", "OL", "OV", "OW", "SQ", "SV", "UC", "UN", "UR", "UT", "UV"})
HOSTILE = (
    b"", b"\0", b" ", b"\\\\", b"\xb2\xb2\xb2Y", b"\xb3", b"1_0", b"nan", b"1e999", b"-1", b"0", b"1\\x", b"99" * 99,
    b"2" * 5000, b"\xff" * 8, b"\0" * 8, b"\x1b$B\x1b", b"ISO 2022 IR 87", b"GB18030", b"ISO_IR 192",
    b"\xed\xa0\x80\x80",
    b"\xfe\xff\x00\xe0\xff\xff\xff\xff", b"\xfe\xff\xdd\xe0\0\0\0\0", b"20201340", b"00000101", b"..", b"1.2.3\\4",
    b"RGB", b"PALETTE COLOR", b"YBR_FULL_422", b"1e300\\1e300\\1e300\\-1e300\\1e300\\1e300", b"-1e308", b"65535",
    b"A^B=C^D=",
)  # fmt: skip
TARGET = Target(16, 16, 1, False, "header", "each")


class Place(NamedTuple):
    """An element: where it begins, where its value does, and the value's length."""

    begin: int
    value: int
    length: int


@cache
def originals() -> tuple[tuple[str, bytes, tuple[Place, ...]], ...]:
    """Name, bytes and elements of each file that mutants are made of."""
    found = [(name, path.read_bytes()) for name, path in files() if path.stat().st_size <= LARGEST]
    with tempfile.TemporaryDirectory() as folder:
        config = SyntheticDicom(kind="synthetic", layout="dicom", subjects=24, faults=0, size=48)
        written = write_dicom(config, Path(folder))
        found += [(f"synthetic {at}", path.read_bytes()) for at, path in enumerate(sorted(written.rglob("*.dcm")))]
    pictures = [(name, data) for name, data in found if read(data) == "read"]
    return tuple((name, data, _places(data)) for name, data in found + 3 * pictures)


def _places(data: bytes) -> tuple[Place, ...]:
    """Elements of the meta information and of the top of the data set, as far as pydicom can say."""
    from pydicom import dcmread

    with quiet():
        try:
            dataset = dcmread(io.BytesIO(data), force=True)
        except Exception:  # noqa: BLE001 a file that is damaged already has no places
            return ()
        raw = [*getattr(dataset, "file_meta", {}).values(), *dataset.values()]
    places = []
    for element in raw:
        at, length = getattr(element, "value_tell", None), getattr(element, "length", 0)
        if at is not None and at < len(data):
            implicit = getattr(element, "is_implicit_VR", True)
            places.append(Place(at - (12 if not implicit and element.VR in LONG else 8), at, min(length, 1 << 20)))
    return tuple(places)


def mutant(seed: int) -> bytes:
    """A damaged file; the same for the same seed."""
    rng = random.Random(seed)  # noqa: S311 a draw, no secret
    _, data, places = rng.choice(originals())
    octets = bytearray(data)
    for _ in range(rng.choice((1, 1, 1, 2, 3, 6))):
        _alter(octets, places, rng)
    return bytes(octets)


def _alter(octets: bytearray, places: Sequence[Place], rng: random.Random) -> None:
    end = len(octets)
    head = min(end, 2000)
    kind = rng.choice(
        ("flip", "flip", "cut", "value", "value", "vr", "length", "tag", "insert", "insert", "move", "zero")
    )
    own = [place for place in places if octets[place.begin : place.begin + 2] != b"\2\0"] or [Place(0, 8, 0)]
    place = rng.choice(own if rng.random() < 0.9 else places)  # what the meta information lacks ends all at once
    if kind == "flip" or not end:
        for _ in range(rng.randint(1, 8)):
            at = rng.randrange(132, head) if head > 132 and rng.random() < 0.7 else rng.randrange(max(1, end))
            if at < end:
                octets[at] ^= 1 << rng.randrange(8)
    elif kind == "cut":
        del octets[rng.randrange(end) :]
    elif kind == "value":
        value = rng.choice(HOSTILE)
        if rng.random() < 0.7:  # of the old length
            value = (value * (place.length // max(1, len(value)) + 1) if value else b"\0" * place.length)[
                : place.length
            ]
            octets[place.value : place.value + place.length] = value
        elif place.value - place.begin == 8 and len(value) < 1 << 16 and place.length < 1 << 16:
            octets[place.value : place.value + place.length] = value
            octets[place.value - 2 : place.value] = struct.pack("<H", len(value))
    elif kind == "vr":
        octets[place.begin + 4 : place.begin + 6] = rng.choice(VRS).encode()
    elif kind == "length":
        octets[place.value - 4 : place.value] = struct.pack(
            "<I", rng.choice((0, 1, 3, 0xFFFF, 0xFFFFFFFF, 1 << 31, end))
        )
    elif kind == "tag":
        octets[place.begin : place.begin + 4] = rng.randbytes(4) if rng.random() < 0.3 else _tag(rng)
    elif kind == "insert":
        octets[place.begin : place.begin] = _element(rng)
    elif kind == "move":
        _, other, _ = rng.choice(originals())
        size, at = rng.randrange(1, 400), rng.randrange(end)
        octets[at : at + size] = other[(begin := rng.randrange(max(1, len(other)))) : begin + size]
    else:
        at = rng.randrange(end)
        octets[at : at + rng.randrange(1, 64)] = bytes(rng.randrange(64))


def _tag(rng: random.Random) -> bytes:
    from pydicom.datadict import tag_for_keyword

    tag = tag_for_keyword(rng.choice(ASKED)) or 0
    return struct.pack("<HH", tag >> 16, tag & 0xFFFF)


def _element(rng: random.Random) -> bytes:
    vr, value = rng.choice(VRS), rng.choice((*HOSTILE, rng.randbytes(rng.randrange(20))))
    length = rng.choice((len(value),) * 9 + (0xFFFFFFFF,))
    head = struct.pack("<HI", 0, length) if vr in LONG else struct.pack("<H", length & 0xFFFF)
    return _tag(rng) + vr.encode() + head + value


def outcome(seed: int) -> tuple[str, str]:
    """What the reading and the de-identification make of a mutant."""
    data = mutant(seed)
    return read(data), de_identified(data)


def read(data: bytes) -> str:
    """``read``, the reason why a file gives no picture, or a defect's traceback."""
    try:
        pictures = decode(data, TARGET).pictures
    except Exception:  # noqa: BLE001 a defect is what is looked for
        return "DEFECT " + traceback.format_exc()
    reasons = {picture.decoded.fault for picture in pictures}
    if len(reasons) != 1 or not reasons <= {None, *FAULTS}:
        return f"DEFECT reasons {reasons}"
    return reasons.pop() or "read"


def de_identified(data: bytes) -> str:
    """``rewritten``, the reason why a file is set aside, or a defect's traceback."""
    try:
        rewritten(data, Key(bytes(32)))
    except SetAside as aside:
        return aside.reason if aside.reason in REASONS else f"DEFECT {aside.reason}"
    except Exception:  # noqa: BLE001 a defect is what is looked for
        return "DEFECT " + traceback.format_exc()
    return "rewritten"


def main() -> None:
    """Print how many mutants each road read or set aside, and the first defect of each kind; 1 where there is one."""
    many, first = (int(sys.argv[at]) if len(sys.argv) > at else default for at, default in ((1, 20_000), (2, 0)))
    counted: tuple[Counter[str], Counter[str]] = (Counter(), Counter())
    shown: set[str] = set()
    seeds = range(first, first + many)
    for seed, answer in zip(seeds, each_decoded(outcome, seeds, module=__name__), strict=True):
        told = (answer.reason, answer.reason) if isinstance(answer, Lost) else answer
        for road, counts, said in zip(("read", "de-identify"), counted, told, strict=True):
            counts["DEFECT" if said.startswith("DEFECT") else said] += 1
            lines = [line for line in said.splitlines() if "/medai/" in line or not line.startswith(" ")]
            mark = " ".join(lines[-2:]).partition(":")[0] + (lines[-2] if len(lines) > 1 else "")
            if said.startswith("DEFECT") and mark not in shown:
                shown.add(mark)
                sys.stdout.write(f"{road}, seed {seed}: {said}\n")
    for road, counts in zip(("read", "de-identify"), counted, strict=True):
        sys.stdout.write(f"{road}: " + " · ".join(f"{what} {some}" for what, some in counts.most_common()) + "\n")
    sys.exit(1 if shown else 0)


if __name__ == "__main__":
    from tests.medai.sources.dicom import mutants

    mutants.main()  # under the name by which workers know its functions
