"""Every sentence an operator can be shown. Reword here and nowhere else.

Codes: U usage, C contract, D data, H model folder, P plan, R run, A artifact, E environment,
X extra. A code is never reused.
"""

from __future__ import annotations

import difflib
from collections.abc import Sequence

from vox_tensor.errors import Problem


def extra_missing(distribution: str, extra: str, module: str) -> Problem:
    """A gated command was called on an install that lacks its extra."""
    return Problem(
        code="MENS-X001",
        what=f"this command needs the Python module {module}, which is not installed.",
        fix=f'Run: pip install "{distribution}[{extra}]"',
    )


# Training loop -----------------------------------------------------------------------------


def loss_not_finite(step: int, lines: Sequence[int]) -> Problem:
    """The loss of at least one row became infinite or not a number."""
    return Problem(
        code="MENS-R001",
        what=f"the loss of step {step + 1} is not finite; nothing was updated.",
        where=_lines(lines),
        fix="Look at these rows, lower --lr or raise --warmup, or train in f32 (--dtype f32).",
    )


def gradient_not_finite(step: int, lines: Sequence[int]) -> Problem:
    """The loss is a number but a gradient is not."""
    return Problem(
        code="MENS-R002",
        what=f"a gradient of step {step + 1} is not finite; nothing was updated.",
        where=_lines(lines),
        fix="Lower --lr, raise --warmup, or train in f32 (--dtype f32).",
    )


def held_out_loss_not_finite(step: int) -> Problem:
    """The adapter of this step gives no usable loss on the held-out rows."""
    return Problem(
        code="MENS-R003",
        what=f"the held-out loss is not finite after step {step}.",
        fix="Lower --lr, raise --warmup, or train in f32 (--dtype f32).",
    )


def _lines(lines: Sequence[int]) -> str:
    """The place of rows; the pipeline puts their file before it."""
    shown = ",".join(str(line) for line in sorted(lines)[:10])
    more = f" and {len(lines) - 10} more" if len(lines) > 10 else ""
    return f"line {shown}{more}"


# Adapters and other artifacts ----------------------------------------------------------------

_COPY_AGAIN = "Copy the file again from where it was written, or train again."


def adapter_container_refused(found: Problem) -> Problem:
    """What the container's reader says, with the way out for an adapter: pickles, zips, damage."""
    return Problem(
        code="MENS-A001",
        what=found.what,
        fix="Give the model_final.bin of a run; convert what others made where it was made, "
        "with safetensors.torch.save_file.",
        where=found.where,
    )


def artifact_unreadable(path: str, error: OSError) -> Problem:
    """The system refuses to read a file of a run."""
    return Problem(
        code="MENS-A002",
        what=f"it cannot be read: {_cause(error)}.",
        fix="Check its permissions and that it is a file.",
        where=path,
    )


def adapter_foreign_format(path: str, found: str | None) -> Problem:
    """A safetensors container that is no adapter of ours."""
    says = f"its format is {clipped(found)}" if found is not None else "it names no format"
    return Problem(
        code="MENS-A003",
        what=f"it is no adapter that vox mens train wrote: {says}.",
        fix="Give the model_final.bin of a run.",
        where=path,
    )


def adapter_version_unknown(path: str, found: str | None, known: str) -> Problem:
    """Written by a release that knows more than this one."""
    return Problem(
        code="MENS-A004",
        what=f"its format has version {clipped(found)}; this program reads version {known}.",
        fix="Update vox-cli, or train again.",
        where=path,
    )


def adapter_header_invalid(path: str, reason: str) -> Problem:
    """The header inside the container does not say what it must."""
    return Problem(
        code="MENS-A005",
        what=f"its header cannot be used: {clipped(reason)}.",
        fix=_COPY_AGAIN,
        where=path,
    )


def adapter_tensor_missing(path: str, name: str) -> Problem:
    """The header promises a tensor that is not there."""
    return Problem(
        code="MENS-A006",
        what=f"the tensor {clipped(name)} is missing.",
        fix=_COPY_AGAIN,
        where=path,
    )


def adapter_tensor_unexpected(path: str, name: str) -> Problem:
    """A tensor that the header does not know."""
    return Problem(
        code="MENS-A007",
        what=f"the tensor {clipped(name)} is not in its header.",
        fix=_COPY_AGAIN,
        where=path,
    )


def adapter_tensor_misshaped(
    path: str, name: str, found: Sequence[int], expected: Sequence[int]
) -> Problem:
    """A tensor of another shape than rank and layer give."""
    return Problem(
        code="MENS-A008",
        what=f"the tensor {clipped(name)} is {clipped(list(found))}, not {list(expected)}.",
        fix=_COPY_AGAIN,
        where=path,
    )


