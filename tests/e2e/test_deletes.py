#!/usr/bin/env python3
"""Deletes and snapshots of a running server: gone at once and for good, through kills, cleanings and the offline commands; a
snapshot opens as a data directory and holds what there was."""
import json
import os
import sys
import urllib.parse

import lib

suite = lib.Suite()
ADMIN = "/api/v1/admin/tsdb/"
FLAGS = ["--web.enable-admin-api"]
T = lib.now_ms() // 1000 * 1000 - 3_600_000
if T % 7_200_000 > 7_000_000:
    T -= 300_000  # all in one window


def put(server, name, series, times, value):
    text = "".join(f'{name}{{i="{i}"}} {value} {t}\n' for i in range(series) for t in times)
    a = server.client.request("POST", "/api/v1/import/prometheus", text.encode())
    lib.expect_equal(a.status, 204, f"write: {a}")


def post(server, what, status=204, **params):
    a = server.client.request("POST", ADMIN + what + ("?" + urllib.parse.urlencode(params, doseq=True) if params else ""))
    lib.expect_equal(a.status, status, f"{what} {params}: {a}")
    return json.loads(a.data)["data"] if a.data else None


def count(server, name, at=T + 99_000):
    found = server.client.query(f"sum(count_over_time({name}[200s]))", at / 1000)
    return int(found[0]["value"][1]) if found else 0


def dumped(data, name):
    """Samples of a name in the blocks, read by the command that needs no server."""
    code, out, err = lib.run_binary("block", "dump", data, "--match", name, "--format", "jsonl")
    lib.expect_equal(code, 0, f"block dump: {err}")
    return sum(len(json.loads(line)["samples"]) for line in out.splitlines())


TIMES = [T + 1000 * i for i in range(100)]


@suite.case
def delete_series__survives_a_kill_and_what_comes_later_shows():
    data = lib.folder("deletes") + "/data"
    with lib.Tidalite(data, *FLAGS) as server:
        server.start()
        put(server, "gone", 10, TIMES, 1)
        put(server, "part", 10, TIMES, 2)
        put(server, "stays", 10, TIMES, 3)
        lib.expect_equal([count(server, n) for n in ("gone", "part", "stays")], [1000, 1000, 1000], "written")
        post(server, "delete_series", **{"match[]": ["gone", 'part{i=~"[0-4]"}'], "start": T / 1000, "end": TIMES[49] / 1000})
        lib.expect_equal([count(server, n) for n in ("gone", "part", "stays")], [500, 750, 1000], "the first half")
        post(server, "delete_series", **{"match[]": "gone"})
        lib.expect_equal([count(server, n) for n in ("gone", "part", "stays")], [0, 750, 1000], "all of one")
        server.kill()
        server.start()
        lib.expect_equal([count(server, n) for n in ("gone", "part", "stays")], [0, 750, 1000], "after a kill")
        put(server, "gone", 2, TIMES[:10], 1)  # the same samples again
        lib.expect_equal(count(server, "gone"), 20, "written again")
        server.kill()
        server.start()
        lib.expect_equal([count(server, n) for n in ("gone", "part", "stays")], [20, 750, 1000], "after a second kill")
        post(server, "clean_tombstones")
        listed = server.client.data(ADMIN + "deletes")
        lib.expect_equal(listed["tombstones"], {"blocks": 0, "series": 0, "samples": 0, "bytes": 0}, "nothing is left to clean")
        post(server, "flush", 200)
        post(server, "compact", 200)
        lib.expect_equal([count(server, n) for n in ("gone", "part", "stays")], [20, 750, 1000], "cleaned and compacted")
        lib.expect_equal(server.terminate(), 0, "exit status")


@suite.case
def offline_commands__leave_out_what_is_deleted():
    data = lib.folder("deletes") + "/data"
    with lib.Tidalite(data, *FLAGS) as server:
        server.start()
        put(server, "little", 1, TIMES[:3], 1)
        put(server, "much", 30, TIMES, 2)
        post(server, "flush", 200)
        post(server, "delete_series", **{"match[]": "little"})  # less than what is rewritten by itself
        lib.expect_equal(count(server, "much"), 3000, "what is not deleted")
        lib.expect_equal(server.terminate(), 0, "exit status")
    kept = [f for _, _, files in os.walk(data) for f in files if f == "tombstones"]
    lib.expect_equal(len(kept), 1, "tombstones")
    lib.expect_equal((dumped(data, "little"), dumped(data, "much")), (0, 3000), "block dump of all")
    block = os.listdir(data + "/blocks")[0]
    _, out, _ = lib.run_binary("block", "dump", data, block, "--format", "jsonl")
    lib.expect("little" not in out and "much" in out, f"block dump of one: {lib.short(out)}")
    lib.expect_equal(lib.run_binary("check", data)[0], 0, "check")
    code, _, err = lib.run_binary("block", "split", data, block, "--block-range=30s")
    lib.expect_equal(code, 0, f"block split: {err}")
    lib.expect(len(os.listdir(data + "/blocks")) >= 3, "several blocks of one")
    lib.expect_equal((dumped(data, "little"), dumped(data, "much")), (0, 3000), "after a split")


