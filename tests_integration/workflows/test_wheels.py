"""What the wheels ask for, and that an install of ours is ours, with strangers in reach.

The strangers are made here: distributions under our names in a higher version, where pip and uv
look beside the index. They represent anybody who registers the names (decision 0017).
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import tomllib
from email.message import Message
from email.parser import Parser
from pathlib import Path
from zipfile import ZipFile

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.version import Version

from tests_integration.fresh_installs import ROOT, Install, completed, must, uv_command

pytestmark = pytest.mark.slow

VERSION = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
README = ROOT / "README.md"
INSTALL_PAGE = ROOT / "docs" / "src" / "howto" / "install.md"
OURS = ("vox-mens-cli", "vox-populi", "vox-tensor")
BY_NAME = OURS[0]
FOLDERS = {"vox_tensor": "vox_tensor", "vox_populi": "vox_populi", "vox_cli": "vox_mens_cli"}
"""Folder in `packages` -> name in the wheel's file."""
WRITTEN_BY_INSTALLERS = {
    "INSTALLER", "RECORD", "REQUESTED", "direct_url.json", "uv_build.json", "uv_cache.json",
}  # fmt: skip


def metadata_of(wheel: str) -> Message:
    with ZipFile(wheel) as archive:
        (name,) = (n for n in archive.namelist() if n.endswith(".dist-info/METADATA"))
        return Parser().parsestr(archive.read(name).decode("utf-8"))


def requirements_of(wheel: str) -> list[Requirement]:
    return [Requirement(line) for line in metadata_of(wheel).get_all("Requires-Dist") or []]


def versions_taken(wheel: str, name: str) -> SpecifierSet:
    """Every bound that a wheel states for a distribution, with or without an extra."""
    stated = [str(each.specifier) for each in requirements_of(wheel) if each.name == name]
    assert stated, f"{wheel} does not ask for {name}"
    return SpecifierSet(",".join(bound for bound in stated if bound))


def test_the_wheels_take_the_torch_that_was_tested_and_no_later_one(
    wheels: dict[str, str],
) -> None:
    taken = versions_taken(wheels["vox_tensor"], "torch")
    assert [v for v in ("2.10.0", "2.11.0", "2.13.1", "2.14.0", "3.0") if v in taken] == [
        "2.11.0",
        "2.13.1",
    ]


def test_the_wheel_has_the_files_of_the_chat_page(wheels: dict[str, str]) -> None:
    folder = ROOT / "packages/vox_populi/src/vox_populi/serve/chat_files"
    with ZipFile(wheels["vox_populi"]) as archive:
        shipped = {name for name in archive.namelist() if "/chat_files/" in name}
    expected = {f"vox_populi/serve/chat_files/{path.name}" for path in folder.iterdir()}
    assert shipped == expected
    assert "vox_populi/serve/chat_files/chat.html" in shipped


def test_no_bound_is_the_workspaces_alone(wheels: dict[str, str]) -> None:
    # Pins of the lock are no bounds: `test_version_lock.py` holds them.
    project = re.sub(
        r"# <pins>\n.*?# </pins>\n",
        "",
        (ROOT / "pyproject.toml").read_text(encoding="utf-8"),
        flags=re.DOTALL,
    )
    tool = tomllib.loads(project)["tool"]["uv"]
    in_the_wheels = {each.name for wheel in wheels.values() for each in requirements_of(wheel)}
    lines = [*tool.get("constraint-dependencies", []), *tool.get("override-dependencies", [])]
    assert {Requirement(line).name for line in lines} & in_the_wheels == set()


def test_the_wheels_ask_for_each_other_in_their_own_version(wheels: dict[str, str]) -> None:
    assert {metadata_of(wheel)["Version"] for wheel in wheels.values()} == {VERSION}
    for name, needs in {"vox_populi": "vox-tensor", "vox_mens_cli": "vox-populi"}.items():
        assert str(versions_taken(wheels[name], needs)) == f"=={VERSION}"


def test_the_wheels_take_the_pythons_that_ci_tests(wheels: dict[str, str]) -> None:
    for wheel in wheels.values():
        taken = SpecifierSet(metadata_of(wheel)["Requires-Python"])
        assert [v for v in ("3.10", "3.11", "3.12", "3.13") if v in taken] == [
            "3.11", "3.12", "3.13",
        ]  # fmt: skip


