#!/usr/bin/env python3
"""What is installed: `make install` into a folder, the library as others link it, the Debian packages in a chroot.

Run by `make test-deb`, which builds build/deb/*.deb first.  The chroot is made by debootstrap from the mirror that this
machine installs from; without root (or sudo that asks for no password) that part is skipped and counted.
"""
import os
import pathlib
import re
import shutil
import stat
import subprocess
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "e2e"))
import lib  # noqa: E402

suite = lib.Suite()

DEB = lib.ROOT / "build/deb"
STATE = "var/lib/tidalite"
UNIT = "lib/systemd/system/tidalite.service"


def run(*argv, code=0, env=None, cwd=None, timeout=600):
    """stdout and stderr together of a command that ends with this exit code."""
    argv = [str(a) for a in argv]
    done = subprocess.run(argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=timeout, cwd=cwd or lib.ROOT,
                          env=dict(os.environ, **(env or {})), stdin=subprocess.DEVNULL)
    out = done.stdout.decode("utf-8", "replace")
    lib.expect(done.returncode == code, f"{' '.join(argv)}: exit code {done.returncode}, expected {code}\n{out[-3000:]}")
    return out


def mode(path):
    return stat.S_IMODE(os.stat(path).st_mode)


def package(name):
    found = sorted(DEB.glob(f"{name}_*.deb"))
    lib.expect(len(found) == 1, f"one package {name} in {DEB}, found {found}")
    return found[0]


# ---- make install ----
def installed():
    """The folder that `make install` wrote with everything open to everybody; made once."""
    into = lib.ROOT / "build/installed"
    if not installed.done:
        shutil.rmtree(into, ignore_errors=True)
        run("sh", "-c", f"umask 0; exec make --no-print-directory DEPS=skip DESTDIR={into} PREFIX=/usr install")
        installed.done = True
    return into


installed.done = False


@suite.case
def install__umask_0__data_directory_closed_to_others():
    into = installed()
    lib.expect_equal(oct(mode(into / STATE)), oct(0o750), "mode of the data directory")
    for path in ("usr/bin/tidalite", "usr/include/tidalite.h", "usr/lib/libtidalite.a", "usr/lib/libtidalite.so", "usr/lib/pkgconfig/tidalite.pc",
                 "usr/share/man/man1/tidalite.1", "usr/share/bash-completion/completions/tidalite"):
        lib.expect((into / path).exists(), f"{path} was not installed")
        lib.expect(mode(into / path) & 0o022 in (0, 0o022) and not mode(into / path) & 0o6000, f"mode of {path}")
    lib.expect(run(into / "usr/bin/tidalite", "version").startswith("tidalite"), "version")


def pkg_config(into, *args):
    where = into / "usr/lib/pkgconfig"
    return run("pkg-config", *args, "tidalite", env={"PKG_CONFIG_PATH": str(where), "PKG_CONFIG_SYSROOT_DIR": str(into)}).split()


def embed_works(program, env=None):
    data = lib.folder()
    first = run(program, data + "/db", env=env)
    second = run(program, data + "/db", env=env)
    lib.expect("3 samples written" in first and 'room="kitchen"' in first, first)
    lib.expect("-3.25" in second and second.count("21.5") >= first.count("21.5"), second)
    out = run(installed() / "usr/bin/tidalite", "query", "series", data + "/db", "--match=temperature_celsius")
    lib.expect("garden" in out, f"the program's directory, read by the tool: {out}")


@suite.case
def library__shared__only_names_of_the_header():
    so = installed() / "usr/lib/libtidalite.so.0"
    names = {line.split()[-1] for line in run("nm", "-D", "--defined-only", so).splitlines()}
    header = set(re.findall(r"\b(tidalite_[a-z_]+)\(", (lib.ROOT / "tsdb/tidalite.h").read_text()))
    lib.expect_equal(sorted(names), sorted(header), "names that the library shows")
    lib.expect("libtidalite.so.0" in run("objdump", "-p", so), "soname")
    archive = {line.split()[-1] for line in run("nm", "-g", "--defined-only", installed() / "usr/lib/libtidalite.a").splitlines() if " " in line}
    lib.expect_equal(sorted(n for n in archive if not n.startswith("tidalite_")), [], "other names of the archive")


