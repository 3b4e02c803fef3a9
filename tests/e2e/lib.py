"""What the end-to-end tests share: servers on free loopback ports, HTTP, writing, asking, and a small test runner.

Every process is started through Process and ended by its id; what is left over at the end of a script is killed.  No test
asserts a time; waits have generous limits and say what they waited for.
"""
import atexit
import http.client
import json
import math
import os
import pathlib
import random
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
import traceback
import urllib.parse

sys.dont_write_bytecode = True
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))

import wire  # noqa: E402

ROOT = pathlib.Path(__file__).resolve().parents[2]
BINARY = os.environ.get("TIDALITE_BINARY", str(ROOT / "build/tidalite"))
WAIT_SECONDS = float(os.environ.get("TIDALITE_TEST_WAIT", "60"))  # longest wait for anything; sanitizers may need more

_processes = []
_folders = []


class Failure(Exception):
    """A test found something else than it expected."""


class Skip(Exception):
    """What a test needs is not on this machine; the text says what."""


def expect(condition, text):
    if not condition:
        raise Failure(text)


def expect_equal(got, expected, what):
    if got != expected:
        raise Failure(f"{what}: got {short(got)}, expected {short(expected)}")


def short(value, limit=600):
    text = value if isinstance(value, str) else repr(value)
    return text if len(text) <= limit else text[:limit] + f"... ({len(text)} characters)"


def wait_for(what, probe, seconds=WAIT_SECONDS, pause=0.02):
    """Call probe until it returns something true; return that."""
    deadline = time.monotonic() + seconds
    while True:
        found = probe()
        if found:
            return found
        if time.monotonic() > deadline:
            raise Failure(f"waited {seconds:g} s in vain for {what}")
        time.sleep(pause)


def folder(name="tidalite"):
    """A new empty folder, removed at the end."""
    path = tempfile.mkdtemp(prefix=f"{name}-")
    _folders.append(path)
    return path


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def _clean_up():
    for p in list(_processes):
        p.kill()
    for f in _folders:
        shutil.rmtree(f, ignore_errors=True)


atexit.register(_clean_up)
signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))


class Answer:
    def __init__(self, status, headers, data):
        self.status, self.headers, self.data = status, headers, data

    @property
    def text(self):
        return self.data.decode("utf-8", "replace")

    @property
    def json(self):
        return json.loads(self.data)

    def __repr__(self):
        return f"HTTP {self.status} {short(self.text, 300)!r}"


class Client:
    """One keep-alive connection; opened anew when it was closed."""

    def __init__(self, port, timeout=WAIT_SECONDS):
        self.port, self.timeout, self.connection = port, timeout, None

    def close(self):
        if self.connection:
            self.connection.close()
            self.connection = None

    def request(self, method, path, body=None, headers=None):
        """One exchange.  Raises OSError or http.client.HTTPException when there was no answer."""
        for attempt in (1, 2):
            fresh = self.connection is None
            if fresh:
                self.connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=self.timeout)
            try:
                self.connection.request(method, path, body, headers or {})
                r = self.connection.getresponse()
                answer = Answer(r.status, r.headers, r.read())
                if r.will_close:
                    self.close()
                return answer
            except (OSError, http.client.HTTPException):
                self.close()
                if fresh or attempt == 2:  # an idle connection may have been closed: try a new one once
                    raise
        raise AssertionError("not reached")

    def get(self, path, params=None, headers=None):
        return self.request("GET", path + ("?" + urllib.parse.urlencode(params, doseq=True) if params else ""), None, headers)

    def post(self, path, params, headers=None):
        return self.request("POST", path, urllib.parse.urlencode(params, doseq=True),
                            {"Content-Type": "application/x-www-form-urlencoded"} | (headers or {}))

    def data(self, path, params=None):
        """The `data` of an API answer that must be a success."""
        a = self.get(path, params)
        expect(a.status == 200, f"GET {path} {params}: {a}")
        expect_equal(a.json["status"], "success", f"status of GET {path} {params}")
        return a.json["data"]

    def query(self, expr, t=None):
        """The result of an instant query (without resultType)."""
        return self.data("/api/v1/query", {"query": expr} | ({"time": t} if t is not None else {}))["result"]

    def query_range(self, expr, start, end, step):
        return self.data("/api/v1/query_range", {"query": expr, "start": start, "end": end, "step": step})["result"]

    def write_raw(self, body, headers=None):
        """POST bytes as a remote write 1.0 request; headers override (None removes one)."""
        h = {"Content-Type": wire.CONTENT_TYPE[1], "Content-Encoding": "snappy",
             "X-Prometheus-Remote-Write-Version": wire.VERSION[1]} | (headers or {})
        return self.request("POST", "/api/v1/write", body, {k: v for k, v in h.items() if v is not None})

    def write(self, series, version=1, headers=None):
        return self.write_raw(wire.body(series, version),
                              {"Content-Type": wire.CONTENT_TYPE[version],
                               "X-Prometheus-Remote-Write-Version": wire.VERSION[version]} | (headers or {}))


