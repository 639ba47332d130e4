"""What was trained is what answers: from the run, a PEFT folder and either merged format."""

from __future__ import annotations

import json
import os
import pty
import select
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests_integration.tiny_models import GRAPH_CASES, write_tiny_model
from tests_integration.tolerances import F32_LOSS, assert_close_number
from vox_populi.contract.choices import TokenizerKind
from vox_populi.contract.finetune_contract import FinetuneContract
from vox_populi.data.training_text import ChatTemplate
from vox_populi.errors import ArtifactError
from vox_populi.export.consumers import Consumer
from vox_populi.merge.choices import MergeFormat
from vox_populi.pipeline.evaluate import EvalRequest, evaluate
from vox_populi.pipeline.export import ExportRequest, export_adapter
from vox_populi.pipeline.generate import GenerateRequest, Prompt, generate
from vox_populi.pipeline.merge import (
    MergeRequest,
    merge_weights,
)
from vox_populi.pipeline.train import RunOptions, run_training
from vox_populi.pipeline.weights_choice import WeightsChoice
from vox_tensor.lora_spec import LoraSpec

ROWS = [
    {"prompt": f"say {word}", "response": f"{word} = '{word}'"}
    for word in ("red", "green", "blue", "north", "south", "east")
]
SYSTEM = "Be brief."
VOX = (sys.executable, "-m", "vox_cli")


@pytest.fixture(params=GRAPH_CASES)
def trained(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A folder with `base`, `run` and `rows.jsonl`."""
    write_tiny_model(tmp_path / "base", request.param, tokenizer=True, sharded=True)
    (tmp_path / "data").mkdir()
    text = "".join(json.dumps(row) + "\n" for row in ROWS)
    for file in (tmp_path / "rows.jsonl", tmp_path / "data" / "train.jsonl"):
        file.write_text(text, encoding="utf-8")
    contract = FinetuneContract.of(
        data_dir=tmp_path / "data",
        output_dir=tmp_path / "run",
        model_dir=tmp_path / "base",
        tokenizer=TokenizerKind.HF,
        lora=LoraSpec(rank=4, alpha=8.0),
        system_prompt=SYSTEM,
        epochs=8,
        batch_size=6,
        grad_accum=1,
        seq_len=96,
        learning_rate=2e-2,
        warmup_steps=0,
        threads=1,
    )
    run_training(contract, RunOptions())
    return tmp_path


def answers(**weights: Any) -> list[tuple[int, ...]]:
    prompts = tuple(Prompt(str(row["prompt"])) for row in ROWS[:2])
    choice = WeightsChoice(threads=1, **weights)
    request = GenerateRequest(prompts=prompts, weights=choice, max_new_tokens=24)
    return [result.ids for result in generate(request)]


def loss(folder: Path, **weights: Any) -> float:
    choice = WeightsChoice(threads=1, **weights)
    return evaluate(EvalRequest(data=folder / "rows.jsonl", weights=choice)).loss


@pytest.mark.requirement("use")
def test_a_peft_folder_answers_as_its_run(trained: Path) -> None:
    peft, base = trained / "peft", trained / "base"
    request = ExportRequest(source=trained / "run", consumer=Consumer.PEFT, output_dir=peft)
    export_adapter(request)
    chosen = {"adapter": peft, "model_dir": base, "system_prompt": SYSTEM}
    assert answers(**chosen) == answers(run=trained / "run")
    assert loss(trained, **chosen) == loss(trained, run=trained / "run")
    assert loss(trained, **chosen) < loss(trained, model_dir=base, system_prompt=SYSTEM)


@pytest.mark.parametrize("output_format", MergeFormat)
def test_a_merged_model_answers_as_its_run_and_keeps_its_layout(
    trained: Path, output_format: MergeFormat
) -> None:
    merged = trained / "merged"
    merge_weights(
        MergeRequest(checkpoint=trained / "run", output=merged, output_format=output_format)
    )
    chosen = {"model_dir": merged, "system_prompt": SYSTEM}
    assert answers(**chosen) == answers(run=trained / "run")
    if output_format is MergeFormat.VOX:
        file = merged / "model_merged.bin"
        assert answers(model_dir=file, system_prompt=SYSTEM) == answers(**chosen)
    of_run = loss(trained, run=trained / "run")
    assert_close_number(loss(trained, **chosen), of_run, F32_LOSS)
    assert answers(model_dir=trained / "base") != answers(**chosen)
    with pytest.raises(ArtifactError, match=r"MENS-A030.*--force-template"):
        answers(**chosen, template=ChatTemplate.PLAIN)
    other = loss(trained, model_dir=merged, template=ChatTemplate.PLAIN, force_template=True)
    assert other > of_run


LONG_ANSWER = b"import os\n"
"""A line that the embedded base answers without end."""


@pytest.mark.skipif(sys.platform == "win32", reason="needs a pseudo-terminal")
def test_control_c_stops_an_answer_and_not_the_chat() -> None:
    terminal, end = pty.openpty()
    argv = [*VOX, "mens", "generate", "--interactive", "--max-new-tokens", "900"]
    chat = subprocess.Popen(
        argv, stdin=end, stdout=end, stderr=end, start_new_session=True, env=_environment()
    )
    os.close(end)
    try:
        read_until(terminal, lambda seen: seen.endswith("> "))
        os.write(terminal, LONG_ANSWER)
        read_until(terminal, lambda seen: len(seen.partition("\n")[2]) > 20)
        chat.send_signal(2)
        read_until(terminal, lambda seen: seen.endswith("> "))
        os.write(terminal, b"/quit\n")
        assert chat.wait(timeout=60) == 0
    finally:
        chat.kill()
        chat.wait()
        os.close(terminal)


def test_the_lines_of_a_pipe_are_a_conversation() -> None:
    def chat(lines: str) -> list[str]:
        argv = [*VOX, "mens", "generate", "-i", "--json", "--max-new-tokens", "12"]
        done = subprocess.run(
            argv, input=lines, capture_output=True, text=True, check=True, env=_environment()
        )
        return [json.loads(line)["text"] for line in done.stdout.splitlines()]

    first, second = chat("import os\nimport os\n")
    assert chat("import os\n/reset\nimport os\n/quit\nno\n") == [first, first]
    assert first != second


def read_until(terminal: int, is_enough: Callable[[str], bool]) -> None:
    """Read what appears on a terminal until there is enough of it; a minute of silence fails."""
    seen = ""
    while not is_enough(seen):
        ready, _, _ = select.select([terminal], [], [], 60)
        assert ready, f"nothing came after {seen!r}"
        seen += os.read(terminal, 4096).decode("utf-8", "replace")


def _environment() -> dict[str, str]:
    return {**os.environ, "OMP_NUM_THREADS": "1", "TERM": "dumb"}
