# SPDX-License-Identifier: Apache-2.0
"""The package among processes: forks, kills, interrupts, the command line, other users of OpenSSL, the end."""

import os
import signal
import subprocess
import sys
import time

import pytest

from pqc_enclave_sdk import ArtifactKind, EnclaveLockedError, EnclaveVault, FileEnclaveBackend, InMemoryEnclaveBackend

KIND = ArtifactKind.MODEL_WEIGHTS
HERE = os.path.dirname(os.path.abspath(__file__))


def in_child(function):
    """Runs it in a forked child; returns its exit status."""
    pid = os.fork()
    if pid == 0:
        try:
            os._exit(function() or 0)
        except BaseException:  # noqa: BLE001
            import traceback

            traceback.print_exc()
            os._exit(99)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # Python 3.12 on forks beside threads: that is the test
def test_fork(vault, scratch):
    vault.put_artifact("a", KIND, b"x" * 100_000)
    reader, artifact = vault.open_artifact("a"), vault.get_artifact("a")

    def child():
        for call in (
            lambda: vault.get_artifact("a"), lambda: vault.put_artifact("b", KIND, b""), vault.list_artifacts,
            vault.unlock, reader.read, lambda: vault.open_artifact("a"),
        ):
            with pytest.raises(EnclaveLockedError):
                call()
        assert not vault.is_unlocked
        vault.lock()
        reader.close()
        assert artifact.view[:1] == b"x"  # what was in clear before is the child's too
        with EnclaveVault(FileEnclaveBackend(scratch / "another")) as own:
            own.put_artifact("a", KIND, b"child")
            assert own.get_artifact("a").content == b"child"
        with EnclaveVault(InMemoryEnclaveBackend()) as own:
            own.put_artifact("a", KIND, b"child")

    assert in_child(child) == 0
    assert reader.read() == b"x" * 100_000
    vault.put_artifact("b", KIND, b"parent")
    assert vault.verify().damaged == 0


def test_fork_while_another_thread_unlocks(run_python, scratch):
    """A child that ends in the ordinary way does not wait for a thread that is not there."""
    code = (
        "import os, sys, threading, time\nfrom pqc_enclave_sdk import *\n"
        "asked = threading.Event()\n"
        "def passphrase(purpose):\n    asked.set()\n    time.sleep(1)\n    return 'p'\n"
        "backend = FileEnclaveBackend(sys.argv[1], passphrase=passphrase)\n"
        "vault = EnclaveVault(backend)\nthread = threading.Thread(target=vault.unlock)\nthread.start()\n"
        "asked.wait()\npid = os.fork()\n"
        "if pid == 0:\n"
        "    with EnclaveVault(InMemoryEnclaveBackend()) as own:\n"
        "        own.put_artifact('a', ArtifactKind.OTHER, b'x')\n    sys.exit(7)\n"
        "status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])\nthread.join()\n"
        "assert vault.is_unlocked\nprint(status)\n"
    )
    assert run_python(code, scratch / "vault", timeout=60) == "7\n"


def test_command_line_reads_what_python_wrote(file_vault, cli, scratch):
    content = os.urandom(300_000)
    file_vault.put_artifact("weights", KIND, content, version="2", tags=["x"], description="d")
    file_vault.put_artifact("token", ArtifactKind.CREDENTIAL, b"secret")
    assert cli("get", "weights") == content
    assert cli("get", "token") == b"secret"
    listed = cli("list", "--json").decode()
    assert "weights" in listed and "model-weights" in listed
    cli("verify")
    cli("rm", "token")
    assert [m.name for m in file_vault.list_artifacts()] == ["weights"]


def test_python_reads_what_the_command_line_wrote(cli, scratch):
    content = os.urandom(300_000)
    cli("init")
    cli("put", "weights", "-", "--kind", "lora-adapter", "--version", "3", "--tag", "a", "--tag", "b", data=content)
    with EnclaveVault(FileEnclaveBackend(scratch / "vault")) as vault:
        artifact = vault.get_artifact("weights")
        assert artifact.content == content
        assert artifact.metadata.kind is ArtifactKind.LORA_ADAPTER
        assert (artifact.metadata.version, artifact.metadata.tags) == ("3", ("a", "b"))
        vault.put_artifact("weights", KIND, b"new")
        assert cli("get", "weights") == b"new"
        cli("get", "absent", expect=3)


