#!/usr/bin/env python3
"""backup and restore: of stopped directories and of servers that go on, to a directory and to S3 (npm's s3rver).

Whatever is brought back is compared sample for sample with what was acknowledged, and opened by a server.
"""
import contextlib
import http.server
import json
import os
import pathlib
import random
import signal
import subprocess
import sys
import threading
import time

import lib
import npm
import s3_gate
import test_tools as tools
import wire
from test_tools import BUSY, DAMAGED, FAILED, INTERRUPTED, OK, USAGE, tool, tool_json

suite = lib.Suite()
ADMIN = "--web.enable-admin-api"
KEYS = {"AWS_ACCESS_KEY_ID": "S3RVER", "AWS_SECRET_ACCESS_KEY": "S3RVER"}
BUCKET = "bucket"


def fresh(name="backup"):
    return lib.folder(name) + "/" + name


@contextlib.contextmanager
def s3_server():
    """(arguments, folder of the bucket, gate) of an S3 server that takes signed requests only."""
    folder, behind, port = npm.installed("s3"), lib.free_port(), lib.free_port()
    store = lib.folder("s3")
    process = lib.Process("s3rver", ["node", str(folder / "node_modules/s3rver/bin/s3rver.js"), "-d", store, "-a", "127.0.0.1", "-p", str(behind),
                                     "--configure-bucket", BUCKET])
    process.start()
    gate = s3_gate.Gate(port, behind, KEYS["AWS_SECRET_ACCESS_KEY"])
    old = {k: os.environ.get(k) for k in KEYS}
    os.environ.update(KEYS)
    try:
        client = lib.Client(behind)
        lib.wait_for("the S3 server", lambda: answers(client))
        yield [f"--s3-endpoint=http://127.0.0.1:{port}"], pathlib.Path(store, BUCKET), gate
    finally:
        for k, v in old.items():
            os.environ.pop(k) if v is None else os.environ.update({k: v})
        gate.close()
        process.kill()


def answers(client):
    try:
        return client.get("/").status > 0
    except OSError:
        return False


def both(fn):
    """The case for a directory, and one for S3."""
    def directory():
        dest = fresh("dest")
        fn(dest, [], pathlib.Path(dest))
    directory.__name__ = fn.__name__.replace("__", "_to_a_directory__", 1)
    suite.case(directory)

    def s3():
        with s3_server() as (args, bucket, _):
            fn(f"s3://{BUCKET}/some/prefix", args, bucket)
    s3.__name__ = fn.__name__.replace("__", "_to_s3__", 1)
    suite.case(s3)
    return fn


def restored(dest, args, *more):
    data = fresh("restored")
    out = tool_json("restore", dest, data, *args, *more)
    lib.expect_equal([p for p in os.listdir(os.path.dirname(data)) if "restoring" in p], [], "what was left over")
    return data, out


@both
def backup__stopped_and_killed_directory__comes_back_the_same(dest, args, files):
    for how in ("stopped", "killed"):
        data = tools.made(how)
        before = tools.dumped(data)
        listing = tools.listing(data)
        out = tool_json("backup", data, dest, *args)
        lib.expect(out["copied_files"] > 0 and out["copied_bytes"] <= out["bytes"], out)
        lib.expect(tools.listing(data) == listing, "the directory changed")
        back, row = restored(dest, args)
        lib.expect_equal((row["backup"], row["bytes"]), (out["backup"], out["bytes"]), "what came back")
        lib.expect_equal(tools.dumped(back), before, f"{how}: samples")
        lib.expect(all(r["state"] != "damaged" for r in tool_json("check", back)), "check")
        tools.server_starts(back)
        again = tool_json("backup", data, dest, *args)
        lib.expect_equal((again["copied_files"], again["bytes"]), (0, out["bytes"]), "a second backup copies nothing")
    rows = tool_json("backup", "ls", dest, *args)
    lib.expect_equal((len(rows), {r["state"] for r in rows}), (4, {"ok"}), "backups")
    first, row = restored(dest, args, f"--backup={rows[0]['backup']}")
    lib.expect_equal(row["backup"], rows[0]["backup"], "the one that was named")


