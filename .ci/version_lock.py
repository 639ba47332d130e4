"""The lock that names no host: `requirements.lock`, and the same pins in `pyproject.toml`.

`write` resolves again from the default index alone, whatever local wheels this machine has.
`check` compares the lock with the pins, and with what `uv.lock` says here. Standard library only:
it runs before anything is installed.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
LOCK = ROOT / "requirements.lock"
PROJECT = ROOT / "pyproject.toml"
EXPORT = (
    *("--all-packages", "--all-extras", "--group", "dev"),
    *("--no-extra", "executorch", "--no-extra", "litert", "--no-extra", "fla"),
    *("--no-emit-workspace", "--no-header", "--no-annotate", "--frozen", "--quiet"),
)
HEADER = """\
# Every package, extra and group, by version and hash. Written by `make lock`, never by hand.
# Install: make setup LOCKED=1. No index, mirror or folder is named (docs/src/adr/0003).
"""
TORCH_HEADER = "# torch: left out where UV_FIND_LINKS or PIP_FIND_LINKS names other builds of it."
TORCH = re.compile(r"(?:torch|cuda-[\w-]+|nvidia-[\w-]+)==")
"""Not Triton: the builds of a version of torch for a CPU do not ask for it, and our tests do."""
BLOCK = re.compile(r"(?<=# <pins>\n).*?(?=# </pins>\n)", re.DOTALL)


def main(argv: list[str]) -> int:
    """Write the lock and the pins, or say why they are not what they should be."""
    uv, word = str(ROOT / argv[0]), argv[1]
    if word == "write":
        entries = _resolved_anew(uv)
        LOCK.write_text(_lock_text(entries), encoding="utf-8", newline="\n")
        PROJECT.write_text(_with_pins(_project(), entries), encoding="utf-8", newline="\n")
        return 0
    lock = LOCK.read_text(encoding="utf-8")
    findings = list(unlike_pins(lock, _project()))
    if not findings:
        _output(uv, "lock", "--quiet", cwd=ROOT)
        findings = list(unlike_resolution(lock, _exported(uv, ROOT)))
    sys.stderr.writelines(f"requirements.lock: {each}; run make lock\n" for each in findings)
    return 1 if findings else 0


def unlike_pins(lock: str, project: str) -> Iterable[str]:
    """What was changed in the lock or in `pyproject.toml` alone, or by hand."""
    entries = _entries(lock)
    if lock != _lock_text(entries):
        yield "it is not as `make lock` writes it"
    if project != _with_pins(project, entries):
        yield "constraint-dependencies of pyproject.toml have other pins"


def unlike_resolution(lock: str, derived: str) -> Iterable[str]:
    """What `pyproject.toml` resolves to on this machine, and the lock does not say.

    Another build of torch has other hashes and libraries, so its part is held by its pin alone.
    """
    locked, here = _hashes(_entries(lock)), _hashes(_entries(derived))
    for pin in sorted(locked.keys() ^ here.keys()):
        yield f"{pin} is {'not needed' if pin in locked else 'missing'}"
    for pin in sorted(locked.keys() & here.keys()):
        if not here[pin] <= locked[pin]:
            yield f"the index has files of {pin} with other hashes"


def _entries(text: str) -> list[str]:
    """The requirements of a lock, each with its lines of hashes."""
    lines = "\n".join(line for line in text.splitlines() if not line.startswith("#"))
    return [each.strip() for each in re.split(r"\n(?=\S)", lines) if each.strip()]


def _hashes(entries: Iterable[str]) -> dict[str, set[str]]:
    """The hashes of each pin outside torch's part; a marker splits a pin, so they are joined."""
    found: dict[str, set[str]] = {}
    for entry in entries:
        if not TORCH.match(entry):
            name = re.split(r"[ ;\\]", entry, maxsplit=1)[0]
            found.setdefault(name, set()).update(re.findall(r"--hash=(\S+)", entry))
    return found


def _lock_text(entries: list[str]) -> str:
    apart = [entry for entry in entries if TORCH.match(entry)]
    rest = [entry for entry in entries if entry not in apart]
    return HEADER + "\n".join([*rest, TORCH_HEADER, *apart]) + "\n"


def _with_pins(project: str, entries: Iterable[str]) -> str:
    """The project with the pins of these entries.

    Of torch's part it pins torch alone: each build names its own libraries, CUDA 12 others than 13.
    """
    pins = sorted(
        entry.split("\\")[0].strip()
        for entry in entries
        if entry.startswith("torch==") or not TORCH.match(entry)
    )
    block = "".join(f'  "{pin}",\n' for pin in pins)
    return BLOCK.sub(lambda _: f"constraint-dependencies = [\n{block}]\n", project, count=1)


def _project() -> str:
    return PROJECT.read_text(encoding="utf-8")


def _resolved_anew(uv: str) -> list[str]:
    """What the metadata resolves to without pins, in a folder without this machine's `uv.lock`."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "pyproject.toml").write_text(BLOCK.sub("", _project()), encoding="utf-8")
        for package in sorted((ROOT / "packages").glob("*/pyproject.toml")):
            target = folder / package.relative_to(ROOT)
            target.parent.mkdir(parents=True)
            shutil.copy(package, target)
        # Wheels of this machine's own would end up in everybody's lock.
        _output(uv, "lock", "--quiet", cwd=folder, without="UV_FIND_LINKS")
        return _entries(_exported(uv, folder))


def _exported(uv: str, folder: Path) -> str:
    return _output(uv, "export", *EXPORT, cwd=folder)


def _output(*command: str, cwd: Path, without: str = "") -> str:
    environment = {name: value for name, value in os.environ.items() if name != without}
    done = subprocess.run(
        command, cwd=cwd, env=environment, stdout=subprocess.PIPE, text=True, check=False
    )
    if done.returncode != 0:
        raise SystemExit(done.returncode)  # uv has said why
    return done.stdout


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
