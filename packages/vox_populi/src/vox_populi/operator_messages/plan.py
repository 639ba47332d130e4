"""Plan and preflight (MENS-P)."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence

from vox_populi.operator_messages.wording import gib
from vox_tensor.errors import Problem
from vox_tensor.file_form import FileForm

MAX_KEYS_SHOWN = 32
"""Largest number of tensor names in one message."""

INIT_FOLDER_OCCUPIED = Problem(
    code="MENS-P090",
    what="this folder is not empty, so nothing was written.",
    fix="Choose a new folder: vox mens init NEW_FOLDER",
)
"""`vox mens init` never writes into a folder with other files."""


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


NO_ROWS_TO_TRAIN_ON = Problem(
    code="MENS-P004",
    what="no rows are left to train on.",
    fix="Add rows, or lower --validation-split-ratio.",
)
"""The split took every row, or there were none."""

EARLY_STOPPING_NEEDS_ROWS = Problem(
    code="MENS-P005",
    what="early stopping needs held-out rows, and there are none.",
    where="--early-stopping-patience",
    fix="Add valid.jsonl to the data folder, raise --validation-split-ratio, or drop the flag.",
)
"""Early stopping without held-out rows."""


def rows_beyond_positions(longest: int, positions: int) -> Problem:
    """Rows longer than the table of learned positions."""
    return Problem(
        code="MENS-P006",
        what=f"rows have up to {longest} tokens, but this model has only {positions} positions.",
        where="--seq-len",
        fix=f"Pass --seq-len {positions} or less.",
    )


DATA_FOLDER_MISSING = Problem(
    code="MENS-P011",
    what="there is no such folder.",
    fix="Pass the folder that contains train.jsonl with --data-dir.",
)
"""The data folder does not exist."""


def data_dir_is_train_file(folder: str) -> Problem:
    """The file itself was passed instead of its folder."""
    return Problem(
        code="MENS-P050",
        what="this is a file, but --data-dir takes the folder.",
        fix=f"Pass --data-dir {shlex.quote(folder)}",
    )


def data_dir_is_file(path: str) -> Problem:
    """A file was passed instead of a folder."""
    return Problem(
        code="MENS-P051",
        what="this is a file, but --data-dir takes a folder.",
        fix=f"Pass --data {shlex.quote(path)}",
        where=path,
    )


def no_file_named_train(seen: str, form: FileForm) -> Problem:
    """Nothing is named after training, but there is a file that looks like the intended rows."""
    return Problem(
        code="MENS-P052",
        what=f"there is no such file, but there is {seen} ({form.value}).",
        fix=f"Pass --data {shlex.quote(seen)}, or rename it to train with its ending.",
    )


def note_rows_not_read(used: str, names: Sequence[str]) -> str:
    """Files of rows that exist but are not read."""
    return f"{', '.join(names)} in the data folder: not read; held-out rows come from {used}."


TRAIN_FILE_MISSING = Problem(
    code="MENS-P012",
    what="there is no such file.",
    fix="Put the rows there, or pass their file with --data; vox mens corpus pairs makes some.",
)
"""The data folder lacks its one required file."""


def tokenizer_beyond_embedding(ids: int, rows: int) -> Problem:
    """Some ids of the vocabulary would index past the embedding table."""
    return Problem(
        code="MENS-P013",
        what=f"the tokenizer has ids up to {ids - 1}, but the model's embedding has {rows} rows.",
        fix="Use the tokenizer the model was trained with.",
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


def note_seq_len_beyond_positions(tokens: int, positions: int) -> str:
    """The base model was never trained at this length."""
    return f"rows of {tokens} tokens exceed the {positions} positions of this model."


NOTE_NOTHING_HELD_OUT = "no rows are held out, so no held-out loss will be measured."
"""There are no held-out rows, so the effect of the adapter is not measured."""


def note_rows_not_graded(count: int, rows: int) -> str:
    """`--curriculum` with rows that do not say how difficult they are."""
    return f"{count} of {rows} rows have no difficulty; --curriculum takes them for 5 of 10."


def note_rows_weighted(count: int) -> str:
    """`--trajectory-weighting-enabled` with rows that it is about."""
    return f"{count} rows weigh more or less by their category or rating."


def note_no_effect(flag: str, reason: str) -> str:
    """A setting without effect."""
    return f"{flag} has no effect: {reason}."


NOTE_VOCABULARY_NEW_TO_BASE = (
    "--tokenizer vox: the model folder has no VoxTokenizer file, so vox-nano's vocabulary is"
    " used; the base model never saw it, and its embeddings stand for different tokens."
)
"""The base model never saw this vocabulary."""

NOTE_ROWS_NOT_TOKENISED = (
    "the module tokenizers is not installed: rows were checked but not tokenised, so lengths"
    " and memory are upper bounds, and rows with nothing to learn may remain."
)
"""The rows were read and checked but not tokenised."""


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


def note_control_text_kept(file: str, rows: int) -> str:
    """Text of rows that became control tokens, as requested."""
    return (
        f"{file}: {rows} rows spell control tokens, and are trained with these tokens"
        " (--on-control-text keep)."
    )


def note_valid_is_train(name: str) -> str:
    """The held-out rows are the training rows."""
    return f"{name} is a copy of train.jsonl: its loss does not measure unseen rows."


def _either(words: Sequence[str]) -> str:
    return " or ".join(words)


def full_graph_incomplete(missing: Sequence[str]) -> Problem:
    """The folder lacks weights of the transformer; nothing is left out silently."""
    return Problem(
        code="MENS-P020",
        what=f"the full graph needs tensors that are missing: {_named(missing)}.",
        fix="Complete the folder, or pass --qlora-graph proxy, which trains a bounded proxy on"
        " the existing tensors; its loss is not a full-graph loss.",
    )


def proxy_stack_incomplete(missing: Sequence[str], expected: int) -> Problem:
    """A strict stack is incomplete and fails closed."""
    return Problem(
        code="MENS-P021",
        what=f"the strict proxy stack needs {expected} square output projections, but there are"
        f" only {expected - len(missing)}; missing: {_named(missing)}.",
        fix="Complete the folder, or pass --qlora-graph proxy --qlora-allow-partial-proxy-stack"
        " and omit --qlora-require-full-proxy-stack to train only the LM head.",
    )


def proxy_stack_not_square(names: Sequence[str]) -> Problem:
    """This model cannot have a stack, because its output projections change the width."""
    return Problem(
        code="MENS-P024",
        what="the strict proxy stack needs square output projections, but those of this model"
        f" are not square: {_named(names)}.",
        fix="Pass --qlora-graph full, or --qlora-graph proxy --qlora-allow-partial-proxy-stack"
        " without --qlora-require-full-proxy-stack to train only the LM head.",
    )


def proxy_losses(graph: str) -> str:
    """The heading of a proxy run's losses."""
    return f"{graph}: these are not full-graph losses"