@suite.case
def library__example_by_pkg_config__runs_shared_and_static():
    into, out = installed(), pathlib.Path(lib.folder())
    flags = pkg_config(into, "--cflags", "--libs")
    run("cc", "-Wall", "-Werror", "examples/embed.c", *flags, "-o", out / "shared")
    embed_works(out / "shared", {"LD_LIBRARY_PATH": str(into / "usr/lib")})
    flags = pkg_config(into, "--static", "--cflags", "--libs")
    at = flags.index("-ltidalite")
    flags[at:at + 1] = ["-Wl,-Bstatic", "-ltidalite", "-Wl,-Bdynamic"]
    run("cc", "examples/embed.c", *flags, "-o", out / "static")
    lib.expect("libtidalite" not in run("ldd", out / "static"), "the static program asks for the shared library")
    embed_works(out / "static")


@suite.case
def header__as_c11_and_as_cxx__compiles_alone():
    into = installed()
    run("cc", "-std=c11", "-Wall", "-Wextra", "-Werror", "-pedantic", "-fsyntax-only", "-x", "c", into / "usr/include/tidalite.h")
    run("c++", "-std=c++11", "-Wall", "-Wextra", "-Werror", "-pedantic", "-fsyntax-only", "-x", "c++", into / "usr/include/tidalite.h")


# ---- the packages ----
@suite.case
def packages__lintian__no_error():
    changes = sorted(DEB.glob("*.changes"))
    lib.expect(len(changes) == 1, f"one .changes in {DEB}, found {changes}")
    out = run("lintian", "--allow-root", "--fail-on", "error", changes[0])
    lib.expect(not re.search(r"^E: ", out, re.M), out)


@suite.case
def unit__by_systemd_itself__takes_every_line():
    if not shutil.which("systemd-analyze"):
        raise lib.Skip("no systemd-analyze")
    out = pathlib.Path(lib.folder())
    run("dpkg-deb", "-x", package("tidalite"), out)
    (out / "bin").mkdir()
    shutil.copy(shutil.which("kill"), out / "bin/kill")
    text = run("systemd-analyze", "verify", "--man=no", "--recursive-errors=no", f"--root={out}", "tidalite.service")
    lib.expect("Unknown" not in text and "tidalite.service:" not in text, text)


# ---- a chroot ----
class Chroot:
    def __init__(self, path):
        self.path, self.root = pathlib.Path(path), [] if os.geteuid() == 0 else ["sudo", "-n"]

    def make(self):
        mirror = run("sh", "-c", "apt-get indextargets --format '$(REPO_URI) $(CODENAME) $(COMPONENT)' | awk '$2 == \"bookworm\" && $3 == \"main\" { print $1; exit }'").strip()
        lib.expect(mirror, "this machine installs from no bookworm mirror")
        run(*self.root, "debootstrap", "--variant=minbase", "bookworm", self.path, mirror, timeout=1200)
        self.write("usr/sbin/policy-rc.d", "#!/bin/sh\nexit 101\n", 0o755)
        return self

    def write(self, path, text, mode_bits=0o644):
        run(*self.root, "sh", "-c", f"cat > '{self.path}/{path}' <<'END'\n{text}END\nchmod {mode_bits:o} '{self.path}/{path}'")

    def run(self, *argv, code=0):
        return run(*self.root, "chroot", self.path, "env", "DEBIAN_FRONTEND=noninteractive", "LC_ALL=C", "PATH=/usr/sbin:/usr/bin:/sbin:/bin", *argv, code=code)

    def install(self, *debs):
        for d in debs:
            run(*self.root, "cp", d, self.path / "tmp")
        return self.run("apt-get", "install", "-q", "-y", "--no-install-recommends", *[f"/tmp/{pathlib.Path(d).name}" for d in debs])

    def remove(self):
        run(*self.root, "rm", "-rf", "--one-file-system", self.path)

    def command(self):
        """ExecStart of the unit, as the unit's user runs it."""
        unit = (self.path / UNIT).read_text()
        start = re.search(r"^ExecStart=(.*)$", unit, re.M)[1].replace("$TIDALITE_ARGS", "").split()
        return [*self.root, "chroot", "--userspec=tidalite:tidalite", str(self.path), *start]


