#!/usr/bin/env python3
"""Who may come in: credentials and scopes on every route and method, hosts and origins of browsers, TLS with client certificates,
prefixes behind proxies, limits of clients, and what attackers send."""
import base64
import crypt
import hashlib
import http.client
import json
import pathlib
import re
import socket
import ssl
import subprocess
import sys
import time

import lib

suite = lib.Suite()

METHODS = ("GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH")
OPEN = ("/-/healthy", "/-/ready")


def routes():
    """Every path of the server's own table, with something in place of "*"."""
    text = (lib.ROOT / "server/api/routes.c").read_text()
    table = text[text.index("route_table[] = {"):]
    table = table[:table.index("};")]
    for macro, value in re.findall(r'#define (\w+_PATH)\s+"([^"]+)"', text):
        table = re.sub(rf'\b{macro}\b(?: "([^"]*)")?', lambda m: f'"{value}{m[1] or ""}"', table)
    found = sorted({p.replace("*", "x") for p in re.findall(r'"(/[^"]*)"', table)})
    lib.expect(len(found) > 40 and "/api/v1/write" in found and any("snapshot" in p for p in found), f"routes read from the table: {found}")
    return found


def basic(name, password):
    return {"Authorization": "Basic " + base64.b64encode(f"{name}:{password}".encode()).decode()}


def web_file(folder, users=None, tls=None, headers=None):
    path = pathlib.Path(folder) / "web.yml"
    lines = []
    if tls:
        lines += ["tls_server_config:"] + [f"  {k}: {v}" for k, v in tls.items()]
    if headers:
        lines += ["http_server_config:", "  headers:"] + [f"    {k}: {json.dumps(v)}" for k, v in headers.items()]
    if users:
        lines += ["basic_auth_users:"] + [f"  {k}: {crypt.crypt(v, crypt.mksalt(crypt.METHOD_BLOWFISH, rounds=16))}" for k, v in users.items()]
    path.write_text("\n".join(lines) + "\n")
    return str(path)


def token_file(folder, **scopes):
    """The file, and {name: headers}."""
    path, headers, lines = pathlib.Path(folder) / "tokens", {}, []
    for name, scope in scopes.items():
        code, secret, line = lib.run_binary("token", name, scope)
        lib.expect_equal(code, 0, "exit status of token")
        lines.append(line)
        headers[name] = {"Authorization": "Bearer " + secret.strip()}
    path.write_text("".join(lines))
    return str(path), headers


def status(server, method, path, headers=None, body=None):
    return server.client.request(method, path, body, headers or {}).status


@suite.case
def credentials__missing_or_wrong_on_every_route_and_method__401_and_nothing_else():
    folder = lib.folder()
    tokens, good = token_file(folder, reader="read")
    wrong = [{}, basic("alice", "no"), basic("nobody", "secret"), {"Authorization": "Bearer " + "0" * 64}, {"Authorization": "Bearer"},
             {"Authorization": "Basic !!!"}, {"Authorization": "Basic " + base64.b64encode(b"alice").decode()}, {"Authorization": "Digest x"},
             {"Authorization": "basic " + base64.b64encode(b"alice:secret\0").decode()},
             {"Authorization": "Bearer " + hashlib.sha256(good["reader"]["Authorization"][7:].encode()).hexdigest()}]
    with lib.Tidalite(None, f"--web.config.file={web_file(folder, {'alice': 'secret'})}", f"--web.token.file={tokens}", "--web.enable-lifecycle", "--web.enable-admin-api").start() as server:
        for path in routes() + ["/no/such/path", "/api/v1/nothing", "//api/v1/query", "/-/", "/-/healthy/x", "/%2d/healthy"]:
            for method in METHODS:
                for headers in (wrong if path in ("/api/v1/query", "/api/v1/write", "/-/quit") else wrong[:2]):
                    got = server.client.request(method, path, b"" if method in ("POST", "PUT", "PATCH") else None, headers)
                    free = re.sub("%2d", "-", path) in OPEN and method in ("GET", "HEAD")
                    lib.expect_equal(got.status, 200 if free else 401, f"{method} {path} with {headers}")
                    lib.expect(free or got.headers.get("WWW-Authenticate", "").startswith("Basic"), f"{method} {path} without a challenge")
                    lib.expect(free or method == "HEAD" or got.text == "Unauthorized\n", f"{method} {path} says more: {got}")
        lib.expect(server.alive(), "the server lives")
        lib.expect_equal(status(server, "GET", "/api/v1/query?query=1", basic("alice", "secret")), 200, "the right password")


