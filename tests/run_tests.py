#!/usr/bin/env python3
"""Run the built test programs and say what passed.

Every cmocka program under <build>/tests/ runs once; every fuzz target's corpus is replayed; with --e2e also the
end-to-end scripts tests/e2e/test_*.py. Each suite prints its seconds. The last line is `N passed, N failed`, and the exit
status is 0 only if at least one test ran and none failed.
"""
import argparse
import os
import pathlib
import re
import subprocess
import sys
import time

# Suites whose point is several threads: what ThreadSanitizer runs.
CONCURRENT = ("concurrent", "ring", "epoch", "mutex", "latency", "alias", "tidalite", "ingest", "file_sim", "recovery", "http",
              "routes", "workers")


def run(command, timeout, env=None):
    begin = time.monotonic()
    try:
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=timeout, env=env,
                              stdin=subprocess.DEVNULL)
        code, out = done.returncode, done.stdout.decode("utf-8", "replace")
    except subprocess.TimeoutExpired as e:
        code, out = "timeout", (e.stdout or b"").decode("utf-8", "replace")
    return code, out, time.monotonic() - begin


def count_cmocka(out):
    passed = sum(int(n) for n in re.findall(r"\[  PASSED  \] (\d+) test", out))
    failed = sum(int(n) for n in re.findall(r"\[  FAILED  \] (\d+) test", out))
    return passed, failed


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--build", default="build/release")
    p.add_argument("--filter", default="")
    p.add_argument("--e2e", action="store_true")
    p.add_argument("--concurrent", action="store_true", help="only the suites with threads")
    p.add_argument("--timeout", type=int, default=600)
    args = p.parse_args()
    build = pathlib.Path(args.build)
    root = pathlib.Path(__file__).resolve().parent.parent
    suites = []
    for src in sorted(root.glob("tests/unit/*/test_*.c")) + sorted(root.glob("tests/[mfg]*/test_*.c")):
        rel = src.relative_to(root).with_suffix("")
        if not args.concurrent or any(w in rel.name for w in CONCURRENT):
            suites.append((str(rel), [str(build / rel)], "cmocka"))
    if not args.concurrent:
        for src in sorted(root.glob("tests/fuzz/*/fuzz.c")):
            rel = src.relative_to(root).parent
            corpus = [str(c) for c in sorted((root / rel / "corpus").glob("*"))]
            suites.append((str(rel), [str(build / rel / "replay")] + corpus, "replay"))
    if args.e2e:
        for src in sorted(root.glob("tests/e2e/test_*.py")):
            suites.append((str(src.relative_to(root)), [sys.executable, str(src)], "plain"))
    suites = [s for s in suites if args.filter in s[0]]
    if not suites:
        print(f"no suite matches '{args.filter}'")
        print("0 passed, 1 failed")
        return 1
    env = dict(os.environ, TIDALITE_BINARY=str(root / "build/tidalite"), TIDALITE_BUILD=str(build))
    passed = failed = 0
    for name, command, kind in suites:
        code, out, seconds = run(command, args.timeout if kind != "plain" else 1800, env)
        if kind == "cmocka":
            ok, bad = count_cmocka(out)
        elif kind == "replay":
            ok, bad = len(command) - 1, 0
        else:
            m = re.findall(r"^(\d+) passed, (\d+) failed$", out, re.M)
            ok, bad = (int(m[-1][0]), int(m[-1][1])) if m else (0, 0)
        if code != 0 and bad == 0:
            bad = 1  # died, or the runner never got to its closing line
        skipped = kind == "plain" and re.search(r"^[1-9]\d* skipped$", out, re.M)  # and said why
        if code == 0 and ok + bad == 0 and not skipped:
            bad = 1  # ran nothing
            out += "\n(no test ran)\n"
        passed += ok
        failed += bad
        print(f"{'ok  ' if bad == 0 else 'FAIL'} {name:<52} {ok:>5} passed {bad:>3} failed {seconds:7.2f} s", flush=True)
        if bad:
            print(f"---- {name}: exit {code}\n{out[-12000:]}\n----", flush=True)
    print(f"{passed} passed, {failed} failed")
    return 0 if failed == 0 else 1


if __name__ == "__main__":
    sys.exit(main())
