from __future__ import annotations

import json
import os
import random
from collections.abc import Callable
from importlib import import_module
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vox_populi.containers.dtypes import DTYPE_BITS
from vox_populi.containers.safetensors_header import MAX_HEADER_BYTES, read_header
from vox_populi.errors import ModelError

Container = Callable[..., bytes]


def f32(shape: list[int], start: int, end: int) -> dict[str, object]:
    return {"dtype": "F32", "shape": shape, "data_offsets": [start, end]}


TWO = {"a": f32([2, 3], 0, 24), "b": f32([1], 24, 28)}


def code_of(path: Path) -> str:
    """Codes of the problems, which all name the file."""
    with pytest.raises(ModelError) as caught:
        read_header(path)
    problems = caught.value.problems
    assert all(problem.where is not None and str(path) in problem.where for problem in problems)
    return " ".join(problem.code for problem in problems)


def test_a_valid_safetensors_header_is_read(tmp_path: Path, container: Container) -> None:
    path = tmp_path / "model.safetensors"
    path.write_bytes(container({"__metadata__": {"format": "pt"}, **TWO}, bytes(28)))
    header = read_header(path)
    start = header.data_start
    assert list(header.tensors) == ["a", "b"]
    a = header.tensors["a"]
    assert (a.dtype, a.shape, a.shard, a.start, a.end) == (
        "F32",
        (2, 3),
        "model.safetensors",
        start,
        start + 24,
    )
    assert (a.n_bytes, header.metadata) == (24, {"format": "pt"})
    assert header.tensors["b"].end == path.stat().st_size


def test_tensors_come_in_the_order_of_their_data(tmp_path: Path, container: Container) -> None:
    path = tmp_path / "x.safetensors"
    path.write_bytes(container({"b": TWO["b"], "a": TWO["a"]}, bytes(28)))
    assert list(read_header(path).tensors) == ["a", "b"]


def test_padding_empty_tensors_and_scalars_are_sound(tmp_path: Path, container: Container) -> None:
    path = tmp_path / "x.safetensors"
    tensors = {"empty": f32([0, 5], 0, 0), "scalar": f32([], 0, 4)}
    path.write_bytes(container(json.dumps(tensors).encode() + b"    ", bytes(4)))
    assert read_header(path).tensors["scalar"].shape == ()


@pytest.mark.parametrize("dtype", DTYPE_BITS)
def test_every_dtype_has_its_size(tmp_path: Path, container: Container, dtype: str) -> None:
    path = tmp_path / "x.safetensors"
    n_bytes = DTYPE_BITS[dtype]
    entry = {"dtype": dtype, "shape": [8], "data_offsets": [0, n_bytes]}
    path.write_bytes(container({"x": entry}, bytes(n_bytes)))
    assert read_header(path).tensors["x"].n_bytes == n_bytes
    path.write_bytes(container({"x": entry | {"shape": [9]}}, bytes(n_bytes)))
    assert code_of(path) == "MENS-H020"


def text(**changes: object) -> bytes:
    """A header with one tensor `a` of 24 bytes, changed."""
    return json.dumps({"a": f32([2, 3], 0, 24) | changes}).encode()


