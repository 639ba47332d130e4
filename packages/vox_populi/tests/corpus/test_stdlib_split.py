from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from vox_populi.corpus.stdlib_split import (
    HELDOUT_FRACTION,
    is_heldout_module,
    iter_python_files,
    iter_source_modules,
    parse_module,
    stdlib_root,
)


def make(root: Path, *names: str) -> None:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("x = 1\n", encoding="utf-8")


def test_the_side_is_the_hash_of_the_name() -> None:
    for name in ("json", "queue", "os", "typing", "ü", "\udcff"):
        digest = hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()
        assert is_heldout_module(name) == (int(digest[:16], 16) / 2**64 < HELDOUT_FRACTION)


def test_known_sides_have_not_changed() -> None:
    """The embedded model was trained on one side: a module must never change over."""
    heldout = ("json", "collections", "logging", "queue", "tkinter", "inspect")
    train = ("os", "typing", "asyncio", "email", "unittest", "argparse")
    assert all(map(is_heldout_module, heldout))
    assert not any(map(is_heldout_module, train))


def test_about_the_fraction_is_held_out() -> None:
    n_names = 20_000
    share = sum(is_heldout_module(f"m{i}") for i in range(n_names)) / n_names
    assert round(share, 2) == HELDOUT_FRACTION


def test_modules_are_named_and_sorted(tmp_path: Path) -> None:
    make(tmp_path, "b.py", "a/__init__.py", "a/z.py", "a/b/c.py", "a.txt", "A.py")
    modules = list(iter_source_modules(tmp_path))
    assert [m.name for m in modules] == ["A", "a", "a.b.c", "a.z", "b"]
    assert modules[1].path == tmp_path / "a" / "__init__.py"


def test_a_package_is_never_divided(tmp_path: Path) -> None:
    make(tmp_path, *(f"json/m{i}.py" for i in range(30)), *(f"os/m{i}.py" for i in range(30)))
    sides = {(m.name.split(".")[0], m.heldout) for m in iter_source_modules(tmp_path)}
    assert sides == {("json", True), ("os", False)}


def test_a_root_that_is_a_package_takes_its_folders_name(tmp_path: Path) -> None:
    make(tmp_path, "pkg/__init__.py", "pkg/a.py")
    assert [m.name for m in iter_source_modules(tmp_path / "pkg")] == ["pkg", "a"]


@pytest.mark.parametrize(
    "skipped",
    [
        "site-packages/a.py",
        "__pycache__/a.py",
        "test/a.py",
        "p/tests/a.py",
        "p/test/a.py",
        "idlelib/a.py",
        "encodings/a.py",
        ".venv/a.py",
    ],
)
def test_folders_that_are_left_out(tmp_path: Path, skipped: str) -> None:
    make(tmp_path, skipped, "kept.py", "p/encodings/kept.py", "p/test.py")
    names = [m.name for m in iter_source_modules(tmp_path)]
    assert names == ["kept", "p.encodings.kept", "p.test"]


def test_links_are_not_followed(tmp_path: Path) -> None:
    make(tmp_path, "a.py", "elsewhere/b.py")
    root = tmp_path / "root"
    make(root, "c.py")
    try:
        (root / "a.py").symlink_to(tmp_path / "a.py")
        (root / "loop").symlink_to(root, target_is_directory=True)
    except OSError:
        pytest.skip("no symbolic links here")
    assert [m.name for m in iter_source_modules(root)] == ["c"]


@pytest.mark.parametrize(
    "content",
    [
        b"def f(:\n",
        b"print 'python 2'\n",
        b"\xff\xfe = 1\n",
        b"# coding: klingon\nx = 1\n",
        b"x = 1\n\0",
        b"x = " + b"(" * 10_000,
    ],
)
def test_files_that_do_not_parse_are_left_out(tmp_path: Path, content: bytes) -> None:
    make(tmp_path, "good.py")
    (tmp_path / "bad.py").write_bytes(content)
    assert [m.name for m in iter_source_modules(tmp_path)] == ["good"]
    assert [m.name for m in iter_python_files(tmp_path)] == ["bad", "good"]


def test_a_source_file_is_decoded_by_its_coding_line(tmp_path: Path) -> None:
    path = tmp_path / "a.py"
    path.write_bytes(b"# coding: latin-1\r\nx = '\xe9'\r\n")
    parsed = parse_module(path)
    assert parsed is not None
    assert parsed[0] == "# coding: latin-1\nx = 'é'\n"


def test_a_file_that_is_far_too_large_is_skipped_as_a_source(tmp_path: Path) -> None:
    path = tmp_path / "a.py"
    with path.open("wb") as handle:
        handle.truncate(2**30)
    assert parse_module(path) is None


def test_the_standard_library_has_both_sides() -> None:
    sides = {m.heldout for m in iter_python_files(stdlib_root())}
    assert sides == {True, False}