def proxy_keeps_inputs(mode: str) -> Problem:
    """Recomputation was requested for a graph that has nothing to compute again."""
    return Problem(
        code="MENS-P130",
        what=f"{mode} has no effect on the proxy graph, whose layers keep only their inputs.",
        where="--activation-memory",
        fix="Omit it, or pass --qlora-graph full.",
    )


def note_activation_memory(mode: str, needed: int, left: int) -> str:
    """Why activations are computed again without a request."""
    return (
        f"keeping all activations needs {gib(needed)}, which is more than there is, so they are"
        f" computed again ({mode}): {gib(left)}, and slower steps (--activation-memory)."
    )


def note_offload_is_full(device: str) -> str:
    """The device has no memory of its own."""
    return (
        f"--activation-memory offload is the same as full on {device}, which has no memory besides"
        " the host's."
    )


def note_proxy_objective(ce_last_k: int) -> str:
    """Warns that this loss is not a full-graph loss."""
    return (
        "the proxy predicts from the previous token only, without attention, and learns the last"
        f" {ce_last_k} supervised token{'s' if ce_last_k > 1 else ''} of a row: its loss is not"
        " comparable with a full-graph loss."
    )


def note_head_only(missing: Sequence[str], expected: int) -> str:
    """The stack is incomplete, so none of it is trained."""
    return (
        f"ONLY THE LM HEAD IS TRAINED: {len(missing)} of {expected} output projections of the"
        f" proxy stack are missing: {_named(missing)}. --qlora-require-full-proxy-stack refuses"
        " such a base."
    )


def note_head_only_not_square(names: Sequence[str]) -> str:
    """This family's output projections cannot be stacked."""
    return (
        "ONLY THE LM HEAD IS TRAINED: the output projections of this model are not square, so"
        f" none of them fits the proxy stack: {_named(names)}. --qlora-require-full-proxy-stack"
        " refuses such a base."
    )


NOTE_STRICT_ON_CUDA = (
    "--device cuda requires the full stack; --qlora-allow-partial-proxy-stack accepts less."
)
"""On a GPU an incomplete stack is refused by default."""


def _named(names: Sequence[str]) -> str:
    shown = ", ".join(names[:MAX_KEYS_SHOWN])
    more = len(names) - MAX_KEYS_SHOWN
    return shown if more <= 0 else f"{shown} and {more} more"
