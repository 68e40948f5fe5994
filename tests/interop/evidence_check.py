#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Evidence in attestations against an implementation of its own, from docs/attestation.md and TPM 2.0 Library, part 2.

usage: evidence_check.py PQC_ENCLAVE OPENSSL MAKE_EVIDENCE

Pieces are made here and verified by the command, and those of the stand-in for a TPM, which libtss2-mu wrote, are read and
verified here. ECDSA is the openssl command.
"""

import hashlib
import json
import struct
import subprocess
import sys
import tempfile
from pathlib import Path

from attest_check import Commands, Key, decode, encode, fail, make_v2

TYPES = {"tpm2-quote": 0x8018, "tpm2-certify": 0x8017, "tpm2-nv-certify": 0x8014}


def nonce_of(claims):
    return hashlib.sha256(encode(["pqc-enclave evidence v1", claims.get(10, b""),
                                  bytes.fromhex(claims[1].removeprefix("did:pqaid:")), claims[-70004], claims[-70005],
                                  claims[-70006], claims[6]])).digest()


def sized(data):
    return struct.pack(">H", len(data)) + data


# ---- DER of an ECDSA signature ----

def numbers_of(der):
    """SEQUENCE { INTEGER, INTEGER }, all lengths below 128."""
    first = der[4:4 + der[3]]
    return first.lstrip(b"\0"), der[4 + der[3] + 2:].lstrip(b"\0")


def der_of(r, s):
    def integer(n):
        n = n.lstrip(b"\0")
        n = b"\0" + n if n[0] & 0x80 else n
        return bytes([2, len(n)]) + n

    body = integer(r) + integer(s)
    return bytes([0x30, len(body)]) + body


# ---- made here ----

def statement(kind, nonce, magic=0xFF544347):
    name = b"\x00\x0b" + bytes(range(32))
    head = struct.pack(">IH", magic, TYPES[kind]) + sized(name) + sized(nonce)
    head += struct.pack(">QIIBQ", 5000, 3, 1, 1, 0x0102030405060708)
    if kind == "tpm2-quote":
        return head + struct.pack(">IHB3s", 1, 0x000B, 3, b"\x81\x00\x00") + sized(b"\x77" * 32)
    if kind == "tpm2-certify":
        return head + sized(name) + sized(name)
    return head + sized(name) + struct.pack(">H", 0) + sized(struct.pack(">Q", 9))


def piece(c, data):
    (c.directory / "statement").write_bytes(data)
    c.openssl("dgst", "-sha256", "-sign", "ec.key", "-out", "der", "statement")
    r, s = numbers_of((c.directory / "der").read_bytes())
    return sized(data) + struct.pack(">HH", 0x0018, 0x000B) + sized(r) + sized(s)


def with_evidence(c, key, challenge, pieces):
    claims = decode(decode(make_v2(c, key, challenge))[0][1][2])[0]
    evidence = [[kind, piece(c, make(kind, nonce_of(claims)))] for kind, make in pieces]
    return make_v2(c, key, challenge, **{"-70010": evidence, "6": claims[6], "4": claims[4]})


def check_their_evidence(c, key):
    c.openssl("genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-out", "ec.key")
    c.openssl("pkey", "-in", "ec.key", "-pubout", "-out", "ec.pem")
    options = ["verify-attestation", "att", "--trust", key.did, "--evidence-trust", "ec.pem", "--json"]
    whole = [(kind, statement) for kind in TYPES]
    for challenge in (None, b"\x5a" * 8, b"\xa5" * 64):
        (c.directory / "att").write_bytes(with_evidence(c, key, challenge, whole))
        said = json.loads(c.run(*options, "--expect-pcr", "77" * 32))["evidence"]
        if (said["state"], said["pcr_selection"], said["counter"], said["resets"]) != ("verified", "sha256:0,7", 9, 3):
            fail(f"evidence made here: {said}")
    wrong = {"nonce": lambda kind, nonce: statement(kind, nonce[::-1]),
             "magic": lambda kind, nonce: statement(kind, nonce, 0xFF544348),
             "short": lambda kind, nonce: statement(kind, nonce)[:-1],
             "long": lambda kind, nonce: statement(kind, nonce) + b"\0"}
    for name, make in wrong.items():
        (c.directory / "att").write_bytes(with_evidence(c, key, None, [("tpm2-certify", statement), ("tpm2-quote", make)]))
        result = json.loads(c.run(*options, status=5))
        if result["verdict"] != "evidence":
            fail(f"evidence with a wrong {name}: {result}")


# ---- read here ----

def check_our_evidence(c, make_evidence):
    subprocess.run([make_evidence, c.directory], check=True)
    data = (c.directory / "att.cose").read_bytes()
    claims = decode(decode(data)[0][1][2])[0]
    nonce = nonce_of(claims)
    if [kind for kind, _ in claims[-70010]] != list(TYPES):
        fail(f"pieces: {claims[-70010]}")
    for kind, data in claims[-70010]:
        size, = struct.unpack_from(">H", data)
        said, rest = data[2:2 + size], data[2 + size:]
        scheme, digest, r_size = struct.unpack_from(">HHH", rest)
        r, s = rest[6:6 + r_size], rest[8 + r_size:]
        magic, tag, signer_size = struct.unpack_from(">IHH", said)
        if (scheme, digest, magic, tag) != (0x0018, 0x000B, 0xFF544347, TYPES[kind]):
            fail(f"{kind}: {data.hex()}")
        if said[8 + signer_size:10 + signer_size + 32] != sized(nonce):
            fail(f"{kind} answers another nonce than {nonce.hex()}")
        (c.directory / "statement").write_bytes(said)
        (c.directory / "der").write_bytes(der_of(r, s))
        c.openssl("dgst", "-sha256", "-verify", "ak.pem", "-signature", "der", "statement")


def main():
    if len(sys.argv) != 4:
        sys.exit(__doc__)
    with tempfile.TemporaryDirectory(prefix="pqe-evidence-") as name:
        c = Commands(sys.argv[1], sys.argv[2], Path(name))
        if c.openssl("genpkey", "-algorithm", "ML-DSA-65", "-out", "probe", ok=False).returncode != 0:
            print("skipped: openssl has no ML-DSA")
            sys.exit(77)
        check_their_evidence(c, Key(c, "ML-DSA-65", "key"))
        check_our_evidence(c, sys.argv[3])
    print("evidence agrees with Python and openssl in both directions")


main()
