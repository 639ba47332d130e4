"""Models that are computed by transformers' own code (MENS-H200 to H219, H262 on, P140 on)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from vox_populi.operator_messages.wording import clipped
from vox_tensor.errors import Problem


def version_untested(version: str, tested: Sequence[tuple[int, int]]) -> Problem:
    """A version of transformers whose hooks may be others."""
    names = ", ".join(".".join(map(str, minor)) for minor in tested)
    first, last = tested[0], tested[-1]
    return Problem(
        code="MENS-H200",
        what=f"models without native code run through transformers {names}; {version} is installed"
        " and was not tested.",
        fix=f'Run: pip install "transformers>={first[0]}.{first[1]},<{last[0]}.{last[1] + 1}"',
    )


def no_such_class(where: str, model_type: str, version: str) -> Problem:
    """A model type that neither source has."""
    return Problem(
        code="MENS-H201",
        what=f"model_type {clipped(model_type)} is not a causal language model of"
        f" transformers {version}, and this program has no code of its own for it.",
        fix="Choose a base whose model type one of them has.",
        where=where,
    )


def class_outside(where: str, name: str) -> Problem:
    """A class that somebody registered."""
    return Problem(
        code="MENS-H202",
        what=f"{clipped(name)} is not a class of transformers itself.",
        fix="Choose a base whose class comes with transformers; no other code is run.",
        where=where,
    )


def other_architecture(where: str, found: str, expected: str) -> Problem:
    """A folder of a classifier, for instance."""
    return Problem(
        code="MENS-H203",
        what=f"architectures names {clipped(found)}; the causal language model of this type is"
        f" {expected}.",
        fix=f"Choose a folder that was saved from {expected}.",
        where=where,
    )


def config_refused(where: str, name: str, reason: str) -> Problem:
    """A config that the class of transformers cannot be built from."""
    return Problem(
        code="MENS-H204",
        what=f"transformers cannot build {name} from this config: {reason}",
        fix="Correct the config, or choose another base.",
        where=where,
    )


def class_unusable(where: str, name: str, reason: str) -> Problem:
    """A class whose parts are not where a graph needs them."""
    return Problem(
        code="MENS-H205",
        what=f"{name} cannot be trained through transformers: {reason}.",
        fix="Choose another base.",
        where=where,
    )


NO_EMBEDDINGS = "its input embeddings are not a module of it"
NO_HEAD = "its head is not called lm_head"
NO_BLOCKS = "it has no list with one block for each layer"
"""Reasons of `class_unusable`."""


def text_model_not_found(where: str, name: str) -> Problem:
    """A class with a config for a text model, and none where others have it."""
    return Problem(
        code="MENS-H262",
        what=f"no text model is found in {clipped(name)}: transformers names none within it.",
        fix="Choose a folder of the text model alone, or another base.",
        where=where,
    )


def text_sees_ahead(name: str, difference: float) -> Problem:
    """A class whose prompts are read in both directions (PaliGemma)."""
    return Problem(
        code="MENS-H263",
        what=f"{name} reads prompts in both directions: tokens that its processor marks as text see"
        f" later ones (on a toy, logits differ by {difference:.1g} of the largest), and rows are"
        " trained in one direction.",
        fix="Choose a base that reads its prompts from left to right.",
        where="--graph",
    )


def blocks_without_text(name: str, passed: int) -> Problem:
    """A class with blocks that only images pass through (Llama 3.2 Vision)."""
    return Problem(
        code="MENS-H264",
        what=f"text alone goes past some blocks of {name} ({passed} on a toy of this config):"
        " adapters there would never learn.",
        fix="Choose a base whose blocks all read text.",
        where="--graph",
    )


def class_differs(name: str, difference: float) -> Problem:
    """A class with attention or a head that ours is not."""
    return Problem(
        code="MENS-P140",
        what=f"{name} computes something that this program does not: on a toy of this config,"
        f" logits differ by {difference:.1e} of the largest.",
        fix="Choose another base.",
        where="--graph",
    )


def targets_unmatched_in_kind(roles: Sequence[str], kind: str, offered: Sequence[str]) -> Problem:
    """A role that blocks of one kind do not have, and that would silently not be trained there."""
    return Problem(
        code="MENS-P141",
        what=f"{', '.join(roles)} would not be trained everywhere: {kind} layers have no such"
        " projection.",
        fix=f"Pass all{', or only of ' + ','.join(offered) if offered else ''}.",
        where="--targets",
    )


def keeps_activations(name: str, asked: str) -> Problem:
    """A class whose blocks do not give the same gradients when they are computed again."""
    return Problem(
        code="MENS-P142",
        what=f"{asked} needs blocks that can be computed again, and those of {name} then give other"
        " gradients on a toy of this config.",
        fix="Pass --activation-memory none, or fewer tokens (--batch-size, --seq-len).",
        where="--activation-memory",
    )


def no_mlp_to_repeat(name: str, asked: str) -> Problem:
    """A class in which some block has no MLP of its own that could be computed again alone."""
    return Problem(
        code="MENS-P160",
        what=f"{asked} computes MLPs again, and not every block of {name} has one of its own.",
        fix="Pass --activation-memory full.",
        where="--activation-memory",
    )


def not_divided() -> Problem:
    """Processes do not hold a base of transformers together."""
    return Problem(
        code="MENS-P143",
        what="a base that transformers computes is not divided among processes.",
        fix="Omit --shard always; each process then has the whole base.",
        where="--shard",
    )


def note_source(name: str, version: str) -> str:
    """Whose code computes the base."""
    return (
        f"transformers {version} computes this base ({name}); the same bytes again need the same"
        " version."
    )


def kernel_needs_gpu(package: str) -> str:
    """Packed rows of recurrent layers on a device that the package does not compute on."""
    return f"{package} keeps packed rows apart on a GPU of CUDA only"


def note_other_version(trained: str, installed: str) -> str:
    """An adapter whose base was computed by another minor version in training."""
    return (
        f"the adapter was trained with transformers {trained}; {installed} computes its base now."
        " If answers or losses differ from those of training, install the version of training."
    )


def note_one_row_at_a_time(leak: float | None, refused: str) -> str:
    """Rows that the class would mix, or does not take."""
    why = (
        f"packed, they would see each other (logits or gradients of a toy differ by {leak:.1g})"
        if leak is not None
        else f"transformers does not pack them: {refused}"
    )
    return f"each row is computed on its own, which is slower: {why}."


def note_frozen(shares: Mapping[str, float], names: Sequence[str]) -> str:
    """Matrices of the blocks that no adapter can be put on."""
    parts = ", ".join(f"{reason} {share:.1%}" for reason, share in shares.items())
    return f"without adapters stay, of the values in the blocks: {parts} (such as {names[0]})."


NO_FORM = "this program has no native code for its family, and knows no other form of it"
"""Why a base of transformers is not exported for other programs."""


NOT_EXPORTED = Problem(
    code="MENS-H206",
    what=f"{NO_FORM}.",
    fix="Merge it into a folder that transformers loads: vox mens merge-weights --format hf.",
)
"""A form that needs our own graph."""
