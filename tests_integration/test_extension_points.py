"""What adding one more of something touches, as far as the sources can tell."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from vox_cli.command_table import COMMANDS, CommandEntry
from vox_populi.contract.optimizer_choice import OptimizerKind

ROOT = Path(__file__).resolve().parents[1]
POPULI = ROOT / "packages/vox_populi/src/vox_populi"
GENERATED = POPULI / "contract" / "training_settings.py"
SOURCES = tuple(path for path in (ROOT / "packages").rglob("src/**/*.py") if path != GENERATED)
"""Those that are written by hand."""
PEER_NAMES = POPULI / "operator_messages" / "peer_names.py"
HELP_GROUPS = ROOT / "packages/vox_cli/src/vox_cli/grouped_help.py"
"""Under which heading of the help an option stands; one that is not in it stands last."""
OPTIMIZER_ROWS = POPULI / "contract" / "optimizer_choice.py"


@pytest.mark.parametrize(
    "kind", [kind for kind in OptimizerKind if kind is not OptimizerKind.ADAMW]
)
def test_an_optimizer_is_one_row_and_one_file(kind: OptimizerKind) -> None:
    """The rest asks `OPTIMIZERS`; the names that peers have for it are data."""
    word = re.compile(rf"\b{kind.value}\b", re.IGNORECASE)
    mentions = {path for path in SOURCES if word.search(path.read_text(encoding="utf-8"))}
    module = POPULI / "train" / "optimizers" / f"{kind.value}.py"
    assert mentions | {module} == {OPTIMIZER_ROWS, module, PEER_NAMES}
    assert module.is_file()


@pytest.mark.parametrize(
    ("setting", "users"),
    [
        ("weight_decay", {"train/optimizers/optimizer.py"}),
        ("early_stopping_patience", None),
        ("context_filter", None),
    ],
)
def test_a_setting_is_a_field_and_where_it_is_used(setting: str, users: set[str] | None) -> None:
    """Flag, key, variable, record and page follow from the field; nothing hands it on by name."""
    word = re.compile(rf"\b{setting}\b")
    mentions = {path for path in SOURCES if word.search(path.read_text(encoding="utf-8"))}
    mentions.discard(HELP_GROUPS)
    handing_on = {"engine_setup.py", "mens_train.py", "train_request.py"}
    assert {path.name for path in mentions} & handing_on == set()
    if users is not None:
        field = POPULI / "contract" / "setting_groups.py"
        assert mentions == {field, *(POPULI / user for user in users)}


@pytest.mark.parametrize("entry", COMMANDS, ids=lambda entry: " ".join(entry.words))
def test_a_command_is_a_row_and_a_file_beside_its_verb(entry: CommandEntry) -> None:
    """The table finds the module by the words; only another name of the command imports it."""
    commands = ROOT / "packages/vox_cli/src/vox_cli/commands"
    module = entry.module.rpartition(".")[2]
    imported = re.compile(rf"\b(?:import |commands\.){module}\b")
    mentions = {path for path in SOURCES if imported.search(path.read_text(encoding="utf-8"))}
    assert (commands / f"{module}.py").is_file()
    assert {path.parent for path in mentions} <= {commands}
