#!/usr/bin/env python3
"""The benchmark runs, on a small corpus: a figure that nobody can measure again is none."""
import json
import os
import pathlib
import subprocess
import sys

import lib

suite = lib.Suite()
BUILD = pathlib.Path(os.environ.get("TIDALITE_BUILD", lib.ROOT / "build/release"))


def run(*command):
    done = subprocess.run([str(c) for c in command], stdout=subprocess.PIPE, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL, timeout=300,
                          env=os.environ | {"TIDALITE_BUILD": str(BUILD), "PYTHONDONTWRITEBYTECODE": "1"})
    return done.returncode, done.stdout.decode(), done.stderr.decode()


@suite.case
def gen__same_seed__same_requests():
    work = pathlib.Path(lib.folder())
    digests = []
    for seed, name in ((7, "a"), (7, "b"), (8, "c")):
        code, out, err = run(BUILD / "bench/gen", "--out", work / name, "--targets", 10, "--scrapes", 3, "--start-ms", 1_700_000_000_000, "--seed", seed)
        lib.expect_equal(code, 0, f"exit status of gen ({err})")
        info = json.loads(out)
        lib.expect_equal((info["series"], info["samples"]), (1000, 3000), "series and samples")
        digests.append(info["digest"])
    lib.expect_equal((work / "a").read_bytes() == (work / "b").read_bytes(), True, "the same file from the same seed")
    lib.expect(digests[0] == digests[1] != digests[2], f"digests {digests}")


@suite.case
def bench__quick__every_sample_taken():
    out = pathlib.Path(lib.folder()) / "quick.json"
    code, text, err = run(sys.executable, lib.ROOT / "bench/bench.py", "--quick", "--parts", "ingest,memory", "--out", out)
    lib.expect_equal(code, 0, f"exit status of bench.py --quick ({text}{err})")
    result = json.loads(out.read_text())
    for r in result["runs"]:
        lib.expect_equal(r["new_series"]["samples"] + r["steady"]["samples"], 40 * 100 * 10, f"samples that {r['server']} took")
    for kind, row in result["summary"].items():
        print(f"{kind}: {row['steady']['per_cpu_second']:,.0f} samples per CPU second (a smoke run, not a measurement)")
    lib.expect(result["memory"]["servers"]["tidalite"]["bytes_per_series_20"] > 0, "no memory for 20 samples of 2000 series")


@suite.case
def bench__quick_skew__every_shape_has_its_series():
    out = pathlib.Path(lib.folder()) / "quick.json"
    code, text, err = run(sys.executable, lib.ROOT / "bench/bench.py", "--quick", "--parts", "skew", "--out", out)
    lib.expect_equal(code, 0, f"exit status of bench.py --quick --parts skew ({text}{err})")
    rows = json.loads(out.read_text())["skew"]["programs"]["tidalite"]
    lib.expect_equal(sorted(rows), ["bare", "metric", "one", "targets"], "shapes")
    lib.expect(rows["targets"]["index_bytes"] > 0 and rows["targets"]["known"]["log_bytes"] > 0, f"no figures in {rows}")


@suite.case
def bench__quick_beside_peers__same_answers_and_every_sample_on_disk():
    out = pathlib.Path(lib.folder()) / "quick.json"
    code, text, err = run(sys.executable, lib.ROOT / "bench/bench.py", "--quick", "--parts", "disk,real",
                          "--servers", "tidalite,victoria-metrics,prometheus", "--out", out)
    lib.expect_equal(code, 0, f"exit status of bench.py --quick ({text}{err})")
    result = json.loads(out.read_text())
    samples = result["disk"]["corpus"]["samples"]
    lib.expect_equal({k: r["samples"] for k, r in result["disk"]["servers"].items()}, dict.fromkeys(("tidalite", "victoria-metrics", "prometheus"), samples),
                     "samples that were weighed")
    agrees = [q["agrees"] for rows in result["queries"]["servers"].values() for q in rows.values()]
    lib.expect(False not in agrees and agrees.count(True) >= 30, f"{agrees.count(True)} answers compared")
    for part in ("disk", "disk_recorded"):
        if result[part] is None:
            continue      # no recorded data beside the repository
        lib.expect(result[part]["servers"]["tidalite"]["bytes"]["samples"] > 0, f"{part}: Tidalite has written no block")
    print(text[text.index("disk, generated data:"):])


if __name__ == "__main__":
    sys.exit(suite.main())
