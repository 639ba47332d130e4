"""Weights & Biases: offline, unless the operator's own configuration says otherwise."""

from __future__ import annotations

import os
import uuid
from collections.abc import Mapping

from vox_populi import extras
from vox_populi.loggers.logger_run import PROJECT, LoggedRun

OFFLINE = "offline"


class WandbRun:
    """A run of W&B; it records neither the console, nor code, host, user or folder."""

    def __init__(self, run: LoggedRun) -> None:
        os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
        wandb = extras.load("wandb")
        run.folder.mkdir(parents=True, exist_ok=True)
        self.run_id = run.known_as or uuid.uuid4().hex[:12]
        settings = wandb.Settings(
            console="off",
            silent=True,
            disable_git=True,
            disable_code=True,
            save_code=False,
            host="",
            username="",
            x_disable_meta=True,
            x_disable_machine_info=True,
            x_save_requirements=False,
        )
        self._run = wandb.init(
            # The operator's WANDB_MODE, WANDB_PROJECT and WANDB_DIR decide.
            mode=os.environ.get("WANDB_MODE") or OFFLINE,
            project=os.environ.get("WANDB_PROJECT") or PROJECT,
            dir=os.environ.get("WANDB_DIR") or str(run.folder),
            name=os.environ.get("WANDB_NAME") or run.name,
            id=self.run_id,
            resume="allow",
            config=dict(run.settings),
            settings=settings,
        )
        # Steps of our own: a resumed run repeats some, which W&B's own may not.
        self._run.define_metric("step")
        self._run.define_metric("*", step_metric="step")

    def log(self, step: int, values: Mapping[str, float], time_seconds: float) -> None:
        """Record the values of a step."""
        self._run.log({"step": step, **values})

    def finish(self, *, is_complete: bool) -> None:
        """Mark the run as finished or failed."""
        self._run.finish(exit_code=0 if is_complete else 1)
