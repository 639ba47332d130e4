"""Every command with its line of help; a command's module is imported only when it is called.

The words of a command give its module: `mens corpus pairs` lives in
`vox_cli/commands/mens_corpus_pairs.py`, as a function named `pairs`.
"""

from __future__ import annotations

from dataclasses import dataclass

PROGRAM = "vox"
ENVIRONMENT_PREFIX = "VOX_MENS"
"""Prefix of environment variables: `VOX_MENS_BATCH_SIZE` sets `--batch-size` in every command."""


@dataclass(frozen=True, slots=True)
class CommandEntry:
    """A command as listed in the help of its group."""

    words: tuple[str, ...]
    """The words typed after `vox`."""
    short_help: str
    example: str
    """Last line of its `--help`; a test checks that the flags exist."""

    @property
    def module(self) -> str:
        """Module of the command's function."""
        return "vox_cli.commands." + "_".join(self.words).replace("-", "_")

    @property
    def function(self) -> str:
        """Name of the command's function in its module."""
        return self.words[-1].replace("-", "_")


GROUP_HELP = {
    (): "Fine-tune language models with LoRA: text in, a trained adapter out.",
    ("mens",): "Prepare a corpus, train an adapter, inspect the result.",
    ("mens", "corpus"): "Make, convert, divide, count and check training rows.",
    ("mens", "models"): "Model families: what was proven of each, and whether a base passes.",
    ("mens", "cache"): "List and remove the encoded rows that are kept on this machine.",
    ("mens", "scorecard"): "Compare both backends over cycles, and decide.",
    ("ci",): "Checks that every change must pass.",
    ("schola",): "Other names of `vox mens train` and `vox mens merge-qlora`.",
}

SECTIONS = {
    "Start": "doctor init",
    "Data": "corpus preview convert-tokenizer",
    "Training": "train status watch watch-telemetry report runs compare",
    "Trying and measuring": (
        "generate serve check-served eval eval-local eval-gate scorecard lm-eval bench-completion"
    ),
    "Models": "models quantize import-gguf",
    "Adapters": "merge merge-weights merge-qlora merge-adapter export-adapter export-gguf"
    " export-mobile import-adapter convert-adapter lint push",
}
"""Headings in the help of `vox mens`, each with its commands in their order; others follow."""

DEFAULT_COMMANDS: dict[tuple[str, ...], str] = {("mens", "models"): "list"}
"""Groups that run a command of theirs when no other one is typed."""

