# SPDX-License-Identifier: Apache-2.0
"""Where decrypted content is in memory, and when it is gone."""

import ctypes
import gc
import os

import pytest

from pqc_enclave_sdk import ArtifactKind, EnclaveVault, FileEnclaveBackend, InMemoryEnclaveBackend

SANITIZED = "PQE_SANITIZED" in os.environ
KIND = ArtifactKind.MODEL_WEIGHTS


@pytest.fixture
def vault():
    with EnclaveVault(InMemoryEnclaveBackend()) as opened:
        yield opened


def _address(view):
    class Buffer(ctypes.Structure):
        _fields_ = [("buf", ctypes.c_void_p), ("obj", ctypes.py_object), ("rest", ctypes.c_byte * 128)]

    buffer = Buffer()
    assert ctypes.pythonapi.PyObject_GetBuffer(ctypes.py_object(view), ctypes.byref(buffer), 0) == 0
    where = buffer.buf
    ctypes.pythonapi.PyBuffer_Release(ctypes.byref(buffer))
    return where


def is_mapped(where):
    with open("/proc/self/maps") as maps:
        for line in maps:
            first, last = (int(x, 16) for x in line.split()[0].split("-"))
            if first <= where < last:
                return True
    return False


def test_view_is_read_only_and_not_copied(vault):
    vault.put_artifact("a", KIND, bytes(300_000))
    artifact = vault.get_artifact("a")
    view = artifact.view
    assert view.readonly and view.format == "B" and view.nbytes == 300_000
    assert artifact.view is view
    with pytest.raises(TypeError):
        view[0] = 1
    assert _address(view) == _address(view[0:10]) == _address(view[10:]) - 10


def test_view_is_gone_when_released(vault):
    vault.put_artifact("a", KIND, b"secret" * 100_000)
    artifact = vault.get_artifact("a")
    with artifact.view as view:
        where = _address(view)
        assert is_mapped(where)
    assert not is_mapped(where)
    for use in (lambda: artifact.content, lambda: artifact.view[0], lambda: artifact.sha3_256_hex()):
        with pytest.raises(ValueError):
            use()
    assert artifact.metadata.name == "a"


def test_a_part_keeps_it(vault):
    vault.put_artifact("a", KIND, b"secret" * 100_000)
    artifact = vault.get_artifact("a")
    part = artifact.view[6:12]
    artifact.view.release()
    assert part == b"secret"
    where = _address(part)
    part.release()
    assert not is_mapped(where)


def test_collected(vault):
    vault.put_artifact("a", KIND, b"secret" * 100_000)
    view = vault.get_artifact("a").view  # the artifact itself is gone
    where = _address(view)
    assert view[:6] == b"secret"
    del view
    gc.collect()
    assert not is_mapped(where)


def test_release(vault):
    vault.put_artifact("a", KIND, b"x")
    artifact = vault.get_artifact("a")
    artifact.release()
    artifact.release()
    with pytest.raises(ValueError):
        artifact.content  # noqa: B018
    with vault.get_artifact("a") as artifact:
        held = memoryview(artifact.view)
        with pytest.raises(ValueError), artifact.view:  # released by the with below it
            artifact.release()
            held.release()
            raise ValueError


def test_content_then_view(vault):
    vault.put_artifact("a", KIND, b"abc")
    artifact = vault.get_artifact("a")
    assert artifact.content == b"abc" and artifact.content is artifact.content
    assert artifact.view == b"abc"
    artifact.release()
    assert artifact.content == b"abc"


def test_view_then_content(vault):
    vault.put_artifact("a", KIND, b"abc")
    artifact = vault.get_artifact("a")
    view = artifact.view
    assert artifact.content == b"abc"
    view.release()
    assert artifact.content == b"abc"


@pytest.mark.parametrize("first", ["view", "content"])
def test_large_content_is_not_copied(vault, first):
    size = 40 << 20
    vault.put_artifact("a", KIND, b"\1" * size)
    artifact = vault.get_artifact("a")
    for what in (first, "view", "content"):
        assert len(getattr(artifact, what)) == size
    where = _address(artifact.view)
    assert where == _address(artifact.content)
    artifact.view.release()
    assert artifact.content == b"\1" * size and not artifact.content.strip(b"\1")
    del artifact
    assert SANITIZED or not is_mapped(where)


def memory(where, size):
    with open("/proc/self/mem", "rb", buffering=0) as file:
        file.seek(where)
        return file.read(size)


def test_large_view_is_gone_when_released(vault):
    vault.put_artifact("a", KIND, b"\1" * (40 << 20))
    artifact = vault.get_artifact("a")
    view = artifact.view
    where = _address(view)
    assert memory(where, 1 << 20) == b"\1" * (1 << 20)
    view.release()
    if SANITIZED:  # what is freed is kept for a while: there it can be seen to have been wiped
        assert memory(where, 1 << 20) == bytes(1 << 20)
    else:
        assert not is_mapped(where)
    with pytest.raises(ValueError):
        artifact.content  # noqa: B018


def test_empty(vault):
    vault.put_artifact("a", KIND, b"")
    with vault.get_artifact("a").view as view:
        assert view == b"" and view.nbytes == 0
    assert vault.get_artifact("a").content == b""


MEASURE = """
import resource, sys
from pqc_enclave_sdk import *
peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
vault = EnclaveVault(FileEnclaveBackend(sys.argv[1], key_file=sys.argv[2]))
vault.unlock()
before, what = peak(), sys.argv[3]
if what == "view":
    size = len(vault.get_artifact("a").view)
elif what == "content":
    size = len(vault.get_artifact("a").content)
elif what == "put":
    content = open("/dev/zero", "rb").read(256 << 20)
    vault.put_artifact("b", ArtifactKind.OTHER, content)
    size = len(content)
else:
    with open(sys.argv[4], "rb") as file:
        vault.put_artifact("b", ArtifactKind.OTHER, file)
    size = 0
print(peak() - before - size)
"""


@pytest.mark.skipif(SANITIZED, reason="the sanitizer keeps freed memory")
@pytest.mark.parametrize("what", ["view", "content", "put", "file"])
def test_peak_memory(scratch, run_python, what):
    """Beside the content itself, 64 MiB at most."""
    big = scratch / "big"
    with open(big, "wb") as file:
        file.truncate(256 << 20)
    with EnclaveVault(FileEnclaveBackend(scratch / "vault", key_file=scratch / "key")) as vault, open(big, "rb") as file:
        vault.put_artifact("a", KIND, file)
    extra = int(run_python(MEASURE, scratch / "vault", scratch / "key", what, big))
    assert extra <= 64 << 20, f"{extra / 2**20:.0f} MiB"
