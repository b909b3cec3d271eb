"""What every process of the command line pays before it does anything."""

from __future__ import annotations

import subprocess
import sys


def test_no_import_of_prefect_compiles_a_grammar() -> None:
    # Prefect imports jsonschema, which imports what checks its formats wherever that is installed;
    # one of these packages builds a parser of IRIs each time, which takes longer than Prefect.
    code = "import sys, prefect.flows; print({'rfc3987_syntax', 'lark'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()", "`pip uninstall rfc3987-syntax lark`, or a fresh .venv"