def brought(wheels: dict[str, str], name: str, extra: str = "") -> set[str]:
    """The distributions of others that one of ours asks for, through ours too."""
    found = set()
    for each in requirements_of(wheels[name]):
        if each.marker is None or each.marker.evaluate({"extra": extra}):
            ours = each.name.replace("-", "_")
            inner = {each.name} if ours not in wheels else brought(wheels, ours)
            found |= inner.union(*(brought(wheels, ours, chosen) for chosen in each.extras))
    return found


def test_the_table_of_installs_lists_what_the_wheels_bring(wheels: dict[str, str]) -> None:
    row = re.compile(r"^\| `\./packages/(\w+)(.*?)` \| (.+?) \|", re.MULTILINE)
    shown = {}
    for folder, extras, names in row.findall(README.read_text(encoding="utf-8")):
        listed = set() if names == "nothing" else set(names.lower().split(", "))
        shown.update({(folder, extra): listed for extra in re.findall(r"[\w-]+", extras) or [""]})
    expected = {
        (folder, extra): brought(wheels, wheel, extra)
        for folder, wheel in FOLDERS.items()
        for extra in ["", *(metadata_of(wheels[wheel]).get_all("Provides-Extra") or [])]
    }
    assert shown == expected


def test_the_lowest_job_installs_the_bounds_that_the_wheels_state(
    tmp_path: Path, wheels: dict[str, str]
) -> None:
    workflow = ROOT / ".github" / "workflows" / "ci.yml"
    steps = yaml.safe_load(workflow.read_text(encoding="utf-8"))["jobs"]["lowest"]["steps"]
    (line,) = (s["run"] for s in steps if "--resolution lowest-direct" in s.get("run", ""))
    (strip,) = (s["run"] for s in steps if s.get("run", "").startswith("sed -i "))
    for metadata in ("pyproject.toml", *(f"packages/{name}/pyproject.toml" for name in FOLDERS)):
        (tmp_path / metadata).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / metadata, tmp_path / metadata)
    must(shlex.split(strip), tmp_path)
    environment = {"UV_PROJECT_ENVIRONMENT": str(tmp_path / "env")}
    command = [uv_command(), *shlex.split(line)[1:], "--dry-run"]
    done = completed(command, tmp_path, environment)
    assert done.returncode == 0, done.stderr
    chosen = dict(re.findall(r"^ \+ ([\w-]+)==(\S+)$", done.stderr, re.MULTILINE))
    stated = {
        each.name: bound.version
        for wheel in wheels.values()
        for each in requirements_of(wheel)
        for bound in each.specifier
        if bound.operator == ">=" and each.name in chosen
    }
    assert {"torch", "tokenizers", "typer", "pyyaml"} <= set(stated)
    assert {n: v for n, v in stated.items() if Version(v) != Version(chosen[n])} == {}


