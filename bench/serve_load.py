"""Load on a server: many clients that chat, as OpenAI's client does, for some minutes.

    .venv/bin/python bench/serve_load.py [--clients 32] [--seconds 120]
        [--peer-python PYTHON --peer-model DIR]

Every client opens one streamed chat after the other, with prompts and lengths of its own stream of
random numbers. Reported: errors, tokens per second and per second of the server's CPU time (as the
server counts them), time to the first piece and time of a whole answer (median, 95th percentile,
largest), and the server's resident memory at the start, every minute and at the end. `--url` takes
a server that is already running; `--peer-python` then starts `transformers serve` of another
environment on a model folder. Linux only.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import random
import shlex
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event, Thread
from typing import Any
from urllib.parse import urlsplit

PROMPTS = (
    "Reverse a string in Python.",
    "Write a function that returns the larger of two numbers.",
    "What does `len` do?",
    "Sort a list of words by length, and explain why it is stable.",
    "Convert the string `age` to an integer in Python.",
)
MINUTE = 60.0
_PAGE = os.sysconf("SC_PAGE_SIZE")


@dataclass(slots=True)
class Tally:
    """What one client saw."""

    first: list[float] = field(default_factory=list)
    whole: list[float] = field(default_factory=list)
    tokens: int = 0
    errors: list[str] = field(default_factory=list)


def main() -> None:
    """Run the load on one server after the other; one JSON document on stdout."""
    options = parse_options()
    results = []
    if options.url is not None:
        results.append({"server": options.url, **load(options, options.url, options.model, None)})
    else:
        with ours(options) as (url, process):
            name = options.model or "vox-nano"
            results.append({"server": "vox", **load(options, url, name, process.pid)})
    if options.peer_python is not None:
        with peer(options) as (url, process):
            found = load(options, url, str(options.peer_model), process.pid)
            results.append({"server": "transformers serve", **found})
    json.dump(results, sys.stdout, indent=1)
    sys.stdout.write("\n")


@contextmanager
def ours(options: argparse.Namespace) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    """Our server on a free port."""
    command = [sys.executable, "-m", "vox_cli", "mens", "serve", "--port", "0", "--json"]
    command += ["--max-batch", str(options.clients), *options.serve]
    process = subprocess.Popen(command, stdout=subprocess.PIPE)
    try:
        assert process.stdout is not None
        yield json.loads(process.stdout.readline())["url"], process
    finally:
        stop(process)


@contextmanager
def peer(options: argparse.Namespace) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    """`transformers serve` with continuous batching, offline."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    program = Path(options.peer_python).with_name("transformers")
    command = [str(program), "serve", str(options.peer_model), "--port", str(port)]
    command += ["--device", "cpu", "--dtype", "float32", *options.peer_flags]
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1"}
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 120
        while not is_up("127.0.0.1", port):
            if process.poll() is not None or time.monotonic() > deadline:
                message = "transformers serve did not start"
                raise SystemExit(message)
            time.sleep(0.5)
        yield f"http://127.0.0.1:{port}", process
    finally:
        stop(process)


def stop(process: subprocess.Popen[bytes]) -> None:
    """End a server that was started here."""
    process.terminate()
    try:
        process.wait(30)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def load(options: argparse.Namespace, url: str, model: str, pid: int | None) -> dict[str, Any]:
    """Let all clients ask until the time is over."""
    tallies = [Tally() for _ in range(options.clients)]
    is_over = Event()
    threads = [
        Thread(target=ask_until, args=(url, model, number, options, tally, is_over))
        for number, tally in enumerate(tallies)
    ]
    ask_once(url, model, "Hello", 4, Tally())
    started, memory, cpu = time.monotonic(), [resident(pid)], cpu_seconds(pid)
    for thread in threads:
        thread.start()
    end = started + options.seconds
    while time.monotonic() < end:
        time.sleep(min(MINUTE, max(0.0, end - time.monotonic())))
        memory.append(resident(pid))
    is_over.set()
    for thread in threads:
        thread.join(options.seconds + 120)
    seconds = time.monotonic() - started
    cpu = cpu_seconds(pid) - cpu
    errors = [error for tally in tallies for error in tally.errors]
    tokens = sum(tally.tokens for tally in tallies)
    return {
        "clients": options.clients,
        "seconds": round(seconds, 1),
        "answers": sum(len(tally.whole) for tally in tallies),
        "fewest_of_a_client": min(len(tally.whole) for tally in tallies),
        "errors": len(errors),
        "first_errors": errors[:3],
        "tokens": tokens,
        "tokens_per_second": round(tokens / seconds, 1),
        "cpu_seconds": round(cpu, 1),
        "tokens_per_cpu_second": round(tokens / cpu, 1) if cpu else None,
        "first_piece_seconds": quantiles([each for tally in tallies for each in tally.first]),
        "answer_seconds": quantiles([each for tally in tallies for each in tally.whole]),
        "resident_mib": memory,
    }


