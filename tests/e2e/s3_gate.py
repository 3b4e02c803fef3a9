"""What s3rver leaves out: a gate before it that computes the signature (AWS Signature Version 4) of every request anew, from Amazon's
description, and lets nothing else through; and that fails on demand, as S3 does now and then."""
import hashlib
import hmac
import http.client
import http.server
import re
import threading
import urllib.parse


def signature(method, target, headers, secret):
    """(what it has to be, what it is)"""
    scheme, _, rest = headers["Authorization"].partition(" ")
    parts = dict(p.strip().split("=", 1) for p in rest.split(","))
    _, day, region, service, end = parts["Credential"].split("/")
    path, _, query = target.partition("?")
    pairs = sorted(p if "=" in p else p + "=" for p in query.split("&")) if query else []
    signed = parts["SignedHeaders"].split(";")
    if any(headers[h] is None for h in signed) or not {"host", "x-amz-content-sha256", "x-amz-date"} <= set(signed) or scheme != "AWS4-HMAC-SHA256" or end != "aws4_request":
        return "all of what has to be signed", rest
    canonical = "\n".join([method, path, "&".join(pairs), *(f"{h}:{' '.join(headers[h].split())}" for h in signed), "", ";".join(signed),
                           headers["x-amz-content-sha256"]])
    scope = f"{day}/{region}/{service}/{end}"
    text = "\n".join([scheme, headers["x-amz-date"], scope, hashlib.sha256(canonical.encode()).hexdigest()])
    key = ("AWS4" + secret).encode()
    for part in (day, region, service, end):
        key = hmac.new(key, part.encode(), hashlib.sha256).digest()
    return hmac.new(key, text.encode(), hashlib.sha256).hexdigest(), parts["Signature"]


def one_page(answer, token, size):
    """Of a list's XML the names of one page; tokens as Amazon's, which have to be escaped."""
    found = re.findall(rb"<Contents>.*?</Contents>", answer, re.S)
    begin = int(token.strip("=+/")) if token else 0
    more = b"<NextContinuationToken>+%d/==</NextContinuationToken>" % (begin + size) if begin + size < len(found) else b""
    return answer[:answer.index(b">", answer.index(b"<ListBucketResult")) + 1] + more + b"".join(found[begin:begin + size]) + b"</ListBucketResult>"


class Gate:
    """Listens on .port; .fail: how many of the next requests are answered 503; .page: names of a list at once, by the gate itself, for
    s3rver's own pages need a Node of old; .requests: what was let through."""

    def __init__(self, port, behind, secret):
        gate = self
        self.port, self.fail, self.page, self.requests, self.lock = port, 0, None, [], threading.Lock()

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_):
                pass

            def answer(self, status, body, headers=()):
                self.send_response_only(status)
                for k, v in headers:
                    self.send_header(k, v)
                if not any(k.lower() == "content-length" for k, _ in headers):
                    self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(body)

            def handle_any(self):
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                with gate.lock:
                    failing = gate.fail > 0
                    gate.fail -= failing
                expected, got = signature(self.command, self.path, self.headers, secret)
                if failing:
                    self.answer(503, b"<Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message></Error>")
                elif expected != got:
                    self.answer(403, b"<Error><Code>SignatureDoesNotMatch</Code><Message>The request signature does not match.</Message></Error>")
                else:
                    with gate.lock:
                        gate.requests.append((self.command, urllib.parse.unquote(self.path)))
                    there = http.client.HTTPConnection("127.0.0.1", behind)
                    token = re.search(r"continuation-token=([^&]*)&", self.path)
                    path = self.path.replace(token[0], "") if token else self.path
                    there.request(self.command, path, body, {k: v for k, v in self.headers.items() if k.lower() != "connection"})
                    r = there.getresponse()
                    answer, hop = r.read(), ["connection", "keep-alive", "transfer-encoding"]
                    if gate.page and "list-type" in path:
                        answer = one_page(answer, urllib.parse.unquote(token[1]) if token else "", gate.page)
                        hop.append("content-length")
                    self.answer(r.status, answer, [(k, v) for k, v in r.getheaders() if k.lower() not in hop])
                    there.close()

            do_GET = do_PUT = do_HEAD = handle_any

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", port), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def close(self):
        self.server.shutdown()
        self.server.server_close()
