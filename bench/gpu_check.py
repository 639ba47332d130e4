"""Everything that a CUDA card has to show, in about ten minutes, straight from a checkout.

    python3 bench/gpu_check.py --out DIR [--parts tests,parity,lora-8b] [--budget 560]
    python3 bench/gpu_check.py --table A.json B.json     one table of several runs, newest last
    python3 bench/gpu_check.py --device cpu --tiny --out DIR     a dry run: figures mean nothing

Writes `DIR/gpu_check.json` after each part, `gpu_check.md` at the end, and the tests' output to
`gpu_tests.log`. Parts that the file has from an earlier call are not repeated unless --parts names
them. A part that fails is recorded with its error, and the next one runs: each has a process of its
own. Needs neither network nor bitsandbytes; PEFT's parts need peft and transformers.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory, TemporaryFile
from typing import IO, Any

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [*map(str, sorted(ROOT.glob("packages/*/src"))), str(ROOT), str(ROOT / "bench")]

from functools import partial  # noqa: E402 - the checkout must be found first

import torch  # noqa: E402 - as above
from gpu_kernels import attention, environment, nf4  # noqa: E402 - as above
from gpu_place import Part, Place  # noqa: E402 - as above
from gpu_pointwise import pointwise  # noqa: E402 - as above
from gpu_shapes import SHAPES  # noqa: E402 - as above
from gpu_steps import parity, peft, plain, profile, ragged, speed  # noqa: E402 - as above
from gpu_table import table  # noqa: E402 - as above

NAME = "gpu_check.json"
OF_ONE = "part.json"
"""What the process of a part leaves to this one."""
SECONDS_OF_TESTS = 160.0
SECONDS_OF_DEMO = 150.0
SECONDS_OF_PART = {
    "tests": SECONDS_OF_TESTS + 15.0,
    "demo": SECONDS_OF_DEMO + 15.0,
    "parity": 110.0,
}
SECONDS_OF_OTHERS = 75.0
LEAST_SECONDS = 8.0
"""A part is not begun with less."""


def main() -> int:
    """Run what is asked for; 1 if a part failed."""
    options = _options()
    if options.table:
        sys.stdout.write(table([_read(path) for path in options.table]))
        return 0
    place = Place(torch.device(options.device), options.tiny)
    if options.one is not None:
        result = json.dumps(all_parts(options.out)[options.one](place))
        (options.out / OF_ONE).write_text(result, encoding="utf-8")
        return 0
    options.out = options.out.resolve()
    options.out.mkdir(parents=True, exist_ok=True)
    results = _read(options.out / NAME)
    chosen = options.parts or [n for n in all_parts(options.out) if not _is_done(results, n)]
    ends = time.monotonic() + options.budget
    for name in chosen:
        results[name] = _run(name, place, options.out, ends - time.monotonic())
        (options.out / NAME).write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
        _say(name, results[name])
    text = table([results])
    (options.out / "gpu_check.md").write_text(text, encoding="utf-8")
    sys.stdout.write(text)
    return 0 if all(results[name]["status"] == "ok" for name in chosen) else 1


def all_parts(out: Path) -> dict[str, Part]:
    """Every part by its name, the most telling first."""
    parts: dict[str, Part] = {
        "environment": environment,
        "nf4": nf4,
        "pointwise": pointwise,
        "parity": parity,
        "tests": partial(run_tests, out),
        "demo": partial(run_demo, out),
    }
    by_need = sorted(SHAPES, key=lambda shape: ("8b", "0.6b", "1.7b", "4b").index(shape.name))
    for shape in by_need:
        parts[f"lora-{shape.name}"] = speed(shape.name, None)
        parts[f"qlora-{shape.name}"] = speed(shape.name, "none")
    parts["attention"] = attention
    parts["profile-8b"] = profile("8b", "none")
    parts["profile-0.6b"] = profile("0.6b", None)
    for shape in by_need:
        parts[f"peft-{shape.name}"] = peft(shape.name)
    for name in ("0.6b", "8b"):
        parts[f"plain-{name}"] = plain(speed(name, None))
        parts[f"ragged-{name}"] = ragged(name, is_peft=False)
        parts[f"ragged-peft-{name}"] = ragged(name, is_peft=True)
    return parts


def run_tests(out: Path, place: Place) -> dict[str, Any]:
    """The tests marked `gpu`; a dry run only looks whether pytest takes the command."""
    files = files_with_gpu_tests()
    # Versions there are not those of the lock, so their warnings are no errors.
    command = [sys.executable, "-m", "pytest", "-m", "gpu", "-v", "-p", "no:cacheprovider"]
    command += ["-n", "4"] if find_spec("xdist") and not place.is_tiny else []
    command += ["--continue-on-collection-errors", "-o", "filterwarnings=", "--maxfail", "40"]
    command += ["--version"] if place.is_tiny else files
    log = out / "gpu_tests.log"
    with log.open("w", encoding="utf-8") as stream:
        code = _call(command, SECONDS_OF_TESTS, stream, ROOT)
    lines = log.read_text(encoding="utf-8").splitlines()
    problems = [line[:300] for line in lines if line.startswith(("FAILED", "ERROR", "E  "))]
    return {"exit_code": code, "summary": lines[-1], "problems": problems, "files": files}


def run_demo(out: Path, place: Place) -> dict[str, Any]:
    """The demo, from a corpus to a merged model, by its commands; a dry run asks for its help.

    Raises:
        RuntimeError: With the end of what the commands said, when one of them failed. They need
            typer.
    """
    started = time.monotonic()
    log = out / "gpu_demo.log"
    with TemporaryDirectory() as folder, log.open("w", encoding="utf-8") as stream:
        command = [sys.executable, str(ROOT / "demo" / "run_demo.py")]
        command += ["--help"] if place.is_tiny else ["--output-dir", str(Path(folder) / "demo")]
        code = _call(command, SECONDS_OF_DEMO, stream, ROOT)
    said = log.read_text(encoding="utf-8")
    if code != 0:
        message = f"the demo ended with {code}: {said[-2000:]}"
        raise RuntimeError(message)
    return {"seconds": time.monotonic() - started, "said": said.splitlines()[-1]}


def files_with_gpu_tests() -> list[str]:
    """Test files with the marker, so that nothing else is imported."""
    folders = (*ROOT.glob("packages/*/tests"), ROOT / "tests_integration")
    found = (path for folder in folders for path in sorted(folder.rglob("test_*.py")))
    return [
        str(path.relative_to(ROOT))
        for path in found
        if "mark.gpu" in path.read_text(encoding="utf-8")
    ]


def _run(name: str, place: Place, out: Path, left: float) -> dict[str, Any]:
    """One part: its result, or why there is none."""
    limit = min(SECONDS_OF_PART.get(name, SECONDS_OF_OTHERS), left)
    if limit < LEAST_SECONDS:
        return {"status": "no time left"}
    started = time.monotonic()
    if place.device.type == "cpu":
        found = {"status": "ok", "result": all_parts(out)[name](place)}
    else:
        found = _in_a_process(name, place, out, limit)
    return {**found, "took_seconds": time.monotonic() - started}


def _in_a_process(name: str, place: Place, out: Path, limit: float) -> dict[str, Any]:
    command = [sys.executable, str(Path(__file__)), "--one", name, "--out", str(out)]
    command += ["--device", str(place.device), *(["--tiny"] if place.is_tiny else [])]
    with TemporaryFile("w+", encoding="utf-8") as stream:
        code = _call(command, limit, stream, ROOT)
        stream.seek(0)
        said = stream.read()
    if code is None:
        return {"status": f"stopped after {limit:.0f} s", "error": said[-1000:]}
    if code != 0:
        return {"status": "failed", "error": said[-4000:]}
    left = out / OF_ONE
    result = _read(left)
    left.unlink()
    return {"status": "ok", "result": result}


def _call(command: Sequence[str], limit: float, stream: IO[str], folder: Path) -> int | None:
    """The exit status of a command; `None` if it had to be stopped, with all that it started."""
    begun = subprocess.Popen(
        command, cwd=folder, env=_environment(), stdout=stream, stderr=stream, process_group=0
    )
    try:
        return begun.wait(limit)
    except subprocess.TimeoutExpired:
        os.killpg(begun.pid, signal.SIGKILL)
        begun.wait()
        return None


def _environment() -> dict[str, str]:
    """Ours, with the checkout to import from; windows differ in length, so memory can grow."""
    paths = [*map(str, sorted(ROOT.glob("packages/*/src"))), str(ROOT / "bench")]
    return {
        "PYTORCH_ALLOC_CONF": "expandable_segments:True",
        **os.environ,
        "PYTHONPATH": os.pathsep.join([*paths, *filter(None, [os.environ.get("PYTHONPATH")])]),
        "HF_HUB_OFFLINE": "1",
    }


def _read(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    return found


def _is_done(results: dict[str, Any], name: str) -> bool:
    return name in results and results[name]["status"] == "ok"


def _say(name: str, found: dict[str, Any]) -> None:
    sys.stderr.write(f"{name}: {found['status']}, {found.get('took_seconds', 0.0):.1f} s\n")
    if "error" in found:
        sys.stderr.write(found["error"][-1500:] + "\n")
    sys.stderr.flush()


def _options(argv: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--out", type=Path, default=Path())
    parser.add_argument("--parts", type=lambda text: text.split(","), help="names with commas")
    parser.add_argument("--budget", type=float, default=560.0, help="seconds for all of them")
    parser.add_argument("--device", default="cuda", choices=["cuda", "cpu"])
    parser.add_argument("--tiny", action="store_true", help="toy shapes: a dry run")
    parser.add_argument("--table", type=Path, nargs="+", help="only print the table of these files")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    return parser.parse_args(argv)


if __name__ == "__main__":
    raise SystemExit(main())
