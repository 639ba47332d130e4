from __future__ import annotations

import ast
from textwrap import dedent

import pytest

from vox_populi.corpus.source_functions import (
    SourceFunction,
    body_key,
    functions_of,
    is_trivial,
    source_without_docstring,
)


def functions(source: str) -> list[SourceFunction]:
    return list(functions_of(ast.parse(dedent(source))))


def cut(source: str, which: int = 0) -> str | None:
    text = dedent(source)
    return source_without_docstring(functions(text)[which], text.split("\n"))


def test_functions_are_found_where_they_stand() -> None:
    source = """
        def f():
            def inner(): return 1
        class C:
            async def m(self): return lambda: 2
            class D:
                def n(self): return 3
        if True:
            def g(): return 4
        """
    found = [(f.qualname, f.class_name) for f in functions(source)]
    assert found == [
        ("f", None),
        ("f.<locals>.inner", None),
        ("C.m", "C"),
        ("C.D.n", "D"),
        ("g", None),
    ]


def test_signature_is_one_line() -> None:
    source = """
        def f(
            a: int,
            /, *args: str,
            b = (1,
                 2), **kw) -> list[int]: return 1
        """
    (function,) = functions(source)
    assert function.signature == "f(a: int, /, *args: str, b=(1, 2), **kw) -> list[int]"


def test_a_method_loses_margin_docstring_and_decorators() -> None:
    source = '''
        class C:
            @property
            def f(self):  # why
                """Say something.

                More.
                """

                # a comment
                return 1

            def g(self): pass
        '''
    assert cut(source) == "def f(self):  # why\n    # a comment\n    return 1\n"


def test_comments_and_blank_lines_inside_stay() -> None:
    source = '''
        def f(a):
            """Doc."""
            if a:

                # reason
                return 1
            return 2
        '''
    assert cut(source) == (
        "def f(a):\n    if a:\n\n        # reason\n        return 1\n    return 2\n"
    )


def test_a_function_without_docstring_is_cut_whole() -> None:
    assert cut("def f():\n    return 1\n") == "def f():\n    return 1\n"


@pytest.mark.parametrize(
    "source",
    [
        'def f(): "Doc."; return 1',
        'def f():\n    "Doc."; x = 1\n    return x',
        'def f():\n    """Doc."""',
        'class C:\n    def f(self):\n        """Doc."""\n        return """a\n        b"""',
    ],
)
def test_what_cannot_be_cut_is_refused(source: str) -> None:
    assert cut(source) is None


def test_text_over_lines_at_the_left_margin_survives() -> None:
    source = 'class C:\n    def f(self):\n        """Doc."""\n        return """a\nb"""\n'
    text = cut(source)
    assert text == 'def f(self):\n    return """a\nb"""\n'


@pytest.mark.parametrize(
    ("body", "trivial"),
    [
        ("pass", True),
        ("...", True),
        ("'text'", True),
        ("raise NotImplementedError", True),
        ("raise NotImplementedError('f')", True),
        ("'Doc.'\n    pass", True),
        ("raise ValueError", False),
        ("return", False),
        ("pass\n    return 1", False),
    ],
)
def test_trivial_bodies(body: str, trivial: bool) -> None:
    (function,) = functions(f"def f():\n    {body}\n")
    assert is_trivial(function.statements) is trivial


def test_equal_bodies_have_equal_keys() -> None:
    same = functions('''
        def f(n):
            """Doc."""
            return n * f(n - 1)
        def g(n):  # other name, layout and comment
            return (n *
                    g(n - 1))
        def h(self, n): return n * h(n-1)
        ''')
    assert len({body_key(function) for function in same}) == 1


def test_other_bodies_have_other_keys() -> None:
    others = functions("""
        def f(n): return n * f(n - 1)
        def g(n): return n * g(n + 1)
        def h(m): return m * h(m - 1)
        def i(n): return n * f(n - 1)
        """)
    assert len({body_key(function) for function in others}) == len(others)
