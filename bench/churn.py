"""What series that were cost: turn after turn all series are others (the pods of a deployment), each turn is written to blocks,
and its series leave memory.  Measured when they have left: resident memory, and the bytes of series.log, which a start reads; at
the end after a restart, too.  Tidalite alone: the peers have no moment at which series are gone.
"""
import os
import time

import common
import lib

WINDOW_S = 16          # windows are over, and looked at, within seconds
SAMPLES = 4
BATCH = 20_000         # lines of a request
NAMES = 20


def lines(turn, series, start_ms):
    for i in range(series):
        labels = (f'instance="10.{turn}.{i // 100 % 250}.{i // 25000}:9100",job="app",pod="app-{turn}-{i // 100}",container="main",'
                  f'namespace="shop-{i % 7}",path="/v1/item/{i % 100}",code="{200 + i % 4}",zone="z{i % 3}",cluster="c1"')
        for k in range(SAMPLES):
            yield f"m{i % NAMES}_total{{{labels}}} {i * 3 + k} {start_ms + k * 1000}"


def send(server, turn, series, start_ms):
    batch = []
    for line in lines(turn, series, start_ms):
        batch.append(line)
        if len(batch) == BATCH:
            flush(server, batch)
            batch = []
    if batch:
        flush(server, batch)


def flush(server, batch):
    answer = server.client.request("POST", "/api/v1/import/prometheus", "\n".join(batch) + "\n")
    lib.expect(answer.status in (200, 204), f"import: {answer}")


def metric(server, name):
    return lib.find_text(server.client.get("/metrics").text, name)


def weigh(server, data):
    log = os.path.join(data, "series.log")
    return {"rss_bytes": common.rss_bytes(server.pid), "series": metric(server, "tidalite_head_series"),
            "series_log_bytes": os.path.getsize(log) if os.path.exists(log) else 0}


def run(args, folder):
    """{"series", "empty_rss_bytes", "turns": [row], "restarted": row}"""
    cpus, _ = common.cores()
    flags = ["--storage.head.idle-timeout=0s", f"--storage.tsdb.min-block-duration={WINDOW_S}s", "--storage.cache.l2-size=16MiB"]
    with common.folder(args.dir) as work, common.make_server("tidalite", work, cpus, flags).start() as server:
        data = f"{work}/data"
        result = {"series": args.churn_series, "empty_rss_bytes": common.rss_bytes(server.pid), "turns": []}
        begin_ms = lib.now_ms() - 3_600_000
        for turn in range(args.churn_turns):
            send(server, turn, args.churn_series, begin_ms + turn * WINDOW_S * 1000)
            peak = metric(server, "tidalite_head_series")
            lib.wait_for("series to leave", lambda: metric(server, "tidalite_head_series") == 0, seconds=120, pause=0.5)
            if args.settle:
                common.wait_idle(server)
            time.sleep(args.settle)
            result["turns"].append({"peak_series": peak} | weigh(server, data))
            print(f"churn: turn {turn}: {result['turns'][-1]}", flush=True)
        wanted = args.churn_series * SAMPLES * args.churn_turns
        asked = f'sum(count_over_time({{job="app"}}[{2 * 3600}s]))'
        found = server.client.query(asked, lib.now_ms() / 1000)
        lib.expect_equal(round(float(found[0]["value"][1])), wanted, "samples after all have left")
        lib.expect_equal(server.terminate(), 0, "exit status after SIGTERM")
        server.start()
        time.sleep(args.settle)
        result["restarted"] = weigh(server, data)
        found = server.client.query(asked, lib.now_ms() / 1000)
        lib.expect_equal(round(float(found[0]["value"][1])), wanted, "samples after a restart")
    return result


def table(result):
    rows = [f"churn: {result['series']:,} series a turn, all others each time; empty server {result['empty_rss_bytes'] / 2**20:.0f} MiB",
            f"{'':12} {'RSS, MiB':>9} {'in memory':>10} {'series.log, KiB':>16}"]
    named = [(f"turn {i}", t) for i, t in enumerate(result["turns"])] + [("restarted", result["restarted"])]
    for name, t in named:
        rows.append(f"  {name:10} {t['rss_bytes'] / 2**20:>9.1f} {t['series']:>10.0f} {t['series_log_bytes'] / 1024:>16.1f}")
    return "\n".join(rows)