def written(answer):
    """(samples, histograms, exemplars) that a write answer counts."""
    return tuple(int(answer.headers.get(f"X-Prometheus-Remote-Write-{k}-Written", "-1"))
                 for k in ("Samples", "Histograms", "Exemplars"))


class Process:
    """A child process with its output in a file."""

    def __init__(self, name, argv, cwd=None, cpus=None, env=None):
        self.name, self.argv, self.cwd, self.cpus, self.env = name, argv, cwd, cpus, env
        self.process = None
        self.log_path = os.path.join(folder("log"), name + ".log")

    @property
    def pid(self):
        return self.process.pid

    def start(self):
        cpus = self.cpus
        with open(self.log_path, "ab") as log:
            self.process = subprocess.Popen(self.argv, stdout=log, stderr=log, stdin=subprocess.DEVNULL, cwd=self.cwd, env=self.env,
                                            preexec_fn=(lambda: os.sched_setaffinity(0, cpus)) if cpus else None)
        _processes.append(self)
        return self

    def alive(self):
        return self.process is not None and self.process.poll() is None

    def signal(self, number):
        if self.alive():
            os.kill(self.process.pid, number)

    def wait(self, seconds=WAIT_SECONDS):
        """Exit status; Failure if it does not end."""
        try:
            code = self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            raise Failure(f"{self.name} did not end within {seconds:g} s; its log ends:\n{self.log_tail()}") from None
        if self in _processes:
            _processes.remove(self)
        return code

    def kill(self):
        """SIGKILL, and wait."""
        if self.process is not None:
            self.signal(signal.SIGKILL)
            self.wait()

    def terminate(self):
        """SIGTERM; the exit status."""
        self.signal(signal.SIGTERM)
        return self.wait()

    def log_tail(self, lines=25):
        with open(self.log_path, "rb") as f:
            return b"\n".join(f.read().splitlines()[-lines:]).decode("utf-8", "replace")


class Server(Process):
    """A process that answers HTTP on a port, ready when ready_path answers 200."""

    def __init__(self, name, argv, port, ready_path, **more):
        super().__init__(name, argv, **more)
        self.port, self.ready_path = port, ready_path
        self.client = Client(port)

    def start(self, ready=True):
        super().start()
        if ready:
            self.wait_ready()
        return self

    def wait_ready(self):
        probe = Client(self.port, timeout=10)

        def is_ready():
            expect(self.alive(), f"{self.name} ended with status {self.process.poll()} before it was ready; its log ends:\n{self.log_tail()}")
            try:
                return probe.get(self.ready_path).status == 200
            except (OSError, http.client.HTTPException):
                return False

        wait_for(f"{self.name} to be ready", is_ready, pause=0.002)
        probe.close()
        return self

    def kill(self):
        self.client.close()
        super().kill()

    def terminate(self):
        self.client.close()
        return super().terminate()

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        if exc[0] is not None and self.process is not None:
            print(f"log of {self.name} ends:\n{self.log_tail()}")
        self.kill()
        if exc[0] is None and self.process is not None:
            self.check_log()

    def check_log(self):
        """What a sanitizer found counts, also where the process was killed before it could exit with a status."""
        with open(self.log_path, encoding="utf-8", errors="replace") as f:
            log = f.read()
        at = min((i for i in map(log.find, ("Sanitizer", "runtime error:", "assertion failed")) if i >= 0), default=-1)
        expect(at < 0, f"{self.name} reports:\n{log[max(at - 200, 0):at + 6000]}")


class Tidalite(Server):
    """`tidalite serve`; self-scrape off unless asked for, so that a test sees only its own series."""

    def __init__(self, data=None, *flags, port=None, self_scrape=False, **more):
        self.data = data or folder()
        port = port or free_port()
        argv = [BINARY, "serve", f"--web.listen-address=127.0.0.1:{port}", f"--storage.tsdb.path={self.data}"]
        if not self_scrape:
            argv.append("--self-scrape.interval=0")
        super().__init__("tidalite", argv + list(flags), port, "/-/ready", **more)


def run_binary(*args, timeout=WAIT_SECONDS, cwd=None):
    """Run the binary to its end: (exit status, stdout, stderr)."""
    done = subprocess.run([BINARY, *args], stdout=subprocess.PIPE, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL,
                          timeout=timeout, cwd=cwd)
    return done.returncode, done.stdout.decode("utf-8", "replace"), done.stderr.decode("utf-8", "replace")


BLOCK_RANGE_FLAG = "storage.tsdb.min-block-duration"


def block_count(server):
    """Blocks on disk, as the server counts them."""
    return find_text(server.client.get("/metrics").text, "tidalite_blocks") or 0


