"""Layers: what a caller of the library waits for, and what reading costs by where the bytes are, through bench/layers.

Rounds; the least of each latency and the most of each rate count, because whatever else runs on the machine only adds.
"""
from common import BUILD, folder, run_json

ROWS = (("put_memory", "append of a sample, memory"), ("put_buffered", "append of a sample, buffered"), ("put_strict", "append of a sample, strict"),
        ("read_hot", "select and read a series, hot"), ("l1_hit", "L1 hit"), ("l2_hit", "L2 hit, pinned"), ("l2_copied", "4 KiB out of L2"), ("disk", "64 KiB of disk"))
RATES = ("one_writer", "two_writers")


def run(args, scratch):
    runs = []
    for _ in range(args.rounds):
        with folder(scratch) as work:
            runs.append(run_json(BUILD / "bench/layers", work, args.layers_appends))
    best = {name: {k: min(r[name][k] for r in runs) for k in ("p50_ns", "p99_ns")} for name, _ in ROWS}
    return best | {name: max(r[name] for r in runs) for name in RATES} | {"rounds": args.rounds}


def table(result):
    lines = [f"layers: the best of {result['rounds']} rounds", f"{'':32} {'p50, us':>10} {'p99, us':>10}"]
    for name, text in ROWS:
        lines.append(f"{text:32} {result[name]['p50_ns'] / 1e3:>10.2f} {result[name]['p99_ns'] / 1e3:>10.2f}")
    one, two = (result[name] for name in RATES)
    lines.append(f"samples a second, one writer {one:,}, two on series of their own {two:,} ({two / one:.2f} times as many)")
    return "\n".join(lines)
