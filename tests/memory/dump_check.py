#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Dumps a process that uses a vault and searches the dumps for its keys and contents.

  dump_check.py HOST SEARCH EXPAND CASE

HOST is memory_host, SEARCH dump_search, EXPAND expand_seed; CASE is one of

  lock        key-file vault; after lock nothing may be left
  expire      key-file vault; after the end of a session of 2 s, with no call made, nothing may be left
  passphrase  as lock, for a vault with a passphrase
  memory      as lock, for the memory backend, whose own key stays until it is closed
  native      as lock, for a backend that keeps the ML-KEM keys: even while unlocked there is no seed and no
              decapsulation key, in whatever form ("lock" shows that the search finds them where they are)
  tpm2        as lock, for a vault that a software TPM holds, with a PIN
  core        while unlocked, an ordinary core dump holds no key from locked memory and no content
  core-fallback   the same with the fall-back of locked memory

The first five force the fall-back (mmap, mlock), because memfd_secret hides keys from the dump in any case, and take it
with `gcore -a`, which ignores MADV_DONTDUMP. A dump before lock must find keys and contents, so that
a search that finds nothing means something. The host records its secrets masked (recorder.h); they are unmasked here.
Exits with 77 where there is no gcore or no permission to use it.

What a dump holds of a program that binds its calls lazily is not for the library to say: the dynamic linker saves the
vector registers on the stack at the first call of each function. The host is linked with -z now, as the installed
shared library is and as the package files ask of those who link the static one.
"""

import os
import re
import secrets
import shutil
import struct
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "bench"))
import swtpm  # noqa: E402

MASK = 0xA5
PIECE = 16  # what is looked for: pieces of this many bytes of each secret, so that a part left behind counts

# Of these a dump before lock must hold at least one; the memory backend's key is recorded as another.
HELD = {
    "origin-key", "unsealed-secret", "ML-KEM-vector", "body-key", "pqc-enclave-head-key-v1", "pqc-enclave-index-key-v1",
    "pqc-enclave-tag-key-v1", "pqc-enclave-wrap-salt-v1", "pqc-enclave-wrap-key-v1", "content",
}
KEK = {
    "lock": "pqc-enclave-file-backend-v1-key-file-seal",
    "expire": "pqc-enclave-file-backend-v1-key-file-seal",
    "passphrase": "key-encryption-key",
    "memory": "pqc-enclave-memory-backend-v1-seal",
    "native": "pqc-enclave-file-backend-v1-key-file-seal",
    "tpm2": "pqc-enclave-tpm2-backend-v1-authorization",
}
CORE = {"core", "core-fallback"}
DECAPSULATION = {"ML-KEM-vector", "ML-KEM-seed", "ML-KEM-key"}
# tpm2-tss frees what it knows of authorization values unwiped; docs/threat-model.md says so.
IN_TSS = {"pqc-enclave-tpm2-backend-v1-authorization", "pqc-enclave-tpm2-backend-v1-counter-auth"}
# libcrypto's contexts of an unlocked vault are in ordinary memory; they are freed, which wipes them, at its end.
IN_LIBCRYPTO = {
    "pqc-enclave-head-key-v1", "pqc-enclave-index-key-v1", "pqc-enclave-audit-key-v1", "body-key", "body-nonce",
    "ML-KEM-vector", "ML-KEM-seed", "ML-KEM-key",
}


def fail(text):
    sys.exit(f"dump_check.py: {text}")


# ---- dumps ----


def gcore(pid, path, everything):
    """Writes a dump and returns its path; None if that is not permitted."""
    command = ["gcore"] + (["-a"] if everything else []) + ["-o", str(path), str(pid)]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    dump = Path(f"{path}.{pid}")
    if dump.exists() and done.returncode == 0:
        return dump
    print(done.stdout + done.stderr, file=sys.stderr)
    return None


def probe(scratch):
    """Can anything be dumped here?"""
    if shutil.which("gcore") is None:
        print("gcore is not installed (Debian: gdb): skipped")
        sys.exit(77)
    child = subprocess.Popen(["sleep", "60"])
    dump = gcore(child.pid, scratch / "probe", True)
    child.kill()
    child.wait()
    if dump is None:
        print("this process may not be given to gcore: skipped")
        sys.exit(77)
    dump.unlink()


def segments(dump):
    """(file offset, size, address) of each loaded segment of an ELF core file."""
    with open(dump, "rb") as f:
        head = f.read(64)
        if head[:5] != b"\x7fELF\x02":
            return []
        offset, = struct.unpack_from("<Q", head, 32)
        size, count = struct.unpack_from("<HH", head, 54)
        f.seek(offset)
        table = f.read(size * count)
    found = []
    for i in range(count):
        kind, _, at, address, _, length = struct.unpack_from("<IIQQQQ", table, i * size)
        if kind == 1:
            found.append((at, length, address))
    return found


def where(offset, loaded, maps):
    for at, length, address in loaded:
        if at <= offset < at + length:
            address += offset - at
            for line in maps.splitlines():
                start, end = (int(x, 16) for x in line.split()[0].split("-"))
                if start <= address < end:
                    return f"{address:#x} in {' '.join(line.split()[5:]) or 'anonymous ' + line.split()[0]}"
            return f"{address:#x}"
    return f"registers or notes at {offset:#x}"


# ---- what to look for ----


def swapped(data, width):
    return b"".join(data[i:i + width][::-1] for i in range(0, len(data), width))


def forms(data):
    """The ways in which a key may lie in memory: as it is, inside HMAC's pads, as words of a hash, as text."""
    yield "", data
    yield "+ipad", bytes(b ^ 0x36 for b in data)
    yield "+opad", bytes(b ^ 0x5C for b in data)
    if len(data) == PIECE:
        yield "+words32", swapped(data, 4)
        yield "+words64", swapped(data, 8)
        yield "+hex", data.hex().encode()