BROKEN_HEADERS: dict[str, bytes] = {
    "no tensor": b"{}",
    "only metadata": b'{"__metadata__": {}}',
    "an array": b"[]",
    "a space first": b" " + text(),
    "not JSON": b'{"a": ',
    "not UTF-8": b'{"\xff": 1}',
    "a repeated tensor": b'{"a": %b, "a": %b}' % ((json.dumps(f32([6], 0, 24)).encode(),) * 2),
    "a repeated field": b'{"a": {"dtype":"F32","dtype":"I32","shape":[6],"data_offsets":[0,24]}}',
    "too deep": b'{"a": ' + b"[" * 100_000,
    "metadata of numbers": b'{"__metadata__": {"a": 1}, ' + text()[1:],
    "metadata that is a list": b'{"__metadata__": [], ' + text()[1:],
    "an entry that is a list": b'{"a": [1]}',
    "an extra field": text(extra=1),
    "no dtype": b'{"a": {"shape": [6], "data_offsets": [0, 24]}}',
    "an unknown dtype": text(dtype="F33"),
    "a dtype that is a number": text(dtype=32),
    "a dtype in lower case": text(dtype="f32"),
    "a shape that is a number": text(shape=6),
    "a negative size": text(shape=[-2, -3]),
    "a broken size": text(shape=[2.0, 3]),
    "a size that is true": text(shape=[True, 6]),
    "a size beyond 64 bits": text(shape=[2**70, 0]),
    "sizes whose product wraps": text(shape=[2**33, 2**33]),
    "too many dimensions": text(shape=[1] * 1000 + [6]),
    "one offset": text(data_offsets=[24]),
    "three offsets": text(data_offsets=[0, 24, 24]),
    "offsets the wrong way": text(data_offsets=[24, 0]),
    "a negative offset": text(data_offsets=[-24, 0]),
    "offsets beyond the file": text(data_offsets=[24, 48]),
    "fewer bytes than the shape": text(shape=[5]),
    "more bytes than the shape": text(shape=[7]),
    "a hole": json.dumps({"a": f32([2], 0, 8), "b": f32([2], 16, 24)}).encode(),
    "a hole at the start": json.dumps({"a": f32([4], 8, 24)}).encode(),
    "an overlap": json.dumps({"a": f32([4], 0, 16), "b": f32([4], 8, 24)}).encode(),
    "shared data": json.dumps({"a": f32([6], 0, 24), "b": f32([6], 0, 24)}).encode(),
    "a tail": json.dumps({"a": f32([5], 0, 20)}).encode(),
    "NaN": b'{"a": NaN}',
}


@pytest.mark.parametrize("header", BROKEN_HEADERS.values(), ids=BROKEN_HEADERS.keys())
def test_broken_headers_are_refused(tmp_path: Path, container: Container, header: bytes) -> None:
    path = tmp_path / "x.safetensors"
    path.write_bytes(container(text(), bytes(24)))
    read_header(path)
    path.write_bytes(container(header, bytes(24)))
    assert set(code_of(path).split()) <= {"MENS-H020", "MENS-H006"}


BROKEN_FILES: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "MENS-H020"),
    "seven bytes": (bytes(7), "MENS-H020"),
    "no header": (bytes(8), "MENS-H020"),
    "a header beyond the file": ((2**40).to_bytes(8, "little") + b"{}", "MENS-H020"),
    "a header of all 64 bits": (b"\xff" * 8 + b"{}", "MENS-H020"),
    "a zip": (b"PK\x03\x04" + bytes(100), "MENS-H021"),
    "a pickle": (b"\x80\x04\x95" + bytes(100), "MENS-H021"),
    "a short pickle": (b"\x80\x02}.", "MENS-H021"),
    "a GGUF file": (b"GGUF\x03\x00\x00\x00" + bytes(100), "MENS-H021"),
    "a Git LFS pointer": (b"version https://git-lfs.github.com/spec/v1\n", "MENS-H021"),
    "a web page": (b"<!DOCTYPE html><html></html>", "MENS-H021"),
}


@pytest.mark.parametrize("case", BROKEN_FILES.values(), ids=BROKEN_FILES.keys())
def test_other_files_are_refused_unopened(tmp_path: Path, case: tuple[bytes, str]) -> None:
    path = tmp_path / "x.safetensors"
    path.write_bytes(case[0])
    assert code_of(path) == case[1]


def test_a_header_length_that_looks_like_a_pickle_is_sound(
    tmp_path: Path, container: Container
) -> None:
    path = tmp_path / "x.safetensors"
    data = container(text().ljust(0x0480), bytes(24))
    assert data.startswith(b"\x80\x04")
    path.write_bytes(data)
    assert list(read_header(path).tensors) == ["a"]


