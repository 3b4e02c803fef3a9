#!/usr/bin/env python3
"""Real senders from npm, from a lock file: OpenTelemetry's two OTLP exporters and prometheus-remote-write.

Skipped where there is no npm, or nothing to install from.
"""
import json
import subprocess
import sys

import lib
import npm

suite = lib.Suite()


def send(script, *args):
    done = subprocess.run(["node", script, *map(str, args)], cwd=npm.installed("senders"), capture_output=True, text=True, timeout=lib.WAIT_SECONDS)
    lib.expect_equal(done.returncode, 0, f"exit status of {script}: {lib.short(done.stderr)}")
    result = json.loads(done.stdout.splitlines()[-1])
    lib.expect(result["ok"], f"{script} was refused: {done.stdout} {lib.short(done.stderr)}")


OTLP = {
    ("http_requests_total", ""): 42, ("queue_length", ""): -3, ("room_temperature_celsius", ""): 21.5, ("latency_seconds_sum", ""): 56.05,
    ("latency_seconds_count", ""): 5, ("latency_seconds_bucket", "0.1"): 1, ("latency_seconds_bucket", "1"): 3,
    ("latency_seconds_bucket", "10"): 4, ("latency_seconds_bucket", "+Inf"): 5, ("native_size_bytes", ""): 5, ("target_info", ""): 1,
}


@suite.case
def opentelemetry__both_exporters__every_instrument():
    with lib.Tidalite(None).start() as server:
        for kind, compression in (("proto", "none"), ("proto", "gzip"), ("http", "none"), ("http", "gzip")):
            send("otlp.mjs", f"http://127.0.0.1:{server.port}/api/v1/otlp/v1/metrics", kind, compression)
            found = {}
            for s in server.client.query(f'{{job="tests/shop",instance="{kind}"}}'):
                value = s["value"][1] if "value" in s else s["histogram"][1]["count"]
                found[s["metric"]["__name__"], s["metric"].get("le", "")] = float(value)
            lib.expect_equal(found, OTLP, f"what {kind} sent with {compression}")
        requests = server.client.query('http_requests_total{instance="proto"}')[0]["metric"]
        lib.expect_equal((requests["http_method"], requests["code"]), ("GET", "200"), "its attributes")
        lib.expect_equal(server.client.data("/api/v1/metadata")["http_requests_total"][0]["help"], "requests so far", "its description")


@suite.case
def prometheus_remote_write__gauge_and_timeseries():
    t = lib.now_ms() // 1000 * 1000 - 10_000
    with lib.Tidalite(None).start() as server:
        send("remote_write.mjs", f"http://127.0.0.1:{server.port}/api/v1/write", t)
        lib.expect_equal([s["value"][1] for s in server.client.query('queue_depth_total{service="worker"}')], ["100"], "the gauge")
        series = server.client.query('pushed{zone="b"}[1m]', t / 1000 + 10)
        lib.expect_equal([v for _, v in series[0]["values"]], ["1", "2", "3"], "the series with its times")


if __name__ == "__main__":
    sys.exit(suite.main())