def pieces(data):
    if len(data) <= PIECE:
        return [data]
    starts = list(range(0, len(data) - PIECE + 1, PIECE))
    if len(data) % PIECE:
        starts.append(len(data) - PIECE)
    return [data[i:i + PIECE] for i in starts]


def expand(program, seeds):
    """ML-KEM-768 secret vectors as libcrypto keeps them (words of 16 bits) and as they are encoded."""
    done = subprocess.run([program], input="".join(s.hex() + "\n" for s in seeds), capture_output=True, text=True,
                          check=True)
    for line in done.stdout.split():
        key = bytes.fromhex(line)
        encoded = key[:1152]
        words = []
        for i in range(0, len(encoded), 3):
            a, b, c = encoded[i:i + 3]
            words += [a | (b & 15) << 8, b >> 4 | c << 4]
        yield "ML-KEM-vector", struct.pack("<768H", *words)
        yield "ML-KEM-key", encoded


class Needles:
    def __init__(self, case, scratch, expander, markers):
        self.case, self.scratch, self.expander, self.markers = case, scratch, expander, markers

    def secrets(self):
        """name -> set of secrets, from the host's record so far."""
        found = {}
        for line in (self.scratch / "secrets").read_text().splitlines():
            name, masked = line.split(" ")
            found.setdefault(name, set()).add(bytes(b ^ MASK for b in bytes.fromhex(masked)))
        for name, value in expand(self.expander, sorted(found["ML-KEM-seed"])):
            found.setdefault(name, set()).add(value)
        return found

    def lines(self, skip=()):
        """One needle a line; `skip` names secrets that may be there."""
        found = self.secrets()
        allowed = {piece for name in skip for value in found.get(name, ()) for piece in pieces(value)}
        for name, values in found.items():
            for piece in {piece for value in values for piece in pieces(value)} - allowed:
                for form, data in forms(piece):
                    yield f"{name}{form} {data.hex()}\n"
        for name, marker in self.markers.items():
            yield f"{name} {marker.hex()}\n"


def search(program, dump, needles, maps, skip=()):
    """name -> places"""
    done = subprocess.run([program, dump], input="".join(needles.lines(skip)), capture_output=True, text=True,
                          check=True)
    loaded = segments(dump)
    found = {}
    for line in done.stdout.splitlines():
        name, offset = line.split(" ")
        found.setdefault(name, []).append(where(int(offset), loaded, maps))
    dump.unlink()
    return found


# ---- the host ----


class Host:
    def __init__(self, program, scratch, config, mode):
        self.scratch = scratch
        self.pages = []
        # Each arena of glibc's malloc reserves 64 MiB, all of which would be in the dumps.
        self.process = subprocess.Popen([program, scratch, config, mode], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                        text=True, env={**os.environ, "MALLOC_ARENA_MAX": "4"})

    def expect(self, place):
        for line in self.process.stdout:
            line = line.strip()
            if line.startswith("page "):
                self.pages.append(int(line[5:], 16))
            elif line == place:
                return
            else:
                break
        fail(f"the host did not reach '{place}'; exit status {self.process.wait()}")

    def go_on(self):
        self.process.stdin.write("\n")
        self.process.stdin.flush()

    def proc(self, name):
        return Path(f"/proc/{self.process.pid}/{name}").read_text()

    def dump(self, name, everything=True):
        maps = self.proc("maps")
        path = gcore(self.process.pid, self.scratch / name, everything)
        if path is None:
            fail("gcore failed")
        return path, maps

    def finish(self):
        self.go_on()
        if self.process.wait() != 0:
            fail(f"the host ended with {self.process.returncode}")


def prepare(scratch):
    """Contents in which every 16 bytes hold a marker, texts with markers, a passphrase; and the markers."""
    content, name, description = (secrets.token_bytes(8) for _ in range(3))

    def write(path, data):
        (scratch / path).write_bytes(data)

    write("small.bin", b"".join(content + struct.pack(">Q", i) for i in range(2500)))
    write("large.bin", b"".join(content + struct.pack(">Q", i) for i in range(20000)))
    write("name", name.hex().encode())
    write("description", b"about " + description.hex().encode())
    passphrase = secrets.token_hex(12).encode()
    write("passphrase", passphrase)
    return {"content": content, "name": name.hex().encode(), "description": description.hex().encode(),
            "passphrase": passphrase}