@suite.case
def scopes__each_token_on_each_kind_of_route__as_it_says():
    folder = lib.folder()
    tokens, who = token_file(folder, reader="read", writer="write", boss="admin", both="read,write", all="read,write,admin")
    write = lib.wire.body([lib.wire.Series(lib.wire.labels("a"), [(lib.now_ms(), 1.0)])], 1)
    kinds = {"read": [("GET", "/api/v1/query?query=1", None), ("POST", "/api/v1/labels", b""), ("GET", "/metrics", None), ("GET", "/", None), ("GET", "/federate?match[]=a", None)],
             "write": [("POST", "/api/v1/write", write), ("POST", "/api/v1/otlp/v1/metrics", b""), ("POST", "/api/v1/import/prometheus", b"a 1\n")],
             "admin": [("POST", "/-/reload", b""), ("POST", "/api/v1/admin/tsdb/snapshot", b""), ("DELETE", "/api/v1/status/active_queries/1", None)]}
    may = {"reader": {"read"}, "writer": {"write"}, "boss": {"admin"}, "both": {"read", "write"}, "all": {"read", "write", "admin"}}
    with lib.Tidalite(None, f"--web.token.file={tokens}", "--web.enable-lifecycle", "--web.enable-admin-api").start() as server:
        for name, headers in who.items():
            for kind, requests in kinds.items():
                for method, path, body in requests:
                    got = server.client.request(method, path, body, headers)
                    if kind in may[name]:
                        lib.expect(got.status not in (401, 403), f"{name}: {method} {path}: {got}")
                    else:
                        lib.expect_equal(got.status, 403, f"{name}: {method} {path}")
                        lib.expect(kind in got.text, f"{name}: {path}: {got}")
        got = server.client.request("GET", "/api/v1/query?query=1", None, {})
        lib.expect_equal((got.status, got.headers.get("WWW-Authenticate", "")[:5]), (401, "Basic"), "without a token")
        secret = who["reader"]["Authorization"].split()[1]
        lib.expect_equal([status(server, "GET", "/", basic(name, secret)) for name in ("", "anybody")], [200, 200], "a token as a browser's password")
        lib.expect_equal([status(server, "GET", "/", basic("anybody", secret[:-1])), status(server, "POST", "/-/reload", basic("x", secret), b"")], [401, 403], "a wrong one, and its scope")


@suite.case
def files__changed_while_it_runs__taken_and_a_broken_one_is_not():
    folder = lib.folder()
    path = web_file(folder, {"alice": "one"})
    with lib.Tidalite(None, f"--web.config.file={path}").start() as server:
        lib.expect_equal(status(server, "GET", "/version", basic("alice", "one")), 200, "the first password")
        web_file(folder, {"alice": "two"})
        lib.wait_for("the second password", lambda: status(server, "GET", "/version", basic("alice", "two")) == 200)
        lib.expect_equal(status(server, "GET", "/version", basic("alice", "one")), 401, "the first password afterwards")
        pathlib.Path(path).write_text("basic_auth_users:\n  alice: plain\n")
        lib.wait_for("a word about it", lambda: "web.yml:2" in server.log_tail(50))
        lib.expect_equal(status(server, "GET", "/version", basic("alice", "two")), 200, "the old rules")
    code, _, err = lib.run_binary("serve", f"--web.config.file={path}", f"--storage.tsdb.path={lib.folder()}")
    lib.expect(code == 1 and "web.yml:2" in err, f"a start on it: {code} {err}")