def adapter_tensor_wrong_type(path: str, name: str, found: str) -> Problem:
    """A tensor of another number type than float32."""
    return Problem(
        code="MENS-A009",
        what=f"the tensor {clipped(name)} has the dtype {found}, not F32.",
        fix=_COPY_AGAIN,
        where=path,
    )


def adapter_not_finite(path: str, name: str) -> Problem:
    """NaN or infinity in a trained tensor."""
    return Problem(
        code="MENS-A010",
        what=f"the tensor {clipped(name)} holds values that are not finite.",
        fix=_COPY_AGAIN,
        where=path,
    )


def adapter_not_for_base(path: str, name: str, digest: str, found: str) -> Problem:
    """The base that was found is not the one the adapter was trained on."""
    return Problem(
        code="MENS-A011",
        what=f"it was trained on {clipped(name)} ({clipped(digest)}), not on what lies in {found}.",
        fix="Name the folder of that base with --model.",
        where=path,
    )


def adapter_base_unknown(path: str, name: str) -> Problem:
    """Nothing tells where the base of an adapter is."""
    return Problem(
        code="MENS-A012",
        what=f"its base model, {clipped(name)}, was not found from here.",
        fix="Name its folder with --model.",
        where=path,
    )


def adapter_modules_unknown(path: str, names: Sequence[str]) -> Problem:
    """The adapter names projections that the base does not have."""
    shown = ", ".join(names[:3])
    return Problem(
        code="MENS-A013",
        what=f"the base has no projection for {len(names)} of its modules: {clipped(shown)}.",
        fix="Name the folder of its own base with --model.",
        where=path,
    )


def adapter_tokenizer_differs(path: str, where: str) -> Problem:
    """The tokenizer at hand is not the one the adapter was trained with."""
    return Problem(
        code="MENS-A014",
        what=f"it was trained with another tokenizer than that of {where}.",
        fix="Put the tokenizer.json of the training run back, or leave --tokenizer out.",
        where=path,
    )


def manifest_invalid(path: str, reason: str) -> Problem:
    """A manifest that does not say what it must."""
    return Problem(
        code="MENS-A020",
        what=f"it is no usable training manifest: {clipped(reason)}.",
        fix="Copy the run folder again from where it was written.",
        where=path,
    )


def manifest_too_new(path: str, found: int, known: int) -> Problem:
    """Written by a release that knows more than this one."""
    return Problem(
        code="MENS-A021",
        what=f"its schema version is {found}; this program reads up to {known}.",
        fix="Update vox-cli.",
        where=path,
    )


def not_a_run_folder(path: str) -> Problem:
    """None of the files of a run is there."""
    return Problem(
        code="MENS-A022",
        what="no run was written there.",
        fix="Give the folder that vox mens train had as --output-dir.",
        where=path,
    )


def run_has_no_adapter(path: str) -> Problem:
    """A run folder without its final adapter."""
    return Problem(
        code="MENS-A023",
        what="the run has not finished: there is no model_final.bin.",
        fix="See how far it is with: vox mens status RUN",
        where=path,
    )


def prompt_unfit(number: int, tokens: int, most: int) -> Problem:
    """A prompt that is empty in ids, or leaves the model no position for an answer."""
    return Problem(
        code="MENS-R011",
        what=f"prompt {number} has {tokens} tokens; this model takes 1 to {most}.",
        fix="Shorten it, or use a model with more positions.",
    )


def evaluation_not_finite(source: str, path: str) -> Problem:
    """The model gives no usable loss on some rows."""
    return Problem(
        code="MENS-R012",
        what=f"the loss is not finite on the rows from {clipped(source)}.",
        fix="Evaluate in f32 (--dtype f32), or train again with a lower --lr.",
        where=path,
    )


def note_text_differs_from_training() -> str:
    """Template or system prompt are not those of the training run."""
    return "--template or --system-prompt differ from those the adapter was trained with."


def note_rows_cut_to_positions(asked: int, positions: int) -> str:
    """Learned positions end where the table ends."""
    return f"--seq-len {asked} is more than the {positions} positions of this model; rows are cut."


# Runs and the machine they are on ------------------------------------------------------------

MOBILE_EDGE_MANIFEST_NOTE = "trained within the limits of mobile_edge on a CPU"


def run_interrupted(signal_name: str, step: int) -> Problem:
    """SIGINT or SIGTERM; the run ended at a step border."""
    return Problem(
        code="MENS-R010",
        what=f"the run was stopped by {signal_name} after step {step}; no adapter was written.",
        fix="Start it again with --force, or into another --output-dir.",
    )


def output_folder_occupied(path: str) -> Problem:
    """A run never writes among files that are there already."""
    return Problem(
        code="MENS-E001",
        what="the output folder is not empty.",
        fix="Name another --output-dir, or pass --force to keep the old folder under another name.",
        where=path,
    )