def test_a_header_beyond_the_cap_is_refused_without_reading_it(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    with path.open("wb") as handle:
        handle.write((MAX_HEADER_BYTES + 1).to_bytes(8, "little"))
        handle.truncate(2 * MAX_HEADER_BYTES)
    assert code_of(path) == "MENS-H020"


@pytest.mark.parametrize("change", [-1, 1])
def test_a_file_cut_short_or_with_a_tail_is_refused(
    tmp_path: Path, container: Container, change: int
) -> None:
    path = tmp_path / "x.safetensors"
    path.write_bytes(container(TWO, bytes(28 + change)))
    assert code_of(path) == "MENS-H020"


def test_every_wrong_tensor_is_reported_and_messages_stay_short(
    tmp_path: Path, container: Container
) -> None:
    path = tmp_path / "x.safetensors"
    wrong = {f"{number}{'n' * 5000}\x1b[2J": f32([-1], 0, 4) for number in range(50)}
    path.write_bytes(container(wrong))
    with pytest.raises(ModelError) as caught:
        read_header(path)
    assert len(caught.value.problems) == 21
    report = str(caught.value)
    assert len(report) < 20_000
    assert "\x1b" not in report


def test_devices_pipes_and_folders_are_refused(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe.safetensors"
    os.mkfifo(pipe)
    for path in (pipe, tmp_path, Path("/dev/zero")):
        assert code_of(path) in ("MENS-H003", "MENS-H004")
    assert code_of(tmp_path / "absent.safetensors") == "MENS-H002"


@settings(max_examples=200, deadline=None, derandomize=True, database=None)
@given(seed=st.integers(0, 2**32), n_changes=st.integers(1, 4))
def test_mutants_are_refused_or_sound(
    tmp_path_factory: pytest.TempPathFactory, seed: int, n_changes: int
) -> None:
    rng = random.Random(seed)
    mutant = bytearray(_mutable_container())
    for _ in range(n_changes):
        _mutate(mutant, rng)
    path = tmp_path_factory.getbasetemp() / "mutant.safetensors"
    path.write_bytes(bytes(mutant))
    try:
        header = read_header(path)
    except ModelError:
        return
    covered = sum(info.n_bytes for info in header.tensors.values())
    assert header.data_start + covered == len(mutant)


def _mutable_container() -> bytes:
    text = json.dumps({"__metadata__": {"format": "pt"}, **TWO, "c": f32([0], 28, 28)}).encode()
    return len(text).to_bytes(8, "little") + text + bytes(range(28))


_SPLICES = (b"", b"0", b"-1", b"9" * 30, b"[]", b"{}", b"null", b'"a"', b",", b"}", b"\xff", b"NaN")


def _mutate(data: bytearray, rng: random.Random) -> None:
    """Flip a byte, splice a fragment in, take a piece out or repeat one."""
    at = rng.randrange(max(len(data), 1))
    kind = rng.randrange(4)
    if kind == 0 and data:
        data[at] ^= 1 << rng.randrange(8)
    elif kind == 1:
        data[at:at] = rng.choice(_SPLICES)
    elif kind == 2:
        del data[at : at + rng.randrange(1, 20)]
    else:
        data[at:at] = data[at : at + rng.randrange(1, 40)]


def test_the_reference_reader_takes_whatever_this_one_takes(tmp_path: Path) -> None:
    pytest.importorskip("torch", reason="needs the group test-torch")
    safetensors = import_module("safetensors")
    accepted = 0
    for seed in range(200):
        mutant = bytearray(_mutable_container())
        _mutate(mutant, random.Random(seed))
        path = tmp_path / "mutant.safetensors"
        path.write_bytes(bytes(mutant))
        try:
            ours = read_header(path)
        except ModelError:
            continue
        accepted += 1
        theirs = dict(safetensors.deserialize(bytes(mutant)))
        assert {name: list(info.shape) for name, info in ours.tensors.items()} == {
            name: entry["shape"] for name, entry in theirs.items()
        }
    assert accepted > 0