PUT_FOREVER = """
import sys
from pqc_enclave_sdk import *
vault = EnclaveVault(FileEnclaveBackend(sys.argv[1]))
vault.unlock()
content = bytes(12_000_000)
i = 0
while True:
    vault.put_artifact("model", ArtifactKind.MODEL_WEIGHTS, content, version=str(i))
    print(i, flush=True)
    i += 1
"""


@pytest.mark.parametrize("after", [0.02, 0.09, 0.17])
def test_killed_during_put(scratch, after):
    with EnclaveVault(FileEnclaveBackend(scratch / "vault")) as vault:
        vault.put_artifact("other", KIND, b"kept")
    process = subprocess.Popen([sys.executable, "-c", PUT_FOREVER, str(scratch / "vault")], stdout=subprocess.PIPE)
    try:
        acknowledged = int(process.stdout.readline())
        time.sleep(after)
    finally:
        process.kill()
    acknowledged = max([acknowledged, *map(int, process.stdout.read().split())])
    process.stdout.close()
    process.wait()
    with EnclaveVault(FileEnclaveBackend(scratch / "vault")) as vault:
        report = vault.verify()
        assert (report.artifacts, report.damaged) == (2, 0)
        metadata = vault.get_artifact("model").metadata
        assert int(metadata.version) in (acknowledged, acknowledged + 1) and metadata.size_bytes == 12_000_000
        assert vault.get_artifact("other").content == b"kept"
    assert not os.listdir(scratch / "vault" / "pending")


INTERRUPTED = """
import sys, threading, os, signal
from pqc_enclave_sdk import *
vault = EnclaveVault(InMemoryEnclaveBackend())
vault.unlock()
vault.put_artifact("big", ArtifactKind.OTHER, b"x" * 200_000_000)
vault.put_artifact("a", ArtifactKind.OTHER, b"before")
what = sys.argv[1]
seen = []
def interrupt(done, total):
    seen.append(done)
    if len(seen) == 2:
        os.kill(os.getpid(), signal.SIGINT)
    assert len(seen) <= 3, "it went on"
try:
    if what == "put":
        vault.put_artifact("a", ArtifactKind.OTHER, bytes(200_000_000), progress=interrupt)
    elif what == "get":
        vault.get_artifact("big", progress=interrupt)
    else:
        with vault.artifact_path("big", progress=interrupt):
            pass
except KeyboardInterrupt:
    assert vault.get_artifact("a").content == b"before"
    assert vault.verify("a").damaged == 0
    print("interrupted")
"""


@pytest.mark.parametrize("what", ["put", "get", "path"])
def test_interrupted(run_python, what):
    assert run_python(INTERRUPTED, what) == "interrupted\n"


PUT_UNTIL_INTERRUPTED = """
from pqc_enclave_sdk import *
vault = EnclaveVault(InMemoryEnclaveBackend())
vault.unlock()
content, stored = bytes(300_000_000), 0
try:
    print("ready", flush=True)
    while True:
        vault.put_artifact("a", ArtifactKind.OTHER, content, version=str(stored + 1))
        stored += 1
except KeyboardInterrupt:
    kept = max((int(m.version) for m in vault.list_artifacts()), default=0)
    print("in the middle" if kept == stored else "after a put")
"""


def test_interrupted_by_terminal():
    """SIGINT out of the blue, with no callback that would notice: it need not wait for the end of the put."""
    for attempt in range(20):
        process = subprocess.Popen([sys.executable, "-c", PUT_UNTIL_INTERRUPTED], stdout=subprocess.PIPE, text=True)
        assert process.stdout.readline() == "ready\n"
        time.sleep(0.05 + 0.02 * attempt)
        process.send_signal(signal.SIGINT)
        out, _ = process.communicate(timeout=60)
        assert out in ("in the middle\n", "after a put\n") and process.returncode == 0
        if out == "in the middle\n":
            return
    raise AssertionError("no put was interrupted before its end")