def output_not_a_folder(path: str) -> Problem:
    """A file where the run folder should be, or on the way to it."""
    return Problem(
        code="MENS-E002",
        what="it is a file, or a file is on the way to it.",
        fix="Name a folder with --output-dir.",
        where=path,
    )


def output_folder_is_link(path: str) -> Problem:
    """Writing never follows links."""
    return Problem(
        code="MENS-E003",
        what="it is a link; runs are not written through links.",
        fix="Name the folder itself with --output-dir.",
        where=path,
    )


def folder_locked(path: str, holder: str) -> Problem:
    """Another process writes this folder."""
    return Problem(
        code="MENS-E004",
        what=f"the folder is held by {clipped(holder)}.",
        fix="Wait for it, or name another --output-dir.",
        where=path,
    )


def file_not_written(path: str, error: OSError) -> Problem:
    """The system refused to write; what was there before is unchanged."""
    return Problem(
        code="MENS-E005",
        what=f"it cannot be written: {_cause(error)}.",
        fix="Check permissions and free space, then start again.",
        where=path,
    )


def device_memory_exhausted(device: str) -> Problem:
    """The allocator of the device, or of the machine, ran dry."""
    return Problem(
        code="MENS-E006",
        what=f"the memory of the device {device} is used up.",
        fix="Lower --batch-size, --seq-len or --rank; vox mens train --dry-run shows the estimate.",
    )


def device_failed(device: str, reason: str) -> Problem:
    """The device's driver or a kernel reports a failure."""
    return Problem(
        code="MENS-E007",
        what=f"the device {device} failed: {clipped(reason)}.",
        fix="Try again, or run with --device cpu.",
    )


def _cause(error: OSError) -> str:
    return error.strerror or type(error).__name__


# Command line: flags, environment, config file ------------------------------------------------


def usage_refused(what: str, where: str | None, command: str) -> Problem:
    """Arguments that make no sense to the parser."""
    return Problem(code="MENS-U001", what=what, where=where, fix=f"See: {command} --help")


def option_unknown(option: str, near: str | None, command: str) -> Problem:
    """A flag that the command does not have."""
    fix = f"Did you mean {near}?" if near else f"See: {command} --help"
    return Problem(code="MENS-U002", what="there is no such option.", where=option, fix=fix)


def command_unknown(group: str, name: str, near: str | None) -> Problem:
    """A word where a command should stand."""
    return Problem(
        code="MENS-U008",
        what=f"{group} has no command {name!r}.",
        fix=f"Did you mean {group} {near}?" if near else f"See: {group} --help",
    )


def value_not_whole(text: str) -> Problem:
    """A setting that takes an integer got something else."""
    return Problem(
        code="MENS-U003", what=f"takes a whole number, not {text!r}.", fix="Write it like 16."
    )


def value_not_number(text: str) -> Problem:
    """A setting that takes a finite number got something else."""
    return Problem(
        code="MENS-U004", what=f"takes a number, not {text!r}.", fix="Write it like 0.01 or 2e-4."
    )


def value_out_of_range(text: str, accepted: str) -> Problem:
    """A number outside of what its setting accepts."""
    return Problem(
        code="MENS-U005", what=f"{text} is out of range.", fix=f"Give a number {accepted}."
    )


def value_not_path(text: str) -> Problem:
    """A path that no file system accepts."""
    return Problem(
        code="MENS-U007", what=f"{text!r} is not a path.", fix="Name a file or a folder."
    )


def setting_missing(flag: str, variable: str, key: str) -> Problem:
    """A required setting came from nowhere."""
    return Problem(
        code="MENS-U010",
        what="this setting is required.",
        where=flag,
        fix=f"Pass {flag}, set {variable}, or write `{key}:` in the file given to --config.",
    )


def setting_unknown(key: str, near: str | None, where: str) -> Problem:
    """A config key that no setting has."""
    return Problem(
        code="MENS-U011",
        what=f"there is no setting {key!r}.",
        where=where,
        fix=f"Did you mean {near}?" if near else "See: vox mens train --help",
    )


def variable_unknown(variable: str, near: str) -> Problem:
    """An environment variable that looks like a setting and is none."""
    return Problem(
        code="MENS-U012",
        what="this environment variable sets nothing.",
        where=variable,
        fix=f"Did you mean {near}?",
    )


def config_unreadable(path: str, cause: str) -> Problem:
    """A config file that cannot be opened as text."""
    return Problem(
        code="MENS-U020",
        what=f"this config file cannot be read: {cause}.",
        where=path,
        fix="Give --config a YAML file, as `vox mens init` writes one.",
    )


def config_not_yaml(where: str, cause: str) -> Problem:
    """A config file with a syntax error."""
    return Problem(
        code="MENS-U021",
        what=f"this is not valid YAML: {cause}.",
        where=where,
        fix="Write one `key: value` a line.",
    )