def must_find(case, found):
    held = HELD - {"origin-key", "ML-KEM-vector"} if case == "native" else HELD
    missing = (held | {KEK[case]}) - set(found)
    if missing:
        fail(f"the control dump, taken while unlocked, does not hold {', '.join(sorted(missing))}: "
             "the search would not notice them after lock either")


def must_not_find(when, found):
    if found:
        for name, places in sorted(found.items()):
            print(f"  {name}: {len(places)} times, first at {places[0]}", file=sys.stderr)
        fail(f"the dump {when} holds {', '.join(sorted(found))}")


# ---- cases ----


def check_end(case, host, search_program, needles):
    host.expect("unlocked")
    dump, maps = host.dump("unlocked")
    found = search(search_program, dump, needles, maps)
    must_find(case, found)
    if case == "native":
        kept = {k: v for k, v in found.items() if k.split("+")[0] in DECAPSULATION}
        must_not_find("while unlocked, of a backend that keeps the keys", kept)
    host.go_on()
    host.expect("ending")
    if case == "expire":
        time.sleep(6)  # 2 of the session, and time for the watcher on a busy machine
    # The memory backend holds the key it opens vaults with until it is closed.
    backend_key = {"backend-key"} | IN_TSS
    dump, maps = host.dump("ending")
    texts = {"name", "description"}  # this program, and the artifacts that it was given, still hold those
    found = search(search_program, dump, needles, maps, backend_key)
    must_not_find("after the session's end", {k: v for k, v in found.items() if k not in texts})
    host.go_on()
    host.expect("closed")
    dump, maps = host.dump("closed")
    must_not_find("after the handles were closed", search(search_program, dump, needles, maps, backend_key))
    host.go_on()
    host.expect("gone")
    if case == "memory":
        dump, maps = host.dump("gone")
        must_not_find("after the backend was closed", search(search_program, dump, needles, maps))
    host.finish()


def mappings(smaps):
    """(start, end, name, flags) of each mapping."""
    current = None
    for line in smaps.splitlines():
        match = re.match(r"([0-9a-f]+)-([0-9a-f]+) \S+ \S+ \S+ \S+\s*(.*)", line)
        if match:
            current = (int(match[1], 16), int(match[2], 16), match[3])
        elif line.startswith("VmFlags:"):
            yield (*current, set(line.split()[1:]))


def check_core(case, host, search_program, needles):
    host.expect("unlocked")
    if not host.pages:
        fail("the host used no locked memory")
    mapped = list(mappings(host.proc("smaps")))
    for page in host.pages:
        for start, end, name, flags in mapped:
            if start <= page < end:
                break
        else:
            fail(f"page {page:#x} of locked memory is not mapped")
        # lo: locked; dd: not in dumps; dc: not in forked children, wf: zeroed there
        if not {"lo", "dd"} <= flags or not flags & {"dc", "wf"}:
            fail(f"page {page:#x} of locked memory is in a mapping with flags {' '.join(sorted(flags))}")
    secret = "secretmem" in name
    if secret and case != "core":
        fail("the fall-back of locked memory was not used")
    print("locked memory is", "memfd_secret" if secret else "mmap and mlock")
    dump, maps = host.dump("core", everything=False)
    must_not_find("of an ordinary kind while unlocked",
                  {k: v for k, v in search(search_program, dump, needles, maps, IN_LIBCRYPTO).items()
                   if k not in {"name", "description"}})
    for place in ("ending", "closed", "gone"):
        host.go_on()
        host.expect(place)
    host.finish()


def software_tpm(scratch):
    """A TPM of the test's own: the process, and its configuration."""
    if shutil.which("swtpm") is None:
        print("swtpm is not installed: skipped")
        sys.exit(77)
    place = scratch / "tpm"
    place.mkdir()
    tpm, tcti = swtpm.start(place)
    return tpm, f"tpm2:{tcti};pin"


def main():
    if len(sys.argv) != 5 or sys.argv[4] not in {*KEK, *CORE}:
        sys.exit(__doc__)
    program, search_program, expander, case = sys.argv[1:]
    with tempfile.TemporaryDirectory(prefix="pqe-memory-") as directory:
        scratch = Path(directory)
        probe(scratch)
        markers = prepare(scratch)
        config = {"passphrase": "file:passphrase", "memory": "memory"}.get(case, f"file:key-file={scratch}/key")
        tpm = None
        if case == "tpm2":
            tpm, config = software_tpm(scratch)
        mode = case if case in {"expire", "native", *CORE} else "lock"
        host = Host(program, scratch, config, mode)
        needles = Needles(case, scratch, expander, markers)
        try:
            if case in CORE:
                check_core(case, host, search_program, needles)
            else:
                check_end(case, host, search_program, needles)
        finally:
            host.process.kill()
            host.process.wait()
            if tpm is not None:
                tpm.kill()
                tpm.wait()


main()
