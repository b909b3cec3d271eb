"""What every process of the command line pays before it does anything."""

from __future__ import annotations

import importlib
import inspect
import json
import pkgutil
import subprocess
import sys

import flows
from flows.runner import PlannedFlow


def test_no_import_of_prefect_compiles_a_grammar() -> None:
    # Prefect imports jsonschema, which imports what checks its formats wherever that is installed;
    # one of these packages builds a parser of IRIs each time, which takes longer than Prefect.
    code = "import sys, prefect.flows; print({'rfc3987_syntax', 'lark'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()", "`pip uninstall rfc3987-syntax lark`, or a fresh .venv"


def test_no_flow_describes_all_that_a_catalog_may_say() -> None:
    modules = [
        importlib.import_module(f"flows.{module.name}")
        for module in pkgutil.iter_modules(flows.__path__)
    ]
    planned = {
        id(one): one for room in modules for one in vars(room).values() if type(one) is PlannedFlow
    }
    assert len(planned) >= 8
    for one in planned.values():
        assert list(one.parameters.properties) == list(inspect.signature(one.fn).parameters)
        assert "plan" in one.parameters.properties
        assert len(json.dumps(one.parameters.model_dump(mode="json"))) < 1500, one.name


def test_a_command_looks_for_no_garbage_while_it_loads() -> None:
    code = (
        "import gc, os, sys, time\n"
        "from flows.cli import main as door\n"
        "sys.argv = ['crosscity', '--version']\n"
        "try: door.main()\n"
        "except SystemExit: print(gc.isenabled())\n"
        "sys.stdout.flush()\n"
        "if not os.fork(): print(gc.isenabled(), flush=True); os._exit(0)\n"
        "os.wait()\n"
        "door.collect_later(0.05)\n"
        "while not gc.isenabled(): time.sleep(0.01)\n"
        "print('and later')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split()[2:] == ["False", "True", "and", "later"], done.stdout