def config_not_mapping(path: str) -> Problem:
    """A config file whose top level is a list or a single value."""
    return Problem(
        code="MENS-U022",
        what="a config file holds settings, and this one holds something else.",
        where=path,
        fix="Write one `key: value` a line.",
    )


def config_key_repeated(key: str, where: str, first_line: int) -> Problem:
    """A setting that a config file gives twice."""
    return Problem(
        code="MENS-U023",
        what=f"{key!r} was already set in line {first_line}.",
        where=where,
        fix="Keep one of the two.",
    )


def config_value_refused(key: str, where: str, expected: str) -> Problem:
    """A config value of a kind that no setting takes."""
    return Problem(
        code="MENS-U024",
        what=f"{key!r} takes {expected}.",
        where=where,
        fix="Write it as on the command line; put text that YAML would read otherwise in quotes.",
    )


def sources_conflict(flags: Sequence[str]) -> Problem:
    """Flags of which only one can be obeyed."""
    return Problem(
        code="MENS-U030",
        what=f"{' and '.join(flags)} exclude each other.",
        where=flags[0],
        fix="Give one of them.",
    )


def prompt_missing() -> Problem:
    """Nothing to continue."""
    return Problem(
        code="MENS-U031",
        what="there is no prompt.",
        where="--prompt",
        fix="Pass --prompt TEXT, or --prompts FILE with one prompt a line.",
    )


def prompts_unusable(where: str, cause: str) -> Problem:
    """A file of prompts with nothing or something else in it."""
    return Problem(
        code="MENS-U032",
        what=f"no prompts can be read: {cause}.",
        where=where,
        fix='Write one prompt a line, or JSON lines with a "prompt".',
    )


def init_folder_occupied(path: str) -> Problem:
    """`vox mens init` never writes beside files it does not know."""
    return Problem(
        code="MENS-P090",
        what="this folder is not empty, so nothing was written.",
        where=path,
        fix="Name a new folder: vox mens init NEW_FOLDER",
    )


def interrupted() -> Problem:
    """Ctrl-C outside of a training run."""
    return Problem(code="MENS-R090", what="interrupted.", fix="Start the command again.")


def system_refused(where: str | None, cause: str) -> Problem:
    """The operating system said no where nobody expected it."""
    return Problem(
        code="MENS-E090",
        what=f"the system refused: {cause}.",
        where=where,
        fix="Check the path, its permissions and the free space.",
    )


def memory_exhausted() -> Problem:
    """Python could not allocate."""
    return Problem(
        code="MENS-E091",
        what="there is not enough memory.",
        fix="Lower --batch-size, --seq-len or --rank.",
    )


def our_bug(kind: str) -> Problem:
    """An exception that no part of the program meant to raise."""
    return Problem(
        code="MENS-B001",
        what=f"this is a bug in vox, not a mistake of yours ({kind}).",
        fix="Run again with VOX_DEBUG=1 to see where, and report it.",
    )


# Contract -----------------------------------------------------------------------------------


def choice_unknown(flag: str, got: str, choices: Sequence[str]) -> Problem:
    """A word that names none of a closed set; the nearest one is offered."""
    near = difflib.get_close_matches(got.strip().lower(), choices, n=1)
    hint = f"Did you mean {near[0]}? " if near else ""
    return Problem(
        code="MENS-C001",
        what=f"{got!r} is none of the choices.",
        where=flag,
        fix=f"{hint}Choose from: {', '.join(choices)}.",
    )


def setting_out_of_range(flag: str, got: object, allowed: str) -> Problem:
    """A number, or an empty text, that a setting cannot have."""
    return Problem(
        code="MENS-C002",
        what=f"{got} is not allowed.",
        where=flag,
        fix=f"Give {allowed}.",
    )


def qlora_needs_hf_tokenizer(got: str) -> Problem:
    """The NF4 kernel reads token ids that only the base model's tokenizer produces."""
    return Problem(
        code="MENS-C003",
        what=f"--backend qlora cannot run with --tokenizer {got}.",
        fix="Pass --tokenizer hf, or train with --backend lora.",
    )


def targets_empty() -> Problem:
    """No projection was named, so nothing would train."""
    return Problem(
        code="MENS-C004",
        what="no projection is named.",
        where="--targets",
        fix="Name some of q,k,v,o,gate,up,down,lm_head, or all.",
    )


def mobile_edge_needs_cpu(got: str) -> Problem:
    """A mobile_edge adapter is trained where its numerics can be reproduced."""
    return Problem(
        code="MENS-C005",
        what=f"deployment target mobile_edge cannot run with --device {got}.",
        fix="Pass --device cpu, or drop --deployment-target mobile_edge.",
    )


def mobile_edge_limit(flag: str, got: int, limit: int) -> Problem:
    """A size that a phone cannot serve."""
    return Problem(
        code="MENS-C006",
        what=f"{got} is too much for deployment target mobile_edge.",
        where=flag,
        fix=f"Pass {flag} {limit} or less, or drop --deployment-target mobile_edge.",
    )


