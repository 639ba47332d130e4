from __future__ import annotations

import struct
import tracemalloc
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from packages.vox_populi.tests.gguf_files import Number, Tensor, gguf_bytes, text, value_bytes
from vox_populi.containers.gguf_header import GgufHeader, read_gguf_header
from vox_populi.containers.gguf_types import GGML_TYPES, PLAIN_TYPES, QUANTISED_TYPES
from vox_populi.errors import ModelError

METADATA: dict[str, object] = {
    "general.architecture": "llama",
    "small": Number("u8", 3),
    "long": Number("u64", 2**40),
    "yes": True,
    "real": 0.5,
    "words": ["a", "b ü", ""],
    "kinds": [Number("i32", -1), Number("i32", 7)],
    "flags": [True, False],
}
MATRIX = Tensor("m", (4, 2), struct.pack("<8f", *range(8)))
VECTOR = Tensor("v", (3,), bytes(12))


def write(path: Path, data: bytes) -> Path:
    file = path / "model.gguf"
    file.write_bytes(data)
    return file


def reason_of(path: Path) -> str:
    with pytest.raises(ModelError) as caught:
        read_gguf_header(path)
    (problem,) = caught.value.problems
    assert problem.code == "MENS-H130"
    assert problem.where == str(path)
    assert "\n" not in problem.what
    return problem.what


def test_metadata_and_tensors_are_read(tmp_path: Path) -> None:
    data = gguf_bytes(METADATA, [MATRIX, VECTOR])
    header = read_gguf_header(write(tmp_path, data))
    found = dict(header.metadata)
    assert list(found.pop("kinds")) == [-1, 7]  # type: ignore[arg-type]  # an array
    assert list(found.pop("flags")) == [1, 0]  # type: ignore[arg-type]  # an array
    assert found == {
        "general.architecture": "llama",
        "small": 3,
        "long": 2**40,
        "yes": True,
        "real": 0.5,
        "words": ("a", "b ü", ""),
    }
    matrix, vector = header.tensors["m"], header.tensors["v"]
    assert (matrix.shape, matrix.n_rows, matrix.n_bytes) == ((2, 4), 2, 32)
    assert data[matrix.start : matrix.start + matrix.n_bytes] == MATRIX.data
    assert (vector.shape, vector.n_rows, vector.n_bytes) == ((3,), 1, 12)


def test_another_alignment_is_honoured(tmp_path: Path) -> None:
    data = gguf_bytes({"general.alignment": 64}, [MATRIX, VECTOR], alignment=64)
    header = read_gguf_header(write(tmp_path, data))
    assert [tensor.start % 64 for tensor in header.tensors.values()] == [0, 0]
    assert header.tensors["v"].start - header.tensors["m"].start == 64


def test_types_are_those_of_the_package() -> None:
    gguf: Any = pytest.importorskip("gguf", reason="needs vox-populi[gguf]")
    theirs = {int(kind): sizes for kind, sizes in gguf.GGML_QUANT_SIZES.items()}
    for number, kind in GGML_TYPES.items():
        if number in theirs:
            assert gguf.GGMLQuantizationType(number).name == kind.name
            assert theirs[number] == (kind.block, kind.n_bytes)
    shared = {kind.name for number, kind in GGML_TYPES.items() if number in theirs}
    assert len(shared) > 25
    dequantised = {kind.name for kind in gguf.quants._type_traits} - set(PLAIN_TYPES)
    assert dequantised & set(gguf.GGMLQuantizationType.__members__) <= QUANTISED_TYPES


