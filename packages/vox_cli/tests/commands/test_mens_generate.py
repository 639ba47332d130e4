from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from vox_cli.commands import mens_generate
from vox_populi.pipeline.generate import GenerateRequest, GenerateResult, Prompt
from vox_populi.pipeline.weights_choice import WeightsChoice

Vox = Callable[..., Any]


def result(prompt: Prompt, text: str = "done") -> GenerateResult:
    return GenerateResult(
        prompt=prompt.text,
        text=text,
        ids=(1, 2),
        stop_reason="end",
        row_id=prompt.row_id,
        notes=("a note.",) if prompt.text == "noted" else (),
    )


class Generated:
    request: GenerateRequest | None = None

    def __call__(self, request: GenerateRequest) -> Iterator[GenerateResult]:
        self.request = request
        return (result(prompt) for prompt in request.prompts)


@pytest.fixture
def generated(monkeypatch: pytest.MonkeyPatch) -> Generated:
    fake = Generated()
    monkeypatch.setattr(mens_generate, "continue_prompts", fake)
    return fake


def test_generate_prints_the_text_alone(vox: Vox, generated: Generated) -> None:
    outcome = vox("mens", "generate", "--prompt", "Go on.")
    assert (outcome.code, outcome.out, outcome.err) == (0, "done\n", "")
    assert generated.request == GenerateRequest(prompts=(Prompt("Go on."),))


def test_generate_passes_on_how_to_sample(vox: Vox, generated: Generated) -> None:
    argv = ["--max-new-tokens", 5, "--temperature", 0.5, "--top-k", 3, "--top-p", 0.9, "--seed", 4]
    argv += ["--adapter", "peft", "--model", "base", "--repetition-penalty", 1.5]
    argv += ["--system-prompt", "Long.", "--force-template"]
    assert vox("mens", "generate", "--prompt", "Go on.", *argv).code == 0
    assert generated.request == GenerateRequest(
        prompts=(Prompt("Go on."),),
        weights=WeightsChoice(
            adapter=Path("peft"),
            model_dir=Path("base"),
            system_prompt="Long.",
            force_template=True,
        ),
        max_new_tokens=5,
        temperature=0.5,
        top_k=3,
        top_p=0.9,
        repetition_penalty=1.5,
        seed=4,
    )


def test_generate_says_when_a_flag_has_no_effect(vox: Vox, generated: Generated) -> None:
    assert "no effect" in vox("mens", "generate", "--prompt", "x", "--top-k", 3).err
    quiet = vox("mens", "generate", "--prompt", "x", "--top-k", 3, "--temperature", 1)
    assert quiet.err == ""


def test_notes_about_the_weights_are_said_once(vox: Vox, generated: Generated) -> None:
    assert vox("mens", "generate", "--prompt", "noted").err == "note: a note.\n"


def test_rows_keep_their_ids(vox: Vox, generated: Generated, tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text('{"id": "a", "prompt": "x"}\n{"prompt": "y"}\n{"id": 3, "prompt": "z"}\n')
    lines = vox("mens", "generate", "--prompts", path, "--json").out.splitlines()
    assert [json.loads(line).get("id", "none") for line in lines] == ["a", "none", 3]
    path.write_text('{"id": [], "prompt": "x"}\n{"id": true, "prompt": "y"}\n{"id": 1}\n')
    outcome = vox("mens", "generate", "--prompts", path)
    assert outcome.codes == ["MENS-U035", "MENS-U035", "MENS-U032"]


def test_generate_json_is_a_document_for_a_prompt(vox: Vox, generated: Generated) -> None:
    document = vox("mens", "generate", "--prompt", "x", "--json").document
    assert document == {
        "ok": True,
        "prompt": "x",
        "text": "done",
        "ids": [1, 2],
        "stop_reason": "end",
    }


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("prompts.txt", "first\n\nsecond\u2028line\r\n"),
        ("prompts.jsonl", '{"prompt": "first"}\n{"prompt": "second\\u2028line", "response": ""}\n'),
    ],
)
def test_generate_reads_prompts_from_a_file(
    vox: Vox, generated: Generated, tmp_path: Path, name: str, content: str
) -> None:
    path = tmp_path / name
    path.write_bytes(content.encode())
    outcome = vox("mens", "generate", "--prompts", path, "--json")
    assert [json.loads(line)["prompt"] for line in outcome.out.split("\n")[:-1]] == [
        "first",
        "second\u2028line",
    ]
    assert vox("mens", "generate", "--prompts", path).out.startswith("> first\n  done\n")


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("empty.txt", b"\n \n"),
        ("latin.txt", b"caf\xe9"),
        ("empty.jsonl", b""),
        ("other.jsonl", b'{"text": "x"}\n'),
    ],
)
def test_files_without_prompts_are_refused(
    vox: Vox, generated: Generated, tmp_path: Path, name: str, content: bytes
) -> None:
    (tmp_path / name).write_bytes(content)
    outcome = vox("mens", "generate", "--prompts", tmp_path / name)
    assert (outcome.code, outcome.codes) == (2, ["MENS-U032"])
    assert vox("mens", "generate", "--prompts", tmp_path / "absent.txt").code == 2
    assert vox("mens", "generate", "--prompts", tmp_path).code == 2


