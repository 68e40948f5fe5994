# SPDX-License-Identifier: Apache-2.0
"""Artifacts as files: open_artifact and artifact_path."""

import fcntl
import io
import mmap
import os
import pickle
import random
import subprocess
import threading

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pqc_enclave_sdk import ArtifactKind, EnclaveLockedError, EnclaveVault, InMemoryEnclaveBackend, UnknownArtifactError

KIND = ArtifactKind.MODEL_WEIGHTS
CONTENT = random.Random(3).randbytes(1_000_000)


def test_file_protocol(vault):
    vault.put_artifact("a", KIND, CONTENT)
    with vault.open_artifact("a") as f:
        assert isinstance(f, io.RawIOBase)
        assert f.readable() and f.seekable() and not f.writable()
        assert (f.name, f.mode, len(f), f.metadata.name) == ("a", "rb", len(CONTENT), "a")
        assert f.read(10) == CONTENT[:10] and f.tell() == 10
        assert f.seek(-5, os.SEEK_END) == len(CONTENT) - 5 and f.read() == CONTENT[-5:]
        assert f.read(10) == b"" == f.read()
        assert f.seek(100) == 100 and f.seek(5, os.SEEK_CUR) == 105 and f.read(1) == CONTENT[105:106]
        assert f.seek(len(CONTENT) + 100) and f.read() == b""
        f.seek(0)
        assert f.readall() == CONTENT
        f.seek(0)
        assert io.BufferedReader(f).read(100_001) == CONTENT[:100_001]
        for wrong in (lambda: f.seek(-1), lambda: f.seek(0, 3), lambda: f.read_at(-1, 1), lambda: f.read_at(0, -1)):
            with pytest.raises(ValueError):
                wrong()
        with pytest.raises(TypeError):
            f.read_at("0", 1)
        with pytest.raises(io.UnsupportedOperation):
            f.write(b"")
    assert f.closed
    for use in (f.read, f.tell, f.readable, lambda: f.read_at(0, 1), lambda: f.readinto(bytearray(1))):
        with pytest.raises(ValueError):
            use()
    f.close()


def test_loaders(vault):
    vault.put_artifact("p", KIND, pickle.dumps(list(range(1000))))
    assert pickle.load(vault.open_artifact("p")) == list(range(1000))
    vault.put_artifact("t", KIND, b"one\ntwo\n")
    assert list(vault.open_artifact("t")) == [b"one\n", b"two\n"]


def test_readinto(vault):
    vault.put_artifact("a", KIND, CONTENT)
    f = vault.open_artifact("a")
    target = bytearray(1000)
    assert f.readinto(target) == 1000 and target == CONTENT[:1000]
    assert f.readinto_at(len(CONTENT) - 400, target) == 400
    assert target == CONTENT[-400:] + CONTENT[400:1000]
    assert f.readinto_at(len(CONTENT), target) == 0 == f.readinto(bytearray())
    for wrong in (bytes(10), memoryview(bytes(10))):
        with pytest.raises((TypeError, BufferError)):
            f.readinto(wrong)
    with pytest.raises(BufferError):
        f.readinto(memoryview(bytearray(10))[::2])


_opened = []


@given(st.lists(st.tuples(st.integers(0, len(CONTENT) + 50_000), st.integers(0, 70_000)), max_size=20))
@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
def test_any_part(parts):
    if not _opened:
        vault = EnclaveVault(InMemoryEnclaveBackend())
        vault.unlock()
        vault.put_artifact("a", KIND, CONTENT)
        _opened.extend([vault, vault.open_artifact("a")])
    f = _opened[1]
    for offset, size in parts:
        assert f.read_at(offset, size) == CONTENT[offset : offset + size]
        f.seek(offset)
        assert f.read(size) == CONTENT[offset : offset + size]


def test_stays_on_its_version(vault):
    vault.put_artifact("a", KIND, CONTENT)
    f = vault.open_artifact("a")
    assert f.read(1000) == CONTENT[:1000]
    vault.put_artifact("a", KIND, b"new")
    assert f.read() == CONTENT[1000:]
    vault.delete_artifact("a")
    f.seek(0)
    assert f.read() == CONTENT
    with pytest.raises(UnknownArtifactError):
        vault.open_artifact("a")


@pytest.mark.parametrize("shared", [True, False])
def test_eight_readers(vault, shared):
    vault.put_artifact("a", KIND, CONTENT)
    one = vault.open_artifact("a")
    errors = []

    def work(seed):
        rng = random.Random(seed)
        f = one if shared else vault.open_artifact("a")
        buffer = bytearray(50_000)
        try:
            for _ in range(60):
                offset, size = rng.randrange(len(CONTENT)), rng.randrange(50_000)
                assert f.read_at(offset, size) == CONTENT[offset : offset + size]
                n = f.readinto_at(offset, memoryview(buffer)[:size])
                assert buffer[:n] == CONTENT[offset : offset + size]
        except BaseException as error:  # noqa: BLE001
            errors.append(error)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors


def test_closed_and_locked_under_readers(vault):
    """Whatever is closed while others read: an error for them, never a crash."""
    vault.put_artifact("a", KIND, CONTENT)
    for end in ("close", "lock"):
        f = vault.open_artifact("a")
        started, unexpected = threading.Barrier(5), []

        def work(f=f, started=started, unexpected=unexpected):
            started.wait()
            try:
                while True:
                    assert f.read_at(0, 300_000) == CONTENT[:300_000]
            except (EnclaveLockedError, ValueError):
                pass
            except BaseException as error:  # noqa: BLE001
                unexpected.append(error)

        threads = [threading.Thread(target=work) for _ in range(4)]
        for thread in threads:
            thread.start()
        started.wait()
        f.close() if end == "close" else vault.lock()
        for thread in threads:
            thread.join()
        assert not unexpected
        vault.unlock()


def test_path(vault):
    vault.put_artifact("a", KIND, CONTENT)
    with vault.artifact_path("a") as path:
        with open(path, "rb") as file:
            assert file.read() == CONTENT
            with mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ) as mapped:
                assert mapped[:] == CONTENT
        assert subprocess.run(["cat", path], capture_output=True, check=True).stdout == CONTENT
        with open(path, "r+b", buffering=0) as file:
            for change in (lambda: file.write(b"x"), lambda: file.truncate(5), lambda: file.truncate(2_000_000)):
                with pytest.raises(PermissionError):
                    change()
            seals = fcntl.fcntl(file.fileno(), fcntl.F_GET_SEALS)
            assert seals & 0xF == 0xF
    assert not os.path.exists(path)
    vault.put_artifact("empty", KIND, b"")
    with vault.artifact_path("empty") as path:
        assert open_and_read(path) == b""


def open_and_read(path):
    with open(path, "rb") as file:
        return file.read()


def test_path_leaves_nothing_open(vault):
    vault.put_artifact("a", KIND, CONTENT)
    before = sorted(os.listdir("/proc/self/fd"))
    with pytest.raises(UnknownArtifactError), vault.artifact_path("b"):
        pass
    with pytest.raises(RuntimeError), vault.artifact_path("a"):
        raise RuntimeError
    assert sorted(os.listdir("/proc/self/fd")) == before