def ask_until(
    url: str,
    model: str,
    number: int,
    options: argparse.Namespace,
    tally: Tally,
    is_over: Event,
) -> None:
    """One client: chat after chat."""
    chosen = random.Random(number)
    while not is_over.is_set():
        prompt = " ".join(chosen.choices(PROMPTS, k=chosen.randint(1, 4)))
        try:
            ask_once(url, model, prompt, chosen.randint(4, options.tokens), tally)
        except (OSError, ValueError, KeyError, http.client.HTTPException) as error:
            tally.errors.append(f"{type(error).__name__}: {error}")
            time.sleep(0.2)


def ask_once(url: str, model: str, prompt: str, most: int, tally: Tally) -> None:
    """One streamed chat."""
    body = {
        "model": model,
        "messages": [{"role": "user", "content": prompt}],
        "max_tokens": most,
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    started = time.monotonic()
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=300)
    try:
        sent = {"Content-Type": "application/json"}
        connection.request("POST", "/v1/chat/completions", json.dumps(body), sent)
        answer = connection.getresponse()
        if answer.status != http.client.OK:
            message = f"{answer.status} {answer.read(200)!r}"
            raise ValueError(message)
        read_stream(answer, started, tally)
    finally:
        connection.close()
    tally.whole.append(time.monotonic() - started)


def read_stream(answer: http.client.HTTPResponse, started: float, tally: Tally) -> None:
    """Read events to the end, and count."""
    has_first, pieces, counted, ended = False, 0, None, False
    for line in answer:
        if not line.startswith(b"data: "):
            continue
        if line.startswith(b"data: [DONE]"):
            ended = True
            break
        event = json.loads(line.removeprefix(b"data: "))
        if "error" in event:
            raise ValueError(str(event["error"]))
        if (event.get("usage") or {}).get("completion_tokens") is not None:
            counted = event["usage"]["completion_tokens"]
        # Not every server sends the last line of OpenAI's.
        ended |= any(each.get("finish_reason") for each in event.get("choices", ()))
        texts = [each for each in event.get("choices", ()) if each["delta"].get("content")]
        pieces += len(texts)
        if texts and not has_first:
            has_first = True
            tally.first.append(time.monotonic() - started)
    if not ended:
        message = "the stream broke off"
        raise ValueError(message)
    tally.tokens += pieces if counted is None else counted


def quantiles(values: list[float]) -> dict[str, float]:
    """Median, 95th percentile and the largest."""
    if not values:
        return {}
    found = sorted(values)
    places = {"p50": 0.5, "p95": 0.95, "max": 1.0}
    return {name: round(found[int(share * (len(found) - 1))], 3) for name, share in places.items()}


def resident(pid: int | None) -> float | None:
    """Resident memory of a process in MiB."""
    if pid is None:
        return None
    pages = int(Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[1])
    return round(pages * _PAGE / 2**20, 1)


def cpu_seconds(pid: int | None) -> float:
    """CPU time of a process so far; a shared machine changes it less than the time that passes."""
    if pid is None:
        return 0.0
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def is_up(host: str, port: int) -> bool:
    """Whether something listens there."""
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex((host, port)) == 0


def parse_options() -> argparse.Namespace:
    """The options of the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--clients", type=int, default=32)
    parser.add_argument("--seconds", type=float, default=120)
    parser.add_argument("--tokens", type=int, default=128, help="largest answer")
    parser.add_argument("--model", help="name that requests choose")
    parser.add_argument("--url", help="a server that runs already")
    parser.add_argument("--peer-python", help="python of an environment with transformers[serving]")
    parser.add_argument("--peer-model", type=Path)
    parser.add_argument("--peer-flags", type=shlex.split, default=[], help="its flags, in a word")
    parser.add_argument("--serve", type=shlex.split, default=[], help="more of ours, in a word")
    return parser.parse_args()


if __name__ == "__main__":
    main()
