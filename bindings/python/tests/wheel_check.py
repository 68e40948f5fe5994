#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The source distribution, the wheel made of it without a network, and the wheel installed.

  wheel_check.py SOURCE [KEEP]

KEEP is a directory for the wheel. Exits with 77, and says why, where pip, setuptools or wheel is missing.
"""

import importlib.util
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import zipfile

QUICK_START = """
import sys
from pqc_enclave_sdk import ArtifactKind, EnclaveVault, FileEnclaveBackend, InMemoryEnclaveBackend
assert sys.argv[1] in __import__("pqc_enclave_sdk").__file__
backend = FileEnclaveBackend(sys.argv[2], key_file=sys.argv[3]) if len(sys.argv) > 2 else InMemoryEnclaveBackend()
vault = EnclaveVault(backend=backend)
vault.unlock()
if len(sys.argv) < 5:
    vault.put_artifact(name="m", kind=ArtifactKind.MODEL_WEIGHTS, content=b"w" * 200_000)
    vault.save()
    vault.lock()
    vault.unlock()
assert vault.get_artifact("m").content == b"w" * 200_000
"""


def run(*command, **options):
    done = subprocess.run([str(c) for c in command], capture_output=True, text=True, check=False, **options)
    if done.returncode != 0:
        sys.exit(f"wheel_check.py: {' '.join(map(str, command))}:\n{done.stdout[-4000:]}\n{done.stderr[-4000:]}")
    return done.stdout


def check_extension(wheel, work):
    """Nothing but its initialiser is to be seen, and of OpenSSL nothing is wanted unless it is the system's."""
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        for wanted in ("__init__.py", "py.typed", "_native.pyi", "_native.abi3.so", "_vault.py"):
            assert f"pqc_enclave_sdk/{wanted}" in names, wanted
        extension = archive.extract("pqc_enclave_sdk/_native.abi3.so", work)
        (tag,) = (n for n in names if n.endswith("/WHEEL"))
        assert re.search(r"^Tag: cp311-abi3-", archive.read(tag).decode(), re.M)
    exported = {line.split()[0] for line in run("nm", "-P", "-D", "--defined-only", extension).splitlines()}
    assert exported == {"PyInit__native"}, exported
    needed = set(re.findall(r"\(NEEDED\).*\[(.*)\]", run("readelf", "-dW", extension)))
    needed -= {name.rpartition("/")[2] for name in names if "/libcbor.so" in name}  # comes with the wheel
    assert needed <= {"libsqlite3.so.0", "libc.so.6", "libm.so.6", "libcrypto.so.3", "ld-linux-x86-64.so.2",
                      "ld-linux-aarch64.so.1", "libpthread.so.0", "libdl.so.2"}, needed
    undefined = {line.split()[0] for line in run("nm", "-P", "-D", "--undefined-only", extension).splitlines()}
    if "libcrypto.so.3" not in needed:
        assert not {n for n in undefined if re.match(r"(EVP|OPENSSL|CRYPTO|OSSL|RAND)_", n)}
    assert "BIND_NOW" in run("readelf", "-dW", extension)


def check_installed(wheel, work):
    target = work / "installed"
    run(sys.executable, "-m", "pip", "install", "--no-index", "--no-deps", "--target", target, wheel)
    environment = {**os.environ, "PYTHONPATH": str(target)}
    for arguments in ([], ["vault", "key"], ["vault", "key", "again"]):
        run(sys.executable, "-X", "dev", "-W", "error", "-c", QUICK_START, target, *arguments, cwd=work, env=environment)


def main():
    if len(sys.argv) not in (2, 3):
        sys.exit(__doc__)
    for module in ("pip", "setuptools", "wheel"):
        if importlib.util.find_spec(module) is None:
            print(f"skipped: no python3-{module}")
            sys.exit(77)
    source = pathlib.Path(sys.argv[1])
    with tempfile.TemporaryDirectory(prefix="pqe-wheel-") as scratch:
        work = pathlib.Path(scratch)
        # A copy: setuptools writes beside its sources.
        files = run("git", "-C", source, "ls-files", "-z").split("\0") if (source / ".git").exists() else None
        tree = work / "tree"
        tree.mkdir()
        if files is not None:
            listed = "\0".join(f for f in files if f and (source / f).exists())
            run("cp", "--parents", "-t", tree, *listed.split("\0"), cwd=source)
        else:
            run("cp", "-a", f"{source}/.", tree)
        run(sys.executable, "setup.py", "-q", "sdist", "-d", work, cwd=tree)
        (sdist,) = work.glob("*.tar.gz")
        kept = pathlib.Path(sys.argv[2]) if len(sys.argv) == 3 else work
        run(sys.executable, "-m", "pip", "wheel", "--no-index", "--no-build-isolation", "--no-deps", "-w", kept, sdist)
        (wheel,) = kept.glob("pqc_enclave_sdk-*-cp311-abi3-*.whl")
        check_extension(wheel, work)
        check_installed(wheel, work)
        print(wheel.name)


main()
