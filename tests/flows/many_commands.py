"""Runs many `crosscity` command lines in one process, as importing takes longer than they do.

Reads a JSON list of word lists from standard input, writes a JSON list of exit code, output and
errors to standard output.
"""

import contextlib
import io
import json
import sys
import traceback

from flows.cli.main import main

outcomes = []
for words in json.load(sys.stdin):
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            main(words)
            code: object = None
        except SystemExit as ending:
            code = ending.code
        except BaseException:
            traceback.print_exc()
            code = "escaped"
    outcomes.append({"code": code, "out": out.getvalue(), "err": err.getvalue()})
json.dump(outcomes, sys.stdout)