ODD = [math.nan, math.inf, -math.inf, -0.0, 0.0, 5e-324, -1.7976931348623157e308, 0.1, 1e21, 1e-7]


def any_value(rng):
    """Mostly arbitrary bit patterns: whatever codec the server picks, the bits have to survive."""
    kind = rng.randrange(4)
    if kind == 0:
        return rng.choice(ODD)
    if kind == 1:
        return float(rng.randrange(-1000, 1000))
    if kind == 2:
        return rng.randrange(10**9) / 1000
    while True:
        value = struct.unpack("<d", rng.randbytes(8))[0]
        if not math.isnan(value):  # NaN payloads cannot be seen over the API; unit tests look at their bits
            return value


def now_ms():
    return int(time.time() * 1000)


def series_key(metric):
    return tuple(sorted(metric.items()))


def same_value(a, b, relative=0.0):
    """Equal, both NaN, or within a relative difference."""
    if math.isnan(a) or math.isnan(b):
        return math.isnan(a) and math.isnan(b)
    return a == b or abs(a - b) <= relative * max(abs(a), abs(b))


def matrix(result):
    """{labels: [(t in ms, text)]} of a matrix result."""
    return {series_key(s["metric"]): [(round(t * 1000), v) for t, v in s.get("values", [])] for s in result}


def find_text(metrics_text, name):
    """Sum of all samples of a metric in a text exposition; None if there is none."""
    found = [float(line.rsplit(" ", 1)[1]) for line in metrics_text.splitlines()
             if line.startswith((name + " ", name + "{"))]
    return sum(found) if found else None


class Writer:
    """A sender in a thread, with `series` series of its own; remembers what it sent and what was acknowledged.

    A subclass has next_batch: {(series, t): value or wire.Histogram} of a request.  It ends when the server is gone.
    """
    PAUSE_SECONDS = 0

    def __init__(self, port, name, round_index, index, seed, series):
        self.client = Client(port)
        self.rng = random.Random(seed)
        self.labels = [wire.labels(name, round=str(round_index), writer=str(index), series=str(s)) for s in range(series)]
        self.sent, self.acked = {}, {}        # (series, t) -> value
        self.acknowledged = 0
        self.problem = None
        self.thread = threading.Thread(target=self.run)

    def run(self):
        try:
            while self.send_one():
                time.sleep(self.PAUSE_SECONDS)
        except (OSError, http.client.HTTPException):
            pass              # the server is gone: that is the point

    def send_one(self):
        batch = self.next_batch()
        samples, histograms = [[] for _ in self.labels], [[] for _ in self.labels]
        for (s, t), value in batch.items():
            if isinstance(value, wire.Histogram):
                histograms[s].append(value)
            else:
                samples[s].append((t, value))
        series = [wire.Series(labels=labels, samples=samples[s], histograms=histograms[s]) for s, labels in enumerate(self.labels)]
        self.sent.update(batch)
        answer = self.client.write(series, version=self.rng.choice((1, 2)))
        if answer.status != 204:
            self.problem = f"write answered {answer}"
            return False
        self.acked.update(batch)
        self.acknowledged += 1
        return True


def start_writers(writers):
    """Start them, and wait until each was answered at least once, so that there is something to lose."""
    for w in writers:
        w.thread.start()
    wait_for("first acknowledgements", lambda: all(w.acknowledged or w.problem or not w.thread.is_alive() for w in writers))


def join_writers(writers, server, where):
    """After the server's death; Failure if a writer saw something else."""
    for w in writers:
        w.thread.join()
        w.client.close()
        expect(w.problem is None, f"{where}: {w.problem}; log:\n{server.log_tail()}")
        expect(w.acknowledged > 0, f"{where}: a writer was never answered; log:\n{server.log_tail()}")


class Suite:
    """Collects test functions and runs them; the last line is `N passed, N failed`."""

    def __init__(self):
        self.cases = []

    def case(self, fn):
        self.cases.append(fn)
        return fn

    def main(self):
        words = sys.argv[1:]
        passed = failed = skipped = 0
        for fn in self.cases:
            if words and not any(w in fn.__name__ for w in words):
                continue
            begin = time.monotonic()
            try:
                fn()
                passed += 1
                verdict = "ok  "
            except Skip as e:
                skipped += 1
                verdict = "skip"
                print(e, flush=True)
            except Exception as e:  # noqa: BLE001: a test may fail in any way
                failed += 1
                verdict = "FAIL"
                print(f"{e}" if isinstance(e, Failure) else traceback.format_exc(), flush=True)
            print(f"{verdict} {fn.__name__} ({time.monotonic() - begin:.2f} s)", flush=True)
        if skipped:
            print(f"{skipped} skipped")
        print(f"{passed} passed, {failed} failed")
        return 0 if failed == 0 and passed + skipped > 0 else 1
