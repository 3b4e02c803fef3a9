#!/usr/bin/env python3
"""--storage.prometheus-blocks.path: what Thanos's sidecar and compactor ask of a Prometheus and of its blocks, rule by rule.

The sidecar's part: flags, buildinfo, config, metrics, then the folder is looked through as the shipper does, blocks are "uploaded" (copied, as
it does: chunks, index, meta.json, never tombstones) and thanos.shipper.json is written. The compactor's part: what it checks of blocks before it
touches them, with a reader of the index of its own.
"""
import json
import os
import pathlib
import re
import shutil
import struct
import sys

import lib
import test_prom_block as prom
import test_tools as tools
import wire

suite = lib.Suite()
RANGE_MS = 10_000
DELAY = "3s"


def start(published, data=None, *more):
    config = pathlib.Path(lib.folder("published-config"), "tidalite.yml")
    config.write_text("global:\n  external_labels: {cluster: eu, replica: a}\n", encoding="utf-8")
    server = lib.Tidalite(data, f"--config.file={config}", f"--{lib.BLOCK_RANGE_FLAG}={RANGE_MS // 1000}s", f"--storage.prometheus-blocks.path={published}",
                          f"--storage.prometheus-blocks.delay={DELAY}", "--storage.tsdb.retention.time=30d", *more)
    return server.start()


def send(server, begin, seconds, name="published"):
    batch = [wire.Series(wire.labels(name, i=str(s)), samples=[(begin + 1000 * i, wire.bits(i + s / 10)) for i in range(seconds)]) for s in range(3)]
    batch.append(wire.Series(wire.labels(name + "_hist", kind="int"), histograms=[tools.histogram(begin + 1000 * i, i) for i in range(seconds)]))
    lib.expect_equal(server.client.write(batch).status, 204, "write")


def blocks(folder):
    """{ULID: meta.json} of what the shipper would look at."""
    found = {}
    for p in pathlib.Path(folder).iterdir():
        if re.fullmatch(r"[0-7][0-9A-HJKMNP-TV-Z]{25}", p.name):
            try:
                found[p.name] = json.loads((p / "meta.json").read_text())
            except FileNotFoundError:  # it was shipped, and goes just now
                continue
    return found


def windows(folder):
    return sorted((m["minTime"], m["maxTime"]) for m in blocks(folder).values())


def wait_for_windows(server, published, expected):
    lib.wait_for("the blocks", lambda: windows(published) == expected or not server.alive())
    lib.expect_equal(windows(published), expected, "windows")


def no_leftovers(published):
    lib.wait_for("unfinished folders to go", lambda: not [p for p in os.listdir(published) if "tmp-for" in p])


def aligned(t):
    return t // RANGE_MS * RANGE_MS


# ---- the sidecar's part ----
def go_duration_ms(text):
    units = {"ms": 1, "s": 1000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}
    parts = re.findall(r"(\d+)(ms|s|m|h|d)", text)
    lib.expect("".join(a + b for a, b in parts) == text and parts, f"not a duration: {text!r}")
    return sum(int(n) * units[u] for n, u in parts)


@suite.case
def sidecar_start__flags_buildinfo_config_metrics__as_it_asks():
    with start(lib.folder("published")) as server:
        flags = server.client.data("/api/v1/status/flags")
        lib.expect(all(isinstance(v, str) for v in flags.values()), "flags are strings")
        lib.expect_equal(flags.get("storage.tsdb.delay-compact-file.path", ""), "", "delay-compact file")
        least, most = (go_duration_ms(flags[f"storage.tsdb.{k}-block-duration"]) for k in ("min", "max"))
        lib.expect_equal(least, most, "with another max-block-duration the sidecar refuses to start")
        version = server.client.data("/api/v1/status/buildinfo")["version"]
        lib.expect([int(n) for n in version.split(".")[:2]] >= [2, 24], f"version {version}: the sidecar asks /series for labels")
        text = server.client.get("/metrics").text
        lib.expect(float(re.search(r"^prometheus_tsdb_lowest_timestamp_seconds (\S+)$", text, re.M)[1]) > 1e12, "without samples: nothing yet")
        yaml = server.client.data("/api/v1/status/config")["yaml"]
        labels = re.findall(r'^    "?(\w+)"?: "?(\w+)"?$', yaml[yaml.index("external_labels:"):], re.M)
        lib.expect_equal(labels, [("cluster", "eu"), ("replica", "a")], "external labels")
        begin = aligned(lib.now_ms()) - 60_000
        send(server, begin, 5)
        low = float(lib.find_text(server.client.get("/metrics").text, "prometheus_tsdb_lowest_timestamp_seconds"))
        lib.expect_equal(low, begin / 1000, "the lowest time")
        for path in ("rules?type=alert", "alerts", "targets?state=any", "metadata?limit=5", "status/tsdb?limit=5"):
            lib.expect_equal(server.client.get(f"/api/v1/{path}").status, 200, path)


