"""The functions behind the commands that hand results to other programs and people.

As in `api.py`, paths may be text and members of closed sets their words. `vox_populi` exports
these names.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Literal, TypedDict, Unpack

from vox_populi.export.consumers import Consumer
from vox_populi.hub.transfer import UNWATCHED, TransferWatcher
from vox_populi.merge.choices import MergeFormat, Onto
from vox_populi.merge.number_type import MergeDtype
from vox_populi.pipeline.export import ExportReport, ExportRequest
from vox_populi.pipeline.export import export_adapter as export
from vox_populi.pipeline.merge import AnyMergeRequest, MergeReport
from vox_populi.pipeline.merge import merge_adapter as merge_any_adapter
from vox_populi.pipeline.model_arguments import with_model_folders
from vox_populi.pipeline.push import PushReport, PushRequest
from vox_populi.pipeline.push import push_to_hub as push
from vox_populi.pipeline.transfer_lines import download_lines

PathLike = str | Path


class AdapterBase(TypedDict, total=False):
    """The base of an adapter, for one that is not where it was in training."""

    model: PathLike
    """Folder of the base; or its name on the hub, such as `org/name@revision`."""
    allow_download: bool
    """Download a `model` that is named as on the hub; otherwise it must be in the hub's cache."""


class PushOptions(AdapterBase, total=False):
    """Settings of an upload."""

    branch: str
    """Branch, if it is not `main`."""
    public: bool
    """Let everybody read a repository that is made, or that is public already."""
    dry_run: bool
    """List the files only; connect to nothing."""
    force: bool
    """Upload even if the branch has other weights."""
    base_name: str
    """An adapter's base on the hub, if it is not recorded."""
    include_system_prompt: bool
    """Send the training's system prompt with the chat template."""


def merge_adapter(
    adapter: PathLike,
    output: PathLike,
    *,
    onto: Literal["original", "dequant"] | None = None,
    format: Literal["hf", "vox"] = "hf",
    dtype: Literal["auto", "bf16", "f16", "f32"] = "auto",
    force: bool = False,
    progress: Callable[[str], object] | None = None,
    **base: Unpack[AdapterBase],
) -> MergeReport:
    """Fold an adapter into its base, prove that the result computes the same, and publish it.

    Args:
        adapter: Run folder, checkpoint folder or adapter file.
        output: A new folder.
        onto: For QLoRA, the weights to merge onto: those stored in the base, or those trained
            on (the default).
        format: A folder that transformers loads, or `model_merged.bin`.
        dtype: Number type to write; `auto` is the narrowest that keeps what was trained.
        force: Move an occupied `output` aside.
        progress: Gets lines of text of a download; `None` for silence.
        base: `model` and `allow_download`, if the base has moved since training.

    Raises:
        VoxError: For an adapter or base that cannot be used, or a merge that loses too much.
    """
    request = AnyMergeRequest(
        source=Path(adapter),
        output=Path(output),
        model_dir=_path(base.get("model")),
        allow_download=base.get("allow_download", False),
        onto=None if onto is None else Onto(onto),
        output_format=MergeFormat(format),
        dtype=MergeDtype(dtype),
        force=force,
    )
    return merge_any_adapter(with_model_folders(request, download_lines(progress)))


def export_adapter(
    adapter: PathLike,
    output: PathLike,
    consumer: Literal["peft", "vllm", "gguf", "mlx"],
    *,
    progress: Callable[[str], object] | None = None,
    **base: Unpack[AdapterBase],
) -> ExportReport:
    """Write an adapter in the form that another program loads.

    Args:
        adapter: Run folder or adapter file.
        output: A new folder.
        consumer: The program.
        progress: Gets lines of text of a download; `None` for silence.
        base: `model` and `allow_download`, if the base has moved since training.

    Raises:
        VoxError: With every reason why the program cannot load it.
    """
    request = ExportRequest(
        source=Path(adapter),
        consumer=Consumer(consumer),
        output_dir=Path(output),
        model_dir=_path(base.get("model")),
        allow_download=base.get("allow_download", False),
    )
    return export(with_model_folders(request, download_lines(progress)))


def push_to_hub(
    source: PathLike,
    repository: str,
    *,
    watcher: TransferWatcher | None = None,
    **options: Unpack[PushOptions],
) -> PushReport:
    """Send an adapter in PEFT's form, or a model folder, to the Hugging Face Hub in one commit.

    A repository that is made is private unless `public` is true. The access token is the one of
    the hub's own client: `HF_TOKEN`, or that of `hf auth login`.

    Args:
        source: Run, checkpoint or adapter; or a model folder such as a merge writes.
        repository: `org/name`; made if it is not there.
        watcher: Is told what is sent, and what is downloaded before; `None` for silence.
        options: `public`, `branch`, `dry_run`, `base_name`, …

    Raises:
        VoxError: For something that cannot be sent, a name, a token, the network.
    """
    request = PushRequest(
        source=Path(source),
        target=Path(repository),
        branch=options.get("branch"),
        public=options.get("public", False),
        dry_run=options.get("dry_run", False),
        force=options.get("force", False),
        base_name=options.get("base_name"),
        model_dir=_path(options.get("model")),
        allow_download=options.get("allow_download", False),
        include_system_prompt=options.get("include_system_prompt", False),
    )
    told = watcher or UNWATCHED
    return push(with_model_folders(request, told), told)


def _path(path: PathLike | None) -> Path | None:
    return None if path is None else Path(path)
