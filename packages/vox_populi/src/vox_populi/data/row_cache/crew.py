"""Encoding the parts of a file in several processes, with results in the order of the file.

A process is started as a module and spoken to in lines of JSON on its standard input and output, so
nothing is unpickled and the caller's main module is not imported again. It ends when its input
ends, which it does as well if the caller is killed.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from queue import SimpleQueue
from typing import IO, Any

from vox_populi import errors
from vox_populi.data.data_report import DataTally
from vox_populi.data.row_cache.part_files import PartEncoder
from vox_populi.data.row_files.row_file import RowPart
from vox_populi.errors import EnvironmentFailure
from vox_populi.files.plain_values import as_plain, of_plain
from vox_populi.operator_messages import row_cache as say
from vox_tensor.errors import Problem, VoxError

_ENDS_WITHIN = 5.0
"""Seconds that a process has to end before it is killed."""


def worker_count(threads: int | None) -> int:
    """How many processes encode: what was asked for, `OMP_NUM_THREADS`, or one per core."""
    if threads is not None:
        return threads
    asked = os.environ.get("OMP_NUM_THREADS", "")
    if asked.isdecimal() and int(asked) > 0:
        return int(asked)
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


@dataclass(slots=True)
class Crew:
    """Processes that encode parts.

    Args:
        module: What to run; its `main` calls `serve`.
        job: File with what the processes need to know.
        size: How many there are.
    """

    module: str
    job: Path
    size: int
    _idle: SimpleQueue[subprocess.Popen[str]] = field(default_factory=SimpleQueue)
    _all: list[subprocess.Popen[str]] = field(default_factory=list)

    def results(self, parts: Sequence[RowPart], targets: Sequence[Path]) -> Iterator[DataTally]:
        """Encode parts into files beside their targets; yield the counts in order.

        Raises:
            VoxError: What the first part that failed raised, as it raised it.
            EnvironmentFailure: When a process ends before its part does.
            OSError: When a process cannot be started, or a file not be written.
        """
        pool = ThreadPoolExecutor(self.size, thread_name_prefix="rows")
        try:
            for _ in range(self.size):
                self._start()
            pending = [
                pool.submit(self._encode, part, target)
                for part, target in zip(parts, targets, strict=True)
            ]
            for future in pending:
                yield _tally_of(future)
        finally:
            self._stop()
            pool.shutdown(wait=True, cancel_futures=True)

    def _start(self) -> None:
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", self.module, str(self.job)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            # What is typed to interrupt the command reaches its own process alone.
            start_new_session=True,
            env={**os.environ, "TOKENIZERS_PARALLELISM": "false"},
            encoding="utf-8",
        )
        self._all.append(process)
        self._idle.put(process)

    def _encode(self, part: RowPart, target: Path) -> dict[str, Any]:
        process = self._idle.get()
        try:
            assert process.stdin is not None
            assert process.stdout is not None
            line = json.dumps({"part": as_plain(part), "target": str(target)})
            process.stdin.write(line + "\n")
            process.stdin.flush()
            answer = process.stdout.readline()
        except (OSError, ValueError):
            answer = ""
        finally:
            self._idle.put(process)
        if not answer:
            raise EnvironmentFailure(say.worker_died(process.wait()))
        result: dict[str, Any] = json.loads(answer)
        return result

    def _stop(self) -> None:
        """End all processes: by the end of their input, and those at work at once."""
        for process in self._all:
            process.terminate()
        for process in self._all:
            with suppress(subprocess.TimeoutExpired):
                process.wait(_ENDS_WITHIN)
            process.kill()
            process.wait()
            for stream in (process.stdin, process.stdout):
                # What was not taken any more cannot be flushed.
                with suppress(OSError, ValueError):
                    if stream is not None:
                        stream.close()


def _tally_of(future: Future[dict[str, Any]]) -> DataTally:
    result = future.result()
    if "os_error" in result:
        raise OSError(*result["os_error"])
    if "problems" in result:
        kind = getattr(errors, result["kind"], VoxError)
        raise kind(*(Problem(**each) for each in result["problems"]))
    return of_plain(DataTally, result["tally"])


def serve(encoder: PartEncoder, requests: IO[str], answers: IO[str]) -> None:
    """Encode parts until there are no more requests; the other end of `Crew`."""
    for line in requests:
        request = json.loads(line)
        part = of_plain(RowPart, request["part"])
        answers.write(json.dumps(_answer(encoder, part, Path(request["target"]))) + "\n")
        answers.flush()


def _answer(encoder: PartEncoder, part: RowPart, target: Path) -> Mapping[str, object]:
    try:
        return {"tally": as_plain(encoder.encode(part, target))}
    except VoxError as error:
        problems = [Problem.as_json(problem) for problem in error.problems]
        return {"kind": type(error).__name__, "problems": problems}
    except OSError as error:
        return {"os_error": [error.errno, error.strerror, error.filename]}
