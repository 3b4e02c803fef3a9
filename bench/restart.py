"""What a kill costs: a server with many series is killed with SIGKILL and started again on the same folder, first with its log alone,
then, ended with SIGTERM once, with a checkpoint.  Measured from the start of the process: when the first write is accepted, when the
first query is answered, and the most memory until then, and until it is at rest again, beside what the server had when it was killed.
Tidalite alone.
"""
import http.client
import time

import common
import lib

PAUSE_S = 0.002


def answers(server):
    """Seconds from now until the first write is accepted and the first query is answered."""
    begin = time.monotonic()
    found = {}
    while len(found) < 2:
        now = time.monotonic()
        lib.expect(now - begin < 300, f"a restart of more than 300 s: {found}")
        lib.expect(server.alive(), "the server has ended")
        try:
            if "write" not in found and server.client.request("POST", "/api/v1/import/prometheus", f"restarted 1 {lib.now_ms()}\n").status < 300:
                found["write"] = time.monotonic() - begin
            if "query" not in found and server.client.get("/api/v1/query?query=1%2Bcount(restarted)").status == 200:
                found["query"] = time.monotonic() - begin
        except (OSError, http.client.HTTPException):
            pass
        time.sleep(PAUSE_S)
    return found


def restart(args, work, cpus, server, what):
    """Kill it and start it again: the server, and a row."""
    server.kill()
    server = common.make_server("tidalite", work, cpus)
    server.start(ready=False)
    row = {"from": what} | answers(server) | {"peak_rss_bytes": common.rss_bytes(server.pid, "VmHWM"), "cpu_seconds": common.cpu_seconds(server.pid)}
    common.wait_idle(server)
    time.sleep(args.settle)
    row |= {"rest_peak_rss_bytes": common.rss_bytes(server.pid, "VmHWM"), "rest_rss_bytes": common.rss_bytes(server.pid)}
    print(f"restart: {row}", flush=True)
    return server, row


def run(args, folder):
    """{"series", "steady_rss_bytes", "restarts": [row]}"""
    cpus, loader_cpus = common.cores()
    cpus = cpus | loader_cpus
    corpus = f"{folder}/restart.corpus"
    common.make_corpus(corpus, args.restart_series // 100, args.restart_scrapes, 1, lib.now_ms() - 15_000 * args.restart_scrapes, 15_000)
    result = {"series": args.restart_series, "scrapes": args.restart_scrapes, "restarts": []}
    with common.folder(args.dir) as work:
        server = common.make_server("tidalite", work, cpus).start()
        common.load(server, "tidalite", corpus, 4, loader_cpus)
        common.wait_idle(server)
        time.sleep(args.settle)
        result["steady_rss_bytes"] = common.rss_bytes(server.pid)
        for what in ("log", "checkpoint"):
            for _ in range(args.rounds):
                server, row = restart(args, work, cpus, server, what)
                result["restarts"].append(row)
            server.terminate()
            if what == "log":
                server = common.make_server("tidalite", work, cpus).start()
    return result


def table(result):
    rows = [f"restart: killed with {result['series']:,} series of {result['scrapes']} samples, {result['steady_rss_bytes'] / 2**20:,.0f} MiB resident",
            f"{'':18} {'write, s':>9} {'query, s':>9} {'CPU, s':>8} {'peak, MiB':>10} {'later':>6} {'at rest':>8}"]
    for i, r in enumerate(result["restarts"]):
        rows.append(f"  {i + 1:<2} {r['from']:<13} {r['write']:>9.2f} {r['query']:>9.2f} {r['cpu_seconds']:>8.2f} {r['peak_rss_bytes'] / 2**20:>10.0f} "
                    f"{r['rest_peak_rss_bytes'] / 2**20:>6.0f} {r['rest_rss_bytes'] / 2**20:>8.0f}")
    return "\n".join(rows)
