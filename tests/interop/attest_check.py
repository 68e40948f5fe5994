#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Attestations against an implementation of its own: Python's standard library and the openssl command.

usage: attest_check.py PQC_ENCLAVE OPENSSL

Version 1 and version 2 are made here and verified by the command, and the other way round. JSON is Python's json, CBOR is
written here from RFC 8949 and docs/attestation.md, ML-DSA is the openssl command (>= 3.5). Private keys of openssl's are
imported in all three forms of RFC 9881, and refused where their parts contradict each other.

Exit status: 0 passed, 1 failed, 77 skipped because openssl is too old.
"""

import base64
import hashlib
import json
import os
import subprocess
import sys
import tempfile
import time
from datetime import datetime, timezone
from pathlib import Path

SIGNED = ("device_id", "device_model", "enclave_vendor", "artifact_id", "artifact_content_hash", "issued_at")
NASTY = ["", "plain", "a\"b\\c/d", "\b\t\n\f\r", "".join(map(chr, range(0, 0x21))), "\x7f\x80\x9f\xa0", "é ß ſ İ",
         "\u2028\u2029\ufeff\ufffd\uffff", "\U0001f510\U0010ffff", "</script>", "x" * 3000, "\u0000", "e\u0301"]


def fail(text):
    sys.exit(f"attest_check.py: {text}")


class Commands:
    def __init__(self, enclave, openssl, directory):
        self.enclave, self.openssl_path, self.directory = enclave, openssl, directory
        # LeakSanitizer needs ptrace, which the command forbids.
        options = ":".join(filter(None, [os.environ.get("ASAN_OPTIONS"), "detect_leaks=0"]))
        self.env = {**os.environ, "HOME": str(directory), "XDG_DATA_HOME": str(directory / "data"),
                    "XDG_CONFIG_HOME": str(directory / "config"), "LC_ALL": "C.UTF-8", "ASAN_OPTIONS": options}
        self.env.pop("PQC_ENCLAVE_VAULT", None)

    def run(self, *args, status=0, data=None):
        done = subprocess.run([self.enclave, *args], capture_output=True, input=data, env=self.env, cwd=self.directory)
        if done.returncode != status:
            fail(f"{args}: status {done.returncode}, not {status}: {done.stdout[:500]} {done.stderr[:500]}")
        return done.stdout

    def openssl(self, *args, ok=True):
        done = subprocess.run([self.openssl_path, *args], capture_output=True, cwd=self.directory)
        if ok and done.returncode != 0:
            fail(f"openssl {args}: {done.stderr.decode(errors='replace')}")
        return done if not ok else done.stdout

    def sign(self, key, message):
        (self.directory / "message").write_bytes(message)
        self.openssl("pkeyutl", "-sign", "-inkey", key, "-in", "message", "-rawin", "-out", "signature")
        return (self.directory / "signature").read_bytes()

    def verify(self, public_pem, message, signature):
        (self.directory / "message").write_bytes(message)
        (self.directory / "signature").write_bytes(signature)
        (self.directory / "public.pem").write_text(public_pem)
        done = self.openssl("pkeyutl", "-verify", "-pubin", "-inkey", "public.pem", "-in", "message", "-rawin",
                            "-sigfile", "signature", ok=False)
        return done.returncode == 0


SIZES = {"ML-DSA-65": 1952, "ML-DSA-87": 2592}
COSE_IDS = {"ML-DSA-65": -49, "ML-DSA-87": -50}


class Key:
    """A key pair that openssl made."""

    def __init__(self, c, algorithm, name):
        self.algorithm, self.path = algorithm, name
        c.openssl("genpkey", "-algorithm", algorithm, "-out", name)
        self.pem = c.openssl("pkey", "-in", name, "-pubout").decode()
        self.raw = c.openssl("pkey", "-in", name, "-pubout", "-outform", "DER")[-SIZES[algorithm]:]
        self.did = "did:pqaid:" + hashlib.sha3_256(self.raw).hexdigest()


def canonical(att):
    return json.dumps({k: att[k] for k in SIGNED}, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def make_v1(c, key, **fields):
    att = {"device_id": "dev", "device_model": "model", "enclave_vendor": "vendor",
           "artifact_id": "urn:pqc-enclave-art:" + "0" * 32, "artifact_content_hash": "ab" * 32,
           "issued_at": datetime.now(timezone.utc).isoformat(), **fields}
    att.update(signer_did=key.did, algorithm=key.algorithm, public_key=key.raw.hex(),
               signature=c.sign(key.path, hashlib.sha3_256(canonical(att)).digest()).hex())
    return att


# ---- CBOR, the part of it that is needed ----

def head(major, value):
    for code, size in ((24, 1), (25, 2), (26, 4), (27, 8)):
        if value < 24:
            return bytes([major << 5 | value])
        if value < 1 << (8 * size):
            return bytes([major << 5 | code]) + value.to_bytes(size, "big")
    raise ValueError(value)


def encode(item):
    if isinstance(item, int):
        return head(0, item) if item >= 0 else head(1, -1 - item)
    if isinstance(item, bytes):
        return head(2, len(item)) + item
    if isinstance(item, str):
        return head(3, len(item.encode())) + item.encode()
    if isinstance(item, list):
        return head(4, len(item)) + b"".join(map(encode, item))
    pairs = sorted((encode(k), encode(v)) for k, v in item.items())
    return head(5, len(pairs)) + b"".join(k + v for k, v in pairs)


def decode(data, at=0):
    major, info = data[at] >> 5, data[at] & 31
    size = {24: 1, 25: 2, 26: 4, 27: 8}.get(info, 0)
    value = int.from_bytes(data[at + 1:at + 1 + size], "big") if size else info
    at += 1 + size
    if major in (0, 1):
        return (value if major == 0 else -1 - value), at
    if major in (2, 3):
        text = data[at:at + value]
        return (text if major == 2 else text.decode()), at + value
    if major == 6:
        inner, at = decode(data, at)
        return (value, inner), at
    items = []
    for _ in range(value * (major - 3)):
        item, at = decode(data, at)
        items.append(item)
    return (items if major == 4 else dict(zip(items[::2], items[1::2]))), at


def sig_structure(protected, payload):
    return encode(["Signature1", protected, b"", payload])


def make_v2(c, key, challenge=None, **claims):
    algorithm = COSE_IDS[key.algorithm]
    protected = encode({1: algorithm, 4: hashlib.sha3_256(key.raw).digest(),
                        14: {8: {1: {1: 7, 3: algorithm, -1: key.raw}}}, 16: "application/eat+cwt"})
    now = int(time.time())
    payload = {1: key.did, 4: now + 3600, 6: now, 265: "urn:pqc-enclave-attestation:2", -70001: "dev", -70002: "model",
               -70003: "vendor", -70004: "urn:pqc-enclave-art:" + "0" * 32, -70005: "sha3-256", -70006: b"\xab" * 32,
               -70007: b"\x01" * 16, -70008: "tpm2", -70009: "secure-element", -70010: []}
    if challenge is not None:
        payload[10] = challenge
    payload.update({int(k): v for k, v in claims.items()})
    payload = encode(payload)
    signature = c.sign(key.path, sig_structure(protected, payload))
    return b"\xd2" + encode([protected, {}, payload, signature])


# ---- the checks ----

def check_their_v1(c, keys):
    lines, good = [], 0
    for number, text in enumerate(NASTY):
        key = keys[number % len(keys)]
        att = make_v1(c, key, device_model=text, device_id=text, artifact_id=text or "x", enclave_vendor=text)
        lines += [json.dumps(att), json.dumps(att, ensure_ascii=False), json.dumps(att, sort_keys=True)]
        good += 3
        lines.append(json.dumps({**att, "device_id": att["device_id"] + "."}))
    (c.directory / "trust").write_text("# both\n" + keys[0].pem + "\n" + keys[1].did + "\n")
    result = json.loads(c.run("verify-attestation", "-", "--trust", "trust", "--json", "--max-age", "3600", status=5,
                              data="\n".join(lines).encode()))
    expected = (["pass"] * 3 + ["signature"]) * len(NASTY)
    if [r["verdict"] for r in result["results"]] != expected or result["passed"] != good:
        fail(f"verdicts on Python's attestations: {[r['verdict'] for r in result['results']]}")
    # One alone, spread over lines.
    (c.directory / "one.json").write_text(json.dumps(make_v1(c, keys[0]), indent=2))
    c.run("verify-attestation", "one.json", "--trust", "trust")
    # A lone surrogate has no encoding that is signed or read.
    att = json.dumps(make_v1(c, keys[0])).replace('"dev"', '"\\ud83d"')
    c.run("verify-attestation", "-", "--trust", "trust", status=1, data=att.encode())


def check_our_v1(c, identities):
    for number, text in enumerate(t for t in NASTY if t and "\0" not in t):
        name, pem = list(identities.items())[number % len(identities)]
        att = json.loads(c.run("attest", "artifact", "--format", "v1", "--identity", name, "--device-model", text))
        if att["device_model"] != text or sorted(att) != sorted(SIGNED + ("signer_did", "algorithm", "signature",
                                                                          "public_key")):
            fail(f"fields of a version 1 attestation: {sorted(att)}")
        if att["artifact_content_hash"] != hashlib.sha3_256(b"content").hexdigest():
            fail("the content hash is not SHA3-256 of the content")
        if att["signer_did"] != "did:pqaid:" + hashlib.sha3_256(bytes.fromhex(att["public_key"])).hexdigest():
            fail("the DID is not that of the public key")
        digest = hashlib.sha3_256(canonical(att)).digest()
        if not c.verify(pem, digest, bytes.fromhex(att["signature"])):
            fail(f"openssl does not verify version 1 with device model {text!r}")
        if c.verify(pem, digest[::-1], bytes.fromhex(att["signature"])):
            fail("openssl verifies anything")


def check_their_v2(c, keys):
    for key in keys:
        (c.directory / "trust").write_text(key.pem)
        for number, text in enumerate(t for t in NASTY if "\0" not in t):
            challenge = os.urandom(8 + number) if number % 2 else None
            (c.directory / "att").write_bytes(make_v2(c, key, challenge, **{"-70002": text}))
            options = ["--challenge", challenge.hex()] if challenge else []
            result = json.loads(c.run("verify-attestation", "att", "--trust", "trust", "--json", *options))
            if result["verdict"] != "pass" or result["signer_did"] != key.did:
                fail(f"verdict on Python's token: {result}")
        evidence = make_v2(c, key, **{"-70010": [["tpm2-quote", b"\x00" * 300], ["", b""]]})
        (c.directory / "att").write_bytes(evidence)
        c.run("verify-attestation", "att", "--trust", "trust")
        # Signed by the right key, but not what the profile says.
        for claims in ({"-70011": "more"}, {"99": 1}, {"265": "urn:other"}, {"-70006": b"short"}, {"-70009": 1},
                       {"10": b"short"}, {"-70010": [["only one"]]}, {"-70002": "nul\0"}):
            (c.directory / "att").write_bytes(make_v2(c, key, **claims))
            c.run("verify-attestation", "att", "--trust", "trust", status=1)
        expired = make_v2(c, key, **{"4": int(time.time()) - 10, "6": int(time.time()) - 100})
        (c.directory / "att").write_bytes(expired)
        c.run("verify-attestation", "att", "--trust", "trust", status=5)


def check_our_v2(c, identities):
    for name, pem in identities.items():
        challenge = os.urandom(32)
        c.run("attest", "artifact", "--identity", name, "--challenge", challenge.hex(), "--ttl", "60", "-o", "att")
        data = (c.directory / "att").read_bytes()
        (tag, (protected, unprotected, payload, signature)), end = decode(data)
        if tag != 18 or unprotected != {} or end != len(data):
            fail("the token is not COSE_Sign1 without unprotected headers")
        headers, claims = decode(protected)[0], decode(payload)[0]
        if encode(headers) != protected or encode(claims) != payload:
            fail("the token's maps are not encoded deterministically")
        raw = headers[14][8][1][-1]
        if headers[1] != headers[14][8][1][3] or headers[4] != hashlib.sha3_256(raw).digest():
            fail(f"headers: {headers}")
        if claims[10] != challenge or claims[4] - claims[6] != 60 or claims[-70006] != hashlib.sha3_256(b"content").digest():
            fail(f"claims: {claims}")
        if claims[1] != "did:pqaid:" + headers[4].hex() or claims[-70010] != [] or claims[-70009] != "software":
            fail(f"claims: {claims}")
        if not c.verify(pem, sig_structure(protected, payload), signature):
            fail("openssl does not verify the token")


def pem_of(der):
    text = base64.b64encode(der).decode()
    return "-----BEGIN PRIVATE KEY-----\n" + "\n".join(text[i:i + 64] for i in range(0, len(text), 64)) + \
        "\n-----END PRIVATE KEY-----\n"


def der_of(path):
    lines = path.read_text().splitlines()
    return bytearray(base64.b64decode("".join(line for line in lines if not line.startswith("-"))))


def check_import(c):
    """All three forms; and each part of the two that have parts, altered."""
    identities = {}
    for algorithm in SIZES:
        for form in ("seed-only", "priv-only", "seed-priv"):
            name = f"{algorithm}.{form}"
            c.openssl("genpkey", "-algorithm", algorithm, "-provparam", f"ml-dsa.output_formats={form}", "-out", name)
            c.run("identity", "import", name, "--name", name)
            public = c.openssl("pkey", "-in", name, "-pubout").decode()
            if c.run("identity", "export", name).decode() != public:
                fail(f"the public key of {name} changed")
            c.run("identity", "export", name, "--private", "-o", "back.pem")
            if c.openssl("pkey", "-in", "back.pem", "-pubout").decode() != public:
                fail(f"openssl does not read the exported {name}")
            if ((c.directory / "back.pem").stat().st_mode & 0o777) != 0o600:
                fail("a private key can be read by others")
            identities[name] = public
            der = der_of(c.directory / name)
            if form == "seed-only":
                continue
            seed = bytes.fromhex("0420") if form == "seed-priv" else None
            # The seed's first byte, then bytes of rho, tr, s1 and t0 (not of K alone, which only a seed tells).
            start = len(der) - {"ML-DSA-65": 4032, "ML-DSA-87": 4896}[algorithm]
            places = [start, start + 31, start + 64, start + 127, start + 128, start + 1000, len(der) - 1]
            if seed:
                places += [der.index(seed) + 2, start + 32, start + 63]
            for place in places:
                der[place] ^= 1
                (c.directory / "bad.pem").write_text(pem_of(der))
                c.run("identity", "import", "bad.pem", status=1)
                der[place] ^= 1
            (c.directory / "bad.pem").write_text(pem_of(der[:-1]))
            c.run("identity", "import", "bad.pem", status=1)
    c.openssl("genpkey", "-algorithm", "ML-DSA-44", "-out", "44.pem")
    c.run("identity", "import", "44.pem", status=2)
    c.openssl("genpkey", "-algorithm", "ED25519", "-out", "ed.pem")
    c.run("identity", "import", "ed.pem", status=1)
    return identities


def main():
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    with tempfile.TemporaryDirectory(prefix="pqe-attest-") as name:
        c = Commands(sys.argv[1], sys.argv[2], Path(name))
        probe = c.openssl("genpkey", "-algorithm", "ML-DSA-65", ok=False)
        if probe.returncode != 0:
            print("skipped: the openssl command has no ML-DSA (version 3.5 or later is needed)")
            sys.exit(77)
        c.run("init")
        (c.directory / "content").write_bytes(b"content")
        c.run("put", "artifact", "content", "--kind", "other")
        identities = check_import(c)
        c.run("identity", "create", "--name", "made here")
        identities["made here"] = c.run("identity", "export", "made here").decode()
        keys = [Key(c, "ML-DSA-65", "key65"), Key(c, "ML-DSA-87", "key87")]
        check_their_v1(c, keys)
        check_our_v1(c, identities)
        check_their_v2(c, keys)
        check_our_v2(c, identities)
    print("both forms agree with Python and openssl in both directions")


if __name__ == "__main__":
    main()
