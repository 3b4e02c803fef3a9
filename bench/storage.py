"""What samples and series cost at rest: bytes per sample on disk, resident memory per active series.

Disk: the same corpus into each server, brought into its final form by the server's own means (Tidalite: its blocks are written;
victoria-metrics: everything merged, by /internal/force_merge; prometheus: a snapshot, which writes the head as a block), checked
to be complete by a query, stopped cleanly, measured.  `total` is samples + index; logs and caches stand beside it.
"""
import pathlib
import time

import common
import lib
import real

WINDOW_MS = 7_200_000     # of a first block, in Tidalite and prometheus


def past_window_ms():
    """The begin of a window of two hours that has been over for hours: what is written there can be cut off at once."""
    return (lib.now_ms() - 5 * 3_600_000) // WINDOW_MS * WINDOW_MS


def stored_samples(server, first_ms, last_ms):
    """Samples that the server has, by its own count."""
    span, end = last_ms - first_ms + 2, (last_ms + 1) / 1000
    names = server.client.data("/api/v1/label/__name__/values", {"start": first_ms / 1000, "end": end})
    # One name at a time: without their names, series of several would be the same.
    found = [server.client.query(f'sum(count_over_time({{__name__="{n}"}}[{span}ms]))', end) for n in names]
    return round(sum(float(f[0]["value"][1]) for f in found if f))


def wait_stored(server, kind, info):
    """Until the server shows every sample of a corpus.  victoria-metrics shows new data with a delay, and keeps no NaN."""
    expected = info["samples"] - (info.get("nan", 0) if kind == "victoria-metrics" else 0)
    lib.wait_for(f"{kind} to show {expected} samples", lambda: stored_samples(server, info["first_ms"], info["last_ms"]) == expected, pause=0.5)
    return expected


def finish(server, kind):
    """Bring what is stored into its final form.  Returns the name of what was measured."""
    if kind == "victoria-metrics":
        lib.expect_equal(server.client.get("/internal/force_merge").status, 200, "status of /internal/force_merge")
        common.wait_idle(server)
        return "merged parts"
    if kind == "prometheus":
        answer = server.client.request("POST", "/api/v1/admin/tsdb/snapshot")
        lib.expect_equal(answer.status, 200, f"status of a snapshot ({answer})")
        return "snapshot block"
    # Windows that are over become blocks right after a start; a running server looks every quarter of an hour.
    lib.expect_equal(server.terminate(), 0, "exit status after SIGTERM")
    server.start()
    lib.wait_for("blocks", lambda: lib.block_count(server) > 0, seconds=120, pause=0.2)
    common.wait_idle(server)
    return "blocks"


def bytes_of(root, wanted):
    return sum(f.stat().st_size for f in root.rglob("*") if f.is_file() and wanted(f.relative_to(root).as_posix()))


def measure_folder(kind, data):
    """Bytes of {samples, index, rest} below a stopped server's folder."""
    data = pathlib.Path(data)
    if kind == "victoria-metrics":
        index = bytes_of(data, lambda f: f.startswith(("indexdb/", "data/indexdb/")))  # by version
        samples = bytes_of(data, lambda f: f.startswith("data/")) - bytes_of(data, lambda f: f.startswith("data/indexdb/"))
    elif kind == "prometheus":
        snapshots = data / "snapshots"
        samples = bytes_of(snapshots, lambda f: "/chunks/" in f)
        index = bytes_of(snapshots, lambda f: f.count("/") >= 2) - samples
    else:
        samples = bytes_of(data, lambda f: f.startswith("blocks/") and "chunks" in f.rsplit("/", 1)[1])
        index = bytes_of(data, lambda f: f.startswith("blocks/")) - samples
    return {"samples": samples, "index": index, "rest": bytes_of(data, lambda f: True) - samples - index}


def flags_for(kind):
    return ["--web.enable-admin-api"] if kind == "prometheus" else []


def measure_stopped(server, kind, info, form, work):
    """Stop the server cleanly and weigh its folder."""
    kept = wait_stored(server, kind, info)
    lib.expect(server.terminate() == 0, f"{kind} did not stop cleanly:\n{server.log_tail()}")
    size = measure_folder(kind, f"{work}/data")
    total = size["samples"] + size["index"]
    lib.expect(size["samples"] > 0, f"{kind} has no samples where they were looked for, below {work}/data")
    return {"form": form, "samples": kept, "bytes": size, "bytes_per_sample": total / kept,
            "samples_bytes_per_sample": size["samples"] / kept, "index_bytes_per_sample": size["index"] / kept}


