"""The help of a command: its arguments, and its options under headings if there are many."""

from __future__ import annotations

from typing import Any

from typer.core import TyperCommand

from vox_cli.terminal import STDOUT

_SHORT = 16
"""Up to so many options are listed without headings."""

_WIDEST = 78

_HEADINGS = {
    "Rows": "data data_dir min_rating context_filter on_bad_row on_long_row validation_split_ratio"
    " row_cache row_cache_dir count row line prompt prompts interactive",
    "Weights": "model init_from run checkpoint adapter",
    "Output": "output_dir resume force config print_config dry_run report_to",
    "Method": "backend preset targets rank alpha dropout rslora deployment_target",
    "Length and steps": "epochs max_steps max_runtime_secs batch_size grad_accum"
    " micro_batches seq_len seed share_prefixes",
    "Learning rate and optimizer": "lr schedule warmup optimizer weight_decay max_grad_norm",
    "Text and tokens": "tokenizer template template_date system_prompt force_template history learn"
    " on_control_text",
    "Answers": "generate max_new_tokens temperature top_k top_p repetition_penalty",
    "Evaluation and checkpoints": "eval_every early_stopping_patience checkpoint_every"
    " keep_checkpoints keep_best check_rows samples log_every compare_base",
    "Which rows count, and when": "curriculum trajectory_weighting_enabled"
    " trajectory_tool_trace_boost trajectory_failure_category_boost trajectory_quality_floor"
    " trajectory_quality_boost",
    "Provenance": "base_model_family upstream_model_id license_class attribution_required",
    "Device": "device dtype threads activation_memory nproc",
    "QLoRA": "base_quant kernel nf4_block_size nf4_cache nf4_cache_dir ce_last_k",
}
"""Headings, each with the names of its options in their order."""


class GroupedCommand(TyperCommand):
    """A command whose help has headings."""

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Write the arguments, then the options."""
        arguments = [each for each in self.get_params(ctx) if each.param_type_name == "argument"]
        if arguments:
            with formatter.section("Arguments"):
                rows = [(str(each.metavar), each.help or "") for each in arguments]  # type: ignore[attr-defined] # Typer's arguments have a help
                formatter.write_dl(rows)
        records = {
            str(each.name): record
            for each in self.get_params(ctx)
            if each.param_type_name == "option" and (record := each.get_help_record(ctx))
        }
        for title, names in headed(tuple(records)).items():
            with formatter.section(title):
                formatter.write_dl([records[name] for name in names])


def help_width() -> int:
    """Columns of help: those of a narrow terminal, which Click would overrun, and at most 78."""
    return min(STDOUT.columns() - 2, _WIDEST)


def headed(names: tuple[str, ...]) -> dict[str, tuple[str, ...]]:
    """Names of options by their headings; what belongs under none of them is last."""
    if len(names) <= _SHORT:
        return {"Options": names}
    listed = {
        title: tuple(name for name in members.split() if name in names)
        for title, members in _HEADINGS.items()
    }
    listed["QLoRA"] += tuple(name for name in names if name.startswith("qlora_"))
    known = {name for members in listed.values() for name in members}
    listed["Other"] = tuple(name for name in names if name not in known)
    return {title: members for title, members in listed.items() if members}
