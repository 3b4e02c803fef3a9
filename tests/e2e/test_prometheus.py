#!/usr/bin/env python3
"""Debian's Prometheus writes for a minute, Tidalite cuts blocks every few seconds, is killed and restarted in the middle, and the
answers of both agree to 1e-9: at least 100 different queries, over head and blocks."""
import http.server
import sys
import threading

import lib
import peers
import scenario

suite = lib.Suite()


@suite.case
def prometheus__writes_with_a_kill_in_the_middle__answers_agree():
    try:
        run = scenario.Scenario(seconds=62)
    except peers.PeerError as e:
        raise lib.Failure(str(e)) from None
    with run:
        run.start()
        run.run()
        count, values, wrong = run.compare_all()
        print(f"{count - len(wrong)} of {count} questions agree ({len(scenario.QUERIES)} queries), {values} values compared, {run.blocks:.0f} blocks")
        lib.expect(not wrong, "\n".join(w[:1500] for w in wrong[:20]))
        lib.expect(len(scenario.QUERIES) >= 100 and values >= 5000, f"only {len(scenario.QUERIES)} queries with {values} values")
        lib.expect(run.blocks > 0, "no block was written: the answers come from the head alone")
        lib.expect_equal(run.tidalite.terminate(), 0, "exit status after SIGTERM")


EXEMPLAR_CONFIG = """\
global: {{scrape_interval: 250ms, scrape_timeout: 250ms}}
scrape_configs:
  - job_name: shop
    static_configs: [{{targets: ['127.0.0.1:{target}']}}]
remote_write:
  - url: http://127.0.0.1:{tidalite}/api/v1/write
    send_exemplars: true
    queue_config: {{max_backoff: 200ms, batch_send_deadline: 200ms}}
    metadata_config: {{send_interval: 1s}}
"""


class Target(http.server.BaseHTTPRequestHandler):
    """A program with a counter and a histogram whose every change has an exemplar."""
    scrapes = 0

    def do_GET(self):
        Target.scrapes += 1
        n, t = Target.scrapes, lib.now_ms() / 1000
        text = (f"# HELP orders Orders so far.\n# TYPE orders counter\norders_total {n} # {{trace_id=\"o{n}\"}} 1 {t:.3f}\n"
                f"# TYPE took_seconds histogram\ntook_seconds_bucket{{le=\"1\"}} {n} # {{trace_id=\"t{n}\",span_id=\"s\"}} 0.{n % 10}5 {t:.3f}\n"
                f"took_seconds_bucket{{le=\"+Inf\"}} {n}\ntook_seconds_sum {n / 2}\ntook_seconds_count {n}\n# EOF\n").encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/openmetrics-text; version=1.0.0; charset=utf-8")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, format, *args):
        pass


def exemplars(server):
    """(trace_id, value, time) of all; values as numbers: the two print them differently."""
    found = server.client.data("/api/v1/query_exemplars", {"query": '{job="shop"}', "start": lib.now_ms() / 1000 - 600, "end": lib.now_ms() / 1000 + 60})
    return {(s["seriesLabels"]["__name__"], e["labels"]["trace_id"], float(e["value"]), e["timestamp"]) for s in found for e in s["exemplars"]}


@suite.case
def prometheus__sends_exemplars_and_metadata__all_there_after_a_kill():
    work = lib.folder("prometheus")
    target = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Target)
    threading.Thread(target=target.serve_forever, daemon=True).start()
    with lib.Tidalite(None).start() as tidalite:
        with open(f"{work}/prometheus.yml", "w", encoding="utf-8") as f:
            f.write(EXEMPLAR_CONFIG.format(target=target.server_port, tidalite=tidalite.port))
        port = lib.free_port()
        try:
            program = peers.program("prometheus")
        except peers.PeerError as e:
            raise lib.Failure(str(e)) from None
        with lib.Server("prometheus", [program, f"--config.file={work}/prometheus.yml", f"--storage.tsdb.path={work}/data", "--enable-feature=exemplar-storage",
                                       f"--web.listen-address=127.0.0.1:{port}"], port, "/-/ready").start() as prometheus:
            lib.wait_for("20 exemplars at Prometheus", lambda: len(exemplars(prometheus)) >= 20)
            tidalite.kill()
            tidalite.start()
            before = len(exemplars(prometheus))
            lib.wait_for("20 more", lambda: len(exemplars(prometheus)) >= before + 20)
            target.shutdown()
            sent = exemplars(prometheus)
            lib.wait_for("all of Prometheus's exemplars here", lambda: exemplars(tidalite) >= sent)
            lib.wait_for("metadata", lambda: tidalite.client.data("/api/v1/metadata").get("orders") ==
                         [{"type": "counter", "unit": "", "help": "Orders so far."}])
        tidalite.kill()
        tidalite.start()
        lib.expect(exemplars(tidalite) >= sent, f"after kill -9 {len(sent - exemplars(tidalite))} of {len(sent)} exemplars are missing")
        print(f"{len(sent)} exemplars of Prometheus's, all there after two kills")


if __name__ == "__main__":
    sys.exit(suite.main())
