#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Decrypts bodies without our library: from docs/format.md and c2sp.org/chunked-encryption alone.

  body_check.py decrypt DEK BODY_ID FILE [PLAIN_SIZE]   plaintext to standard output
  body_check.py check VECTORS [PROGRAM]                 every case of vectors/body.json; with PROGRAM (make_vectors)
                                                        also that it prints VECTORS, and bodies it makes just now

Exit status: 0 passed, 1 failed or refused, 77 skipped because python3-cryptography is missing.
"""

import hashlib
import json
import secrets
import subprocess
import sys
import tempfile
from pathlib import Path

try:
    from cryptography.exceptions import InvalidTag
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM
    from cryptography.hazmat.primitives.hashes import SHA512
    from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand
except ImportError:
    print("skipped: python3-cryptography is not installed")
    sys.exit(77)

SALT, COMMITMENT, TAG, CHUNK = 24, 32, 16, 16384
HEADER = SALT + COMMITMENT
STORED = CHUNK + TAG


class Refused(Exception):
    """Why a body is refused, in the words of vectors/README.md; for "tag" also the list of chunks."""


def derive(dek, body_id, salt):
    """Key, base nonce and commitment."""
    context = b"pqc-enclave body v1\0" + body_id
    info = b"c2sp.org/chunked-encryption@v1+AEAD_AES_256_GCM\0" + salt + context
    okm = HKDFExpand(SHA512(), 32 + 12 + COMMITMENT, info).derive(dek)
    return AESGCM(okm[:32]), okm[32:44], okm[44:]


def nonce(base, number):
    return (int.from_bytes(base, "big") ^ number).to_bytes(12, "big")


def decrypt(dek, body_id, body, plain_size=None):
    """The plaintext; Refused for whatever is wrong. plain_size is what the vault's record says, if there is one."""
    if plain_size is not None:
        should_be = HEADER + plain_size + (plain_size // CHUNK + 1) * TAG
        if len(body) != should_be:
            raise Refused("truncated" if len(body) < should_be else "extended")
    # The final chunk is always there, shorter than a full one: anything else is truncated.
    if len(body) < HEADER + TAG or (len(body) - HEADER) % STORED < TAG:
        raise Refused("truncated")
    aead, base, commitment = derive(dek, body_id, body[:SALT])
    if not secrets.compare_digest(commitment, body[SALT:HEADER]):
        raise Refused("commitment")
    pieces, bad = [], []
    for number, at in enumerate(range(HEADER, len(body), STORED)):
        try:
            pieces.append(aead.decrypt(nonce(base, number), body[at:at + STORED], None))
        except InvalidTag:
            bad.append(number)
    if bad:
        raise Refused("tag", bad)
    return b"".join(pieces)


def encrypt(dek, body_id, salt, plain):
    aead, base, commitment = derive(dek, body_id, salt)
    chunks = [
        aead.encrypt(nonce(base, number), plain[number * CHUNK:(number + 1) * CHUNK], None)
        for number in range(len(plain) // CHUNK + 1)
    ]
    return salt + commitment + b"".join(chunks)


def mod251(size):
    return (bytes(range(251)) * (size // 251 + 1))[:size]


def edited(body, edit):
    body = bytearray(body)

    def place(n):
        return slice(HEADER + n * STORED, HEADER + (n + 1) * STORED)

    if edit["op"] == "flip":
        body[edit["at"]] ^= edit["mask"]
    elif edit["op"] == "truncate":
        del body[edit["size"]:]
    elif edit["op"] == "append":
        body += bytes.fromhex(edit["hex"])
    elif edit["op"] == "exchange_chunks":
        a, b = place(edit["a"]), place(edit["b"])
        body[a], body[b] = body[b], body[a]
    elif edit["op"] == "copy_chunk":
        body[place(edit["to"])] = body[place(edit["from"])]
    elif edit["op"] == "drop_chunk":
        del body[place(edit["chunk"])]
    else:
        raise ValueError(f"unknown edit {edit['op']}")
    return bytes(body)


def check_vectors(vectors):
    """Returns the number of failures."""
    bodies, failures = {}, 0
    for row in vectors["bodies"]:
        dek, body_id, salt = (bytes.fromhex(row[k]) for k in ("dek", "body_id", "salt"))
        plain = bytes.fromhex(row["plain_hex"]) if "plain_hex" in row else mod251(row["plain_size"])
        body = bytes.fromhex(row["body_hex"]) if "body_hex" in row else encrypt(dek, body_id, salt, plain)
        if (len(body), hashlib.sha256(body).hexdigest()) != (row["body_size"], row["body_sha256"]):
            print(f"not ok {row['name']}: body differs")
            failures += 1
        bodies[row["name"]] = (dek, body_id, plain, body)
    for case in vectors["cases"]:
        dek, body_id, plain, body = bodies[case["body"]]
        dek = bytes.fromhex(case["dek"]) if "dek" in case else dek
        body_id = bytes.fromhex(case["body_id"]) if "body_id" in case else body_id
        body = edited(body, case["edit"]) if "edit" in case else body
        try:
            right = decrypt(dek, body_id, body, case.get("plain_size", len(plain))) == plain
            found = ("ok",) if right else ("wrong plaintext",)
        except Refused as e:
            found = e.args
        expected = (case["expected"], case["chunks"]) if "chunks" in case else (case["expected"],)
        if found != expected:
            print(f"not ok {case['name']}: expected {expected}, found {found}")
            failures += 1
    print(f"{len(vectors['bodies'])} bodies, {len(vectors['cases'])} cases, {failures} failures")
    return failures


def check_program(program, vectors):
    """Vectors printed again, and bodies made under random keys and salts."""
    failures = 0
    if json.loads(subprocess.run([program], check=True, capture_output=True).stdout) != vectors:
        print("not ok: the program prints other vectors than those in the file")
        failures += 1
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / "body"
        for size in (0, 1, 1000, 16383, 16384, 16385, 65536, 1048575, 1048576, 3000000):
            dek, body_id = secrets.token_bytes(32), secrets.token_bytes(16)
            subprocess.run([program, "body", dek.hex(), body_id.hex(), str(size), str(path)], check=True)
            try:
                right = decrypt(dek, body_id, path.read_bytes(), size) == mod251(size)
            except Refused as e:
                right = False
                print(e.args)
            if not right:
                print(f"not ok: a body of {size} bytes made just now")
                failures += 1
    return failures


def main(args):
    if len(args) in (4, 5) and args[0] == "decrypt":
        size = int(args[4]) if len(args) == 5 else None
        try:
            plain = decrypt(bytes.fromhex(args[1]), bytes.fromhex(args[2]), Path(args[3]).read_bytes(), size)
        except Refused as e:
            sys.exit("body_check.py: refused: " + " ".join(map(str, e.args)))
        sys.stdout.buffer.write(plain)
        return 0
    if len(args) in (2, 3) and args[0] == "check":
        vectors = json.loads(Path(args[1]).read_text(encoding="utf-8"))
        failures = check_vectors(vectors)
        if len(args) == 3:
            failures += check_program(args[2], vectors)
        return 1 if failures else 0
    sys.exit(__doc__)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