@pytest.mark.parametrize(
    ("argv", "codes"),
    [
        ([], ["MENS-U031"]),
        (["--prompt", ""], ["MENS-U031"]),
        (["--prompt", "x", "--prompts", "f"], ["MENS-U030"]),
        (["--prompt", "x", "--interactive"], ["MENS-U030"]),
        (["--prompt", "x", "--run", "r", "--adapter", "a"], ["MENS-U030"]),
        (["--prompt", "x", "--repetition-penalty", "0"], ["MENS-U005"]),
        (["--prompt", "x", "--temperature", "-1"], ["MENS-U005"]),
        (["--prompt", "x", "--top-p", "0"], ["MENS-U005"]),
        (["--prompt", "x", "--top-k", "0"], ["MENS-U005"]),
        (["--prompt", "x", "--max-new-tokens", "0"], ["MENS-U005"]),
    ],
)
def test_generate_refuses_what_makes_no_sense(
    vox: Vox, generated: Generated, argv: list[str], codes: list[str]
) -> None:
    outcome = vox("mens", "generate", *argv)
    assert (outcome.code, outcome.codes) == (2, codes)
    assert generated.request is None


def test_a_blank_or_cut_answer_says_so_beside_it(
    vox: Vox, generated: Generated, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    answers = [
        GenerateResult(prompt="a", text="", ids=(), stop_reason="stop_token"),
        GenerateResult(prompt="b", text="half", ids=(1, 2), stop_reason="length"),
        GenerateResult(prompt="c", text="whole", ids=(1, 2), stop_reason="stop_token"),
    ]
    monkeypatch.setattr(mens_generate, "continue_prompts", lambda request: iter(answers[:1]))
    assert vox("mens", "generate", "--prompt", "a").out == "\n"
    assert "wrote nothing" in vox("mens", "generate", "--prompt", "a").err
    assert vox("mens", "generate", "--prompt", "a", "--json").err == ""
    monkeypatch.setattr(mens_generate, "continue_prompts", lambda request: iter(answers))
    path = tmp_path / "prompts.txt"
    path.write_text("a\nb\nc\n", encoding="utf-8")
    first, second = vox("mens", "generate", "--prompts", path).err.splitlines()
    assert first.startswith("prompt 1: ")
    assert second.startswith("prompt 2: ")
    assert "cut at 2 tokens" in second


@pytest.mark.parametrize("command", ["generate", "preview"])
def test_json_lines_are_named_where_there_are_any(vox: Vox, command: str) -> None:
    assert "JSON lines" in " ".join(vox("mens", command, "--help").out.split())


def test_generate_takes_a_run_or_a_model_without_a_flag(vox: Vox, generated: Generated) -> None:
    assert vox("mens", "generate", "my/runs/a", "--prompt", "Go on.").code == 0
    assert generated.request is not None
    assert generated.request.weights == WeightsChoice(source=Path("my/runs/a"))
    outcome = vox("mens", "generate", "my/runs/a", "--run", "runs/b", "--prompt", "Go on.")
    assert (outcome.code, outcome.codes) == (2, ["MENS-U030"])
