"""Other people's servers, for tests and benchmarks: Debian's packages, unpacked into build/peers and never installed.

Nobody's machine gains a service, a user or a file outside the build folder by running tests.  A package is fetched once
(`apt-get download`) and unpacked with `dpkg-deb -x`; the folder is the cache.

TIDALITE_PEERS=<folder> names a folder with other programs, newer ones for example: what it holds (prometheus, promtool,
victoria-metrics, prometheus-node-exporter) is taken from there, the rest is Debian's.
"""
import os
import pathlib
import shutil
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
PEERS = ROOT / "build/peers"
given = os.environ.get("TIDALITE_PEERS")  # a folder of programs, or None

# program -> where Debian's package has it; the package has the program's name unless PACKAGES says otherwise
PROGRAMS = {
    "prometheus": "usr/bin/prometheus",
    "prometheus-node-exporter": "usr/bin/prometheus-node-exporter",
    "promtool": "usr/bin/promtool",
    "victoria-metrics": "usr/bin/victoria-metrics",
    "vmagent": "usr/bin/vmagent",
}
PACKAGES = {"promtool": "prometheus", "vmagent": "victoria-metrics"}


class PeerError(Exception):
    """A peer could not be had; the text says why and what to do."""


def _private_lists():
    """Options that keep apt's lists in the build folder: no root is needed to fetch them."""
    apt = PEERS / "apt"
    for d in ("lists/partial", "cache/archives/partial"):
        (apt / d).mkdir(parents=True, exist_ok=True)
    return ["-o", f"Dir::State::Lists={apt}/lists", "-o", f"Dir::Cache={apt}/cache", "-o", "APT::Sandbox::User="]


def _run(command, cwd):
    try:
        done = subprocess.run(command, cwd=cwd, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=600,
                              stdin=subprocess.DEVNULL)
    except FileNotFoundError:
        raise PeerError(f"peers: {command[0]} is not there; peers are unpacked from Debian packages and need a Debian system") from None
    except subprocess.TimeoutExpired:
        raise PeerError(f"peers: {' '.join(command[:2])} did not end within 10 minutes") from None
    return done.returncode, done.stdout.decode("utf-8", "replace")


def _download(package, into):
    """Fetch <package>_*.deb.  The machine's own package lists are tried first, then lists of our own."""
    code, out = _run(["apt-get", "download", "-q", "-o", "APT::Sandbox::User=", package], into)
    if code != 0:
        own = _private_lists()
        code, updated = _run(["apt-get", "update", "-q", "-o", "APT::Update::Error-Mode=any"] + own, into)
        if code == 0:
            code, out = _run(["apt-get", "download", "-q"] + own + [package], into)
        else:
            out += updated
    debs = list(into.glob("*.deb"))
    if code != 0 or not debs:
        raise PeerError(f"peers: the Debian package '{package}' could not be downloaded (apt-get download). "
                        f"The peers are needed to compare with, not to run Tidalite. apt said:\n{out[-2000:]}")
    return debs[0]


def _given(name):
    """The program in the folder that the caller named, or None."""
    path = pathlib.Path(given) / name if given else None
    return path.resolve() if path and os.access(path, os.X_OK) else None


def program(name):
    """Path of a program of PROGRAMS, fetched if need be.  Raises PeerError."""
    if given and not pathlib.Path(given).is_dir():
        raise PeerError(f"peers: {given} is no folder")
    own = _given(name)
    if own:
        return str(own)
    package = PACKAGES.get(name, name)
    path = PEERS / package / PROGRAMS[name]
    if path.exists():
        return str(path)
    PEERS.mkdir(parents=True, exist_ok=True)
    work = PEERS / f"{package}.tmp.{os.getpid()}"
    shutil.rmtree(work, ignore_errors=True)
    (work / "deb").mkdir(parents=True)
    try:
        deb = _download(package, work / "deb")
        code, out = _run(["dpkg-deb", "-x", str(deb), str(work / "root")], work)
        if code != 0:
            raise PeerError(f"peers: dpkg-deb could not unpack {deb.name}:\n{out[-2000:]}")
        (work / "root" / "PACKAGE").write_text(deb.name + "\n")
        try:
            (work / "root").rename(PEERS / package)  # whole or not at all
        except OSError:
            if not path.exists():  # else somebody else was faster
                raise
    finally:
        shutil.rmtree(work, ignore_errors=True)
    if not path.exists():
        raise PeerError(f"peers: the package '{package}' holds no {PROGRAMS[name]}")
    return str(path)


def version(name):
    """What was measured or compared with: file name of the package, or what a given program says of itself."""
    own = _given(name)
    if not own:
        return (PEERS / PACKAGES.get(name, name) / "PACKAGE").read_text().strip()
    code, out = _run([str(own), "-version" if name == "victoria-metrics" else "--version"], None)
    return out.splitlines()[0].strip() if code == 0 and out.strip() else str(own)


if __name__ == "__main__":
    try:
        for name in sys.argv[1:] or PROGRAMS:
            print(program(name), version(name))
    except PeerError as e:
        print(e, file=sys.stderr)
        sys.exit(1)
