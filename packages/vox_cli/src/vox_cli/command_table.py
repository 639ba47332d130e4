"""Every command with its line of help; a command's module is imported only when it is called.

The words of a command give its module: `mens corpus pairs` lives in
`vox_cli/commands/mens_corpus_pairs.py`, as a function named `pairs`.
"""

from __future__ import annotations

from dataclasses import dataclass

ENVIRONMENT_PREFIX = "VOX_MENS"
"""`--batch-size` can be given as `VOX_MENS_BATCH_SIZE`, in every command that has it."""


@dataclass(frozen=True, slots=True)
class CommandEntry:
    """A command as the help of its group lists it."""

    words: tuple[str, ...]
    """What is typed after `vox`."""
    short_help: str

    @property
    def module(self) -> str:
        """Where the command's function is."""
        return "vox_cli.commands." + "_".join(self.words)

    @property
    def function(self) -> str:
        """Name of the command's function in its module."""
        return self.words[-1]


GROUP_HELP = {
    (): "Fine-tune language models with LoRA: real text in, a trained adapter out.",
    ("mens",): "Prepare a corpus, train an adapter, look at what came out.",
    ("mens", "corpus"): "Make and check training rows.",
    ("schola",): "The training commands under the source system's other name.",
}

COMMANDS = (
    CommandEntry(("mens", "doctor"), "Show versions, devices and what is missing."),
    CommandEntry(("mens", "init"), "Write a config, a small data set and a README to start from."),
    CommandEntry(("mens", "train"), "Train a LoRA adapter."),
    CommandEntry(("mens", "status"), "Show how far a run is and what it wrote."),
    CommandEntry(("mens", "preview"), "Show rows as the trainer would see them."),
    CommandEntry(("mens", "eval"), "Measure loss and perplexity on a file of rows."),
    CommandEntry(("mens", "generate"), "Continue prompts with a base model or a trained run."),
    CommandEntry(("mens", "corpus", "pairs"), "Write docstring-to-function rows from source code."),
    CommandEntry(("mens", "corpus", "validate"), "Check a JSONL file of rows and count them."),
    CommandEntry(("schola", "train"), "Same as `vox mens train`."),
)