# ---- browsers ----
@suite.case
def hosts__names_on_a_loopback_listener__refused_unless_allowed():
    with lib.Tidalite(None, "--web.external-url=http://metrics.example/").start() as server:
        for host, expected in (("127.0.0.1:1", 200), ("localhost", 200), ("x.localhost:9", 200), ("[::1]:9494", 200), ("metrics.example", 200), ("METRICS.example:80", 200),
                               ("evil.example", 403), ("evil.example:9494", 403), ("localhost.evil.example", 403), ("127.0.0.1.evil.example", 403), ("x.localhost.", 403), ("tidalite", 200), ("x:9494", 200)):
            for method, path in (("GET", "/api/v1/query?query=1"), ("GET", "/"), ("POST", "/api/v1/labels")):
                lib.expect_equal(status(server, method, path, {"Host": host}, b"" if method == "POST" else None), expected, f"{method} {path} for {host}")
        lib.expect_equal(status(server, "GET", "/-/ready", {"Host": "evil.example"}), 200, "readiness, for everybody")
    with lib.Tidalite(None, "--web.allowed-hosts=tidalite,store.example").start() as server:
        lib.expect_equal([status(server, "GET", "/version", {"Host": h}) for h in ("tidalite:9494", "store.example", "other.example")], [200, 200, 403], "allowed hosts")
    with lib.Tidalite(None, "--web.allowed-hosts=*").start() as server:
        lib.expect_equal(status(server, "GET", "/version", {"Host": "anything.example"}), 200, "any host")


@suite.case
def pages_from_elsewhere__posts__403_and_nothing_changes():
    with lib.Tidalite(None, "--web.enable-lifecycle", "--web.enable-admin-api", "--web.external-url=https://metrics.example/", "--web.cors.origin=.*").start() as server:
        foreign = ({"Origin": "https://evil.example"}, {"Origin": "null"}, {"Sec-Fetch-Site": "cross-site"}, {"Sec-Fetch-Site": "same-site"})
        for path in ("/-/quit", "/-/reload", "/api/v1/write", "/api/v1/import/prometheus", "/api/v1/admin/tsdb/snapshot"):
            for headers in foreign:
                lib.expect_equal(status(server, "POST", path, headers, b"x 1\n"), 403, f"{path} with {headers}")
            lib.expect(status(server, "GET", path) == 405, f"GET {path} changes nothing")
        lib.expect(server.alive() and server.client.query("x") == [], "something changed")
        lib.expect_equal(status(server, "POST", "/-/reload", {"Origin": "https://metrics.example"}, b""), 200, "our own page, behind a proxy")
        page = server.client.get("/")
        lib.expect("default-src" in page.headers.get("Content-Security-Policy", "") or page.status == 404, "policy of the page")
        for path in ("/", "/metrics", "/api/v1/query?query=1", "/nothing"):
            got = server.client.get(path)
            lib.expect_equal((got.headers.get("X-Content-Type-Options"), got.headers.get("X-Frame-Options")), ("nosniff", "DENY"), f"headers of {path}")


@suite.case
def prefix__kept_or_taken_off__paths_as_prometheus():
    below = lib.Tidalite(None, "--web.external-url=http://127.0.0.1/prom/")
    below.ready_path = "/prom/-/ready"
    with below.start() as server:
        lib.expect_equal([status(server, "GET", p) for p in ("/prom/api/v1/query?query=1", "/prom/", "/prom", "/api/v1/query?query=1", "/promx/api/v1/labels")],
                         [200, 200, 200, 404, 404], "paths below the prefix")
        root = server.client.request("GET", "/")
        lib.expect_equal((root.status, root.headers.get("Location")), (302, "/prom/"), "the root")
        server.client.request("POST", "/prom/api/v1/write", lib.wire.body([lib.wire.Series(lib.wire.labels("a"), [(lib.now_ms(), 1.0)])], 1), {"Content-Encoding": "snappy"})
        lib.expect("\"1\"" in server.client.get("/prom/api/v1/query", {"query": "a"}).text, "a write below the prefix")
    with lib.Tidalite(None, "--web.external-url=http://127.0.0.1/prom/", "--web.route-prefix=/").start() as server:
        lib.expect_equal(status(server, "GET", "/api/v1/query?query=1"), 200, "a proxy that takes it off")
    for flag in ("--web.external-url=metrics", "--web.route-prefix=prom", "--web.external-url=ftp://a/"):
        code, _, err = lib.run_binary("serve", flag, f"--storage.tsdb.path={lib.folder()}")
        lib.expect(code == 1 and flag.split("=")[0] in err, f"{flag}: {code} {err}")


