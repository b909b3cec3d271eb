"""The science runs where only NumPy, PyTorch, Numba and OpenCV are installed."""

from __future__ import annotations

import subprocess
import sys

import pytest

PROGRAM = """
import importlib, pkgutil, sys

package, blocked, above = sys.argv[1], set(sys.argv[2].split()), set(sys.argv[3].split())

class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in blocked:
            # Libraries that ask whether it is there get their answer.
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
        return None

sys.meta_path.insert(0, Absent())
root = importlib.import_module(package)
names = [module.name for module in pkgutil.walk_packages(root.__path__, package + ".")]
for name in names:
    try:
        importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name != "triton":  # it comes with PyTorch where there are GPUs
            raise
loaded = {name.partition(".")[0] for name in sys.modules}
assert not loaded & (blocked | above), loaded & (blocked | above)
print(len(names))
"""


@pytest.mark.parametrize(
    ("package", "blocked", "above", "least"),
    [
        (
            "crosscity",
            "prefect pyarrow PIL pydantic fsspec safetensors typer rich jinja2 yaml scipy "
            "requests httpx lightning_fabric transformers sklearn onnx onnxscript",
            "simcity adapters tasks flows",
            30,
        ),
        (
            "simcity",
            "prefect pyarrow PIL pydantic fsspec safetensors typer rich jinja2 yaml scipy torch "
            "requests httpx lightning_fabric transformers sklearn onnx onnxscript",
            "adapters tasks flows",
            20,
        ),
        ("adapters", "prefect typer rich jinja2 scipy", "tasks flows", 15),
    ],
)
def test_every_module_imports_without_what_its_layer_must_not_know(package, blocked, above, least):
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, package, blocked, above],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) >= least
