# SPDX-License-Identifier: Apache-2.0
"""Putting, getting, sessions, and what is refused."""

import array
import io
import mmap
import threading
import time

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pqc_enclave_sdk import (
    ArtifactKind,
    BackendError,
    DecryptionError,
    EnclaveLockedError,
    EnclaveSDKError,
    EnclaveVault,
    EncryptedArtifact,
    FileEnclaveBackend,
    InMemoryEnclaveBackend,
    InvalidArgumentError,
    Origin,
    Status,
    UnknownArtifactError,
)

KIND = ArtifactKind.MODEL_WEIGHTS
SIZES = [0, 1, 16383, 16384, 16385, 65480, 65481, 100_000, 5_000_001]


def pattern(size):
    return (bytes(range(251)) * (size // 251 + 1))[:size]


def quick_start(backend):
    weights_bytes = pattern(262_144)
    vault = EnclaveVault(backend=backend)

    vault.unlock()
    vault.put_artifact(
        name="llama-3.2-1b-int4",
        kind=ArtifactKind.MODEL_WEIGHTS,
        content=weights_bytes,
        version="1.0.0",
        app_bundle_id="com.example.localllm",
    )
    vault.save()
    vault.lock()

    vault.unlock()
    weights = vault.get_artifact("llama-3.2-1b-int4").content
    assert weights == weights_bytes


def test_quick_start_in_memory():
    quick_start(InMemoryEnclaveBackend(device_id="iphone-alice", device_model="iphone-15-pro"))


def test_quick_start_in_files_and_in_another_process(scratch, run_python):
    quick_start(FileEnclaveBackend(scratch / "vault"))
    code = (
        "import sys\nfrom pqc_enclave_sdk import *\n"
        "vault = EnclaveVault(backend=FileEnclaveBackend(sys.argv[1]))\nvault.unlock()\n"
        "print(vault.get_artifact('llama-3.2-1b-int4').sha3_256_hex())\n"
    )
    vault = EnclaveVault(FileEnclaveBackend(scratch / "vault"))
    with vault:
        expected = vault.get_artifact("llama-3.2-1b-int4").sha3_256_hex()
    assert run_python(code, scratch / "vault").strip() == expected


@pytest.mark.parametrize("size", SIZES)
def test_sizes(vault, size):
    content = pattern(size)
    vault.put_artifact("a", KIND, content)
    artifact = vault.get_artifact("a")
    assert artifact.metadata.size_bytes == size
    assert artifact.view == content
    assert artifact.content == content


TEXT = st.text(st.characters(blacklist_characters="\0", blacklist_categories=["Cs"]), max_size=50)


@given(
    name=TEXT.filter(lambda s: s and not s.startswith("urn:pqc-enclave-art:")),
    kind=st.sampled_from(ArtifactKind),
    content=st.binary(max_size=40_000),
    version=TEXT,
    app=TEXT,
    did=TEXT,
    tags=st.lists(TEXT, max_size=8),
    description=TEXT,
)
@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
def test_round_trip(name, kind, content, version, app, did, tags, description):
    vault = shared_vault()
    stored = vault.put_artifact(name, kind, content, version, app, did, tags, description)
    artifact = vault.get_artifact(name)
    m = artifact.metadata
    assert artifact.content == content
    assert (m.name, m.kind, m.version, m.app_bundle_id, m.model_did, m.tags, m.description, m.size_bytes) == (
        name, kind, version, app, did, tuple(tags), description, len(content)
    )
    assert m == stored.metadata
    assert vault.get_artifact(m.artifact_id).content == content
    assert vault.open_artifact(name).read() == content


_shared = []


def shared_vault():
    if not _shared:
        _shared.append(EnclaveVault(InMemoryEnclaveBackend()))
        _shared[0].unlock()
    return _shared[0]


def test_buffers(vault, scratch):
    content = pattern(100_000)
    numbers = array.array("I", range(25_000))
    (scratch / "file").write_bytes(content)
    with open(scratch / "file", "rb") as file, mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ) as mapped:
        for given in (content, bytearray(content), memoryview(content), memoryview(b"--" + content)[2:], mapped):
            vault.put_artifact("a", KIND, given)
            assert vault.get_artifact("a").view == content
    vault.put_artifact("a", KIND, numbers)
    assert vault.get_artifact("a").content == numbers.tobytes()
    with pytest.raises(ValueError, match="contiguous"):
        vault.put_artifact("b", KIND, memoryview(content)[::2])
    with pytest.raises(UnknownArtifactError):
        vault.get_artifact("b")


def test_numpy(vault):
    numpy = pytest.importorskip("numpy")
    weights = numpy.arange(60_000, dtype=numpy.float32).reshape(300, 200)
    vault.put_artifact("a", KIND, weights)
    back = numpy.frombuffer(vault.get_artifact("a").view, dtype=numpy.float32).reshape(300, 200)
    assert (back == weights).all() and not back.flags.writeable
    for wrong in (weights.T, weights[:, ::2]):
        with pytest.raises(ValueError):
            vault.put_artifact("b", KIND, wrong)


class Reads:
    """A file with read() alone, in small pieces."""

    def __init__(self, content, fail_at=None):
        self.file, self.fail_at = io.BytesIO(content), fail_at

    def read(self, size):
        if self.fail_at is not None and self.file.tell() >= self.fail_at:
            raise OSError("the disk is on fire")
        return self.file.read(min(size, 100_000))


def test_files(vault, scratch):
    content = pattern(9_000_000)
    (scratch / "file").write_bytes(content)
    with open(scratch / "file", "rb") as buffered, open(scratch / "file", "rb", buffering=0) as raw:
        for file in (buffered, raw, io.BytesIO(content), Reads(content)):
            vault.put_artifact("a", KIND, file)
            assert vault.get_artifact("a").view == content
        vault.put_artifact("a", KIND, buffered)  # at its end
        assert vault.get_artifact("a").content == b""
    vault.put_artifact("copy", KIND, content)
    with vault.open_artifact("copy") as source:
        vault.put_artifact("a", KIND, source)  # out of the same vault
    assert vault.get_artifact("a").view == content


def test_bad_files(vault, scratch):
    vault.put_artifact("a", KIND, b"before")
    (scratch / "file").write_text("text")
    with open(scratch / "file") as text, pytest.raises(TypeError):
        vault.put_artifact("a", KIND, text)
    with pytest.raises(OSError, match="on fire"):
        vault.put_artifact("a", KIND, Reads(bytes(1_000_000), fail_at=500_000))

    class Lies(io.RawIOBase):
        def readinto(self, buffer):
            return len(buffer) + 1

    class Waits(io.RawIOBase):
        def readinto(self, buffer):
            return None

    class Texts:
        def read(self, size):
            return "text"

    for file, error in ((Lies(), ValueError), (Waits(), BlockingIOError), (Texts(), TypeError)):
        with pytest.raises(error):
            vault.put_artifact("a", KIND, file)
    assert vault.get_artifact("a").content == b"before"
    assert vault.verify().orphans == 0


@pytest.mark.parametrize("change, error", [
    ({"name": b"a"}, TypeError),
    ({"name": None}, TypeError),
    ({"name": ""}, ValueError),
    ({"name": "a\0b"}, ValueError),
    ({"name": "\udc80"}, ValueError),
    ({"name": "x" * 1025}, ValueError),
    ({"name": "urn:pqc-enclave-art:" + "0" * 32}, ValueError),
    ({"kind": 3}, TypeError),
    ({"kind": None}, TypeError),
    ({"kind": "no such kind"}, ValueError),
    ({"content": "text"}, TypeError),
    ({"content": None}, TypeError),
    ({"content": 17}, TypeError),
    ({"content": [1, 2]}, TypeError),
    ({"version": 1}, TypeError),
    ({"version": "v" * 1025}, ValueError),
    ({"app_bundle_id": b""}, TypeError),
    ({"model_did": 0}, TypeError),
    ({"tags": "tag"}, TypeError),
    ({"tags": 5}, TypeError),
    ({"tags": [1]}, TypeError),
    ({"tags": ["a\0"]}, ValueError),
    ({"tags": ["t"] * 65}, ValueError),
    ({"tags": ["t" * 257]}, ValueError),
    ({"description": None}, TypeError),
    ({"description": "d" * 16385}, ValueError),
    ({"progress": 5}, TypeError),
    ({"hash": 5}, TypeError),
    ({"hash": "md5"}, ValueError),
])
def test_wrong_arguments_write_nothing(vault, change, error):
    vault.put_artifact("a", KIND, b"before")
    generation = vault.info()["generation"]
    arguments = {"name": "a", "kind": KIND, "content": b"after", **change}
    with pytest.raises(error):
        vault.put_artifact(**arguments)
    assert vault.info()["generation"] == generation
    assert vault.get_artifact("a").content == b"before"


def test_content_hashes(vault):
    content = b"weights" * 300_000
    plain = vault.put_artifact("a", KIND, content, hash="sha3-256")
    assert plain.content_hash == vault.put_artifact("a", KIND, content).content_hash
    parallel = vault.put_artifact("a", KIND, content, hash="parallelhash256")
    assert len(parallel.content_hash) == 64 and parallel.content_hash != plain.content_hash
    assert vault.put_artifact("a", KIND, content, hash="deferred").content_hash == ""
    assert vault.get_artifact("a").content == content
    vault.verify("a")


def test_wrong_arguments_elsewhere(vault):
    for method in (vault.get_artifact, vault.open_artifact, vault.delete_artifact, vault.verify):
        with pytest.raises(TypeError):
            method(5)
        with pytest.raises(ValueError):
            method("")
    for wrong in (0, -1, 2**32):
        with pytest.raises(ValueError):
            vault.unlock(wrong)
    for wrong in ("3600", 1.5, True, None):
        with pytest.raises(TypeError):
            vault.unlock(wrong)
    with pytest.raises(TypeError):
        EnclaveVault("backend")
    with pytest.raises(TypeError):
        EnclaveVault(vault.backend, policy={})
    with pytest.raises(TypeError):
        EnclaveVault(vault.backend, audit=[])


def test_a_str_is_a_kind(vault):
    assert vault.put_artifact("a", "tokenizer", b"x").metadata.kind is ArtifactKind.TOKENIZER


def test_invalid_argument_is_both(vault):
    with pytest.raises(InvalidArgumentError) as caught:
        vault.put_artifact("", KIND, b"")
    assert caught.value.code is Status.ARGUMENT and isinstance(caught.value, EnclaveSDKError)
    with pytest.raises(InvalidArgumentError) as caught:
        vault.put_artifact("x" * 2000, KIND, b"")
    assert caught.value.code is Status.LIMIT


def test_replace_delete_list(vault):
    first = vault.put_artifact("a", KIND, b"1", tags=["x"])
    second = vault.put_artifact("a", KIND, b"2")
    vault.put_artifact("b", KIND, b"3")
    assert first.metadata.artifact_id != second.metadata.artifact_id
    assert [m.name for m in vault.list_artifacts()] == ["a", "b"]
    with pytest.raises(UnknownArtifactError) as caught:
        vault.get_artifact(first.metadata.artifact_id)
    assert (caught.value.code, caught.value.origin) == (Status.NOT_FOUND, Origin.API)
    vault.delete_artifact(second.metadata.artifact_id)
    with pytest.raises(UnknownArtifactError):
        vault.delete_artifact("a")
    assert [m.name for m in vault.list_artifacts()] == ["b"]
    assert vault.info()["artifact_count"] == 1


def test_list_many(vault):
    for i in range(600):
        vault.put_artifact(f"artifact {i:03}", KIND, b"%d" % i)
    assert [m.name for m in vault.list_artifacts()] == [f"artifact {i:03}" for i in range(600)]


def test_locked(vault):
    vault.put_artifact("a", KIND, b"x")
    reader = vault.open_artifact("a")
    vault.lock()
    assert not vault.is_unlocked
    for call in (
        lambda: vault.get_artifact("a"), lambda: vault.put_artifact("b", KIND, b""), lambda: vault.list_artifacts(),
        lambda: vault.delete_artifact("a"), lambda: vault.save(), lambda: vault.verify(), lambda: vault.info(),
        lambda: vault.open_artifact("a"), lambda: vault.rotate(), lambda: vault.change_passphrase(),
        lambda: reader.read(),
    ):
        with pytest.raises(EnclaveLockedError) as caught:
            call()
        assert caught.value.code is Status.LOCKED
    vault.lock()
    vault.unlock()
    with pytest.raises(EnclaveLockedError):
        reader.read()  # its session is over
    assert vault.get_artifact("a").content == b"x"


def test_expiry(vault):
    vault.put_artifact("a", KIND, b"x")
    vault.unlock(1)
    assert vault.is_unlocked
    time.sleep(1.1)
    assert not vault.is_unlocked
    with pytest.raises(EnclaveLockedError):
        vault.get_artifact("a")
    with vault:
        assert vault.get_artifact("a").content == b"x"
    assert not vault.is_unlocked


def test_a_short_first_session(scratch):
    vault = EnclaveVault(FileEnclaveBackend(scratch / "vault"))
    vault.unlock(1)
    time.sleep(1.1)
    assert not vault.is_unlocked


def test_two_vaults_on_one_backend(backend):
    one, two = EnclaveVault(backend), EnclaveVault(backend)
    one.unlock()
    one.put_artifact("a", KIND, b"x")
    with pytest.raises(EnclaveLockedError):
        two.get_artifact("a")
    reader = one.open_artifact("a")
    two.unlock(600)
    assert two.get_artifact("a").content == b"x" and reader.read() == b"x"
    one.lock()
    assert not one.is_unlocked and two.is_unlocked
    two.put_artifact("b", KIND, b"y")
    two.lock()
    with EnclaveVault(backend) as third:
        assert [m.name for m in third.list_artifacts()] == ["a", "b"]


def test_save(vault):
    vault.put_artifact("a", KIND, pattern(100_000))
    vault.save()
    if isinstance(vault.backend, InMemoryEnclaveBackend):
        (key, stored), = vault.backend.load_artifacts().items()
        assert key == stored.metadata.artifact_id and isinstance(stored, EncryptedArtifact)
        assert len(stored.ciphertext) == 2 * (56 + 100_000 + 16 * 7)


def test_progress(vault):
    content = bytes(40_000_000)
    seen = []
    vault.put_artifact("a", KIND, content, progress=lambda done, total: seen.append((done, total)))
    assert seen[-1] == (40_000_000, 40_000_000) and len(seen) == 3 and sorted(seen) == seen
    seen.clear()
    vault.put_artifact("a", KIND, io.BytesIO(content), progress=lambda *args: seen.append(args))
    assert seen[-1] == (40_000_000, None)
    seen.clear()
    assert len(vault.get_artifact("a", progress=lambda *args: seen.append(args)).view) == 40_000_000
    assert seen == [(32 << 20, 40_000_000), (40_000_000, 40_000_000)]
    seen.clear()
    with vault.artifact_path("a", progress=lambda *args: seen.append(args)):
        assert seen[-1] == (40_000_000, 40_000_000)
    seen.clear()
    vault.verify(progress=lambda *args: seen.append(args))
    assert seen == [(40_000_000, None)]


def test_progress_stops(vault):
    vault.put_artifact("a", KIND, b"before")

    class Enough(Exception):
        pass

    def stop(done, total):
        raise Enough

    for call in (
        lambda: vault.put_artifact("a", KIND, bytes(20_000_000), progress=stop),
        lambda: vault.put_artifact("a", KIND, io.BytesIO(b"file"), progress=stop),
        lambda: vault.get_artifact("a", progress=stop),
        lambda: vault.verify(progress=stop),
    ):
        with pytest.raises(Enough):
            call()
    assert vault.get_artifact("a").content == b"before"
    assert vault.verify().damaged == 0


def test_other_threads_run_meanwhile(vault):
    content = bytes(64 << 20)
    ticks, over = [], threading.Event()

    def tick():
        while not over.wait(0.002):
            ticks.append(time.monotonic())

    thread = threading.Thread(target=tick)
    thread.start()
    meanwhile, deadline = 0, time.monotonic() + 60
    while meanwhile < 5 and time.monotonic() < deadline:  # a busy machine may leave the thread little of one put
        begin = time.monotonic()
        vault.put_artifact("a", KIND, content)
        end = time.monotonic()
        meanwhile += len([t for t in ticks if begin < t < end])
    over.set()
    thread.join()
    assert meanwhile >= 5


def test_flipped_byte(file_vault, scratch):
    file_vault.put_artifact("good", KIND, pattern(100_000))
    file_vault.put_artifact("bad", KIND, pattern(300_000))
    (body,) = (b for b in (scratch / "vault" / "bodies").glob("*/*") if b.stat().st_size > 300_000)
    data = bytearray(body.read_bytes())
    data[150_000] ^= 1
    body.write_bytes(data)
    with pytest.raises(DecryptionError) as caught:
        file_vault.get_artifact("bad")
    assert caught.value.code is Status.DECRYPTION and caught.value.origin is Origin.CRYPTO
    target = bytearray(b"\xaa" * 300_000)
    with file_vault.open_artifact("bad") as reader, pytest.raises(DecryptionError):
        reader.readinto(target)
    assert not any(target[:-1]), "plaintext of a failed read was left"
    with pytest.raises(DecryptionError), file_vault.artifact_path("bad"):
        pass
    report = file_vault.verify()
    assert (report.artifacts, report.damaged) == (2, 1)
    assert report.findings[0].code is Status.DECRYPTION and report.findings[0].metadata.name == "bad"
    assert file_vault.verify("good").damaged == 0
    assert file_vault.verify("bad").damaged == 1
    with pytest.raises(UnknownArtifactError):
        file_vault.verify("absent")
    assert file_vault.get_artifact("good").view == pattern(100_000)
    assert [e.success for e in file_vault.audit.entries(operation="get")][0] is True
    assert len([e for e in file_vault.audit.entries(operation="get") if not e.success]) == 3  # the vault's own log


def test_wrong_key(file_vault, scratch):
    file_vault.put_artifact("a", KIND, b"x")
    (key_file,) = (scratch / "config" / "pqc-enclave").glob("*.key")
    text = key_file.read_text()
    flipped = text.splitlines()
    flipped[2] = ("1" if flipped[2][0] == "0" else "0") + flipped[2][1:]
    key_file.write_text("\n".join(flipped) + "\n")
    other = EnclaveVault(FileEnclaveBackend(scratch / "vault"))
    with pytest.raises(BackendError) as caught:
        other.unlock()
    assert caught.value.code is Status.DENIED
    key_file.unlink()
    with pytest.raises(BackendError):
        other.unlock()
    assert not other.is_unlocked
    key_file.write_text(text)
    key_file.chmod(0o600)
    with other:
        assert other.get_artifact("a").content == b"x"


def test_nothing_to_accept_without_a_counter(vault):
    vault.unlock()
    with pytest.raises(BackendError) as error:
        vault.accept_rollback()
    assert error.value.code is Status.UNAVAILABLE
    assert not vault.is_unlocked
    with pytest.raises(ValueError):
        vault.accept_rollback(0)
    with pytest.raises(TypeError):
        vault.accept_rollback(True)
    vault.unlock()
    assert vault.is_unlocked


def test_rotate(vault):
    vault.put_artifact("a", KIND, b"x")
    before = vault.grant_public_key()
    assert before.startswith("-----BEGIN PUBLIC KEY-----")
    vault.rotate()
    vault.rotate(rekey=True)
    assert vault.grant_public_key() != before
    vault.lock()
    vault.unlock()
    assert vault.get_artifact("a").content == b"x"


def test_many_threads_put_and_get(vault):
    errors = []

    def work(number):
        try:
            for i in range(10):
                content = b"%d " % number * (5000 * i + 1)
                vault.put_artifact(f"{number}-{i}", KIND, content)
                assert vault.get_artifact(f"{number}-{i}").view == content
        except BaseException as error:  # noqa: BLE001
            errors.append(error)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors
    assert vault.verify().artifacts == 60
