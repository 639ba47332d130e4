"""Plan and preflight (MENS-P)."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence

from vox_populi.operator_messages.wording import clipped
from vox_tensor.data_messages import conversion
from vox_tensor.errors import Problem
from vox_tensor.file_form import FileForm


def init_folder_occupied(path: str) -> Problem:
    """`vox mens init` never writes beside files it does not know."""
    return Problem(
        code="MENS-P090",
        what="this folder is not empty, so nothing was written.",
        where=path,
        fix="Name a new folder: vox mens init NEW_FOLDER",
    )


def targets_unmatched(roles: Sequence[str], model_type: str, offered: Sequence[str]) -> Problem:
    """A role that no layer of the base model has would train without a word."""
    return Problem(
        code="MENS-P002",
        what=f"no layer of this {model_type} model is {_either(roles)}.",
        where="--targets",
        fix=f"It has {','.join(offered)}: name some of these, or all.",
    )


def targets_split_fused_layer(
    named: Sequence[str], fused: Sequence[str], layer: str, whole: Sequence[str]
) -> Problem:
    """One matrix makes several projections, and only some of them were named."""
    return Problem(
        code="MENS-P003",
        what=f"{','.join(named)} cannot be adapted alone: this model makes {','.join(fused)}"
        f" in one matrix ({layer}), and an adapter over a part of it has no form that PEFT reads.",
        where="--targets",
        fix=f"Pass --targets {','.join(whole)}, or leave {','.join(named)} out.",
    )


def no_rows_to_train_on() -> Problem:
    """The split took every row, or there were none."""
    return Problem(
        code="MENS-P004",
        what="no row is left to train on.",
        fix="Add rows, or lower --validation-split-ratio.",
    )


def early_stopping_needs_rows() -> Problem:
    """Nothing can be judged without held-out rows."""
    return Problem(
        code="MENS-P005",
        what="early stopping needs held-out rows, and there are none.",
        where="--early-stopping-patience",
        fix="Add valid.jsonl to the data folder, raise --validation-split-ratio, or drop the flag.",
    )


def rows_beyond_positions(longest: int, positions: int) -> Problem:
    """Learned positions are a table that ends."""
    return Problem(
        code="MENS-P006",
        what=f"rows have up to {longest} tokens, this model has positions for {positions}.",
        where="--seq-len",
        fix=f"Pass --seq-len {positions} or less.",
    )


def device_absent(device: str) -> Problem:
    """The device that was asked for is not there, or torch was built without it."""
    return Problem(
        code="MENS-P007",
        what=f"there is no {device} device that torch can use.",
        where="--device",
        fix="Pass --device best or --device cpu; vox mens doctor lists what is there.",
    )


def device_unusable(device: str, reason: str) -> Problem:
    """The device is there, and torch cannot use it."""
    return Problem(
        code="MENS-P040",
        what=f"the {device} device cannot be used: {clipped(reason)}.",
        where="--device",
        fix="End what else uses it, or pass --device cpu.",
    )


def memory_too_small(device: str, needed: int, available: int) -> Problem:
    """The estimate exceeds the memory of the device."""
    return Problem(
        code="MENS-P008",
        what=f"about {_gib(needed)} are needed, {device} has {_gib(available)}{_free_on(device)}.",
        fix="Lower --batch-size, --seq-len or --rank; vox mens train --dry-run shows each term.",
    )


def output_not_writable(path: str, reason: str) -> Problem:
    """The run folder cannot be made, or nothing can be made in it."""
    return Problem(
        code="MENS-P009",
        what=f"the output folder cannot be written: {reason}.",
        fix="Name another --output-dir, or change its permissions.",
        where=path,
    )


def disk_too_small(path: str, needed: int, free: int) -> Problem:
    """The run's files would not fit."""
    return Problem(
        code="MENS-P010",
        what=f"the run's files take up to {_gib(needed)}, {_gib(free)} are free there.",
        fix="Free some space, or name an --output-dir on another disk.",
        where=path,
    )


def data_folder_missing(path: str) -> Problem:
    """The data folder is not there."""
    return Problem(
        code="MENS-P011",
        what="there is no such folder.",
        fix="Pass the folder that holds train.jsonl with --data-dir.",
        where=path,
    )


def data_dir_is_train_file(path: str, folder: str) -> Problem:
    """The file itself was given in the place of its folder."""
    return Problem(
        code="MENS-P050",
        what="it is a file, and --data-dir takes the folder.",
        fix=f"Pass --data-dir {shlex.quote(folder)}",
        where=path,
    )


def data_dir_is_file(path: str, form: FileForm | None) -> Problem:
    """A file was given in the place of a folder; with its form, the way to make one."""
    make = "" if form is None else f": mkdir data && {_into_folder(form, path)}"
    return Problem(
        code="MENS-P051",
        what="it is not a directory, and --data-dir takes one with train.jsonl in it.",
        fix=f"Make one, and pass it{make}",
        where=path,
    )


def train_file_has_other_form(path: str, seen: str, form: FileForm) -> Problem:
    """There is no `train.jsonl`, but something that looks like the rows that were meant."""
    name = "" if form is FileForm.JSON_LINES else f" ({form.value})"
    verb = "Rename it" if form is FileForm.JSON_LINES else "Convert it"
    return Problem(
        code="MENS-P052",
        what=f"there is no such file, but {seen}{name} is there.",
        fix=f"{verb}: {conversion(form, seen, path)}",
        where=path,
    )


