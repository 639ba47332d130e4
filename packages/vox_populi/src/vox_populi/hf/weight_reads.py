"""Linear layers whose weight a class reads by itself, in place of calling the layer.

An adapter or packed codes in place of such a layer would be ignored without a word, so it must stay
as it is. The source of the class says which ones these are: Mamba multiplies with
`self.dt_proj.weight`, and its kernels for GPUs are given that of `out_proj`, which PEFT refuses to
adapt. Questions for the type or the place of a weight do not count.
"""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Iterator
from functools import cache
from types import FunctionType

_HARMLESS = frozenset({"dtype", "device", "shape", "ndim"})
_RANKS = "pretraining_tp"
_SETTING_UP = frozenset({"__init__", "reset_parameters", "_init_weights"})


@cache
def layers_read_by_weight(owner: type) -> frozenset[str]:
    """Names of the attributes of a class whose `weight` its methods read.

    Args:
        owner: The class of the module that has the layers.
    """
    found: set[str] = set()
    for each in owner.__mro__:
        if each.__module__.startswith("transformers."):
            for name, method in vars(each).items():
                plain = inspect.unwrap(method) if callable(method) else None
                if isinstance(plain, FunctionType) and name not in _SETTING_UP:
                    found.update(_read_in(plain))
    return frozenset(found)


def _read_in(method: FunctionType) -> Iterator[str]:
    if "weight" not in method.__code__.co_names:
        return
    try:
        source = textwrap.dedent(inspect.getsource(method))
    except OSError:
        return
    yield from _reads(ast.parse(source))


def _reads(node: ast.AST) -> Iterator[str]:
    if isinstance(node, ast.Attribute) and node.attr in _HARMLESS:
        return
    if isinstance(node, ast.Attribute) and node.attr == "weight":
        owner = node.value
        if isinstance(owner, ast.Attribute) and _is_self(owner.value):
            yield owner.attr
    if isinstance(node, ast.If) and _simulates_ranks(node.test):
        children: list[ast.AST] = list(node.orelse)
    else:
        children = list(ast.iter_child_nodes(node))
    for child in children:
        yield from _reads(child)


def _simulates_ranks(test: ast.AST) -> bool:
    """Whether a condition asks for the sums of processes in pretraining (Bloom)."""
    return any(isinstance(n, ast.Attribute) and n.attr == _RANKS for n in ast.walk(test))


def _is_self(node: ast.AST) -> bool:
    return isinstance(node, ast.Name) and node.id == "self"
