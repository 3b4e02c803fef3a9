#!/usr/bin/env python3
"""examples/scaling/, started where the program is to be had: vmagent spreads series over three servers, twice each; the server for Thanos."""
import pathlib
import subprocess
import sys

import lib
import peers
import wire

suite = lib.Suite()
EXAMPLES = lib.ROOT / "examples/scaling"


def flags(name):
    return [line for line in (EXAMPLES / name).read_text(encoding="utf-8").splitlines() if line]


def vmagent():
    try:
        program = peers.program("vmagent")
    except peers.PeerError as e:
        raise lib.Skip(str(e)) from None
    told = subprocess.run([program, "--help"], capture_output=True, text=True, timeout=lib.WAIT_SECONDS)
    if "shardByURLReplicas" not in told.stdout + told.stderr:
        raise lib.Skip("this vmagent cannot put series on several servers: it is older than 1.97")
    return program


@suite.case
def vmagent__its_example__every_series_on_two_of_three_servers_and_none_lost_with_one():
    program = vmagent()
    servers = [lib.Tidalite(None).start() for _ in range(3)]
    port, work = lib.free_port(), lib.folder("vmagent")
    swap = {"127.0.0.1:8429": f"127.0.0.1:{port}", "=vmagent-data": f"={work}",
            **{f"127.0.0.1:{9494 + i}/": f"127.0.0.1:{s.port}/" for i, s in enumerate(servers)}}
    argv = flags("vmagent.flags")
    for old, new in swap.items():
        lib.expect(any(old in a for a in argv), f"the example has no {old}")
        argv = [a.replace(old, new) for a in argv]
    agent = lib.Server("vmagent", [program, *argv], port, "/-/healthy")
    agent.start()
    now = lib.now_ms() - 10_000
    series = [wire.Series(wire.labels("spread", i=f"{i:03}"), samples=[(now + 1000 * k, float(i + k)) for k in range(3)]) for i in range(300)]
    lib.expect(agent.client.write(series).status in (200, 204), "vmagent refused")

    def held():
        return [{s["metric"]["i"]: s["values"] for s in server.client.query("spread[1m]", (now + 5000) / 1000)} for server in servers]
    lib.wait_for("every series twice", lambda: sum(map(len, held())) == 600)
    found = held()
    lib.expect(all(100 < len(h) < 300 for h in found), f"how many each has: {[len(h) for h in found]}")
    for missing in range(3):  # what promxy merges when one of them is gone
        left = {}
        for i, h in enumerate(found):
            left.update(h if i != missing else {})
        lib.expect_equal(len(left), 300, f"series without server {missing}")
        lib.expect(all([float(v) for _, v in values] == [float(int(i) + k) for k in range(3)] for i, values in left.items()), "values")
    agent.terminate()
    for server in servers:
        server.kill()


@suite.case
def thanos__the_server_of_its_example__starts_and_tells_what_the_sidecar_wants():
    work = pathlib.Path(lib.folder("scaling"))
    (work / "tidalite.yml").write_text((EXAMPLES / "thanos/tidalite.yml").read_text(encoding="utf-8"), encoding="utf-8")
    port = lib.free_port()
    with lib.Server("tidalite", [lib.BINARY, "serve", f"--web.listen-address=127.0.0.1:{port}", *flags("thanos/tidalite.flags")], port, "/-/ready", cwd=work) as server:
        server.start()
        lib.expect('"cluster": "eu-1"' in server.client.data("/api/v1/status/config")["yaml"], "external labels")
        told = server.client.data("/api/v1/status/flags")
        lib.expect_equal((told["storage.tsdb.min-block-duration"], told["storage.tsdb.max-block-duration"]), ("2h", "2h"), "block durations")
        lib.expect((work / "blocks-for-thanos/wal").is_dir(), "the folder of blocks")
        sidecar = dict(f[2:].split("=", 1) for f in flags("thanos/sidecar.flags"))
        lib.expect_equal(sidecar["tsdb.path"], told["storage.prometheus-blocks.path"], "the sidecar's folder")


if __name__ == "__main__":
    sys.exit(suite.main())
