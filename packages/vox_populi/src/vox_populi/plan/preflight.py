"""Every check of the inputs, in one pass, before any weight is read. Writes nothing."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from vox_populi.contract.choices import Backend
from vox_populi.contract.finetune_contract import FinetuneContract
from vox_populi.data.data_report import DataReport
from vox_populi.data.dataset import RowDataset
from vox_populi.data.supervision import layout_of
from vox_populi.data.trained_layout import TrainedLayout
from vox_populi.data.training_text import ChatTemplate, TemplatePlace, TextPolicy
from vox_populi.errors import MissingExtraError, ModelError
from vox_populi.files.file_digest import content_digest, digest_of_files
from vox_populi.hf.chat_template_files import find_chat_template
from vox_populi.hf.embedded import embedded_model_dir
from vox_populi.hf.hf_tokenizer import TOKENIZER_NAME, require_tokenizer_file
from vox_populi.hf.inventory import ModelInventory, base_digest, read_inventory
from vox_populi.hf.model_config import CONFIG_NAME, ModelConfig, read_model_config
from vox_populi.hf.model_place import model_place_problem
from vox_populi.operator_messages import plan as say_plan
from vox_populi.operator_messages.rows import layout_has_no_tools
from vox_populi.plan.data_check import check_rows, is_folder, skip_rate_problems
from vox_populi.plan.execution_planner import DataFacts
from vox_populi.plan.findings import Findings
from vox_populi.plan.graph_choice import GraphChoice, choose_graph, target_problems
from vox_populi.plan.label_notes import label_notes
from vox_populi.plan.memory_estimate import adapter_size
from vox_populi.plan.output_folder import (
    AS_NEW_FOLDER,
    FolderUse,
    check_cache_folder,
    check_output_folder,
)
from vox_populi.plan.template_choice import choose_template
from vox_populi.plan.tokenizer_choice import TokenizerChoice, choose_tokenizer
from vox_tensor.tokenizer import TextTokenizer, VoxTokenizer


@dataclass(frozen=True, slots=True, kw_only=True)
class PreflightReport:
    """Inputs that passed every check, opened as far as planning and training need them."""

    contract: FinetuneContract
    """The request, with the template that `auto` became."""
    inventory: ModelInventory
    graph: GraphChoice
    tokenizer: TextTokenizer
    tokenizer_path: Path
    is_tokenised: bool
    """False where `tokenizers` is not installed: `tokenizer` is then a stand-in that was enough
    to check rows for a plan, and is good for nothing else."""
    policy: TextPolicy
    layout: TrainedLayout | None
    """What a run records of its text; `None` for our vocabulary."""
    train: RowDataset
    valid: RowDataset
    """Held-out rows; may be none."""
    facts: DataFacts
    digests: Mapping[str, str]
    """Digests of `data`, `valid` (if it is a file), `template`, `tokenizer` (if it could be
    loaded), `init_from` (if the request has an adapter) and `base_headers`: config, and
    name, type, shape and place of every tensor. The weights themselves are not read here; see
    `base_digest`."""
    notes: tuple[str, ...] = ()
    local_notes: tuple[str, ...] = ()
    """Notes with paths of this machine, which no file of a run contains."""

    @property
    def data_report(self) -> DataReport:
        """Counts of `train.jsonl`."""
        return self.train.report

    def base_digest(self) -> str:
        """`sha256:` and the hash of the base's config and weights; reads all of them.

        Raises:
            ModelError: When a file cannot be read any more.
        """
        return base_digest(self.inventory)


def preflight(contract: FinetuneContract, use: FolderUse = AS_NEW_FOLDER) -> PreflightReport:
    """Check output folder, base model, targets, tokenizer and rows; report all findings at once.

    Args:
        contract: The request.
        use: What a run will do with its output folder.

    Raises:
        PreflightError: With every finding, when at least one input must change (exit 3).
        EnvironmentFailure: With every finding, when only disk, permissions or a lock are in
            the way (exit 5).
    """
    found = Findings()
    model_dir = contract.model_dir or found.attempt(embedded_model_dir)
    inventory = None if model_dir is None else _inventory_of(contract, model_dir, found)
    config = inventory.config if inventory else _config_of(contract, model_dir)
    text = _text_of(contract, config, found)
    contract, tokenizer = text.contract, text.tokenizer
    graph = None if inventory is None else choose_graph(contract, inventory)
    layers = graph.adapters if graph else ()
    size = adapter_size(layers, contract.lora.rank, contract.optimization.optimizer)
    check_output_folder(contract, size, found, use)
    if inventory is not None:
        _check_cache(contract, inventory, found)
    init_from = contract.init_from
    start = None if init_from is None else found.attempt(lambda: content_digest(init_from))
    if graph is not None:
        found.refuse(graph.problems)
    elif config is not None:
        found.refuse(target_problems(contract, config))
    rows_found = Findings()
    rows = check_rows(contract, tokenizer, text.policy, rows_found, is_tokenised=text.is_tokenised)
    # What a stand-in for the template cannot lay out says nothing about the row.
    found.take(rows_found, without=() if text.has_template else (layout_has_no_tools("").code,))
    if rows is not None:
        found.refuse(skip_rate_problems(contract, rows))
    found.raise_if_any()
    assert inventory is not None, "a missing inventory is a finding"
    assert graph is not None, "it is chosen wherever there is an inventory"
    assert rows is not None, "missing rows are a finding"
    digests = {
        "template": text.policy.digest,
        "base_headers": _header_digest(inventory),
        **rows.digests,
    }
    if text.is_tokenised:
        digests["tokenizer"] = tokenizer.digest
    if start is not None:
        digests["init_from"] = f"sha256:{start}"
    facts = rows.facts(contract.batching.rows_per_step, is_tokenised=text.is_tokenised)
    return PreflightReport(
        contract=contract,
        inventory=inventory,
        graph=graph,
        tokenizer=tokenizer,
        tokenizer_path=text.path or inventory.model_dir / TOKENIZER_NAME,
        is_tokenised=text.is_tokenised,
        policy=text.policy,
        layout=text.layout,
        train=rows.train,
        valid=rows.valid,
        facts=facts,
        digests=digests,
        notes=(
            *inventory.config.notes,
            *text.notes,
            *rows.notes(contract.batching.seq_len),
            *label_notes(contract, facts),
        ),
        local_notes=rows.local_notes,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _TextInputs:
    """What turns rows into ids."""

    contract: FinetuneContract
    tokenizer: TextTokenizer
    path: Path | None
    """File of the tokenizer; `None` if it could not be loaded, and `tokenizer` is a stand-in."""
    policy: TextPolicy
    layout: TrainedLayout | None
    notes: tuple[str, ...]
    has_template: bool
    """Whether `policy` is no stand-in for a template with a problem."""

    @property
    def is_tokenised(self) -> bool:
        return self.path is not None


def _text_of(
    contract: FinetuneContract, config: ModelConfig | None, found: Findings
) -> _TextInputs:
    chosen = _tokenizer_of(contract, config, found)
    tokenizer = chosen.tokenizer if chosen else VoxTokenizer()
    if config is not None and chosen is not None:
        _check_vocabulary(chosen, config, found)
    asked = _policy_of(contract, chosen, found)
    policy, notes = asked or _stand_in(contract)
    template = policy.kind if chosen else _template_by_files(contract, found)
    tokenizer_notes = chosen.notes if chosen else (say_plan.NOTE_ROWS_NOT_TOKENISED,)
    return _TextInputs(
        contract=replace(contract, text=replace(contract.text, template=template)),
        tokenizer=tokenizer,
        path=chosen.path if chosen else None,
        policy=policy,
        layout=found.attempt(lambda: layout_of(tokenizer, policy)),
        notes=(*tokenizer_notes, *notes),
        has_template=asked is not None,
    )


def _template_by_files(contract: FinetuneContract, found: Findings) -> ChatTemplate:
    """The template as far as it can be told without the vocabulary, for a plan."""
    asked, folder = contract.text.template, contract.model_dir
    if isinstance(asked, TemplatePlace):
        return ChatTemplate.FILE
    if asked is not ChatTemplate.AUTO or folder is None or not is_folder(folder):
        return asked
    own = found.attempt(lambda: find_chat_template(folder))
    return ChatTemplate.CHATML if own is None else ChatTemplate.MODEL


def _inventory_of(
    contract: FinetuneContract, model_dir: Path, found: Findings
) -> ModelInventory | None:
    """What the folder holds; for QLoRA also a folder in NF4, or one that lacks tensors."""
    problem = model_place_problem(model_dir)
    if problem is not None:
        found.refuse([problem])
        return None
    is_qlora = contract.backend is Backend.QLORA
    return found.attempt(
        lambda: read_inventory(
            model_dir,
            complete=not is_qlora,
            allow_nf4=is_qlora,
            source=contract.graph_source,
        )
    )


def _config_of(contract: FinetuneContract, model_dir: Path | None) -> ModelConfig | None:
    """The config of a folder whose weights have problems, so that targets are checked as well."""
    if model_dir is None or not is_folder(model_dir):
        return None
    try:
        return read_model_config(model_dir, contract.graph_source)
    except (ModelError, OSError):
        return None


def _check_cache(contract: FinetuneContract, inventory: ModelInventory, found: Findings) -> None:
    """Look at the cache folder where it will be used."""
    cache_dir = contract.qlora.cache_dir
    if cache_dir is not None and not inventory.nf4 and not inventory.missing:
        check_cache_folder(cache_dir, found)


def _tokenizer_of(
    contract: FinetuneContract, config: ModelConfig | None, found: Findings
) -> TokenizerChoice | None:
    """The request's tokenizer; `None` when it cannot be loaded, for whatever reason.

    That `tokenizers` is not installed is no finding: a plan can be made without it, and a run
    asks for the extra before it comes here.
    """
    if contract.model_dir is not None and model_place_problem(contract.model_dir) is not None:
        return None  # Reported already, in the words of the model folder.
    kind, model_dir = contract.tokenizer, contract.model_dir
    eos_ids = config.eos_ids if config else ()
    try:
        return found.attempt(lambda: choose_tokenizer(kind, model_dir, eos_ids))
    except MissingExtraError:
        if model_dir is not None:
            found.attempt(partial(require_tokenizer_file, model_dir / TOKENIZER_NAME))
        return None


def _policy_of(
    contract: FinetuneContract, chosen: TokenizerChoice | None, found: Findings
) -> tuple[TextPolicy, tuple[str, ...]] | None:
    """The request's text policy with the base's template in it, and notes; `None` for a problem."""
    asked = contract.text
    if chosen is None:
        is_plain = asked.template is ChatTemplate.PLAIN
        return (asked, ()) if is_plain else _stand_in(contract)
    folder, tokenizer = contract.model_dir, chosen.tokenizer
    return found.attempt(lambda: choose_template(asked, folder, tokenizer))


def _stand_in(contract: FinetuneContract) -> tuple[TextPolicy, tuple[str, ...]]:
    """ChatML, in which rows are laid out where there is no template, to be checked at all."""
    return TextPolicy(system_prompt=contract.text.system_prompt), ()


def _check_vocabulary(chosen: TokenizerChoice, config: ModelConfig, found: Findings) -> None:
    ids = chosen.tokenizer.vocab_size
    if ids > config.vocab_size:
        found.refuse(
            [say_plan.tokenizer_beyond_embedding(ids, config.vocab_size).at(str(chosen.path))]
        )


def _header_digest(inventory: ModelInventory) -> str:
    """Identity of a base as far as its headers tell; costs nothing even for 70B."""
    packed = (info for stored in inventory.nf4.values() for info in stored.parts.values())
    dense = ((key, info) for key, info in inventory.tensors.items() if info.parts == (info,))
    parts = (part for info in inventory.tensors.values() for part in info.parts if part is not info)
    tensors = {**dict(dense), **{info.name: info for info in (*packed, *parts)}}
    layout = [
        [name, info.dtype, list(info.shape), info.shard, info.start, info.end]
        for name, info in sorted(tensors.items())
    ]
    config = digest_of_files([inventory.model_dir / CONFIG_NAME])
    text = json.dumps([config, layout], separators=(",", ":"))
    return "sha256:" + hashlib.sha256(text.encode("ascii")).hexdigest()
