"""Comparing a server's answers with ours: request, report and function. No torch."""

from __future__ import annotations

import os
from dataclasses import dataclass, field

from vox_populi import extras, number_ranges
from vox_populi.contract.setting import require_settings, setting
from vox_populi.data.asked_rows import AskedRows
from vox_populi.evals.rounding import Rounding
from vox_populi.evals.served_forms import read_models
from vox_populi.evals.served_verdict import ServedVerdict
from vox_populi.evals.server_address import read_address
from vox_populi.evals.server_client import ServerClient, ServerKey
from vox_populi.files.json_numbers import JsonObject
from vox_populi.files.json_report import HIDDEN, json_fields, shown
from vox_populi.number_ranges import NumberRange
from vox_populi.pipeline.early_refusals import refuse_all, require_rows, weights_checks
from vox_populi.pipeline.runners import NEEDED_TO_RUN, load_runner
from vox_populi.pipeline.weights_choice import WeightsChoice
from vox_populi.serve.address_text import read_key
from vox_tensor.errors import Problem

API_KEY_VARIABLE = "VOX_MENS_API_KEY"
"""The variable that `vox mens serve` takes its key from too."""
SECONDS = NumberRange(lowest=1, highest=3600)
_COUNT = NumberRange(lowest=1, highest=1000)


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckServedSettings:
    """The weights to compare with, what is asked, and what may differ."""

    weights: WeightsChoice = field(default_factory=WeightsChoice)
    data: AskedRows = setting(
        (),
        "File of rows whose conversations are asked, or folder with held-out rows.",
        metavar="FILE|DIR",
    )
    """Empty: the built-in conversations."""
    count: int = setting(8, "Rows of --data to ask.", allowed=_COUNT)
    served_model: str | None = setting(
        None,
        "Model to ask, as the server lists it.",
        metavar="NAME",
        default_text="ours by its name, or the only one",
    )
    max_new_tokens: int = setting(
        48, "Largest number of tokens per answer.", allowed=number_ranges.NEW_TOKENS
    )
    rounding: Rounding = setting(Rounding.HALF, "Coarsest number type that the server may have.")
    timeout_secs: int = setting(120, "Time for each answer of the server.", allowed=SECONDS)


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckServedRequest(CheckServedSettings):
    """A server to compare with."""

    url: str

    def __post_init__(self) -> None:
        require_settings(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckServedReport:
    """What differs between a server and us."""

    url: str
    server: str
    """Whose server it is."""
    served_model: str
    model: str
    adapter: str | None
    verdict: ServedVerdict = field(metadata=shown(inline=True))
    weights_notes: tuple[str, ...] = field(metadata=HIDDEN)

    @property
    def ok(self) -> bool:
        """Whether nothing differs that was compared."""
        return not self.problems

    @property
    def problems(self) -> tuple[Problem, ...]:
        """What differs."""
        return self.verdict.problems

    @property
    def notes(self) -> tuple[str, ...]:
        """About the weights, and what could not be compared."""
        return (*self.weights_notes, *self.verdict.notes)

    def as_json(self) -> JsonObject:
        """The fields of `vox mens check-served --json`."""
        return {**json_fields(self), "notes": list(self.notes)}


def check_served(request: CheckServedRequest) -> CheckServedReport:
    """Ask a server and compare its answers with ours, greedily.

    Raises:
        ConfigError: For an unusable address, or when it is not clear which model to ask.
        EnvironmentFailure: When the server cannot be reached, or answers in another form.
        VoxError: For unusable weights or rows.
    """
    client = open_client(request.url, request.timeout_secs)
    extras.require(*NEEDED_TO_RUN)
    rows = (lambda: require_rows(request.data),) if request.data else ()
    refuse_all(*weights_checks(request.weights), *rows)
    # A server that is not there is known before torch is loaded.
    models = read_models(client)
    module = load_runner("check_served_run")
    report: CheckServedReport = module.check_served(request, client, models)
    return report


def open_client(url: str, seconds: float) -> ServerClient:
    """A server by its address, with the key of the environment.

    Raises:
        ConfigError: For an unusable address or key.
    """
    token = read_key(None, os.environ.get(API_KEY_VARIABLE) or None)
    key = ServerKey(variable=API_KEY_VARIABLE, token=token)
    return ServerClient(read_address(url), key, seconds)
