from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import vox_tensor

TORCH_FREE = (
    "atomic_file",
    "bpe",
    "chat_markup",
    "data_messages",
    "errors",
    "jsonl",
    "lazy_exports",
    "lora_spec",
    "packing",
    "records",
    "regular_file",
    "schedule",
    "strict_json",
    "tokenizer",
)
PROGRAM = """
import sys
sys.path.insert(0, sys.argv[1])
for name in sys.argv[2:]:
    __import__(f"vox_tensor.{name}")
foreign = {name.partition(".")[0] for name in sys.modules} - sys.stdlib_module_names
print(sorted(foreign))
"""


def test_torch_free_modules_import_the_standard_library_only() -> None:
    source = Path(vox_tensor.__file__).parents[1]
    # -S leaves site-packages out and -I the environment: an import of anything else would fail.
    run = subprocess.run(
        [sys.executable, "-I", "-S", "-c", PROGRAM, str(source), *TORCH_FREE],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (run.returncode, run.stderr) == (0, "")
    assert run.stdout == "['__main__', 'vox_tensor']\n"