# ---- limits of clients ----
@suite.case
def limits__of_one_client__429_with_retry_after_and_others_go_on():
    folder = lib.folder()
    tokens, who = token_file(folder, greedy="read,write", modest="read,write")
    with lib.Tidalite(None, f"--web.token.file={tokens}", "--web.client.max-requests-per-second=20", "--web.client.max-samples-per-second=1000").start() as server:
        got = [server.client.request("GET", "/version", None, who["greedy"]) for _ in range(200)]
        refused = [a for a in got if a.status == 429]
        lib.expect(refused and all(int(a.headers["Retry-After"]) >= 1 for a in refused), f"{len(refused)} of 200 requests refused")
        lib.expect_equal(status(server, "GET", "/version", who["modest"]), 200, "another client")
        t = lib.now_ms()
        many = lib.wire.body([lib.wire.Series(lib.wire.labels("m", i=str(i)), [(t, 1.0)]) for i in range(5000)], 1)
        more = {"Content-Encoding": "snappy", **who["modest"]}
        lib.expect_equal(status(server, "POST", "/api/v1/write", more, many), 204, "what comes at once is stored")
        lib.expect_equal(status(server, "POST", "/api/v1/write", more, many), 429, "and paid for afterwards")
        lib.wait_for("its turn", lambda: status(server, "GET", "/api/v1/query?query=count(m)", who["modest"]) == 200)


@suite.case
def limits__new_series_of_one_client__refused_and_the_rest_is_stored():
    folder = lib.folder()
    tokens, who = token_file(folder, greedy="read,write", modest="read,write")
    with lib.Tidalite(None, f"--web.token.file={tokens}", "--web.client.max-new-series-per-hour=100").start() as server:
        t = lib.now_ms()

        def send(client, first, count, at):
            series = [lib.wire.Series(lib.wire.labels("m", i=str(i)), [(at, 1.0)]) for i in range(first, first + count)]
            return server.client.request("POST", "/api/v1/write", lib.wire.body(series, 1), {"Content-Encoding": "snappy", **who[client]})
        lib.expect_equal(send("greedy", 0, 60, t - 2000).status, 204, "within the limit")
        got = send("greedy", 0, 160, t - 1000)
        lib.expect(got.status == 400 and b"--web.client.max-new-series-per-hour" in got.data and b"m{i=" in got.data, f"beyond it: {got.status} {got.data}")
        lib.expect_equal(got.headers["X-Prometheus-Remote-Write-Samples-Written"], "100", "known series, and those that had room")
        lib.expect_equal(send("greedy", 0, 60, t).status, 204, "known series go on")
        lib.expect_equal(send("modest", 160, 100, t).status, 204, "another client")
        count = server.client.request("GET", "/api/v1/query?query=count(m)", None, who["modest"])
        lib.expect(b'"200"' in count.data, f"series: {count.data}")


@suite.case
def limits__an_import_that_is_cut_off__counts_for_what_it_stored():
    with lib.Tidalite(None, "--web.client.max-new-series-per-hour=100", "--web.client.max-samples-per-second=100000").start() as server:
        lines = "".join(f'm{{i="{i % 100}",pad="{"x" * 200}"}} 1 {lib.now_ms() - i}\n' for i in range(8000)).encode()
        with socket.create_connection(("127.0.0.1", server.port)) as s:
            s.sendall(b"POST /api/v1/import/prometheus HTTP/1.1\r\nHost: 127.0.0.1\r\nTransfer-Encoding: chunked\r\n\r\n")
            s.sendall(b"%x\r\n%s\r\n" % (len(lines), lines))
            lib.wait_for("a stretch to be stored", lambda: b'"100"' in server.client.request("GET", "/api/v1/query?query=count(m)", None, {}).data)

        def another():
            body = lib.wire.body([lib.wire.Series(lib.wire.labels("n", i=str(time.monotonic())), [(lib.now_ms(), 1.0)])], 1)
            return status(server, "POST", "/api/v1/write", {"Content-Encoding": "snappy"}, body)
        got = []
        while 400 not in got and len(got) < 20: # far from a hundred
            time.sleep(0.1)
            got.append(another())
        lib.expect_equal(got[-1], 400, f"a new series after an import that was cut off: {got}")


