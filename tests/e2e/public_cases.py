#!/usr/bin/env python3
"""Run the cases made from public bug reports, where they lie beside the repository, and compare with what passed last.

    public_cases.py [--runner ../shared/cases/run] [CASE...]

tests/e2e/cases.expected says how many checks of each case must pass; the numbers may only grow.  Without a runner there is
nothing to do.
"""
import argparse
import os
import pathlib
import re
import sys

import lib

EXPECTED = pathlib.Path(__file__).resolve().with_name("cases.expected")


def read_expected():
    """case -> how many checks must pass; cases that only root can run are left out for others."""
    lines = (line.split("#")[0].split() for line in EXPECTED.read_text(encoding="utf-8").splitlines())
    return {words[0]: int(words[1]) for words in lines if words and ("root" not in words[2:] or os.geteuid() == 0)}


def count(output):
    """case -> (checks passed, lines of those that failed), from the runner's output."""
    cases, name = {}, None
    for line in output.splitlines():
        if line.startswith("== "):
            name = line[3:].strip()
            cases[name] = (0, [])
        elif name and re.match(r"ok\s", line):
            cases[name] = (cases[name][0] + 1, cases[name][1])
        elif name and re.match(r"FAULT|FAIL|\w*Error", line):
            cases[name][1].append(line)
    return cases


def main():
    p = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    p.add_argument("--runner", default=str(lib.ROOT.parent / "shared/cases/run"))
    p.add_argument("case", nargs="*")
    args = p.parse_args()
    if not pathlib.Path(args.runner).exists():
        print("cases: no runner beside the repository, nothing to count")
        return 0
    process = lib.Process("cases", [args.runner, os.path.abspath(lib.BINARY), *args.case])
    process.start()
    process.wait(1200)
    with open(process.log_path, encoding="utf-8", errors="replace") as f:
        cases = count(f.read())
    lost, expected = 0, read_expected()
    for name in sorted(args.case or cases.keys() | expected.keys()):
        passed, failed = cases.get(name, (0, []))
        least = expected.get(name, 0)
        lost += max(0, least - passed)
        note = f", LOST {least - passed}" if passed < least else ", more than expected: raise it" if passed > least else ""
        print(f"  {name:36} {passed:4} passed {len(failed):4} failed, at least {least} must pass{note}")
        for line in failed:
            print(f"      {lib.short(line, 300)}")
    print(f"{sum(len(failed) for _, failed in cases.values())} checks fail; of those that passed once, {lost}")
    print(f"{sum(passed for passed, _ in cases.values())} passed, {lost} failed")
    return 1 if lost or not cases else 0


if __name__ == "__main__":
    sys.exit(main())
