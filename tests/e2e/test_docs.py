#!/usr/bin/env python3
"""Every command that a document shows is run, beside a server with a little data; links of documents lead somewhere.

A block fenced as `sh` is run line by line as one script, in a folder that has `data`, `contrib` and `examples`, with `tidalite` and
`build/tidalite` on hand and the server's port in place of 9494.  `<!-- not run: why -->` before a block leaves it out.
"""
import os
import pathlib
import re
import subprocess
import sys

import lib

suite = lib.Suite()
DOCS = sorted(list((lib.ROOT / "docs").glob("*.md")) + list((lib.ROOT / "docs/format").glob("*.md")) + [lib.ROOT / "README.md", lib.ROOT / "contrib/README.md"])
BLOCK = re.compile(r"(<!-- not run: (?P<why>[^>]+) -->\n)?^```sh\n(?P<script>.*?)^```$", re.M | re.S)
PAGES_RUN = ("getting-started.md", "operating.md", "moving.md", "api.md")


def scripts(path):
    return [(m["script"], m["why"]) for m in BLOCK.finditer(path.read_text())]


@suite.case
def commands__of_every_page__run():
    with lib.Tidalite(None, "--self-scrape.interval=1s", self_scrape=True).start() as server:
        lib.wait_for("a scrape of itself", lambda: server.client.query("tidalite_head_series"))
        here = pathlib.Path(lib.folder())
        (here / "build").mkdir()
        for name, to in (("build/tidalite", lib.BINARY), ("tidalite", lib.BINARY), ("data", server.data), ("contrib", lib.ROOT / "contrib")):
            (here / name).symlink_to(os.path.abspath(to))
        env = dict(os.environ, PATH=f"{here}:{os.environ['PATH']}")
        ran = 0
        for page in DOCS:
            for script, why in scripts(page):
                if why:
                    continue
                ran += 1
                text = script.replace("127.0.0.1:9494", f"127.0.0.1:{server.port}").replace("curl -s", "curl -sSf")
                done = subprocess.run(["bash", "-eu", "-o", "pipefail", "-c", text], cwd=here, env=env, capture_output=True, text=True, timeout=120)
                lib.expect(done.returncode == 0, f"{page.name}:\n{script}exit code {done.returncode}\n{done.stdout[-1500:]}{done.stderr[-1500:]}")
                lib.expect(done.stdout.strip() or done.stderr.strip() or ">" in text, f"{page.name}:\n{script}said nothing")
        lib.expect(ran >= 8, f"only {ran} blocks of commands were run")


@suite.case
def pages__that_people_follow__have_commands_that_are_run():
    for name in PAGES_RUN:
        lib.expect(any(not why for _, why in scripts(lib.ROOT / "docs" / name)), f"docs/{name} shows no command that is run")


def anchors(text):
    return {re.sub(r"[^\w\- ]", "", h.lower()).replace(" ", "-") for h in re.findall(r"^#+ (.*)$", text, re.M)}


@suite.case
def links__of_every_page__lead_somewhere():
    broken = []
    for page in DOCS:
        text = re.sub(r"```.*?```", "", page.read_text(), flags=re.S)
        for target in re.findall(r"\]\(([^)\s]+)\)", text):
            if re.match(r"https?:", target):
                continue
            path, _, anchor = target.partition("#")
            to = (page.parent / path).resolve() if path else page
            if not to.exists() or (anchor and to.suffix == ".md" and anchor not in anchors(to.read_text())):
                broken.append(f"{page.relative_to(lib.ROOT)}: {target}")
    lib.expect_equal(broken, [], "links that lead nowhere")


FLAG = re.compile(r"`--((?:web|storage|query|config|self-scrape|log|enable|otlp)[\w.\-]+)[=`]")


@suite.case
def flags__that_pages_name__exist():
    known = set(re.findall(r"^\s+--(?:\[no-\])?([\w.\-]+)", lib.run_binary("serve", "--help")[1], re.M))
    known |= set(re.findall(r"`--([\w.\-]+)", (lib.ROOT / "docs/config.md").read_text()))
    pages = [page for page in DOCS if page.name != "compatibility.md"]  # which names what is not there
    wrong = [f"{page.name}: --{flag}" for page in pages for flag in FLAG.findall(page.read_text()) if flag not in known]
    lib.expect_equal(wrong, [], "flags that no server has")


if __name__ == "__main__":
    sys.exit(suite.main())