@suite.case
def limits__bytes_in_chunks_without_a_length__count_too():
    with lib.Tidalite(None, "--web.client.max-bytes-per-second=10KiB").start() as server:
        got = server.client.request("POST", "/api/v1/import/prometheus", iter([b"a 1\n" * 10_000] * 2), {})
        lib.expect_equal(got.status, 204, "what comes at once is stored")
        lib.expect_equal(status(server, "GET", "/version"), 429, "and paid for afterwards")


# ---- TLS ----
def certificate(folder, name, issuer=None, usage="serverAuth", san="DNS:localhost,IP:127.0.0.1"):
    """PEM files name.pem, name.key; signed by issuer, or by itself."""
    base = pathlib.Path(folder) / name
    config = base.with_suffix(".cnf")
    config.write_text(f"[req]\ndistinguished_name=d\n[d]\n[x]\nsubjectAltName={san}\nextendedKeyUsage={usage}\nbasicConstraints={'CA:TRUE' if usage == 'ca' else 'CA:FALSE'}\n".replace("extendedKeyUsage=ca\n", ""))
    key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-keyout", f"{base}.key"]
    sign = ["-CA", f"{pathlib.Path(folder) / issuer}.pem", "-CAkey", f"{pathlib.Path(folder) / issuer}.key"] if issuer else []
    done = subprocess.run(["openssl", "req", "-x509", *key, *sign, "-days", "2", "-subj", f"/CN={name}", "-config", str(config), "-extensions", "x", "-out", f"{base}.pem"],
                          capture_output=True, text=True, timeout=60)
    lib.expect(done.returncode == 0, done.stderr)
    return f"{base}.pem", f"{base}.key"


def ask(port, context, path="/-/ready", headers=None):
    """Status over TLS; raises ssl.SSLError, OSError."""
    c = http.client.HTTPSConnection("127.0.0.1", port, timeout=30, context=context)
    try:
        c.request("GET", path, headers=headers or {})
        r = c.getresponse()
        r.read()
        return r.status
    finally:
        c.close()


def client_context(ca, cert=None, low=ssl.TLSVersion.TLSv1_2, high=ssl.TLSVersion.TLSv1_3, ciphers=None):
    context = ssl.create_default_context(cafile=ca)
    context.minimum_version, context.maximum_version = low, high
    if ciphers:
        context.set_ciphers(ciphers)
    if cert:
        context.load_cert_chain(*cert)
    return context


def refused(port, context):
    try:
        return ask(port, context, "/version")
    except (OSError, http.client.HTTPException):
        return "refused"


def tls_server(folder, **more):
    settings = {"cert_file": "server.pem", "key_file": "server.key", **more}
    port = lib.free_port()
    argv = [lib.BINARY, "serve", f"--web.listen-address=127.0.0.1:{port}", f"--storage.tsdb.path={lib.folder()}", "--self-scrape.interval=0", f"--web.config.file={web_file(folder, tls=settings)}"]
    return lib.Server("tidalite", argv, port, "/-/ready")


def started(server, context):
    server.start(ready=False)

    def up():
        lib.expect(server.alive(), f"it ended:\n{server.log_tail()}")
        try:
            return ask(server.port, context) == 200
        except OSError:
            return False
    lib.wait_for("a server with TLS", up)
    return server


