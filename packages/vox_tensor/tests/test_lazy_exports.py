from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import vox_tensor
from vox_tensor.lazy_exports import lazy_exports

SOURCE = Path(vox_tensor.__file__)
PROGRAM = """
import sys
import vox_tensor
before = set(sys.modules)
spec = vox_tensor.LoraSpec(rank=2)
assert spec is not None
print("torch" in sys.modules, sorted(name for name in before if name.startswith("vox_tensor")))
"""


def test_importing_the_package_imports_nothing_that_it_exports() -> None:
    run = subprocess.run(
        [
            sys.executable,
            "-I",
            "-c",
            f"import sys; sys.path[:0] = [{str(SOURCE.parents[1])!r}]{PROGRAM}",
        ],
        capture_output=True,
        text=True,
        check=True,
    )
    assert run.stdout == "False ['vox_tensor', 'vox_tensor.lazy_exports']\n"


def test_type_checkers_see_the_names_that_are_exported() -> None:
    tree = ast.parse(SOURCE.read_text(encoding="utf-8"))
    (checked,) = (node for node in tree.body if isinstance(node, ast.If))
    imports = [node for node in checked.body if isinstance(node, ast.ImportFrom)]
    typed = {alias.name: node.module for node in imports for alias in node.names}
    assert sorted(typed) == sorted(vox_tensor.__all__)
    exported = ast.literal_eval(_call_of_lazy_exports(tree).args[1])
    homes = {name: module for module, names in exported.items() for name in names}
    assert homes == typed


def _call_of_lazy_exports(tree: ast.Module) -> ast.Call:
    (call,) = (
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "lazy_exports"
    )
    return call


def test_no_exported_name_is_a_module() -> None:
    modules = {path.stem for path in SOURCE.parent.glob("*.py")}
    assert set(vox_tensor.__all__) & modules == set()


def test_every_exported_name_is_there() -> None:
    pytest.importorskip("torch", reason="needs vox-tensor[gpu]")
    missing = [name for name in vox_tensor.__all__ if not hasattr(vox_tensor, name)]
    assert missing == []


def test_names_that_are_not_exported_do_not_exist() -> None:
    attribute = lazy_exports("vox_tensor", {"vox_tensor.lora_spec": ("LoraSpec",)})
    assert attribute("LoraSpec") is vox_tensor.LoraSpec
    assert "LoraSpec" in vars(vox_tensor), "it is looked up once"
    with pytest.raises(AttributeError, match="'vox_tensor' has no attribute 'lora_spek'"):
        attribute("lora_spek")
