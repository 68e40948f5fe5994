#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Installs the build into an empty prefix, moves that elsewhere, and builds and runs outside/ against it.

  install_check.py BUILD SOURCE CMAKE CC

By pkg-config with the shared library and, where there is a static SQLite, wholly static; by find_package() in CMake with
the shared and with the static library, also the skeleton backend of examples/. Exits with 77 where pkg-config is not installed.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent


def fail(text):
    sys.exit(f"install_check.py: {text}")


def run(*command, env=None, cwd=None):
    done = subprocess.run([str(c) for c in command], capture_output=True, text=True, cwd=cwd,
                          env={**os.environ, **(env or {})})
    if done.returncode != 0:
        fail(f"{' '.join(str(c) for c in command)} failed with {done.returncode}:\n{done.stdout}{done.stderr}")
    return done.stdout


def find(prefix, name):
    found = [p for p in prefix.rglob(name) if not p.is_dir()]
    if len(found) != 1:
        fail(f"{name} was installed {len(found)} times")
    return found[0]


def check_files(prefix, build, source):
    include = prefix / "include"
    for header in (source / "include").rglob("*.h"):
        installed = include / header.relative_to(source / "include")
        if not installed.exists() or installed.read_bytes() != header.read_bytes():
            fail(f"{installed} is missing or another one")
    link = find(prefix, "libpqcenclave.so")
    soname = find(prefix, "libpqcenclave.so.0")
    if not (link.is_symlink() and soname.is_symlink() and link.resolve() == soname.resolve()):
        fail("libpqcenclave.so and its soname do not lead to one library")
    dynamic = run("readelf", "-d", link)
    if "[libpqcenclave.so.0]" not in dynamic:
        fail("the library's soname is not libpqcenclave.so.0")
    if "PATH)" in dynamic:
        fail("the library has a run-time search path")
    for text in (find(prefix, "pqcenclave.pc"), find(prefix, "PqcEnclaveConfig.cmake")):
        for leak in (build, source, Path.home() / ".cache"):
            if str(leak) in text.read_text():
                fail(f"{text.name} names {leak}, which is not there on another machine")


def works(program, needs_library, env=None):
    output = run(program, env=env)
    if not output.startswith("pqc-enclave ") or not output.endswith(": works\n"):
        fail(f"{program} printed: {output}")
    # A program without a dynamic section needs nothing.
    needed = "[libpqcenclave.so.0]" in run("readelf", "-d", program)
    if needed != needs_library:
        fail(f"{program} {'needs' if needed else 'does not need'} the shared library")


def check_pkg_config(libdir, scratch, cc):
    env = {"PKG_CONFIG_PATH": f"{libdir / 'pkgconfig'}:{os.environ.get('PKG_CONFIG_PATH', '')}"}

    def flags(*options):
        return run("pkg-config", *options, "pqcenclave", env=env).split()

    program = scratch / "by_pkg_config"
    run(cc, "-o", program, HERE / "outside/main.c", *flags("--cflags", "--libs"))
    works(program, True, {"LD_LIBRARY_PATH": str(libdir)})
    # Static linking needs static archives, which not every system has.
    missing = [a for a in ("libsqlite3.a", "libcbor.a") if run(cc, f"-print-file-name={a}").strip() == a]
    if missing:
        print(f"no {missing[0]} here: not linked wholly static")
        return
    program = scratch / "by_pkg_config_static"
    run(cc, "-static", "-o", program, HERE / "outside/main.c", *flags("--static", "--cflags", "--libs"))
    works(program, False)


def check_cmake(prefix, scratch, cmake, cc):
    build = scratch / "outside"
    run(cmake, "-G", "Ninja", "-S", HERE / "outside", "-B", build, f"-DCMAKE_PREFIX_PATH={prefix}", f"-DCMAKE_C_COMPILER={cc}")
    run(cmake, "--build", build)
    works(build / "outside_shared", True)
    works(build / "outside_static", False)


def check_skeleton(prefix, scratch, cmake, cc, source):
    """The backend that others start from, built as they would. Its toy device needs headers of an OpenSSL."""
    if subprocess.run(["pkg-config", "--exists", "libcrypto >= 3.0"]).returncode != 0:
        print("no headers of OpenSSL here: the skeleton backend is not built outside")
        return
    build, device = scratch / "skeleton", scratch / "device"
    run(cmake, "-G", "Ninja", "-S", source / "examples/skeleton_backend", "-B", build, f"-DCMAKE_PREFIX_PATH={prefix}",
        f"-DCMAKE_C_COMPILER={cc}")
    run(cmake, "--build", build)
    device.mkdir()
    if run(build / "skeleton_example", device, scratch / "vault") != "skeleton: works\n" or len(list(device.iterdir())) != 1:
        fail("the skeleton backend does not work")


def main():
    if len(sys.argv) != 5:
        sys.exit(__doc__)
    build, source, cmake, cc = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3], sys.argv[4]
    if shutil.which("pkg-config") is None:
        print("pkg-config is not installed: skipped")
        sys.exit(77)
    with tempfile.TemporaryDirectory(prefix="pqe-install-") as directory:
        scratch = Path(directory)
        run(cmake, "--install", build, "--prefix", scratch / "first")
        prefix = (scratch / "first").rename(scratch / "moved")
        check_files(prefix, build, source)
        check_pkg_config(find(prefix, "pqcenclave.pc").parent.parent, scratch, cc)
        check_cmake(prefix, scratch, cmake, cc)
        check_skeleton(prefix, scratch, cmake, cc, source)


main()