@suite.case
def tls__versions_and_suites__as_configured():
    folder = lib.folder()
    certificate(folder, "server")
    ca = f"{folder}/server.pem"
    with started(tls_server(folder), client_context(ca)) as server:
        lib.expect_equal(refused(server.port, client_context(ca, low=ssl.TLSVersion.TLSv1_3)), 200, "TLS 1.3")
        lib.expect_equal(refused(server.port, client_context(ca, high=ssl.TLSVersion.TLSv1_2)), 200, "TLS 1.2")
        old = client_context(ca, low=ssl.TLSVersion.TLSv1, high=ssl.TLSVersion.TLSv1_1, ciphers="ALL:@SECLEVEL=0")
        lib.expect_equal(refused(server.port, old), "refused", "TLS 1.1")
        lib.expect_equal(refused(server.port, ssl.create_default_context()), "refused", "a client that does not know the certificate")
        plain = lib.Client(server.port, timeout=5)
        try:
            lib.expect(plain.get("/version").status != 200, "plain HTTP is answered")
        except (OSError, http.client.HTTPException):
            pass
        big = client_context(ca)
        for _ in range(3):  # answers that are made by other threads, and large ones, over one connection
            c = http.client.HTTPSConnection("127.0.0.1", server.port, timeout=30, context=big)
            for i in range(20):
                c.request("GET", "/api/v1/query_range?query=vector(time())&start=0&end=10000&step=1")
                r = c.getresponse()
                lib.expect_equal((r.status, len(json.loads(r.read())["data"]["result"][0]["values"])), (200, 10001), "a long answer")
            c.close()
    suites = "[TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384]"
    with started(tls_server(folder, max_version="TLS12", cipher_suites=suites), client_context(ca)) as server:
        lib.expect_equal(refused(server.port, client_context(ca, high=ssl.TLSVersion.TLSv1_2, ciphers="ECDHE-ECDSA-AES256-GCM-SHA384")), 200, "the suite that is wanted")
        lib.expect_equal(refused(server.port, client_context(ca, high=ssl.TLSVersion.TLSv1_2, ciphers="ECDHE-ECDSA-AES128-GCM-SHA256")), "refused", "another suite")
        lib.expect_equal(refused(server.port, client_context(ca, low=ssl.TLSVersion.TLSv1_3)), "refused", "a later version")


@suite.case
def tls__an_import_of_any_length__is_stored_while_it_comes():
    folder = lib.folder()
    certificate(folder, "server")
    context = client_context(f"{folder}/server.pem")
    now = lib.now_ms()
    pieces = ["".join(f'over_tls{{i="{i}"}} {k} {now - 60_000 + k}\n' for i in range(5000)).encode() for k in range(40)]
    with started(tls_server(folder), context) as server:
        for chunked in (False, True):  # the body is held after each stretch, with bytes of TLS already read
            c = http.client.HTTPSConnection("127.0.0.1", server.port, timeout=60, context=context)
            c.request("POST", "/api/v1/import/prometheus?stats=true", iter(pieces) if chunked else b"".join(pieces))
            answer = c.getresponse()
            data = json.loads(answer.read())
            lib.expect_equal((answer.status, data["data"]["samples"]), (200, 200_000), f"an import over TLS: {data}")
            c.close()


@suite.case
def tls__client_certificates__each_way_of_asking():
    folder = lib.folder()
    certificate(folder, "server")
    certificate(folder, "ca", usage="ca")
    mine = certificate(folder, "mine", "ca", "clientAuth", "DNS:agent.example")
    other = certificate(folder, "other", "ca", "clientAuth", "DNS:other.example")
    as_server = certificate(folder, "as-server", "ca", "serverAuth")
    stranger = certificate(folder, "stranger", None, "clientAuth")
    trust = f"{folder}/server.pem"
    cases = {"RequestClientCert": (200, 200, 200, 200), "RequireAnyClientCert": ("refused", 200, 200, 200),
             "VerifyClientCertIfGiven": (200, 200, "refused", "refused"), "RequireAndVerifyClientCert": ("refused", 200, "refused", "refused")}
    for kind, expected in cases.items():
        with started(tls_server(folder, client_auth_type=kind, client_ca_file="ca.pem"), client_context(trust, mine)) as server:
            got = tuple(refused(server.port, client_context(trust, cert)) for cert in (None, mine, stranger, as_server))
            lib.expect_equal(got, expected, f"{kind}: none, mine, a stranger's, one for servers")
    with started(tls_server(folder, client_auth_type="RequireAndVerifyClientCert", client_ca_file="ca.pem", client_allowed_sans="[agent.example]"), client_context(trust, mine)) as server:
        lib.expect_equal([refused(server.port, client_context(trust, c)) for c in (mine, other)], [200, "refused"], "names that are wanted")


