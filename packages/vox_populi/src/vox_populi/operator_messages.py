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
        what=f"the loss is not finite at step {step + 1}, in {_rows(lines)}; nothing was updated.",
        fix="Look at these rows, lower --lr or raise --warmup, or train in f32 (--dtype f32).",
    )


def gradient_not_finite(step: int, lines: Sequence[int]) -> Problem:
    """The loss is a number but a gradient is not."""
    return Problem(
        code="MENS-R002",
        what=f"a gradient is not finite at step {step + 1}, in {_rows(lines)}; nothing was updated.",
        fix="Lower --lr, raise --warmup, or train in f32 (--dtype f32).",
    )


def held_out_loss_not_finite(step: int) -> Problem:
    """The adapter of this step gives no usable loss on the held-out rows."""
    return Problem(
        code="MENS-R003",
        what=f"the held-out loss is not finite after step {step}.",
        fix="Lower --lr, raise --warmup, or train in f32 (--dtype f32).",
    )


def _rows(lines: Sequence[int]) -> str:
    shown = ", ".join(str(line) for line in sorted(lines)[:10])
    more = f" and {len(lines) - 10} more" if len(lines) > 10 else ""
    return f"the row of line {shown}{more}" if len(lines) == 1 else f"rows of lines {shown}{more}"


# Adapters and other artifacts ----------------------------------------------------------------


def artifact_missing(path: str) -> Problem:
    """A file that should be read does not exist."""
    return Problem(
        code="MENS-A001", what="there is no such file.", fix="Check the path.", where=path
    )


def artifact_not_regular(path: str) -> Problem:
    """A folder, FIFO or device where a file was expected."""
    return Problem(
        code="MENS-A002",
        what="this is no regular file.",
        fix="Give the file itself, such as RUN/model_final.bin.",
        where=path,
    )


def adapter_is_foreign(path: str, kind: str) -> Problem:
    """The first bytes are those of another format."""
    return Problem(
        code="MENS-A003",
        what=f"this is {kind}; files of that sort can run code and are never opened here.",
        fix="Where it was made, write it with safetensors.torch.save_file(state_dict, 'adapter_model.safetensors').",
        where=path,
    )


def adapter_unreadable(path: str, reason: str) -> Problem:
    """The system or the container's format refuses."""
    return Problem(
        code="MENS-A004",
        what=f"the file cannot be read: {reason}.",
        fix="Check its permissions, or copy it again from where it was written.",
        where=path,
    )


def adapter_foreign_format(path: str, found: str | None) -> Problem:
    """A safetensors container that is no adapter of ours."""
    says = f"its format is {clipped(found)}" if found is not None else "it has no format entry"
    return Problem(
        code="MENS-A005",
        what=f"this is no adapter file of vox mens train: {says}.",
        fix="Give the model_final.bin of a run folder.",
        where=path,
    )


def adapter_version_unknown(path: str, found: str | None, known: str) -> Problem:
    """Written by a version of this package that knows more than we do."""
    return Problem(
        code="MENS-A006",
        what=f"its format version is {clipped(str(found))}, this program reads version {known}.",
        fix="Update vox-cli, or train again.",
        where=path,
    )


def adapter_header_invalid(path: str, reason: str) -> Problem:
    """The header inside the container does not say what it must."""
    return Problem(
        code="MENS-A007",
        what=f"its header cannot be used: {reason}.",
        fix="Copy the file again from where it was written, or train again.",
        where=path,
    )


def adapter_tensor_missing(path: str, name: str) -> Problem:
    """The header promises a tensor that is not there."""
    return Problem(
        code="MENS-A008",
        what=f"the tensor {clipped(name)} is missing.",
        fix="Copy the file again from where it was written, or train again.",
        where=path,
    )


def adapter_tensor_unexpected(path: str, name: str) -> Problem:
    """A tensor that the header does not know."""
    return Problem(
        code="MENS-A009",
        what=f"the tensor {clipped(name)} is not named in the header.",
        fix="Copy the file again from where it was written, or train again.",
        where=path,
    )


def adapter_tensor_misshaped(
    path: str, name: str, found: Sequence[int], expected: Sequence[int]
) -> Problem:
    """A tensor of another shape than rank and layer give."""
    return Problem(
        code="MENS-A010",
        what=f"the tensor {clipped(name)} is {list(found)}, the header says {list(expected)}.",
        fix="Copy the file again from where it was written, or train again.",
        where=path,
    )


def adapter_tensor_wrong_type(path: str, name: str, found: str) -> Problem:
    """A tensor of another number type than float32."""
    return Problem(
        code="MENS-A011",
        what=f"the tensor {clipped(name)} is {found}, adapters are F32.",
        fix="Copy the file again from where it was written, or train again.",
        where=path,
    )


def adapter_not_finite(path: str, name: str) -> Problem:
    """NaN or infinity in a trained tensor."""
    return Problem(
        code="MENS-A012",
        what=f"the tensor {clipped(name)} holds values that are not finite.",
        fix="Copy the file again from where it was written, or train again.",
        where=path,
    )


# Command line: flags, environment, config file ------------------------------------------------


def usage_refused(what: str, where: str | None, command: str) -> Problem:
    """Arguments that make no sense to the parser."""
    return Problem(code="MENS-U001", what=what, where=where, fix=f"See: {command} --help")


def option_unknown(option: str, near: str | None, command: str) -> Problem:
    """A flag that the command does not have."""
    fix = f"Did you mean {near}?" if near else f"See: {command} --help"
    return Problem(code="MENS-U002", what="there is no such option.", where=option, fix=fix)


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
        code="MENS-U033",
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
