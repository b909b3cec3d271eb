"""Runs many `crosscity` command lines in one process, as importing takes longer than they do.

Reads lines of JSON from standard input, each a list of words, and answers each with a line of
JSON: exit code, output and errors.
"""

import contextlib
import io
import json
import sys
import traceback

from flows.cli.main import main

for line in sys.stdin:
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            main(json.loads(line))
            code: object = None
        except SystemExit as ending:
            code = ending.code
        except BaseException:
            traceback.print_exc()
            code = "escaped"
    outcome = {"code": code, "out": out.getvalue(), "err": err.getvalue()}
    print(json.dumps(outcome), flush=True)