def ship(published, bucket):
    """One round of the shipper; the ULIDs that it uploads."""
    shipped_file = pathlib.Path(published, "thanos.shipper.json")
    uploaded = json.loads(shipped_file.read_text())["uploaded"] if shipped_file.exists() else []
    new, known = [], []
    for ulid, meta in sorted(blocks(published).items()):
        lib.expect(meta["version"] == 1 and meta["ulid"] == ulid, meta)
        if ulid not in uploaded:
            lib.expect(meta["stats"]["numSamples"] > 0 and meta["compaction"]["level"] == 1, f"would not be shipped: {meta}")
            target = pathlib.Path(published, "thanos/upload", ulid)  # links, in the folder itself
            (target / "chunks").mkdir(parents=True)
            for p in sorted(pathlib.Path(published, ulid, "chunks").iterdir()) + [pathlib.Path(published, ulid, "index")]:
                os.link(p, target / p.relative_to(pathlib.Path(published, ulid)))
            meta["thanos"] = {"version": 1, "labels": {"cluster": "eu", "replica": "a"}, "downsample": {"resolution": 0}, "source": "sidecar"}
            (target / "meta.json").write_text(json.dumps(meta))
            shutil.move(target, pathlib.Path(bucket, ulid))
            new.append(ulid)
        known.append(ulid)
    pathlib.Path(str(shipped_file) + ".tmp").write_text(json.dumps({"version": 1, "uploaded": known}))
    os.rename(str(shipped_file) + ".tmp", shipped_file)
    return new


# ---- the compactor's part ----
class Index:
    """The index of a block, read as the compactor's checks need it."""

    def __init__(self, raw):
        self.raw = raw
        lib.expect_equal(raw[:5], b"\xba\xaa\xd7\x00\x02", "magic and version")
        symbols, series, self.series_end, _, postings, table = struct.unpack(">6Q", raw[-52:-4])
        lib.expect(raw[-4:] == struct.pack(">I", crc(raw[-52:-4])), "the contents' CRC")
        self.symbols = []
        count = struct.unpack(">I", raw[symbols + 4:symbols + 8])[0]
        at = symbols + 8
        for _ in range(count):
            n, at = uvarint(raw, at)
            self.symbols.append(raw[at:at + n].decode())
            at += n
        lib.expect(self.symbols == sorted(set(self.symbols)), "symbols are not sorted, or twice")
        n, = struct.unpack(">I", raw[postings + 4:postings + 8])
        self.ids = struct.unpack(f">{n}I", raw[postings + 8:postings + 8 + 4 * n])

    def series(self, i):
        at = i * 16
        n, at = uvarint(self.raw, at)
        lib.expect(self.raw[at + n:at + n + 4] == struct.pack(">I", crc(self.raw[at:at + n])), "a series' CRC")
        count, at = uvarint(self.raw, at)
        labels = []
        for _ in range(count):
            name, at = uvarint(self.raw, at)
            value, at = uvarint(self.raw, at)
            labels.append((self.symbols[name], self.symbols[value]))
        count, at = uvarint(self.raw, at)
        chunks, last, ref = [], 0, 0
        for k in range(count):
            if k == 0:
                low, at = varint(self.raw, at)
            else:
                delta, at = uvarint(self.raw, at)
                low = last + delta
            span, at = uvarint(self.raw, at)
            step, at = (uvarint if k == 0 else varint)(self.raw, at)
            last, ref = low + span, ref + step
            chunks.append((low, last, ref))
        return labels, chunks


