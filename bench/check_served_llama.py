"""`vox mens check-served` against llama.cpp's real server, with files that are right and wrong.

    pip install xllamacpp
    python bench/check_served_llama.py --base BASE --run RUN --work DIR

BASE is an instruct model folder, RUN a run on it. Each line of the table is one server: the run or
its base in a number type, or the run with another template, beside what `check-served` says of it.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path

import xllamacpp

from vox_populi.errors import MergeMismatchError
from vox_populi.evals.rounding import Rounding
from vox_populi.export.consumers import GgufTypeChoice
from vox_populi.pipeline.check_served import CheckServedReport, CheckServedRequest, check_served
from vox_populi.pipeline.gguf import GgufRequest, export_gguf
from vox_populi.pipeline.weights_choice import WeightsChoice

OTHER_TEMPLATE = (
    "{% for m in messages %}[{{ m['role'] }}]{{ m['content'] }}{% endfor %}"
    "{% if add_generation_prompt %}[assistant]{% endif %}"
)


def say(text: str) -> None:
    """Write a line of the result."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def served(file: Path, template: str = "", keys: str = "f16") -> str:
    """The address of llama.cpp's server with a file; it ends with the program."""
    settings = xllamacpp.CommonParams()
    settings.model.path, settings.n_ctx, settings.warmup = str(file), 1024, False
    settings.n_parallel, settings.verbosity = 1, -1
    settings.cpuparams.n_threads = 1
    if keys == "f32":
        kind = xllamacpp.ggml_type.GGML_TYPE_F32
        settings.cache_type_k = settings.cache_type_v = kind
    if template:
        settings.chat_template = template
    _KEPT.clear()
    server = xllamacpp.Server(settings)
    _KEPT.append(server)
    return str(server.listening_address)


_KEPT: list[object] = []
"""The server that runs."""


def files(source: Path, work: Path, name: str) -> Iterator[tuple[str, Path]]:
    """The source in each number type."""
    for kind in (GgufTypeChoice.F32, GgufTypeChoice.F16, GgufTypeChoice.BF16, GgufTypeChoice.Q8_0):
        file = work / f"{name}-{kind}.gguf"
        if not file.is_file():
            try:
                export_gguf(GgufRequest(source=source, output=file, kind=kind))
            except MergeMismatchError as error:
                say(f"{file.name}: {error.problems[0].code}, it would lose what was trained")
                continue
        yield str(kind), file


def line(name: str, report: CheckServedReport) -> str:
    """A line of the table."""
    found = report.verdict.as_json()
    codes = ", ".join(each.code for each in report.problems) or "none"
    return (
        f"| {name} | {found['template']} | {found['end']} | {found['adapter_use']} |"
        f" {found['mean_difference']} | {found['largest_difference']} | {found['rounding']} |"
        f" {codes} |"
    )


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--base", type=Path, required=True)
    parser.add_argument("--run", type=Path)
    parser.add_argument("--work", type=Path, default=Path("check-served"))
    parser.add_argument("--run-only", action="store_true", help="leave the base's lines out")
    given = parser.parse_args()
    given.work.mkdir(parents=True, exist_ok=True)
    say("| server | template | end | adapter | mean | largest | row | findings |")
    say("|---|---|---|---|---|---|---|---|")

    def check(name: str, url: str, weights: WeightsChoice) -> None:
        request = CheckServedRequest(url=url, weights=weights, rounding=Rounding.Q8)
        report = check_served(request)
        say(line(name, report))
        for problem in report.problems:
            say(f"  {problem.what}")

    alone = WeightsChoice(model_dir=given.base, threads=1)
    for kind, file in files(given.base, given.work, "base") if not given.run_only else ():
        if kind == "f32":
            check("base, f32, keys f32", served(file, keys="f32"), alone)
        check(f"base, {kind}", served(file), alone)
    if given.run is not None:
        run = WeightsChoice(run=given.run, threads=1)
        for kind, file in files(given.run, given.work, "run"):
            check(f"run, {kind}", served(file), run)
        file = given.work / "run-f16.gguf"
        assert file.is_file(), "written above"
        check("run, f16, another template", served(file, OTHER_TEMPLATE), run)
        check("base in place of the run", served(given.work / "base-f16.gguf"), run)


if __name__ == "__main__":
    main()
