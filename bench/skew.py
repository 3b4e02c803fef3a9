"""Skew: what becomes of senders whose series a rule of placement (model/placement.h) might put into too few partitions.

bench/pipeline takes the same requests in one process with its owners on all cores, once for each shape: ordinary targets, one target
that has all series, one metric of one target, and senders without `instance` and `job`.  Rounds alternate; the least of each figure counts,
because whatever else runs on the machine only adds.  With --pipelines, other builds of the program are measured in the same
rounds: those of another rule, say.
"""
import pathlib

from common import BUILD, folder, run_json

import lib

SHAPES = ("targets", "one", "metric", "bare")


def one_run(program, args, shape):
    with folder(args.dir) as work:
        out = run_json(program, work, args.skew_targets, args.skew_rounds, shape)
    lib.expect(out["series"] == args.skew_targets * 100, f"{shape}: {out['series']} series of {args.skew_targets * 100}")
    return out


def least(runs):
    """The smallest of each figure, over runs of one program and shape."""
    row = {phase: {k: min(r[phase][k] for r in runs) for k in runs[0][phase]} for phase in ("new", "known")}
    return row | {k: min(r[k] for r in runs) for k in ("head_bytes", "index_bytes", "alias_bytes")} | {"owners": runs[0]["owners"]}


def run(args):
    programs = {"tidalite": BUILD / "bench/pipeline"} | {p: pathlib.Path(p) for p in args.pipelines}
    runs = {(name, shape): [] for name in programs for shape in SHAPES}
    for i in range(args.rounds):
        for key in runs if i % 2 == 0 else reversed(runs):
            runs[key].append(one_run(programs[key[0]], args, key[1]))
        print(f"skew: round {i + 1} of {args.rounds}", flush=True)
    rows = {name: {shape: least(runs[name, shape]) for shape in SHAPES} for name in programs}
    return {"series": args.skew_targets * 100, "rounds": args.rounds, "programs": rows}


def table(result):
    lines = [f"skew: {result['series']:,} series in one process, the least of {result['rounds']} rounds",
             f"{'':12} {'new series, ns':>15} {'wall':>7} {'known, ns':>10} {'wall':>7} {'log bytes':>10} {'index bytes':>12}"]
    for name, shapes in result["programs"].items():
        lines.append(f"{name}, {next(iter(shapes.values()))['owners']} owners:")
        for shape, r in shapes.items():
            lines.append(f"  {shape:10} {r['new']['cpu_ns']:>15.0f} {r['new']['wall_ns']:>7.0f} {r['known']['cpu_ns']:>10.0f} "
                         f"{r['known']['wall_ns']:>7.0f} {r['known']['log_bytes']:>10.2f} {r['index_bytes']:>12}")
    return "\n".join(lines)