def uvarint(raw, at):
    value = shift = 0
    while True:
        b = raw[at]
        at += 1
        value |= (b & 127) << shift
        if b < 128:
            return value, at
        shift += 7


def varint(raw, at):
    v, at = uvarint(raw, at)
    return (v >> 1) ^ -(v & 1), at


CRC_TABLE = []
for _n in range(256):
    for _ in range(8):
        _n = _n >> 1 ^ (0x82F63B78 if _n & 1 else 0)
    CRC_TABLE.append(_n)


def crc(data):
    v = 0xFFFFFFFF
    for b in data:
        v = v >> 8 ^ CRC_TABLE[(v ^ b) & 255]
    return v ^ 0xFFFFFFFF


def check_block(folder, meta):
    """What the compactor checks of a block, and what the store assumes; its samples."""
    lib.expect(set(os.listdir(folder)) - {"tombstones"} == {"chunks", "index", "meta.json"}, os.listdir(folder))
    lib.expect(not (folder / "tombstones").exists() or (folder / "tombstones").stat().st_size == 9, "a deletion that is shipped by nobody")
    lib.expect_equal(sorted(os.listdir(folder / "chunks"))[0], "000001", "the first chunk file")
    lib.expect(meta["compaction"]["sources"] == [meta["ulid"]], "a block without itself among its sources is hidden")
    lib.expect_equal((meta["minTime"] % RANGE_MS, meta["maxTime"] - meta["minTime"]), (0, RANGE_MS), "one aligned window")
    index = Index((folder / "index").read_bytes())
    segments = [(folder / "chunks" / name).read_bytes() for name in sorted(os.listdir(folder / "chunks"))]
    before, samples, count = None, 0, 0
    for i in index.ids:
        labels, chunks = index.series(i)
        lib.expect(labels == sorted(labels) and len({n for n, _ in labels}) == len(labels), f"labels are not sorted: {labels}")
        lib.expect(before is None or before < labels, "series are not sorted and unique")
        lib.expect(not {"cluster", "replica"} & {n for n, _ in labels}, "external labels do not belong into blocks")
        lib.expect(chunks, "a series without a chunk")
        for k, (low, high, ref) in enumerate(chunks):
            lib.expect(meta["minTime"] <= low <= high < meta["maxTime"], f"chunk outside: {low} {high} {meta}")
            lib.expect(k == 0 or chunks[k - 1][1] < low, "chunks overlap")
            raw = segments[ref >> 32]
            n, at = uvarint(raw, ref & 0xFFFFFFFF)
            lib.expect(raw[at] in (1, 2, 3) and n <= 16000, f"encoding {raw[at]}, {n} bytes")
            number, = struct.unpack(">H", raw[at + 1:at + 3])
            lib.expect(0 < number <= 120 or raw[at] != 1, f"{number} samples")
            samples += number
            count += 1
        before = labels
    stats = meta["stats"]
    lib.expect_equal((stats["numSamples"], stats["numSeries"], stats["numChunks"]), (samples, len(index.ids), count), "meta.json's counts")
    return samples


