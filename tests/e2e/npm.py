"""Programs from npm that tests run: each folder with a lock file is installed once into build/<folder>."""
import pathlib
import shutil
import subprocess

import lib


def installed(name):
    """The folder with the packages of tests/e2e/<name>, installed once for each lock file. Skips where there is no npm."""
    source, folder = pathlib.Path(__file__).resolve().with_name(name), lib.ROOT / "build" / name
    if not shutil.which("npm") or not shutil.which("node"):
        raise lib.Skip("no npm here")
    folder.mkdir(parents=True, exist_ok=True)
    stamp, lock = folder / "installed", (source / "package-lock.json").read_text()
    for path in source.iterdir():
        shutil.copy(path, folder)
    if not stamp.exists() or stamp.read_text() != lock:
        try:
            done = subprocess.run(["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund"], cwd=folder, capture_output=True, text=True,
                                  timeout=lib.WAIT_SECONDS)
        except subprocess.TimeoutExpired as e:
            raise lib.Skip("npm ci does not end") from e
        if done.returncode != 0:
            raise lib.Skip(f"npm ci: {lib.short(done.stderr.strip(), 200)}")
        stamp.write_text(lock)
    return folder