@suite.case
def tls__certificate_replaced__new_connections_see_it_and_old_ones_live():
    folder = lib.folder()
    certificate(folder, "server")
    first = pathlib.Path(f"{folder}/first.pem")
    first.write_bytes(pathlib.Path(f"{folder}/server.pem").read_bytes())
    with started(tls_server(folder), client_context(str(first))) as server:
        old = http.client.HTTPSConnection("127.0.0.1", server.port, timeout=30, context=client_context(str(first)))
        old.request("GET", "/version")
        old.getresponse().read()
        certificate(folder, "server")
        lib.wait_for("the new certificate", lambda: refused(server.port, client_context(f"{folder}/server.pem")) == 200)
        lib.expect_equal(refused(server.port, client_context(str(first))), "refused", "the old certificate for a new connection")
        old.request("GET", "/version")
        lib.expect_equal(old.getresponse().status, 200, "the old connection")
        old.close()


# ---- what attackers send ----
def raw(port, data, seconds=30):
    with socket.create_connection(("127.0.0.1", port), seconds) as s:
        s.sendall(data)
        s.settimeout(seconds)
        got = b""
        while True:
            try:
                part = s.recv(65536)
            except OSError:
                break
            if not part:
                break
            got += part
        return got


@suite.case
def tricks__paths_headers_smuggling__nothing_comes_past_the_door():
    folder = lib.folder()
    with lib.Tidalite(None, f"--web.config.file={web_file(folder, {'alice': 'secret'})}", "--web.enable-lifecycle").start() as server:
        for path in ("/-/healthy/../../metrics", "/-/healthy%2f..%2f..%2fmetrics", "/-/healthy?/../metrics", "/-/ready;/metrics", "//metrics", "/./metrics", "/%6detrics", "/METRICS",
                     "/-/healthy%00/metrics", "http://127.0.0.1/metrics", "/-/healthy/", "*"):
            got = raw(server.port, f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n".encode("latin-1"))
            lib.expect(b"tidalite_" not in got, f"{path}: the metrics came out")
            lib.expect(got.startswith((b"HTTP/1.1 401", b"HTTP/1.1 400")) or path.startswith("/-/healthy?"), f"{path}: {got[:100]}")
        for request in (b"POST /-/healthy HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 6\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nPOST /-/quit HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
                        b"GET /-/healthy HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 44\r\n\r\nPOST /-/quit HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n    ",
                        b"GET /-/healthy HTTP/1.1\r\nHost: 127.0.0.1\r\n Authorization: Basic x\r\n\r\n",
                        b"GET /metrics HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Basic YWxpY2U6c2VjcmV0\r\nAuthorization: Basic eA==\r\nX: a\nb\r\n\r\n",
                        b"GET /metrics HTTP/1.1\r\nHost: 127.0.0.1\r\nHost: evil\r\nAuthorization: Basic eA==\r\n\r\n"):
            got = raw(server.port, request + b"GET /-/healthy HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n", 3)
            lib.expect(b"tidalite_" not in got and b"Goodbye" not in got, f"{request[:60]}: {got[:200]}")
        injected = server.client.request("GET", "/%0d%0aSet-Cookie:x=1", None, basic("alice", "secret"))
        lib.expect("Set-Cookie" not in injected.headers, "a header was injected")
        lib.expect(server.alive() and status(server, "GET", "/version", basic("alice", "secret")) == 200, "the server lives")


@suite.case
def guesses__a_flood__the_known_are_answered():
    folder = lib.folder()
    with lib.Tidalite(None, f"--web.config.file={web_file(folder, {'alice': 'secret'})}").start() as server:
        lib.expect_equal(status(server, "GET", "/version", basic("alice", "secret")), 200, "known")
        end, n = time.monotonic() + 3, 0
        while time.monotonic() < end:
            got = status(server, "GET", "/version", basic("alice", f"guess{n}"))
            lib.expect(got in (401, 503), f"a guess: {got}")
            lib.expect_equal(status(server, "GET", "/version", basic("alice", "secret")), 200, "the known one in between")
            n += 1


if __name__ == "__main__":
    sys.exit(suite.main())