@both
def backup__server_that_goes_on__all_that_was_acknowledged_before_and_only_new_files_again(dest, args, files):
    with lib.Tidalite(None, *tools.FLAGS, ADMIN) as server:
        server.start()
        url = f"http://127.0.0.1:{server.port}"
        writer = tools.LiveWriter(server.port, "tools_live", 0, 0, 7, 5)
        lib.start_writers([writer])
        lib.wait_for("a block", lambda: lib.block_count(server) >= 1)
        for n in range(2):
            acked = dict(writer.acked)
            out = tool_json("backup", url, dest, *args)
            back, _ = restored(dest, args)
            found = {}
            for key, samples in tools.dumped(back).items():
                found.update({(int(dict(key)["series"]), t): v for t, v in samples.items()})
            for key, value in acked.items():
                lib.expect_equal(found.get(key), f"{wire.bits(value):016x}", f"backup {n}: {key}")
            lib.expect(all(k in writer.sent for k in found), "what nobody wrote")
            lib.expect(os.listdir(f"{server.data}/snapshots") == [], "the snapshot was left behind")
            lib.expect(n == 0 or out["copied_files"] < out["files"], f"nothing was reused: {out}")
        lib.expect(writer.problem is None and server.alive(), writer.problem)
        server.kill()
        writer.thread.join()


@both
def restore__any_file_damaged_or_missing__said_and_no_directory(dest, args, files):
    tool("backup", tools.made("stopped"), dest, *args)
    stored = [p for p in files.rglob("*") if p.is_file() and "/files/" in str(p) and p.stat().st_size > 8 and not p.name.endswith(("metadata.json", ".md5"))]
    lib.expect(len(stored) > 5, stored)
    rng = random.Random(20261127)
    for path in rng.sample(stored, 6):
        whole = path.read_bytes()
        at = rng.randrange(len(whole))
        for kind in ("flipped", "cut", "missing"):
            path.write_bytes({"flipped": whole[:at] + bytes([whole[at] ^ 16]) + whole[at + 1:], "cut": whole[:at], "missing": b""}[kind])
            if kind == "missing":
                path.unlink()
            target = fresh("restored")
            code, out, err = lib.run_binary("restore", dest, target, *args)
            lib.expect(code in (DAMAGED, FAILED) and not os.path.exists(target), f"{path.name} {kind}: {code} {err}")
            path.write_bytes(whole)
    target = fresh("restored")
    flipped = stored[0].read_bytes()
    stored[0].write_bytes(flipped[:-1] + bytes([flipped[-1] ^ 1]))
    tool("restore", dest, target, *args, code=DAMAGED)
    stored[0].write_bytes(flipped)
    out = tool_json("restore", dest, target, *args)  # goes on with what is whole in the unfinished one
    lib.expect_equal(tools.dumped(target), tools.dumped(tools.made("stopped")), "after the store was mended")