@suite.case
def compactor__blocks_that_were_shipped__every_rule_and_every_sample_once():
    published, bucket = lib.folder("published"), lib.folder("bucket")
    begin = aligned(lib.now_ms()) - 12 * RANGE_MS
    with start(published) as server:
        send(server, begin + 500, 100)  # to 20 s before now: over, and past the delay
        send(server, lib.now_ms() - 2000, 2, "open")
        due = [(begin + RANGE_MS * i, begin + RANGE_MS * (i + 1)) for i in range(11)]
        wait_for_windows(server, published, due[:11] if (begin + 500 + 99_000) // RANGE_MS == due[10][0] // RANGE_MS else due[:10])
        new = ship(published, bucket)
        total = sum(check_block(pathlib.Path(bucket, ulid), {k: v for k, v in meta.items() if k != "thanos"}) for ulid, meta in blocks(bucket).items())
        lib.expect_equal(total, 400, "samples")
        spans = sorted((m["minTime"], m["maxTime"]) for m in blocks(bucket).values())
        lib.expect(all(a[1] <= b[0] for a, b in zip(spans, spans[1:])), "blocks overlap: the compactor halts")
        lib.wait_for("what was shipped to go", lambda: not set(new) & set(blocks(published)))
        no_leftovers(published)
        lib.expect(lib.find_text(server.client.get("/metrics").text, "tidalite_published_blocks_total") >= len(new), "the counter")
    promtool = prom.program("promtool")
    lib.expect(all(u in prom.run(promtool, "tsdb", "list", bucket) for u in new), "promtool does not know them")
    shutil.copytree(bucket, bucket + "-all")
    (pathlib.Path(bucket + "-all") / "wal").mkdir()
    dump = prom.parse(prom.run(promtool, "tsdb", "dump", bucket + "-all"))
    for s in range(3):
        found = dump[f'{{__name__="published", i="{s}"}}']
        lib.expect_equal({t: v[0] for t, v in found.items()}, {begin + 500 + 1000 * i: i + s / 10 for i in range(100)}, f"series {s}")
    shutil.rmtree(bucket + "-all")


@suite.case
def published__restarted_and_killed__no_window_twice_and_unshipped_ones_stay():
    published, data = lib.folder("published"), lib.folder("published-data")
    begin = aligned(lib.now_ms()) - 8 * RANGE_MS
    expected = [(begin + RANGE_MS * i, begin + RANGE_MS * (i + 1)) for i in range(4)]
    with start(published, data) as server:
        send(server, begin, 40)
        wait_for_windows(server, published, expected)
        server.kill()
    first = blocks(published)
    state = pathlib.Path(published, "published")
    state.unlink()  # as if it had died between the last block and this file
    (pathlib.Path(published) / "01J00000000000000000000000.tmp-for-creation").mkdir()
    late = begin + RANGE_MS + 333
    with start(published, data) as server:
        lib.expect_equal(server.client.write([wire.Series(wire.labels("late"), samples=[(late, 1.0)])]).status, 204, "write")
        send(server, begin + 40_000, 10)
        wait_for_windows(server, published, expected + [(begin + 40_000, begin + 50_000)])
        lib.expect({u: m for u, m in blocks(published).items() if u in first} == first, "blocks were changed")
        no_leftovers(published)
        other = lib.Process("second", [lib.BINARY, "serve", "--web.listen-address=127.0.0.1:0", f"--storage.tsdb.path={lib.folder('other')}",
                                       f"--storage.prometheus-blocks.path={published}"]).start()
        lib.expect(other.wait() != 0 and "storage.prometheus-blocks.path" in other.log_tail(), "two servers publish to one folder")
    state.write_text("published_until_ms 12x\n")
    broken = lib.Process("broken", [lib.BINARY, "serve", "--web.listen-address=127.0.0.1:0", f"--storage.tsdb.path={lib.folder('other')}",
                                    f"--storage.prometheus-blocks.path={published}"]).start()
    lib.expect(broken.wait() != 0 and "published" in broken.log_tail(), broken.log_tail())


@suite.case
def published__deleted_before__physically_not_there():
    """The sidecar never ships tombstones."""
    published, data = lib.folder("published"), lib.folder("published-data")
    begin = aligned(lib.now_ms()) - 6 * RANGE_MS
    with lib.Tidalite(data, "--web.enable-admin-api", f"--{lib.BLOCK_RANGE_FLAG}={RANGE_MS // 1000}s").start() as server:
        send(server, begin, 20)
        gone = {"match[]": 'published{i="1"}', "start": begin / 1000, "end": (begin + 14_500) / 1000}
        lib.expect_equal(server.client.post("/api/v1/admin/tsdb/delete_series", gone).status, 204, "delete_series")
        lib.expect_equal(server.terminate(), 0, "exit status")
    with start(published, data) as server:
        wait_for_windows(server, published, [(begin, begin + RANGE_MS), (begin + RANGE_MS, begin + 2 * RANGE_MS)])
    samples = [check_block(pathlib.Path(published, u), m) for u, m in sorted(blocks(published).items(), key=lambda b: b[1]["minTime"])]
    lib.expect_equal(samples, [30, 35], "samples of the blocks")


if __name__ == "__main__":
    sys.exit(suite.main())
