"""The functions of a Python module, cut out of its text.

Foreign source is only parsed, never imported or run.
"""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypeAlias

from vox_populi.corpus.stdlib_split import parse_source

FunctionNode: TypeAlias = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True, slots=True)
class SourceFunction:
    """A function or method in its module."""

    node: FunctionNode
    qualname: str
    """Dotted name inside the module, like `__qualname__`."""
    class_name: str | None
    """The class it is defined in; `None` for a function."""

    @property
    def statements(self) -> list[ast.stmt]:
        """The body without its docstring."""
        return self.node.body[1:] if self.docstring is not None else self.node.body

    @property
    def docstring(self) -> str | None:
        """The docstring without its indentation."""
        return ast.get_docstring(self.node, clean=True)

    @property
    def signature(self) -> str:
        """Name and parameters as they would be written on one line."""
        returns = self.node.returns
        arrow = "" if returns is None else f" -> {ast.unparse(returns)}"
        return f"{self.node.name}({ast.unparse(self.node.args)}){arrow}"


def functions_of(module: ast.Module) -> Iterator[SourceFunction]:
    """Yield every function of a module in the order of its text, nested ones included."""
    yield from _walk(module, "", None)


def _walk(parent: ast.AST, prefix: str, class_name: str | None) -> Iterator[SourceFunction]:
    for child in ast.iter_child_nodes(parent):
        match child:
            case ast.FunctionDef() | ast.AsyncFunctionDef():
                yield SourceFunction(child, prefix + child.name, class_name)
                yield from _walk(child, f"{prefix}{child.name}.<locals>.", None)
            case ast.ClassDef():
                yield from _walk(child, f"{prefix}{child.name}.", child.name)
            case ast.expr():
                continue  # a lambda is no function to us, and nothing else in here holds one
            case _:
                yield from _walk(child, prefix, class_name)


def is_trivial(statements: list[ast.stmt]) -> bool:
    """Whether a body does nothing: `pass`, `...`, a string, or `raise NotImplementedError`."""
    return all(_does_nothing(statement) for statement in statements)


def _does_nothing(statement: ast.stmt) -> bool:
    match statement:
        case ast.Pass() | ast.Expr(value=ast.Constant()):
            return True
        case (
            ast.Raise(exc=ast.Name(id="NotImplementedError"))
            | ast.Raise(exc=ast.Call(func=ast.Name(id="NotImplementedError")))
        ):
            return True
        case _:
            return False


def body_key(function: SourceFunction) -> bytes:
    """A key equal for bodies that differ only in layout, comments, docstring and own name."""
    name = function.node.name
    dumped = "\n".join(map(ast.dump, function.statements))
    # A recursive function names itself; a renamed copy names itself otherwise.
    for field in ("id", "attr"):
        dumped = dumped.replace(f"{field}={name!r}", f"{field}=''")
    return hashlib.sha256(dumped.encode("utf-8", "surrogatepass")).digest()


def source_without_docstring(function: SourceFunction, lines: list[str]) -> str | None:
    """The `def` at the left margin, without decorators and docstring.

    Args:
        function: The function.
        lines: The module's text, cut at newlines only.

    Returns:
        `None` if the text cannot simply be cut: a docstring that shares a line with code, or a
        multi-line string that a new indentation would change.
    """
    node = function.node
    assert node.end_lineno is not None, "the parser sets it"
    kept = lines[node.lineno - 1 : node.end_lineno]
    if function.docstring is not None:
        quoted = node.body[0]
        assert quoted.end_lineno is not None, "the parser sets it"
        if quoted.lineno == node.lineno or not function.statements:
            return None
        after = quoted.end_lineno - node.lineno + 1
        rest = _without_blank_start(kept[after:])
        kept = [*kept[: quoted.lineno - node.lineno], *rest]
    margin = " " * node.col_offset
    text = "\n".join(line.removeprefix(margin).rstrip() for line in kept) + "\n"
    return text if _is_same_function(text, function) else None


def _without_blank_start(lines: list[str]) -> list[str]:
    first = next((i for i, line in enumerate(lines) if line.strip()), len(lines))
    return lines[first:]


def _is_same_function(text: str, function: SourceFunction) -> bool:
    """Whether a cut parses to its original function, ignoring decorators and docstring."""
    match parse_source(text):
        case ast.Module(body=[ast.FunctionDef() | ast.AsyncFunctionDef() as cut]):
            return _dump(cut, cut.body) == _dump(function.node, function.statements)
        case _:
            return False


def _dump(node: FunctionNode, statements: list[ast.stmt]) -> tuple[object, ...]:
    returns = None if node.returns is None else ast.dump(node.returns)
    return type(node), node.name, ast.dump(node.args), returns, [ast.dump(s) for s in statements]