def next_version(deb, out):
    """The same package as a later version."""
    tree = out / "next"
    run("dpkg-deb", "-R", deb, tree)
    control = tree / "DEBIAN/control"
    control.write_text(re.sub(r"^Version: (.*)$", r"Version: \1+next", control.read_text(), flags=re.M))
    run("dpkg-deb", "--root-owner-group", "-b", tree, out)
    return sorted(out.glob("tidalite_*+next_*.deb"))[0]


def serve_once(chroot, marks, expected):
    """Start the server as the unit would, look for what earlier runs wrote, write one more."""
    port = lib.free_port()
    with lib.Server("packaged", [*chroot.command(), f"--web.listen-address=127.0.0.1:{port}", "--self-scrape.interval=0"], port, "/-/ready").start() as server:
        for value in expected:
            lib.expect_equal(server.client.query(f'packaged{{run="{value}"}}', marks[value] / 1000)[0]["value"][1], str(value), f"what run {value} wrote")
        value, t = len(marks) + 1, lib.now_ms()
        lib.written(server.client.write([lib.wire.Series(lib.wire.labels("packaged", run=str(value)), [(t, float(value))])]))
        marks[value] = t
        lib.expect_equal(server.terminate(), 0, "exit status after SIGTERM")


@suite.case
def packages__in_a_chroot__install_start_upgrade_purge():
    if os.geteuid() != 0 and subprocess.run(["sudo", "-n", "true"], capture_output=True).returncode != 0:
        raise lib.Skip("neither root nor sudo without a password")
    if not shutil.which("debootstrap", path=os.environ["PATH"] + ":/usr/sbin:/sbin"):
        raise lib.Skip("no debootstrap")
    out = pathlib.Path(lib.folder("tidalite-chroot"))
    chroot, marks = Chroot(out / "root"), {}
    try:
        chroot.make()
        chroot.install(package("tidalite"), package("libtidalite-dev"))
        lib.expect_equal(chroot.run("stat", "-c", "%U %G %a", "/" + STATE).strip(), "tidalite tidalite 750", "data directory")
        lib.expect("tidalite" in chroot.run("ls", "/etc/systemd/system/multi-user.target.wants"), "the unit is not enabled")
        serve_once(chroot, marks, [])
        chroot.install(next_version(package("tidalite"), out))
        lib.expect("+next" in chroot.run("dpkg-query", "-W", "tidalite"), "upgraded")
        serve_once(chroot, marks, [1])
        chroot.run("apt-get", "remove", "-q", "-y", "tidalite")
        lib.expect((chroot.path / "etc/tidalite/tidalite.yml").exists(), "remove took the configuration")
        said = chroot.run("apt-get", "purge", "-q", "-y", "tidalite")
        lib.expect(not (chroot.path / "etc/tidalite/tidalite.yml").exists(), "purge left the configuration")
        lib.expect("/var/lib/tidalite" in said and chroot.run("ls", "/" + STATE).split(), "purge deleted samples, or did not say that they stay")
        chroot.install(package("tidalite"))
        serve_once(chroot, marks, [1, 2])
    finally:
        chroot.remove()


if __name__ == "__main__":
    sys.exit(suite.main())