def disk_real(args, folder):
    """The recorded node exporter data, where it lies beside the repository: {kind: row} or None."""
    if not real.present():
        return None
    corpus = f"{folder}/real"
    info = real.make_corpus(corpus, past_window_ms(), args.real_limit)
    cpus, loader_cpus = common.cores()
    rows = {}
    for kind in args.store_kinds:
        with common.folder(args.dir) as work, common.make_server(kind, work, cpus, flags_for(kind)).start() as server:
            common.load(server, kind, corpus, 1, loader_cpus)
            wait_stored(server, kind, info)
            rows[kind] = measure_stopped(server, kind, info, finish(server, kind), work)
            print(f"disk, recorded data: {kind:16} {rows[kind]['bytes_per_sample']:.3f} bytes per sample", flush=True)
    return {"corpus": info, "servers": rows}


# A burst's buffers are given back five to ten seconds after it (ingest_trim, the log's chunks, the sealer's), and the allocator's pages two later.
GIVEN_BACK_SECONDS = 13


def memory_of(args, kind, corpus, info, counts):
    """Resident memory of an empty server, and per series after each count of scrapes, at rest."""
    cpus, loader_cpus = common.cores()
    with common.folder(args.dir) as work, common.make_server(kind, work, cpus).start() as server:
        time.sleep(args.settle)
        row = {"empty_rss_bytes": common.rss_bytes(server.pid)}
        done = 0
        for count in counts:
            common.load(server, kind, corpus, args.connections, loader_cpus, done, count - done)
            done = count
            if args.settle:
                time.sleep(GIVEN_BACK_SECONDS)
                common.wait_idle(server)
            row[f"rss_bytes_{count}"] = common.rss_bytes(server.pid)
            row[f"bytes_per_series_{count}"] = (row[f"rss_bytes_{count}"] - row["empty_rss_bytes"]) / info["series"]
    return row


def memory(args, folder):
    """Resident memory per series, of the mix after the first and the last scrape, and of series that never change."""
    interval_ms = 15_000
    last = args.memory_scrapes
    start_ms = lib.now_ms() - (last + 2) * interval_ms
    shapes = {name: common.make_corpus(f"{folder}/{name}", args.memory_targets, last, args.seed, start_ms, interval_ms, *flags)
              for name, flags in (("mix", ()), ("constant", ("--constant",)))}
    rows = {}
    for kind in args.store_kinds:
        row = memory_of(args, kind, f"{folder}/mix", shapes["mix"], (1, last))
        row["bytes_per_series_constant"] = memory_of(args, kind, f"{folder}/constant", shapes["constant"], (last,))[f"bytes_per_series_{last}"]
        rows[kind] = row
        print(f"memory: {kind:16} {row['bytes_per_series_1']:,.0f} bytes of RSS per series with 1 sample, {row[f'bytes_per_series_{last}']:,.0f} with {last}, "
              f"{row['bytes_per_series_constant']:,.0f} where none changes", flush=True)
    return {"corpus": shapes["mix"], "scrapes": last, "servers": rows}


def disk_table(title, result):
    lines = [f"disk, {title}: {result['corpus']['samples']:,.0f} samples of {result['corpus']['series']:,} series",
             f"{'':18} {'bytes per sample':>17} {'samples':>9} {'index':>9} {'rest, MiB':>10}  form"]
    for kind, r in result["servers"].items():
        lines.append(f"  {kind:16} {r['bytes_per_sample']:>17.3f} {r['samples_bytes_per_sample']:>9.3f} {r['index_bytes_per_sample']:>9.3f} "
                     f"{r['bytes']['rest'] / 2**20:>10.1f}  {r['form']}")
    return "\n".join(lines)


def memory_table(result):
    last = result["scrapes"]
    lines = [f"memory: {result['corpus']['series']:,} active series",
             f"{'':18} {'RSS per series, 1 sample':>25} {f'{last} samples':>12} {f'{last}, constant':>14} {'empty, MiB':>11}"]
    for kind, r in result["servers"].items():
        lines.append(f"  {kind:16} {r['bytes_per_series_1']:>25,.0f} {r[f'bytes_per_series_{last}']:>12,.0f} "
                     f"{r['bytes_per_series_constant']:>14,.0f} {r['empty_rss_bytes'] / 2**20:>11.1f}")
    return "\n".join(lines)
