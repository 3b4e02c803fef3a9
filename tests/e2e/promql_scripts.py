#!/usr/bin/env python3
"""Run Prometheus's own PromQL test scripts, where their runner lies beside the repository, and compare with the last count.

    promql_scripts.py [--runner ../shared/promqltest/promqltest.py] [--jobs 2]

The number that pass may only grow: tests/e2e/promqltest.expected holds it.  Without a runner there is nothing to do.
"""
import argparse
import json
import os
import pathlib
import sys

import lib

HERE = pathlib.Path(__file__).resolve().parent
FLAGS = ["--enable-feature=promql-experimental-functions,promql-extended-range-selectors,promql-binop-fill-modifiers,promql-delayed-name-removal,use-start-timestamps",
         "--storage.tsdb.retention.time=0", "--self-scrape.interval=0", "--log.level=error"]


def main():
    p = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    p.add_argument("--runner", default=str(lib.ROOT.parent / "shared/promqltest/promqltest.py"))
    p.add_argument("--jobs", default="2")
    args = p.parse_args()
    if not pathlib.Path(args.runner).exists():
        print("PromQL test scripts: no runner beside the repository, nothing to count")
        return 0
    command = " ".join([lib.BINARY, "serve", "--web.listen-address=127.0.0.1:{port}", "--storage.tsdb.path={dir}"] + FLAGS)
    result = pathlib.Path(lib.folder()) / "outcome.json"
    process = lib.Process("promqltest", [sys.executable, args.runner, "--server-cmd", command, "--jobs", args.jobs, "--json", str(result)],
                          env=dict(os.environ, PYTHONDONTWRITEBYTECODE="1"))
    process.start()
    process.wait(1200)
    if not result.exists():
        print(f"PromQL test scripts: no outcome; the runner ended with:\n{process.log_tail()}")
        return 1
    outcome = json.loads(result.read_text())
    expected = int((HERE / "promqltest.expected").read_text().split()[0])
    for name, count in sorted(outcome["files"].items()):
        print(f"  {name:32} {count['passed']:5} passed {count['failed']:5} failed")
    print(f"PromQL test scripts: {outcome['passed']} passed, {outcome['failed']} failed; at least {expected} must pass")
    for problem in outcome["unclean_server_exits"]:
        print(f"  a server did not exit cleanly: {lib.short(problem, 2000)}")
    return 0 if outcome["passed"] >= expected and not outcome["unclean_server_exits"] else 1


if __name__ == "__main__":
    sys.exit(main())