def stranger(folder: Path, name: str) -> None:
    """A wheel under one of our names, newer than ours."""
    info = f"{name}-9.9.dist-info"
    with ZipFile(folder / f"{name}-9.9-py3-none-any.whl", "w") as archive:
        archive.writestr(f"{name}_of_a_stranger.py", "")
        archive.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: 9.9\n")
        archive.writestr(
            f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        archive.writestr(f"{info}/RECORD", "")


@pytest.fixture
def strangers(tmp_path: Path, wheels: dict[str, str]) -> dict[str, str]:
    """Settings under which pip and uv see a stranger's distribution for each of our names."""
    folder = tmp_path / "strangers"
    folder.mkdir()
    for name in (*wheels, "vox_cli"):
        stranger(folder, name)
    seen = {"PIP_FIND_LINKS": " ", "UV_FIND_LINKS": ","}
    return {
        name: between.join([str(folder), *filter(None, [os.environ.get(name)])])
        for name, between in seen.items()
    }


@pytest.fixture
def dist(tmp_path: Path, wheels: dict[str, str]) -> Path:
    """The folder that `make dist` makes; the pages' lines are then run one folder up."""
    folder = tmp_path / "dist"
    folder.mkdir()
    for wheel in wheels.values():
        (folder / Path(wheel).name).symlink_to(wheel)
    return folder


def not_built_by_us(install: Install, wheels: dict[str, str]) -> list[str]:
    """Files of distributions under our names that are not, byte for byte, those of our wheels."""
    found = []
    for info in install.site_packages.glob("vox*.dist-info"):
        wheel = wheels.get(info.name.split("-")[0])
        if wheel is None:
            found.append(info.name)
            continue
        with ZipFile(wheel) as archive:
            ours = {name: archive.read(name) for name in archive.namelist()}
        lines = (info / "RECORD").read_text(encoding="utf-8").splitlines()
        recorded = {line.split(",")[0] for line in lines} - {"../../../bin/vox"}
        found += [
            name
            for name in sorted({*recorded, *ours})
            if Path(name).name not in WRITTEN_BY_INSTALLERS and not name.endswith(".pyc")
            if not (install.site_packages / name).is_file()
            or (install.site_packages / name).read_bytes() != ours.get(name)
        ]
    return found


def pip_lines(page: Path, folder: str) -> list[list[str]]:
    """The arguments of a page's `pip install` lines that name something in a folder."""
    lines = page.read_text(encoding="utf-8").splitlines()
    return [shlex.split(line)[2:] for line in lines if line.startswith(f"pip install {folder}/")]


def pip_install(install: Install, what: list[str], cwd: Path, strangers: dict[str, str]) -> None:
    """Install with pip itself: uv takes the members of a workspace as editable."""
    install.add("pip")
    must([install.python, "-m", "pip", "install", "--no-cache-dir", *what], cwd, strangers)
    assert {*OURS} <= install.distributions()


def test_a_name_gets_the_stranger_and_the_check_sees_it(
    fresh: Install, wheels: dict[str, str], strangers: dict[str, str], dist: Path
) -> None:
    both = {"UV_FIND_LINKS": f"{strangers['UV_FIND_LINKS']},{dist}"}
    must([uv_command(), "pip", "install", "--python", fresh.python, BY_NAME], extra=both)
    assert "vox_mens_cli_of_a_stranger.py" in not_built_by_us(fresh, wheels)


def test_wheels_by_their_files_are_what_was_built(
    fresh: Install, wheels: dict[str, str], strangers: dict[str, str], dist: Path
) -> None:
    ((pattern,), _with_extra) = pip_lines(INSTALL_PAGE, "dist")
    files = sorted(str(path) for path in dist.parent.glob(pattern))
    assert len(files) == len(wheels)
    pip_install(fresh, files, dist.parent, strangers)
    assert not_built_by_us(fresh, wheels) == []
    assert "mens" in must([fresh.vox, "--help"], dist.parent)


@pytest.mark.parametrize("extra", ["mens-gpu", "mens-train", "gguf", "gpu"])
def test_wheels_with_an_extra_come_from_their_files(
    tmp_path: Path, fresh: Install, strangers: dict[str, str], dist: Path, extra: str
) -> None:
    _slim, files = pip_lines(INSTALL_PAGE, "dist")
    assert files[-1].endswith("[mens-gpu]")
    files[-1] = files[-1].replace("mens-gpu", extra)
    command = [uv_command(), "pip", "install", "--dry-run", "--python", fresh.python]
    done = completed([*command, *files], tmp_path, strangers)
    assert done.returncode == 0, done.stderr
    chosen = [line for line in done.stderr.splitlines() if line.startswith(" + ")]
    assert any(line.startswith(" + torch==") for line in chosen)
    ours = [line for line in chosen if line.startswith(" + vox")]
    assert [f" @ {dist.as_uri()}/" in line for line in ours] == [True] * 3, ours


def test_the_folders_of_a_clone_are_what_was_built(
    fresh: Install, wheels: dict[str, str], strangers: dict[str, str]
) -> None:
    (folders,) = pip_lines(README, "./packages")
    assert len(folders) == len(wheels)
    pip_install(fresh, folders, ROOT, strangers)
    assert not_built_by_us(fresh, wheels) == []
    assert "mens" in must([fresh.vox, "--help"], fresh.folder)