@suite.case
def backup__interrupted_or_killed__no_backup_or_a_whole_one_and_the_next_goes_on():
    data, dest = tools.made("paged"), fresh("dest")
    rng = random.Random(5)
    for number in (signal.SIGINT, signal.SIGKILL) * 6:
        for command in (["backup", data, dest], ["restore", dest, fresh("restored")]):
            p = subprocess.Popen([lib.BINARY, *command, "--progress=never"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            time.sleep(rng.random() * 0.05)
            p.send_signal(number)
            code = p.wait(lib.WAIT_SECONDS)
            lib.expect(code in (OK, FAILED, INTERRUPTED, -number), f"{command}: exit code {code}")
            if command[0] == "restore" and os.path.exists(command[2]):
                lib.expect_equal(tools.dumped(command[2]), tools.dumped(data), "a directory under its name is whole")
    tool("backup", data, dest)
    lib.expect_equal({r["state"] for r in tool_json("backup", "ls", dest)}, {"ok"}, "backups")
    back, _ = restored(dest, [])
    lib.expect_equal(tools.dumped(back), tools.dumped(data), "samples")


@suite.case
def backup_and_restore__progress__a_bar_where_it_is_wanted_and_none_elsewhere():
    data, dest = tools.made("paged"), fresh("dest")
    for command in (["backup", data, dest], ["restore", dest, fresh("restored")]):
        err = tool(*command, "--progress=always")[1]
        lib.expect("[" + "#" * 30 + "]" in err and "bytes" in err and "100 %" in err, err)
    lib.expect_equal(tool("backup", data, dest)[1], "", "stderr that is no terminal")


@suite.case
def backup_and_restore__wrong_use__said_and_nothing_done():
    data, dest = tools.made("stopped"), fresh("dest")
    with lib.Tidalite(data, *tools.FLAGS) as server:
        server.start()
        lib.expect("give its URL" in tool("backup", data, dest, code=BUSY)[1], "a directory in use")
        err = tool("backup", f"http://127.0.0.1:{server.port}", dest, code=FAILED)[1]
        lib.expect("admin" in err, err)
        lib.expect(not os.path.exists(f"{data}/snapshots") or os.listdir(f"{data}/snapshots") == [], "snapshots")
    lib.expect("holds no backup" in tool("restore", dest, fresh("restored"), code=FAILED)[1], "an empty store")
    tool("backup", data, dest)
    lib.expect("not empty" in tool("restore", dest, data, code=USAGE)[1], "over a directory")
    lib.expect("holds no backup x" in tool("restore", dest, fresh("restored"), "--backup=x", code=FAILED)[1], "an unknown backup")
    lib.expect("No such file" in tool("restore", fresh("nowhere"), fresh("restored"), code=FAILED)[1], "no store")
    for bad in ("s3://", "s3:///x", "s3://b//x", "s3://b/a b"):
        lib.expect("expected s3://" in tool("backup", data, bad, code=USAGE)[1], bad)
    lib.expect("AWS_ACCESS_KEY_ID" in tool("backup", data, "s3://b/x", code=USAGE)[1], "no keys")
    manifest = next(pathlib.Path(dest, "backups").iterdir())
    tools.flip(manifest, 60)
    lib.expect_equal([r["state"] == "ok" for r in tool_json("backup", "ls", dest, code=DAMAGED)], [False], "a damaged manifest")
    tool("restore", dest, fresh("restored"), code=DAMAGED)


@suite.case
def backup__server_that_names_what_is_no_snapshot__refused_and_left_alone():
    """An answer of a server is no order: what is not a snapshot is neither copied nor removed."""
    victim = pathlib.Path(lib.folder("victim"))
    (victim / "snapshots/precious").mkdir(parents=True)
    (victim / "snapshots/precious/letter").write_text("dear", encoding="utf-8")
    answers = {"/api/v1/status/flags": {"storage.tsdb.path": str(victim)}, "/api/v1/admin/tsdb/snapshot": {"name": "precious"}}

    class Handler(http.server.BaseHTTPRequestHandler):
        def log_message(self, *_):
            pass

        def do_GET(self):
            body = json.dumps({"status": "success", "data": answers[self.path]}).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_POST = do_GET

    server = http.server.HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{server.server_address[1]}"
    tool("backup", url, fresh("dest"), code=FAILED)
    lib.expect_equal((victim / "snapshots/precious/letter").read_text(encoding="utf-8"), "dear", "the folder")
    for name in ("..", "../x", ".hidden", "", "a/b"):
        answers["/api/v1/admin/tsdb/snapshot"] = {"name": name}
        tool("backup", url, fresh("dest"), code=FAILED)
    lib.expect((victim / "snapshots/precious/letter").exists(), "the folder is gone")
    server.shutdown()
    server.server_close()


@suite.case
def backup_to_s3__wrong_keys_or_nobody_there__said():
    data = tools.made("stopped")
    with s3_server() as (args, bucket, gate):
        os.environ["AWS_SECRET_ACCESS_KEY"] = "wrong"
        err = tool("backup", data, f"s3://{BUCKET}/x", *args, code=FAILED)[1]
        lib.expect("403" in err, err)
        lib.expect("signature does not match" in tool("backup", "ls", f"s3://{BUCKET}/x", *args, code=FAILED)[1], "the server's text")
        lib.expect_equal(gate.requests, [], "requests that were let through")
        os.environ["AWS_SECRET_ACCESS_KEY"] = KEYS["AWS_SECRET_ACCESS_KEY"]
        lib.expect("404" in tool("backup", data, "s3://nothing/x", *args, code=FAILED)[1], "no such bucket")
        err = tool("backup", data, f"s3://{BUCKET}/x", f"--s3-endpoint=http://127.0.0.1:{lib.free_port()}", code=FAILED)[1]
        lib.expect("connect" in err, err)


@suite.case
def backup_to_s3__answers_503_now_and_then__tried_again():
    data = tools.made("stopped")
    with s3_server() as (args, bucket, gate):
        gate.fail = 2
        tool("backup", data, f"s3://{BUCKET}/x", *args)
        gate.fail = 2
        back, _ = restored(f"s3://{BUCKET}/x", args)
        lib.expect_equal(tools.dumped(back), tools.dumped(data), "samples")
        gate.fail = 1000
        err = tool("backup", "ls", f"s3://{BUCKET}/x", *args, code=FAILED)[1]
        lib.expect("503" in err and "reduce your request rate" in err, err)


@suite.case
def backup_ls_of_s3__more_names_than_a_page__all_of_them():
    data = tools.made("stopped")
    with s3_server() as (args, bucket, gate):
        names = [tool_json("backup", data, f"s3://{BUCKET}/x", *args)["backup"] for _ in range(5)]
        gate.page = 2
        rows = tool_json("backup", "ls", f"s3://{BUCKET}/x", *args)
        lib.expect_equal([r["backup"] for r in rows], names, "backups")
        lib.expect_equal(sum("continuation-token" in path for _, path in gate.requests), 2, "pages after the first")


if __name__ == "__main__":
    sys.exit(suite.main())
