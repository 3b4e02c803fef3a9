"""What the parts of the benchmark share: servers pinned to a core, their CPU time and memory, running helpers."""
import json
import os
import pathlib
import platform
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests/e2e"))

import lib    # noqa: E402
import peers  # noqa: E402

BUILD = pathlib.Path(os.environ.get("TIDALITE_BUILD", ROOT / "build/release"))
TICKS = os.sysconf("SC_CLK_TCK")
PROMETHEUS_CONFIG = "global:\n  scrape_interval: 1h\n"
KINDS = ("tidalite", "tidalite-strict", "victoria-metrics", "prometheus")


def cores():
    """(cores of the server, cores of whoever loads it)."""
    own = sorted(os.sched_getaffinity(0))
    return ({own[0]}, {own[1]}) if len(own) > 1 else ({own[0]}, {own[0]})


def run_json(*command, cpus=None):
    done = subprocess.run([str(c) for c in command], stdout=subprocess.PIPE, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL,
                          preexec_fn=(lambda: os.sched_setaffinity(0, cpus)) if cpus else None)
    if done.returncode != 0:
        raise lib.Failure(f"{command[0]} ended with {done.returncode}: {done.stderr.decode(errors='replace')}")
    return json.loads(done.stdout)


def cpu_seconds(pid):
    with open(f"/proc/{pid}/stat", encoding="ascii") as f:
        fields = f.read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def rss_bytes(pid, key="VmRSS"):
    with open(f"/proc/{pid}/status", encoding="ascii") as f:
        for line in f:
            if line.startswith(key + ":"):
                return int(line.split()[1]) * 1024
    return 0


def make_server(kind, work, cpus, extra=()):
    """A lib.Server of one of KINDS on the folder `work`, with its defaults but for retention (corpora may be old) and `extra`."""
    port = lib.free_port()
    data = os.path.join(work, "data")
    if kind.startswith("tidalite"):
        return lib.Tidalite(data, f"--storage.durability={'strict' if kind.endswith('strict') else 'buffered'}",
                            "--storage.tsdb.retention.time=0", *extra, port=port, cpus=cpus)
    if kind == "victoria-metrics":
        return lib.Server(kind, [peers.program(kind), f"-storageDataPath={data}", f"-httpListenAddr=127.0.0.1:{port}", "-retentionPeriod=100y",
                                 "-loggerLevel=WARN", *extra], port, "/health", cpus=cpus)
    config = os.path.join(work, "prometheus.yml")
    with open(config, "w", encoding="utf-8") as f:
        f.write(PROMETHEUS_CONFIG)
    return lib.Server(kind, [peers.program(kind), f"--config.file={config}", f"--storage.tsdb.path={data}", "--storage.tsdb.retention.time=100y",
                             f"--web.listen-address=127.0.0.1:{port}", "--web.enable-remote-write-receiver", "--log.level=warn", *extra],
                      port, "/-/ready", cpus=cpus)


def make_corpus(path, targets, scrapes, seed, start_ms, interval_ms, *flags):
    """Generate a corpus; what gen says of it, with its times."""
    info = run_json(BUILD / "bench/gen", "--out", path, "--targets", targets, "--scrapes", scrapes, "--seed", seed,
                    "--start-ms", start_ms, "--interval-ms", interval_ms, *flags)
    return info | {"start_ms": start_ms, "interval_ms": interval_ms}


def load(server, kind, corpus, connections, loader_cpus, first=0, scrapes=None, more=()):
    """Send a corpus or a part of it; what the loader says.  A refused request is a failure."""
    more = [*more, *(["--scrapes", scrapes] if scrapes else [])]
    out = run_json(BUILD / "bench/loader", "--file", corpus, "--port", server.port, "--connections", connections,
                   "--first-scrape", first, *more, cpus=loader_cpus)
    lib.expect(out["not_2xx"] == 0, f"{kind} refused {out['not_2xx']} requests, the first with: {out['first_error']}")
    return out


def wait_idle(server, seconds=60, quiet=1.0):
    """Until the server has used (almost) no CPU for `quiet` seconds: what it put off is done then."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        before = cpu_seconds(server.pid)
        time.sleep(quiet)
        if cpu_seconds(server.pid) - before <= 0.05 * quiet:
            return


def machine():
    model = next((line.split(":", 1)[1].strip() for line in open("/proc/cpuinfo", encoding="utf-8", errors="replace")
                  if line.startswith("model name")), platform.machine())
    memory = next((int(line.split()[1]) for line in open("/proc/meminfo", encoding="ascii") if line.startswith("MemTotal")), 0)
    return {"cpu": model, "cores": os.cpu_count(), "memory_gib": round(memory / 2**20, 1), "kernel": platform.release()}


def folder(parent):
    """A temporary folder for a server's data."""
    return tempfile.TemporaryDirectory(prefix="bench-", dir=parent)