@suite.case
def snapshot__opens_as_a_data_directory():
    data = lib.folder("deletes") + "/data"
    with lib.Tidalite(data, *FLAGS) as server:
        server.start()
        put(server, "old", 5, TIMES, 1)
        put(server, "gone", 5, TIMES, 1)
        post(server, "flush", 200)
        post(server, "delete_series", **{"match[]": "gone"})
        put(server, "new", 5, TIMES, 1)  # in head and log
        name = post(server, "snapshot", 200)["name"]
        blocks_only = post(server, "snapshot", 200, skip_head="true")["name"]
        put(server, "later", 5, TIMES, 1)
        lib.expect_equal(sorted(os.listdir(data + "/snapshots")), sorted([name, blocks_only]), "snapshots")
        with lib.Tidalite(f"{data}/snapshots/{name}").start() as other:
            lib.expect_equal([count(other, n) for n in ("old", "gone", "new", "later")], [500, 0, 500, 0], "the snapshot")
            put(other, "old", 5, [TIMES[0] - 1000], 1)  # it is one's own
            lib.expect_equal(other.terminate(), 0, "exit status")
        with lib.Tidalite(f"{data}/snapshots/{blocks_only}").start() as other:
            lib.expect_equal([count(other, n) for n in ("old", "gone", "new")], [500, 0, 0], "the blocks")
        server.kill()
        server.start()
        lib.expect_equal([count(server, n) for n in ("old", "gone", "new", "later")], [500, 0, 500, 500], "where it was made")


RULES = """storage:
  tsdb:
    retention:
      series:
        - match: '{__name__="debug"}'
          time: %s
"""


@suite.case
def retention_of_series__read_again_on_reload():
    config = lib.folder("deletes") + "/config.yml"
    with open(config, "w") as f:
        f.write(RULES % "52w")
    old = [lib.now_ms() - 5 * 3_600_000 + 1000 * i for i in range(100)]
    with lib.Tidalite(None, *FLAGS, "--web.enable-lifecycle", f"--config.file={config}", f"--{lib.BLOCK_RANGE_FLAG}=10m").start() as server:
        put(server, "debug", 3, old + [lib.now_ms()], 1)
        put(server, "stays", 3, old + [lib.now_ms()], 1)
        post(server, "flush", 200)
        lib.expect_equal([count(server, n, old[-1]) for n in ("debug", "stays")], [300, 300], "both")
        with open(config, "w") as f:
            f.write(RULES % "0s")
        a = server.client.request("POST", "/-/reload")
        lib.expect(a.status == 500 and "duration" in a.text, f"a rule without a time: {a}")
        with open(config, "w") as f:
            f.write((RULES % "2h").replace('"debug"', '"debug'))
        a = server.client.request("POST", "/-/reload")
        lib.expect(a.status == 500 and "storage.tsdb.retention.series" in a.text, f"a rule that does not parse: {a}")
        lib.expect_equal(count(server, "debug", old[-1]), 300, "nothing has changed")
        with open(config, "w") as f:
            f.write(RULES % "2h")
        lib.expect_equal(server.client.request("POST", "/-/reload").status, 200, "reload")
        lib.expect("debug" in server.client.data("/api/v1/status/config")["yaml"], "the rules are shown")
        lib.wait_for("the rule", lambda: count(server, "debug", old[-1]) < 300)
        lib.expect_equal(count(server, "stays", old[-1]), 300, "what no rule matches")
        lib.expect_equal(count(server, "debug", lib.now_ms()), 3, "what is young")


@suite.case
def admin_api__off_by_default():
    with lib.Tidalite(None).start() as server:
        for what in ("delete_series", "snapshot", "clean_tombstones", "flush", "compact"):
            a = server.client.request("POST", ADMIN + what)
            lib.expect_equal((a.status, json.loads(a.data)["error"]), (500, "admin APIs disabled"), what)


if __name__ == "__main__":
    sys.exit(suite.main())