COMMANDS = (
    CommandEntry(
        ("mens", "doctor"), "Show versions, devices and missing packages.", "vox mens doctor"
    ),
    CommandEntry(
        ("mens", "init"),
        "Write a config, a small data set and a README to start from.",
        "vox mens init first && cd first && vox mens train --config run.yaml",
    ),
    CommandEntry(
        ("mens", "train"),
        "Train a LoRA adapter.",
        "vox mens train --data-dir data --output-dir runs/first --epochs 1",
    ),
    CommandEntry(
        ("mens", "status"),
        "Show how far a run is and what it wrote.",
        "vox mens status runs/first",
    ),
    CommandEntry(
        ("mens", "watch"),
        "Show a run while it trains: progress, losses, time left.",
        "vox mens watch runs/first",
    ),
    CommandEntry(
        ("mens", "watch-telemetry"),
        "Same as `vox mens watch`.",
        "vox mens watch-telemetry runs/first",
    ),
    CommandEntry(
        ("mens", "report"),
        "Report runs: curves, results, settings; as a page with --html.",
        "vox mens report runs/first --html report.html",
    ),
    CommandEntry(
        ("mens", "runs"),
        "List the runs of a folder, the best first.",
        "vox mens runs runs --sort heldout",
    ),
    CommandEntry(
        ("mens", "compare"),
        "Compare runs: results, settings, rows.",
        "vox mens compare runs/first runs/second",
    ),
    CommandEntry(
        ("mens", "preview"),
        "Show rows as the trainer would see them.",
        "vox mens preview --data data/train.jsonl -n 3",
    ),
    CommandEntry(
        ("mens", "eval"),
        "Measure loss, perplexity and answers on a file of rows.",
        "vox mens eval runs/first --data data/valid.jsonl",
    ),
    CommandEntry(
        ("mens", "eval-local"),
        "Answer tasks and check the answers: strings, JSON, Python, tests.",
        "vox mens eval-local runs/first --tasks tasks.yaml --output-dir evals/first",
    ),
    CommandEntry(
        ("mens", "eval-gate"),
        "Decide by a policy whether an evaluation is good enough.",
        "vox mens eval-gate evals/first --policy policy.yaml --baseline evals/base",
    ),
    CommandEntry(
        ("mens", "lm-eval"),
        "Measure with tasks of the LM Evaluation Harness.",
        "vox mens lm-eval runs/first --tasks task.yaml --count 100",
    ),
    CommandEntry(
        ("mens", "bench-completion"),
        "Time answers: tokens per second, first token, latency.",
        "vox mens bench-completion runs/first --prompts prompts.txt --count 50",
    ),
    CommandEntry(
        ("mens", "scorecard", "run"),
        "Measure a LoRA and a QLoRA run on a suite, with repair.",
        "vox mens scorecard run --suite suite.yaml --lora-run runs/l --qlora-run runs/q"
        " --output-dir cycles/1",
    ),
    CommandEntry(
        ("mens", "scorecard", "verify"),
        "Check cycles: digests, and KPIs computed again.",
        "vox mens scorecard verify cycles/1 cycles/2 --suite suite.yaml",
    ),
    CommandEntry(
        ("mens", "scorecard", "decide"),
        "Promote, hold, or insufficient evidence.",
        "vox mens scorecard decide cycles/1 cycles/2 --output-dir decision",
    ),
    CommandEntry(
        ("mens", "generate"),
        "Continue prompts, or chat, with any model or adapter.",
        'vox mens generate runs/first --prompt "Reverse a string in Python."',
    ),
    CommandEntry(
        ("mens", "serve"),
        "Serve models over HTTP, with OpenAI's API.",
        "vox mens serve runs/first --port 8000",
    ),
    CommandEntry(
        ("mens", "check-served"),
        "Compare a server's answers with the trained model's.",
        "vox mens check-served http://127.0.0.1:8000 runs/first",
    ),
    CommandEntry(
        ("mens", "merge"),
        "Fold an adapter into its base, with a receipt.",
        "vox mens merge runs/first --output-dir merged",
    ),
    CommandEntry(
        ("mens", "merge-weights"),
        "The same for LoRA adapters alone.",
        "vox mens merge-weights runs/first --output-dir merged --format hf",
    ),
    CommandEntry(
        ("mens", "merge-qlora"),
        "The same for QLoRA adapters alone; also --subset.",
        "vox mens merge-qlora --adapter runs/q --onto dequant --output-dir merged",
    ),
    CommandEntry(
        ("mens", "merge-adapter"),
        "Same as `vox mens merge-qlora`.",
        "vox mens merge-adapter --adapter runs/q --onto original --output-dir merged",
    ),
    CommandEntry(
        ("mens", "export-adapter"),
        "Write an adapter for PEFT, vLLM, llama.cpp or mlx-lm.",
        "vox mens export-adapter runs/first --for peft --output-dir exports/first",
    ),
    CommandEntry(
        ("mens", "export-gguf"),
        "Write a model folder as a GGUF file for llama.cpp.",
        "vox mens export-gguf merged --type q8_0 --output merged-q8_0.gguf",
    ),
    CommandEntry(
        ("mens", "export-mobile"),
        "Write a model as a graph for a device, and compare answers.",
        "vox mens export-mobile runs/first --for onnx --output-dir exports/mobile",
    ),
    CommandEntry(
        ("mens", "quantize"),
        "Write a model folder in 4 bits (NF4), as bitsandbytes does.",
        "vox mens quantize --model base --output-dir base-nf4",
    ),
    CommandEntry(
        ("mens", "import-gguf"),
        "Make a model folder of a GGUF file.",
        "vox mens import-gguf model-Q8_0.gguf --output-dir base",
    ),
    CommandEntry(
        ("mens", "import-adapter"),
        "Read a PEFT adapter folder into an adapter file.",
        "vox mens import-adapter their-adapter --model base --output imported.bin",
    ),
    CommandEntry(
        ("mens", "convert-adapter"),
        "Write an adapter as a LoRA .bin, a PEFT folder or version 3 files.",
        "vox mens convert-adapter runs/first --to v3 --output first-v3",
    ),
    CommandEntry(
        ("mens", "convert-tokenizer"),
        "Write the tokenizer.json of a model that has an older form of it.",
        "vox mens convert-tokenizer base",
    ),
    CommandEntry(
        ("mens", "lint"),
        "Check whether other programs can load an adapter or model folder.",
        "vox mens lint exports/first --for peft,vllm,gguf,mlx",
    ),
    CommandEntry(
        ("mens", "push"),
        "Upload an adapter or a model to the Hugging Face Hub.",
        "vox mens push runs/first org/first-adapter --dry-run",
    ),
    CommandEntry(
        ("mens", "models", "list"),
        "List the model families that were tried, and what was proven of each.",
        "vox mens models",
    ),
    CommandEntry(
        ("mens", "models", "check"),
        "Check whether a base can be trained, and how.",
        "vox mens models check models/base",
    ),
    CommandEntry(
        ("mens", "cache", "list"),
        "List the data whose encoded rows are kept.",
        "vox mens cache list",
    ),
    CommandEntry(
        ("mens", "cache", "clear"),
        "Remove encoded rows that are kept.",
        "vox mens cache clear --unused-days 30",
    ),
    CommandEntry(
        ("mens", "corpus", "pairs"),
        "Write rows from source code, documents or a history.",
        "vox mens corpus pairs --from-python --output-dir data",
    ),
    CommandEntry(
        ("mens", "corpus", "mix"),
        "Mix files of rows into one, by weight.",
        "vox mens corpus mix --config mix.yaml --output data/train.jsonl",
    ),
    CommandEntry(
        ("mens", "corpus", "check"),
        "Find errors, repeated rows, leakage and lengths of files.",
        "vox mens corpus check data/train.jsonl --eval data/valid.jsonl --html corpus.html",
    ),
    CommandEntry(
        ("mens", "corpus", "validate"),
        "Check a JSONL file of rows and count them.",
        "vox mens corpus validate data/train.jsonl",
    ),
    CommandEntry(
        ("mens", "corpus", "convert"),
        "Write rows of any layout in one layout.",
        "vox mens corpus convert old.jsonl --to messages --output data/train.jsonl",
    ),
    CommandEntry(
        ("mens", "corpus", "split"),
        "Divide a file into training, validation and test rows.",
        "vox mens corpus split rows.jsonl --train data/train.jsonl --valid data/valid.jsonl",
    ),
    CommandEntry(
        ("mens", "corpus", "stats"),
        "Count rows, layouts, labels and lengths.",
        "vox mens corpus stats data/train.jsonl data/valid.jsonl",
    ),
    CommandEntry(
        ("ci", "mens-gate"),
        "Run the acceptance rows of a profile and report each.",
        "vox ci mens-gate --profile m1m4 --report gate.json",
    ),
    CommandEntry(
        ("schola", "train"),
        "Same as `vox mens train`.",
        "vox schola train --data-dir data --output-dir runs/first",
    ),
    CommandEntry(
        ("schola", "merge-qlora"),
        "Same as `vox mens merge-qlora`.",
        "vox schola merge-qlora --base base --adapter runs/q --output-dir merged",
    ),
)