def path_has_nul(flag: str) -> Problem:
    """No file system takes a zero byte in a name."""
    return Problem(
        code="MENS-C007",
        what="the path contains a zero byte.",
        where=flag,
        fix="Give a path without it.",
    )


def text_not_unicode(flag: str) -> Problem:
    """Bytes of a command line that are not in its encoding."""
    return Problem(
        code="MENS-C008",
        what="the text contains bytes that are no valid Unicode.",
        where=flag,
        fix="Give it as UTF-8; check the terminal's locale.",
    )


# Plan and preflight --------------------------------------------------------------------------


def qlora_not_built() -> Problem:
    """The 4-bit kernel is not part of this version."""
    return Problem(
        code="MENS-P001",
        what="this version trains LoRA only; 4-bit bases are not built yet.",
        where="--backend qlora",
        fix="Pass --backend lora.",
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


def memory_too_small(device: str, needed: int, available: int) -> Problem:
    """The estimate exceeds the memory of the device."""
    return Problem(
        code="MENS-P008",
        what=f"about {_gib(needed)} are needed, {device} has {_gib(available)}.",
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


def data_folder_missing(path: str, *, exists: bool) -> Problem:
    """The data folder is not there, or is a file."""
    return Problem(
        code="MENS-P011",
        what="it is no folder." if exists else "there is no such folder.",
        fix="Pass the folder that holds train.jsonl with --data-dir.",
        where=path,
    )


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
    """The automatic choice avoids emulation."""
    return "this CUDA device has no bf16; computing in f32."


def note_threads_beyond_cpus(threads: int, cpus: int) -> str:
    """More threads than cores take turns."""
    return f"--threads {threads} is more than the {cpus} CPUs at hand."


def note_seq_len_beyond_positions(tokens: int, positions: int) -> str:
    """The base model was never trained at this length."""
    return f"rows of {tokens} tokens are longer than the {positions} positions of this model."


def note_nothing_held_out() -> str:
    """Nobody will know whether the adapter helps."""
    return "no rows are held out, so no held-out loss will be measured."


def note_no_effect(flag: str, reason: str) -> str:
    """A setting that decides nothing here."""
    return f"{flag} has no effect: {reason}."


def note_memory_short(needed: int, available: int) -> str:
    """The plan is for a larger machine; a run here would be refused."""
    return f"needs about {_gib(needed)} of memory, this device has {_gib(available)}."


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


def note_rows_truncated(file: str, rows: int, seq_len: int) -> str:
    """Rows that lost their end."""
    return f"{file}: {rows} rows are cut to {seq_len} tokens (--seq-len)."


def note_valid_is_train() -> str:
    """The held-out loss would measure memory."""
    return "valid.jsonl is a copy of train.jsonl: its loss says nothing about unseen rows."


def _either(words: Sequence[str]) -> str:
    return " or ".join(words)


def _gib(size: int) -> str:
    return f"{size / 2**30:.1f} GiB" if size >= 2**30 else f"{max(size, 1) / 2**20:.0f} MiB"


# Model folder (hf) -------------------------------------------------------------------------

MAX_SHOWN = 20
_MAX_CLIPPED = 120


def clipped(text: object) -> str:
    """A name or value from a file, cut to a length that a message can carry."""
    shown = text if isinstance(text, str) else repr(text)
    return shown if len(shown) <= _MAX_CLIPPED else f"{shown[:_MAX_CLIPPED]}…"


def capped(problems: Sequence[Problem], most: int = MAX_SHOWN) -> tuple[Problem, ...]:
    """The first problems, and one that counts the rest."""
    if len(problems) <= most:
        return tuple(problems)
    rest = Problem(
        code=problems[most].code,
        what=f"and {len(problems) - most} more.",
        fix="Fix those above first.",
    )
    return (*problems[:most], rest)


def model_dir_missing(where: str, *, exists: bool) -> Problem:
    """`--model` names no folder."""
    return Problem(
        code="MENS-H001",
        what="it is not a folder." if exists else "there is no such folder.",
        fix="Name a folder that holds config.json and safetensors weights.",
        where=where,
    )


def model_file_missing(where: str) -> Problem:
    """A file that the folder must hold."""
    return Problem(
        code="MENS-H002",
        what="there is no such file.",
        fix="Fetch the model again, or name another folder.",
        where=where,
    )


def model_file_unreadable(where: str, reason: str) -> Problem:
    """The operating system says no."""
    return Problem(
        code="MENS-H003",
        what=f"it cannot be read: {reason}.",
        fix="Check its permissions and the disk.",
        where=where,
    )


def model_file_not_regular(where: str) -> Problem:
    """A folder, FIFO or device stands where a file belongs."""
    return Problem(
        code="MENS-H004",
        what="it is not a regular file.",
        fix="Replace it by the file itself.",
        where=where,
    )


def model_file_too_large(where: str, limit: int) -> Problem:
    """A JSON file beyond every real one."""
    return Problem(
        code="MENS-H005",
        what=f"it is larger than {limit:,} bytes, which no such file is.",
        fix="Fetch the file again.",
        where=where,
    )


def model_json_invalid(where: str, reason: str) -> Problem:
    """Not the JSON object it must be."""
    return Problem(
        code="MENS-H006",
        what=f"it cannot be used as JSON: {reason}.",
        fix="Fetch the file again, or correct it.",
        where=where,
    )


def model_type_unsupported(where: str, name: str, supported: Sequence[str]) -> Problem:
    """The one refusal of a foreign architecture."""
    names = ", ".join(supported)
    what = f"model_type {clipped(name)} is not supported." if name else "it names no model_type."
    return Problem(code="MENS-H010", what=what, fix=f"Use one of: {names}.", where=where)


def config_field_missing(where: str, name: str, expected: str) -> Problem:
    """A field without which no shape is known."""
    return Problem(
        code="MENS-H011",
        what=f"the field {clipped(name)} is missing.",
        fix=f"Set it to {expected}.",
        where=where,
    )


def config_field_wrong(where: str, name: str, value: object, expected: str) -> Problem:
    """A field of the wrong type or out of range."""
    return Problem(
        code="MENS-H012",
        what=f"the field {clipped(name)} is {clipped(value)}.",
        fix=f"Set it to {expected}.",
        where=where,
    )


def config_unsupported(where: str, name: str, value: object | None, meaning: str) -> Problem:
    """A setting that is understood, and that changes the arithmetic in a way not built."""
    asks = clipped(name) if value is None else f"{clipped(name)} {clipped(value)}"
    return Problem(
        code="MENS-H013",
        what=f"{asks} asks for {meaning}, which is not supported.",
        fix="Use a model without this setting.",
        where=where,
    )


def config_contradiction(where: str, *names: str) -> Problem:
    """Fields that exclude each other."""
    listed = " and ".join(clipped(name) for name in names)
    return Problem(
        code="MENS-H014",
        what=f"{listed} contradict each other.",
        fix="Correct one of them, or fetch the file again.",
        where=where,
    )


def container_broken(where: str, reason: str) -> Problem:
    """A safetensors file that breaks its format."""
    return Problem(
        code="MENS-H020",
        what=f"it is not a sound safetensors file: {reason}.",
        fix="Fetch or write the file again.",
        where=where,
    )


def container_foreign(where: str, kind: str) -> Problem:
    """Another format under the name of a safetensors file."""
    return Problem(
        code="MENS-H021",
        what=f"it is {kind}, not a safetensors file; nothing in it was read or run.",
        fix="Fetch the safetensors weights of this model, or convert them first.",
        where=where,
    )


def weights_missing(where: str, found: str | None) -> Problem:
    """No safetensors weights in the folder."""
    beside = f" ({found} is there, in another format)" if found else ""
    return Problem(
        code="MENS-H030",
        what=f"neither model.safetensors nor model.safetensors.index.json is there{beside}.",
        fix="Fetch or save the weights as safetensors into this folder.",
        where=where,
    )


def weights_ambiguous(where: str) -> Problem:
    """Two sets of weights in one folder."""
    return Problem(
        code="MENS-H031",
        what="model.safetensors is there beside an index that does not name it.",
        fix="Remove the set of weights that is not meant.",
        where=where,
    )


def index_entry_wrong(where: str, name: str, reason: str) -> Problem:
    """An entry of the index that no reader could follow safely."""
    return Problem(
        code="MENS-H032",
        what=f"the entry {clipped(name)} {reason}.",
        fix="Fetch or write the index again.",
        where=where,
    )


def tensor_not_in_shard(where: str, name: str) -> Problem:
    """The index promises a tensor that its shard lacks."""
    return Problem(
        code="MENS-H033",
        what=f"the index puts {clipped(name)} here, and it is not here.",
        fix="Fetch the shard and the index again.",
        where=where,
    )


def tensor_not_in_index(where: str, name: str) -> Problem:
    """A shard holds a tensor that the index gives to another file or to none."""
    return Problem(
        code="MENS-H034",
        what=f"it holds {clipped(name)}, which the index does not put here.",
        fix="Fetch the shard and the index again.",
        where=where,
    )


def tensor_missing(where: str, name: str) -> Problem:
    """The config asks for a tensor that no file holds."""
    return Problem(
        code="MENS-H040",
        what=f"the tensor {clipped(name)} is missing.",
        fix="Fetch the weights again, or the config.json that belongs to them.",
        where=where,
    )


def tensor_unexpected(where: str, name: str) -> Problem:
    """A tensor that the config's model has no place for."""
    return Problem(
        code="MENS-H041",
        what=f"the tensor {clipped(name)} has no place in this model.",
        fix="Use the config.json that belongs to these weights.",
        where=where,
    )


def tensor_misshaped(
    where: str, name: str, found: Sequence[int], expected: Sequence[int]
) -> Problem:
    """A tensor of another shape than the config says."""
    return Problem(
        code="MENS-H042",
        what=f"the tensor {clipped(name)} is {clipped(list(found))}, not {list(expected)}.",
        fix="Use the config.json that belongs to these weights.",
        where=where,
    )


def tensor_dtype_unsupported(where: str, name: str, dtype: str) -> Problem:
    """A tensor whose numbers the transformer cannot compute with."""
    return Problem(
        code="MENS-H043",
        what=f"the tensor {clipped(name)} has the dtype {dtype}; F32, BF16 and F16 can be read.",
        fix="Use unquantised weights of this model.",
        where=where,
    )


def tensor_named_twice(where: str, name: str) -> Problem:
    """A GPT-2 tensor both with and without the `transformer.` prefix."""
    return Problem(
        code="MENS-H044",
        what=f"the tensor {clipped(name)} is there with and without the prefix 'transformer.'.",
        fix="Remove one of the two.",
        where=where,
    )


def hf_tokenizer_unusable(where: str, reason: str) -> Problem:
    """`tokenizer.json` that the tokenizers library cannot work with."""
    return Problem(
        code="MENS-H050",
        what=f"the tokenizer cannot be used: {reason}.",
        fix="Fetch tokenizer.json of this model again.",
        where=where,
    )


def hf_tokenizer_failed(where: str) -> Problem:
    """A tokenizer that loads and then fails on a text, such as by a runaway pattern."""
    return Problem(
        code="MENS-H051",
        what="the tokenizer failed while it encoded or decoded a text.",
        fix="Fetch tokenizer.json of this model again.",
        where=where,
    )


def embedded_model_missing(where: str) -> Problem:
    """An installation without the model that ships with it."""
    return Problem(
        code="MENS-H060",
        what="the embedded model is not part of this installation.",
        fix="Reinstall vox-populi, or name a model folder with --model.",
        where=where,
    )


# Data: rows, corpora (codes from MENS-D030; vox_tensor.data_messages has the lower ones) -----


def row_shape_unknown(place: str) -> Problem:
    """An object with none of the keys that rows are made of."""
    return Problem(
        code="MENS-D030",
        what="the row has no key of a known row format.",
        fix='Use "prompt" and "response", "instruction" and "output", or "messages".',
        where=place,
    )


def row_field_type(place: str, field: str, expected: str, found: str) -> Problem:
    """A field holds another JSON type; the value itself may be private."""
    return Problem(
        code="MENS-D031",
        what=f"{field} is {found}.",
        fix=f"It must be {expected}.",
        where=place,
    )


def row_field_blank(place: str, field: str) -> Problem:
    """A text that a row cannot do without is absent or white space."""
    return Problem(
        code="MENS-D032",
        what=f"{field} is missing or blank.",
        fix="Fill it in, or remove the row.",
        where=place,
    )


def role_unknown(place: str, field: str, known: Sequence[str]) -> Problem:
    """A turn is said by nobody we know."""
    return Problem(
        code="MENS-D033",
        what=f"{field} is no known role.",
        fix=f"Use one of: {', '.join(known)}.",
        where=place,
    )


def conversations_conflict(place: str, keys: Sequence[str]) -> Problem:
    """A row holds two different conversations."""
    return Problem(
        code="MENS-D034",
        what=f"the row has different conversations under two of {', '.join(keys)}.",
        fix="Keep one of them.",
        where=place,
    )


def system_prompts_conflict(place: str) -> Problem:
    """A row has a system prompt beside its messages and another one in them."""
    return Problem(
        code="MENS-D035",
        what="the row's system field differs from the system message of its conversation.",
        fix="Keep one of them.",
        where=place,
    )


def content_part_unsupported(place: str, field: str) -> Problem:
    """A typed part that is no text: an image, audio, a file."""
    return Problem(
        code="MENS-D036",
        what=f"{field} is no text part; only text can be learned.",
        fix='Write content as a string, or as parts like {"type": "text", "text": "..."}.',
        where=place,
    )


def tool_calls_unsupported(place: str, field: str) -> Problem:
    """Structured tool calls and tool lists have no layout yet; dropping them would mislead."""
    return Problem(
        code="MENS-D037",
        what=f"{field} holds tool definitions or calls, which no template here lays out yet.",
        fix="Write the call as text in the content, or remove the row.",
        where=place,
    )


def weight_not_binary(place: str, field: str) -> Problem:
    """A message is learned or it is not."""
    return Problem(
        code="MENS-D038",
        what=f"{field} is neither 0 nor 1.",
        fix="Write 0 for a message that must not be learned, 1 or nothing for one that must.",
        where=place,
    )


def weight_without_effect(place: str, field: str) -> Problem:
    """Somebody asked to learn what is never learned."""
    return Problem(
        code="MENS-D039",
        what=f"{field} is 1, but only assistant messages are learned.",
        fix="Remove the weight, or change the role.",
        where=place,
    )


def rating_out_of_range(place: str) -> Problem:
    """Another scale would pass or fail a rating floor by accident."""
    return Problem(
        code="MENS-D040",
        what="rating is not from 1 to 5.",
        fix="Rate from 1 to 5, or leave the key out.",
        where=place,
    )


def no_assistant_message(place: str) -> Problem:
    """A conversation in which nobody answers."""
    return Problem(
        code="MENS-D041",
        what="the conversation has no assistant message, so nothing of it can be learned.",
        fix="Add the answer, or remove the row.",
        where=place,
    )


def marker_in_text(place: str, markers: Sequence[str]) -> Problem:
    """Text could open or close a turn, because the tokenizer has the markers only as text."""
    return Problem(
        code="MENS-D042",
        what=f"a message spells {' or '.join(markers)}, which this tokenizer cannot tell "
        "from the markup around messages.",
        fix="Remove it, or use a tokenizer that has it as a control token (--tokenizer vox).",
        where=place,
    )


def nothing_to_learn(place: str, truncated: bool) -> Problem:
    """No token of a row is supervised."""
    if truncated:
        what = "its prompt fills the whole sequence, so nothing is left to learn."
        fix = "Raise --seq-len, shorten the prompt, or pass --on-bad-row skip."
    else:
        what = "nothing in the row is to be learned: every assistant message has weight 0."
        fix = "Give an assistant message weight 1, or remove the row."
    return Problem(code="MENS-D043", what=what, fix=fix, where=place)


def nothing_to_learn_anywhere(path: str, rows: int) -> Problem:
    """A file without a single supervised token."""
    return Problem(
        code="MENS-D044",
        what=f"no token of its {rows} rows is to be learned.",
        fix="Check the weights of assistant messages, and whether prompts alone fill --seq-len.",
        where=path,
    )


def row_too_long(place: str, tokens: int, limit: int) -> Problem:
    """A row exceeds the sequence length, and the operator asked to be told."""
    return Problem(
        code="MENS-D045",
        what=f"the row has {tokens} tokens, more than the {limit} of --seq-len.",
        fix="Raise --seq-len, or pass --on-long-row truncate or skip.",
        where=place,
    )


def data_file_empty(path: str) -> Problem:
    """No line with anything on it."""
    return Problem(
        code="MENS-D046", what="the file has no rows.", fix="Write rows to it.", where=path
    )


def no_row_left(path: str, dropped: Sequence[str]) -> Problem:
    """Filters and skipping leave nothing to train on."""
    return Problem(
        code="MENS-D047",
        what=f"no row is left; dropped were {', '.join(dropped)}.",
        fix="Relax --min-rating or --context-filter, or repair the rows.",
        where=path,
    )


def data_file_changed(path: str) -> Problem:
    """The bytes that were checked are no longer there."""
    return Problem(
        code="MENS-D048",
        what="the file changed after it was checked.",
        fix="Leave it alone while it is in use, then start the command again.",
        where=path,
    )


def prompt_not_unicode(place: str) -> Problem:
    """A lone surrogate, as terminals make of bytes that are no UTF-8."""
    return Problem(
        code="MENS-D049",
        what="the text is not Unicode: it has half of a surrogate pair.",
        fix="Write it in UTF-8.",
        where=place,
    )


def source_folder_missing(path: str) -> Problem:
    """There is nothing to make a corpus from."""
    return Problem(
        code="MENS-D060",
        what="there is no such folder.",
        fix="Pass a folder of Python sources with --from-python.",
        where=path,
    )


def no_pairs_found(path: str, modules: int, unparsable: int) -> Problem:
    """Source files, perhaps, but no function that makes a training row."""
    return Problem(
        code="MENS-D061",
        what=f"none of its {modules} Python files gives a training row"
        f" ({unparsable} of them cannot be parsed).",
        fix="Pass a folder with documented functions; those whose docstring has a sentence count.",
        where=path,
    )


def corpus_file_occupied(path: str) -> Problem:
    """Another file stands where the corpus should go."""
    return Problem(
        code="MENS-D062",
        what="there is a file of this name with other content.",
        fix="Choose another --output-dir, move the file away, or pass --force.",
        where=path,
    )


def output_is_input(path: str) -> Problem:
    """A command that reads a corpus was told to write over it."""
    return Problem(
        code="MENS-D063",
        what="the output is the input file.",
        fix="Name another output file.",
        where=path,
    )
