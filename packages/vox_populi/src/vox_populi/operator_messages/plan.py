"""Plan and preflight (MENS-P)."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence

from vox_populi.operator_messages.wording import clipped
from vox_tensor.data_messages import conversion
from vox_tensor.errors import Problem
from vox_tensor.file_form import FileForm


def init_folder_occupied(path: str) -> Problem:
    """`vox mens init` never writes into a folder with other files."""
    return Problem(
        code="MENS-P090",
        what="this folder is not empty, so nothing was written.",
        where=path,
        fix="Choose a new folder: vox mens init NEW_FOLDER",
    )


def targets_unmatched(roles: Sequence[str], model_type: str, offered: Sequence[str]) -> Problem:
    """A role that no layer of the base model has, and that would silently not be trained."""
    return Problem(
        code="MENS-P002",
        what=f"no layer of this {model_type} model is {_either(roles)}.",
        where="--targets",
        fix=f"It has {','.join(offered)}: pass some of these, or all.",
    )


def targets_split_fused_layer(
    named: Sequence[str], fused: Sequence[str], layer: str, whole: Sequence[str]
) -> Problem:
    """One matrix computes several projections, and only some of them were selected."""
    return Problem(
        code="MENS-P003",
        what=f"{','.join(named)} cannot be adapted alone: this model computes {','.join(fused)}"
        f" with one matrix ({layer}), and PEFT has no format for an adapter on a part of it.",
        where="--targets",
        fix=f"Pass --targets {','.join(whole)}, or omit {','.join(named)}.",
    )


def no_rows_to_train_on() -> Problem:
    """The split took every row, or there were none."""
    return Problem(
        code="MENS-P004",
        what="no rows are left to train on.",
        fix="Add rows, or lower --validation-split-ratio.",
    )


def early_stopping_needs_rows() -> Problem:
    """Early stopping without held-out rows."""
    return Problem(
        code="MENS-P005",
        what="early stopping needs held-out rows, and there are none.",
        where="--early-stopping-patience",
        fix="Add valid.jsonl to the data folder, raise --validation-split-ratio, or drop the flag.",
    )


def rows_beyond_positions(longest: int, positions: int) -> Problem:
    """Rows longer than the table of learned positions."""
    return Problem(
        code="MENS-P006",
        what=f"rows have up to {longest} tokens, but this model has only {positions} positions.",
        where="--seq-len",
        fix=f"Pass --seq-len {positions} or less.",
    )


def device_absent(device: str) -> Problem:
    """The requested device does not exist, or torch was built without support for it."""
    return Problem(
        code="MENS-P007",
        what=f"there is no {device} device that torch can use.",
        where="--device",
        fix="Pass --device best or --device cpu; vox mens doctor lists the devices.",
    )


def device_unusable(device: str, reason: str) -> Problem:
    """The device exists, but torch cannot use it."""
    return Problem(
        code="MENS-P040",
        what=f"the {device} device cannot be used: {clipped(reason)}.",
        where="--device",
        fix="Stop other programs that use it, or pass --device cpu.",
    )


def memory_too_small(device: str, needed: int, available: int) -> Problem:
    """The estimate exceeds the memory of the device."""
    return Problem(
        code="MENS-P008",
        what=f"needs about {_gib(needed)}, but {device} has {_gib(available)}{_free_on(device)}.",
        fix="Lower --batch-size, --seq-len or --rank; vox mens train --dry-run shows each term.",
    )


def output_not_writable(path: str, reason: str) -> Problem:
    """The run folder cannot be created or written to."""
    return Problem(
        code="MENS-P009",
        what=f"the output folder cannot be written: {reason}.",
        fix="Choose another --output-dir, or change its permissions.",
        where=path,
    )


def disk_too_small(path: str, needed: int, free: int) -> Problem:
    """The run's files would not fit on the disk."""
    return Problem(
        code="MENS-P010",
        what=f"the run's files need up to {_gib(needed)}, but only {_gib(free)} are free there.",
        fix="Free some space, or choose an --output-dir on another disk.",
        where=path,
    )


def data_folder_missing(path: str) -> Problem:
    """The data folder does not exist."""
    return Problem(
        code="MENS-P011",
        what="there is no such folder.",
        fix="Pass the folder that contains train.jsonl with --data-dir.",
        where=path,
    )


def data_dir_is_train_file(path: str, folder: str) -> Problem:
    """The file itself was passed instead of its folder."""
    return Problem(
        code="MENS-P050",
        what="this is a file, but --data-dir takes the folder.",
        fix=f"Pass --data-dir {shlex.quote(folder)}",
        where=path,
    )


def data_dir_is_file(path: str, form: FileForm | None) -> Problem:
    """A file was passed instead of a folder; if its format is known, says how to make one."""
    make = "" if form is None else f": mkdir data && {_into_folder(form, path)}"
    return Problem(
        code="MENS-P051",
        what="not a directory; --data-dir takes one that contains train.jsonl.",
        fix=f"Create one and pass it{make}",
        where=path,
    )


def train_file_has_other_form(path: str, seen: str, form: FileForm) -> Problem:
    """There is no `train.jsonl`, but another file that looks like the intended rows."""
    name = "" if form is FileForm.JSON_LINES else f" ({form.value})"
    verb = "Rename it" if form is FileForm.JSON_LINES else "Convert it"
    return Problem(
        code="MENS-P052",
        what=f"there is no such file, but there is {seen}{name}.",
        fix=f"{verb}: {conversion(form, seen, path)}",
        where=path,
    )


