# SPDX-License-Identifier: Apache-2.0
"""What the tests share. CMake says where the command is (PQC_ENCLAVE); without it those tests that need it are skipped."""

import os
import pathlib
import shutil
import subprocess
import sys
import tempfile

import pytest

from pqc_enclave_sdk import EnclaveVault, FileEnclaveBackend, InMemoryEnclaveBackend


@pytest.fixture
def scratch(monkeypatch):
    """A directory in memory where there is room (the tests sync a lot), with a configuration directory of its own."""
    roomy = os.access("/dev/shm", os.W_OK) and shutil.disk_usage("/dev/shm").free >= 2 << 30
    base = "/dev/shm" if roomy else None
    path = pathlib.Path(tempfile.mkdtemp(prefix="pqe-python-", dir=base))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(path / "config"))
    yield path
    shutil.rmtree(path)


@pytest.fixture(params=["memory", "file"])
def backend(request, scratch):
    if request.param == "memory":
        return InMemoryEnclaveBackend()
    return FileEnclaveBackend(scratch / "vault")


@pytest.fixture
def vault(backend):
    with EnclaveVault(backend) as opened:
        yield opened


@pytest.fixture
def file_vault(scratch):
    with EnclaveVault(FileEnclaveBackend(scratch / "vault")) as opened:
        yield opened


@pytest.fixture
def cli(scratch):
    """Runs the command on the scratch directory's vault; returns its output, fails unless the status is as expected."""
    program = os.environ.get("PQC_ENCLAVE")
    if not program:
        pytest.skip("the command is not here")

    def run(*args, expect=0, data=b""):
        command = [program, "--vault", str(scratch / "vault"), *map(str, args)]
        done = subprocess.run(command, input=data, capture_output=True, check=False)
        assert done.returncode == expect, done.stderr.decode()
        return done.stdout

    return run


def run_python(code, *args, expect=0, flags=(), **options):
    """Runs Python code in another process; returns what it printed."""
    command = [sys.executable, *flags, "-c", code, *map(str, args)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, **options)
    assert done.returncode == expect, f"status {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture(name="run_python")
def run_python_fixture():
    return run_python
