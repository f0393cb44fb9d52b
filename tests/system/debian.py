"""Debian packages of other architectures, unpacked into a cache and never installed.

The cache is $DTE_CACHE (build/cache). Through deploy/private-apt, so that apt
checks their signatures and this machine's apt knows nothing of it.
"""

import contextlib
import fcntl
import os
import pathlib
import re
import subprocess
import tempfile

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]
CACHE = pathlib.Path(os.environ.get("DTE_CACHE") or REPOSITORY / "build/cache").resolve()


def unpacked(package, arch):
    """The folder with the package's files, newest version; fetched where it is not there."""
    folder = CACHE / "debian" / arch / _file_name(package, arch)
    with _lock(folder):
        if not folder.exists():
            with tempfile.TemporaryDirectory(dir=folder.parent) as work:
                _apt(arch, "apt-get", "-qq", "download", package, cwd=work)
                (deb,) = pathlib.Path(work).glob("*.deb")
                subprocess.run(["dpkg-deb", "-x", deb, f"{work}/files"], check=True)
                os.rename(f"{work}/files", folder)
    return folder


def with_dependencies(packages, arch, folder):
    """Fetches these packages and all that they depend on into `folder`, as .deb files."""
    keep = f"Dir::Cache::archives={folder}"
    _apt(arch, "apt-get", "install", "-y", "-qq", "--download-only", "-o", keep, *packages)
    return sorted(pathlib.Path(folder).glob("*.deb"))


def linux_image(flavour, arch):
    """The unpacked kernel that the meta package linux-image-FLAVOUR stands for now."""
    meta = f"linux-image-{flavour}"
    depends = _apt(arch, "apt-cache", "depends", meta)
    found = re.search(rf"Depends: (linux-image-\d\S+-{flavour})$", depends, re.MULTILINE)
    assert found, f"{meta} depends on no versioned kernel:\n{depends}"
    return unpacked(found[1], arch)


def _file_name(package, arch):
    uris = _apt(arch, "apt-get", "download", "--print-uris", package)
    found = re.search(r"' (\S+)\.deb ", uris)
    assert found, f"apt knows no download for {package}:{arch}:\n{uris}"
    return found[1]


def _apt(arch, *command, cwd=None):
    private_apt = REPOSITORY / "deploy/private-apt"
    environment = {**os.environ, "DTE_CACHE": str(CACHE)}
    run = subprocess.run(
        [private_apt, arch, *command],
        cwd=cwd, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True, check=True,
    )
    return run.stdout


@contextlib.contextmanager
def _lock(folder):
    """One process at a time fetches one package."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with open(folder.parent / f"{folder.name}.lock", "w", encoding="ascii") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