def note_rows_not_read(used: str, names: Sequence[str]) -> str:
    """Files of rows that exist but are not read."""
    return f"{', '.join(names)} in the data folder: not read; held-out rows come from {used}."


def _into_folder(form: FileForm, path: str) -> str:
    """The command that fills a new data folder from a file and keeps that file."""
    target = "data/train.jsonl"
    if form is FileForm.JSON_LINES:
        return f"cp {shlex.quote(path)} {target}"
    return conversion(form, path, target)


def train_file_missing(path: str) -> Problem:
    """The data folder lacks its one required file."""
    return Problem(
        code="MENS-P012",
        what="there is no such file.",
        fix="Put the rows there, one JSON object per line; vox mens corpus pairs makes some.",
        where=path,
    )


def tokenizer_beyond_embedding(path: str, ids: int, rows: int) -> Problem:
    """Some ids of the vocabulary would index past the embedding table."""
    return Problem(
        code="MENS-P013",
        what=f"the tokenizer has ids up to {ids - 1}, but the model's embedding has {rows} rows.",
        fix="Use the tokenizer the model was trained with.",
        where=path,
    )


def note_warmup_clamped(asked: int, used: int, total: int) -> str:
    """The warm-up would have outlasted the run."""
    return f"--warmup {asked} is too long for a run of {total} steps; the warm-up is {used} steps."


def note_max_steps_unused(asked: int, total: int) -> str:
    """The run ends before `--max-steps`."""
    return f"--max-steps {asked} has no effect: all epochs together have {total} steps."


def note_small_data(setting: str, preset: int, used: int, rows: int) -> str:
    """A preset is meant for more rows than there are."""
    return f"fewer than {rows} rows: {setting} {used} instead of the preset's {preset}."


def note_device_unknown() -> str:
    """No GPU could be detected, because torch is not loaded."""
    return "torch was not loaded, so no GPU was looked for; the plan is for cpu."


def note_device_not_checked(device: str) -> str:
    """A GPU was requested but could not be looked for."""
    return f"torch was not loaded, so it was not checked whether there is a {device} device."


def note_bf16_slow(device: str) -> str:
    """bf16 was requested on a device that emulates it."""
    return f"--dtype bf16 on this {device} device may be slower than f32, not faster."


def note_no_bf16() -> str:
    """The automatic choice avoids emulation. In f16, unscaled losses have gradients of zero."""
    return (
        "this CUDA device has no bf16 hardware and emulates it, so the run computes in f32; f16"
        " would lose small gradients."
    )


def note_device_passed_over(device: str, reason: str) -> str:
    """The automatic choice rejected a device after trying it, or could not try it."""
    return (
        f"--device best skipped {device}: {clipped(reason)}. Pass --device {device} to use it"
        " anyway."
    )


def note_seq_len_beyond_positions(tokens: int, positions: int) -> str:
    """The base model was never trained at this length."""
    return f"rows of {tokens} tokens exceed the {positions} positions of this model."


def note_nothing_held_out() -> str:
    """Without held-out rows, the effect of the adapter is not measured."""
    return "no rows are held out, so no held-out loss will be measured."


def note_no_effect(flag: str, reason: str) -> str:
    """A setting without effect."""
    return f"{flag} has no effect: {reason}."


def note_memory_short(device: str, needed: int, available: int) -> str:
    """The plan is for a larger machine; a run here would be refused."""
    has = f"{_gib(available)}{_free_on(device)}"
    return f"needs about {_gib(needed)} of memory, but this device has {has}."


def note_vocabulary_new_to_base() -> str:
    """The base model never saw this vocabulary."""
    return (
        "--tokenizer vox: the model folder has no VoxTokenizer file, so vox-nano's vocabulary is"
        " used; the base model never saw it, and its embeddings stand for different tokens."
    )


def note_rows_not_tokenised() -> str:
    """The rows were read and checked but not tokenised."""
    return (
        "the module tokenizers is not installed: rows were checked but not tokenised, so lengths"
        " and memory are upper bounds, and rows with nothing to learn may remain."
    )


def note_rows_left_out(file: str, reasons: str, rows: int) -> str:
    """Rows that are not used, by reason."""
    return f"{file}: left out of {rows} rows: {reasons}."


def note_labels_ignored(file: str, counts: Mapping[str, int]) -> str:
    """Label values that cannot be used; their rows are."""
    listed = ", ".join(f"{key} of {rows}" for key, rows in counts.items())
    return f"{file}: rows with an unusable label, which is ignored: {listed}."


def note_rows_truncated(file: str, rows: int, seq_len: int) -> str:
    """Rows that were cut at the end."""
    return f"{file}: {rows} rows are cut to {seq_len} tokens (--seq-len)."


def note_valid_is_train(name: str) -> str:
    """The held-out rows are the training rows."""
    return f"{name} is a copy of train.jsonl: its loss says nothing about unseen rows."


def _free_on(device: str) -> str:
    """On CUDA only free memory counts."""
    return " free" if device == "cuda" else ""


def _either(words: Sequence[str]) -> str:
    return " or ".join(words)


def _gib(size: int) -> str:
    return f"{size / 2**30:.1f} GiB" if size >= 2**30 else f"{max(size, 1) / 2**20:.0f} MiB"
