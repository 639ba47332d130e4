"""Model families, and what was proven of each, as readable text."""

from __future__ import annotations

from vox_cli.columns import Column, table_lines
from vox_populi.hf.proven_family import Proven, ProvenFamily, RowsTogether
from vox_populi.operator_messages import model_check as say
from vox_populi.pipeline.list_models import ModelsReport


def models_text(report: ModelsReport, room: int | None) -> str:
    """A table of the families, and what is not in it."""
    families = report.families

    def column(name: str, cells: list[str], priority: int) -> Column:
        return Column(name=name, cells=cells, priority=priority, is_number=False)

    columns = [
        column("model_type", [each.model_type for each in families], 0),
        column("graph", [each.source.value for each in families], 1),
        column("rows", [rows_text(each) for each in families], 2),
        column("proven", [proven_text(each) for each in families], 3),
        column("by", [each.by.value for each in families], 4),
        column("class", [each.class_name for each in families], 5),
    ]
    return "\n".join([*table_lines(columns, room), "", say.OTHER_TYPES])


def rows_text(family: ProvenFamily) -> str:
    """How its rows are computed, with the leak if one was measured."""
    if family.leak is None:
        return family.rows.value
    leak = "differs" if family.rows is RowsTogether.REFUSED else "leak"
    return f"{family.rows.value} ({leak} {family.leak:.1g})"


def proven_text(family: ProvenFamily) -> str:
    """What was proven, or `all`, and which quantised folders are read."""
    proven = "all" if family.proven == tuple(Proven) else ", ".join(family.proven)
    return "; reads ".join((proven, *family.packed_forms))