HUGE = 2**63
BROKEN: dict[str, bytes] = {
    "empty": b"",
    "another format": b"PK\x03\x04" + bytes(64),
    "version 1": gguf_bytes(METADATA, version=1),
    "big-endian": b"GGUF" + struct.pack(">IQQ", 3, 0, 0),
    "absurd count of tensors": b"GGUF" + struct.pack("<IQQ", 3, HUGE, 0),
    "absurd count of metadata": b"GGUF" + struct.pack("<IQQ", 3, 0, HUGE),
    "more metadata than there is": b"GGUF" + struct.pack("<IQQ", 3, 0, 60_000),
    "more tensors than there are": b"GGUF" + struct.pack("<IQQ", 3, 100_000, 0),
    "a giant name": b"GGUF" + struct.pack("<IQQQ", 3, 0, 1, 2**31) + bytes(64),
    "a giant text": gguf_bytes({"a": struct.pack("<IQ", 8, HUGE)}),
    "a giant list of numbers": gguf_bytes({"a": struct.pack("<IIQ", 9, 5, HUGE)}),
    "a giant list of texts": gguf_bytes({"a": struct.pack("<IIQ", 9, 8, HUGE)}),
    "a list of lists": gguf_bytes({"a": struct.pack("<IIQ", 9, 9, 1)}),
    "an unknown type": gguf_bytes({"a": struct.pack("<I", 77)}),
    "a list of an unknown type": gguf_bytes({"a": struct.pack("<IIQ", 9, 77, 1)}),
    "text that is not UTF-8": gguf_bytes({"a": struct.pack("<I", 8) + text(b"\xff\xfe")}),
    "a key twice": gguf_bytes([("a", 1), ("a", 2)]),
    "an alignment of zero": gguf_bytes({"general.alignment": 0}),
    "an odd alignment": gguf_bytes({"general.alignment": 48}),
    "a giant alignment": gguf_bytes({"general.alignment": 2**30}),
    "an alignment that is text": gguf_bytes({"general.alignment": "32"}),
    "a tensor twice": gguf_bytes({}, [VECTOR, VECTOR]),
    "a tensor of no dimension": gguf_bytes({}, [Tensor("a", (), b"")]),
    "a tensor of many dimensions": gguf_bytes({}, [Tensor("a", (1,) * 9, bytes(4))]),
    "a tensor of no values": gguf_bytes({}, [Tensor("a", (0, 4), b"")]),
    "a tensor beyond memory": gguf_bytes({}, [Tensor("a", (2**40, 2**40), bytes(4))]),
    "a tensor of an unknown type": gguf_bytes({}, [VECTOR._replace(kind=99)]),
    "a tensor of a removed type": gguf_bytes({}, [VECTOR._replace(kind=4)]),
    "rows that are no whole blocks": gguf_bytes({}, [Tensor("a", (33,), bytes(64), kind=8)]),
    "an offset beyond the file": gguf_bytes({}, [VECTOR._replace(offset=2**40)]),
    "an offset that wraps around": gguf_bytes({}, [VECTOR._replace(offset=2**64 - 32)]),
    "an offset that is not aligned": gguf_bytes({}, [VECTOR._replace(offset=4)]),
    "tensors that overlap": gguf_bytes({}, [MATRIX, VECTOR._replace(offset=0)]),
    "a truncated tensor": gguf_bytes({}, [MATRIX])[:-1],
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_file_that_contradicts_its_format_is_refused(name: str, tmp_path: Path) -> None:
    reason_of(write(tmp_path, BROKEN[name]))


def test_absurd_counts_take_no_memory(tmp_path: Path) -> None:
    for number, data in enumerate(BROKEN.values()):
        (tmp_path / f"{number}.gguf").write_bytes(data)
    tracemalloc.start()
    try:
        for number in range(len(BROKEN)):
            reason_of(tmp_path / f"{number}.gguf")
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 2**20


def test_every_truncated_file_is_refused(tmp_path: Path) -> None:
    data = gguf_bytes(METADATA, [MATRIX, VECTOR])
    end = len(data) - (-len(VECTOR.data) % 32)
    for size in range(end):
        reason_of(write(tmp_path, data[:size]))


def header_or_codes(path: Path) -> tuple[GgufHeader | None, list[str]]:
    try:
        return read_gguf_header(path), []
    except ModelError as error:
        return None, [problem.code for problem in error.problems]


SOUND = gguf_bytes(METADATA, [MATRIX, VECTOR])


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(place=st.integers(0, len(SOUND) - 1), new=st.binary(min_size=1, max_size=8))
def test_damaged_bytes_give_a_header_or_one_problem(place: int, new: bytes, tmp_path: Path) -> None:
    path = write(tmp_path, SOUND[:place] + new + SOUND[place + len(new) :])
    header, codes = header_or_codes(path)
    assert (header is None) == (codes == ["MENS-H130"])
    size = path.stat().st_size
    ends = [] if header is None else [t.start + t.n_bytes for t in header.tensors.values()]
    assert max(ends, default=0) <= size


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(tail=st.binary(max_size=200))
def test_anything_behind_the_magic_gives_a_header_or_one_problem(
    tail: bytes, tmp_path: Path
) -> None:
    path = write(tmp_path, b"GGUF\x03\x00\x00\x00" + tail)
    header, codes = header_or_codes(path)
    assert (header is None) == (codes == ["MENS-H130"])


def test_a_value_keeps_its_type() -> None:
    assert value_bytes(True)[:4] != value_bytes(1)[:4] != value_bytes(1.0)[:4]