def test_exit_with_an_open_vault(run_python):
    """The end of the interpreter closes vaults while backends written in Python can still run."""
    code = (
        "import sys\nsys.path.insert(0, sys.argv[1])\nfrom software import SoftwareBackend\nfrom pqc_enclave_sdk import *\n"
        "class Loud(SoftwareBackend):\n"
        "    def detach(self, key):\n        print('detach')\n"
        "    def close(self):\n        print('close')\n"
        "backend = Loud()\nvault = EnclaveVault(backend)\nvault.unlock()\n"
        "vault.put_artifact('a', ArtifactKind.OTHER, b'x')\nreader = vault.open_artifact('a')\n"
        "view = vault.get_artifact('a').view\nprint('end')\n"
    )
    assert run_python(code, HERE, flags=("-X", "dev", "-W", "error")) == "end\ndetach\nclose\n"


def test_exit_while_a_session_expires(run_python):
    code = (
        "import sys, time\nsys.path.insert(0, sys.argv[1])\nfrom software import SoftwareBackend\n"
        "from pqc_enclave_sdk import *\n"
        "vault = EnclaveVault(SoftwareBackend())\nvault.unlock(1)\ntime.sleep(0.95)\n"
    )
    run_python(code, HERE)


@pytest.mark.parametrize("first", ["hashlib, ssl", "pqc_enclave_sdk"])
def test_other_openssl_in_the_process(run_python, first):
    code = (
        f"import {first}\nimport hashlib, ssl, hmac\nfrom pqc_enclave_sdk import *\n"
        "from cryptography.hazmat.primitives.ciphers.aead import AESGCM\n"
        "version = ssl.OPENSSL_VERSION\n"
        "for i in range(3):\n"
        "    with EnclaveVault(InMemoryEnclaveBackend()) as vault:\n"
        "        vault.put_artifact('a', ArtifactKind.OTHER, b'x' * 100_000)\n"
        "        assert vault.get_artifact('a').sha3_256_hex() == hashlib.new('sha3_256', b'x' * 100_000).hexdigest()\n"
        "    assert AESGCM(bytes(32)).encrypt(bytes(12), b'', None).hex() == '530f8afbc74536b9a963b4f1c4cb738b'\n"
        "    ssl.create_default_context()\n    assert len(hashlib.scrypt(b'p', salt=b's', n=16, r=8, p=1)) == 64\n"
        "assert ssl.OPENSSL_VERSION == version\nprint('fine')\n"
    )
    assert run_python(code, flags=("-X", "dev")) == "fine\n"


def run_together(code, arguments):
    """Runs the code in one process for each list of arguments, all at once."""
    processes = [
        subprocess.Popen([sys.executable, "-c", code, *map(str, given)], stdout=subprocess.PIPE,
                         stderr=subprocess.STDOUT, text=True)
        for given in arguments
    ]
    outputs = [process.communicate(timeout=120)[0] for process in processes]
    for process, output in zip(processes, outputs):
        assert process.returncode == 0, output


def test_many_make_one_vault(scratch):
    """The first unlock makes the vault; whoever comes at the same time gets that one."""
    code = (
        "import sys\nfrom pqc_enclave_sdk import *\n"
        "with EnclaveVault(FileEnclaveBackend(sys.argv[1], key_file=sys.argv[1] + '.key')) as vault:\n"
        "    vault.put_artifact(sys.argv[2], ArtifactKind.OTHER, b'x')\n"
    )
    for attempt in range(6):
        path = scratch / f"vault {attempt}"
        run_together(code, [(path, n) for n in range(4)])
        with EnclaveVault(FileEnclaveBackend(path, key_file=f"{path}.key")) as vault:
            assert len(vault.list_artifacts()) == 4


def test_two_processes_write(scratch):
    code = (
        "import sys\nfrom pqc_enclave_sdk import *\n"
        "with EnclaveVault(FileEnclaveBackend(sys.argv[1])) as vault:\n"
        "    for i in range(25):\n"
        "        vault.put_artifact(f'{sys.argv[2]}-{i}', ArtifactKind.OTHER, sys.argv[2].encode() * 20_000)\n"
    )
    run_together(code, [(scratch / "vault", "one"), (scratch / "vault", "two")])
    with EnclaveVault(FileEnclaveBackend(scratch / "vault")) as vault:
        assert len(vault.list_artifacts()) == 50 and vault.verify().damaged == 0