def note_rows_not_read(used: str, names: Sequence[str]) -> str:
    """Files of rows that are there and not read."""
    return f"{', '.join(names)} in the data folder: not read; held-out rows come from {used}."


def _into_folder(form: FileForm, path: str) -> str:
    """The command that fills a new data folder from a file, which stays."""
    target = "data/train.jsonl"
    if form is FileForm.JSON_LINES:
        return f"cp {shlex.quote(path)} {target}"
    return conversion(form, path, target)


def train_file_missing(path: str) -> Problem:
    """The data folder lacks the one file it must have."""
    return Problem(
        code="MENS-P012",
        what="there is no such file.",
        fix="Put the rows there, one JSON object a line; vox mens corpus pairs makes some.",
        where=path,
    )


def tokenizer_beyond_embedding(path: str, ids: int, rows: int) -> Problem:
    """Some ids of the vocabulary would index past the embedding table."""
    return Problem(
        code="MENS-P013",
        what=f"the tokenizer has ids up to {ids - 1}, the model's embedding has {rows} rows.",
        fix="Use the tokenizer that the model was trained with.",
        where=path,
    )


def note_warmup_clamped(asked: int, used: int, total: int) -> str:
    """The warm-up would have outlasted the run."""
    return f"--warmup {asked} does not fit a run of {total} steps; {used} steps warm up."


def note_max_steps_unused(asked: int, total: int) -> str:
    """The epochs end sooner."""
    return f"--max-steps {asked} has no effect: all epochs together are {total} steps."


def note_small_data(setting: str, preset: int, used: int, rows: int) -> str:
    """A preset is meant for more rows than there are."""
    return f"fewer than {rows} rows: {setting} {used} instead of the preset's {preset}."


def note_device_unknown() -> str:
    """Nobody could look for a GPU."""
    return "no GPU was looked for, because torch was not loaded; planned for cpu."


def note_device_not_checked(device: str) -> str:
    """A GPU was asked for that nobody could look for."""
    return f"whether there is a {device} device was not looked at, because torch was not loaded."


def note_bf16_slow(device: str) -> str:
    """bf16 was asked for where it is emulated."""
    return f"--dtype bf16 on this {device} device may be slower than f32, not faster."


def note_no_bf16() -> str:
    """The automatic choice avoids emulation. In f16, unscaled losses have gradients of zero."""
    return (
        "this CUDA device has no units for bf16 and emulates it, so the run computes in f32; f16"
        " would lose small gradients."
    )


def note_device_passed_over(device: str, reason: str) -> str:
    """The automatic choice tried a device out, or could not."""
    return (
        f"--device best passed over {device}: {clipped(reason)}. Pass --device {device} to use it"
        " all the same."
    )


def note_seq_len_beyond_positions(tokens: int, positions: int) -> str:
    """The base model was never trained at this length."""
    return f"rows of {tokens} tokens are longer than the {positions} positions of this model."


def note_nothing_held_out() -> str:
    """Nobody will know whether the adapter helps."""
    return "no rows are held out, so no held-out loss will be measured."


def note_no_effect(flag: str, reason: str) -> str:
    """A setting that decides nothing here."""
    return f"{flag} has no effect: {reason}."


def note_memory_short(device: str, needed: int, available: int) -> str:
    """The plan is for a larger machine; a run here would be refused."""
    has = f"{_gib(available)}{_free_on(device)}"
    return f"needs about {_gib(needed)} of memory, this device has {has}."


def note_vocabulary_new_to_base() -> str:
    """The base model never saw these ids in this meaning."""
    return (
        "--tokenizer vox: the model folder has no VoxTokenizer file, so vox-nano's vocabulary is"
        " used; the base model never saw it, and its embeddings mean other tokens."
    )


def note_rows_not_tokenised() -> str:
    """The rows were read and checked, but not turned into ids."""
    return (
        "the module tokenizers is not installed: rows were checked but not tokenised, so lengths"
        " and memory are upper bounds, and rows with nothing to learn may remain."
    )


def note_rows_left_out(file: str, reasons: str, rows: int) -> str:
    """Rows that are not used, by reason."""
    return f"{file}: of {rows} rows, left out are {reasons}."


def note_labels_ignored(file: str, counts: Mapping[str, int]) -> str:
    """Values of labels that say nothing here; their rows are used."""
    listed = ", ".join(f"{key} of {rows}" for key, rows in counts.items())
    return f"{file}: rows with a label that could not be used, and is ignored: {listed}."


def note_rows_truncated(file: str, rows: int, seq_len: int) -> str:
    """Rows that lost their end."""
    return f"{file}: {rows} rows are cut to {seq_len} tokens (--seq-len)."


def note_valid_is_train(name: str) -> str:
    """The held-out loss would measure memory."""
    return f"{name} is a copy of train.jsonl: its loss says nothing about unseen rows."


def _free_on(device: str) -> str:
    """On CUDA only what others left is counted."""
    return " free" if device == "cuda" else ""


def _either(words: Sequence[str]) -> str:
    return " or ".join(words)


def _gib(size: int) -> str:
    return f"{size / 2**30:.1f} GiB" if size >= 2**30 else f"{max(size, 1) / 2**20:.0f} MiB"
