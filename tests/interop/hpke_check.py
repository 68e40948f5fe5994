#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""HPKE against an implementation of its own, written from RFC 9180 alone.

usage: hpke_check.py DRIVER OPENSSL

Ours (DRIVER) seals and this program opens, and the other way round. Here HKDF is Python's hmac module, AES-256-GCM is
python3-cryptography, and ML-KEM-768 is the openssl command (>= 3.5) with keys that this program encodes itself
(RFC 9935). Where python3-cryptography has HPKE with ML-KEM-768, that is a third party to the exchange.

Exit status: 0 passed, 1 failed, 77 skipped because openssl or python3-cryptography is missing.
"""

import base64
import hmac
import os
import re
import subprocess
import sys
import tempfile

try:
    from cryptography.exceptions import InvalidTag
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM
except ImportError as error:
    print("skipped: python3-cryptography is not installed (%s)" % error)
    sys.exit(77)

EK_SIZE, CT_SIZE, TAG_SIZE = 1184, 1088, 16
KEM_ID, KDF_ID, AEAD_ID, KEY_SIZE, NONCE_SIZE = 0x0041, 0x0001, 0x0002, 32, 12
ML_KEM_768_OID = bytes.fromhex("0609608648016503040402")  # 2.16.840.1.101.3.4.4.2
LENGTHS = (0, 1, 15, 16, 17, 32, 1000, 70000)


# ---- RFC 5869 and RFC 9180, sections 4, 5.1, 5.2 and 6.1 ----

def extract(salt, ikm):
    return hmac.new(salt or bytes(32), ikm, "sha256").digest()


def expand(prk, info, length):
    okm, block, counter = b"", b"", 0
    while len(okm) < length:
        counter += 1
        block = hmac.new(prk, block + info + bytes([counter]), "sha256").digest()
        okm += block
    return okm[:length]


SUITE_ID = b"HPKE" + b"".join(i.to_bytes(2, "big") for i in (KEM_ID, KDF_ID, AEAD_ID))


def labeled_extract(salt, label, ikm):
    return extract(salt, b"HPKE-v1" + SUITE_ID + label + ikm)


def labeled_expand(prk, label, info, length):
    return expand(prk, length.to_bytes(2, "big") + b"HPKE-v1" + SUITE_ID + label + info, length)


def key_schedule(shared, info, psk=b"", psk_id=b""):
    """Base mode, where psk and psk_id are empty, or PSK mode; the key, and the nonce of sequence number 0."""
    context = (b"\x01" if psk else b"\x00") + labeled_extract(b"", b"psk_id_hash", psk_id)
    context += labeled_extract(b"", b"info_hash", info)
    secret = labeled_extract(shared, b"secret", psk)
    return (labeled_expand(secret, b"key", context, KEY_SIZE),
            labeled_expand(secret, b"base_nonce", context, NONCE_SIZE))


# ---- ML-KEM-768 by the openssl command ----

def der(tag, *parts):
    body = b"".join(parts)
    size = (len(body).bit_length() + 7) // 8
    length = len(body).to_bytes(size, "big")
    if len(body) >= 128:
        length = bytes([0x80 | size]) + length
    return bytes([tag]) + length + body


def pem(label, data):
    text = base64.b64encode(data).decode()
    lines = [text[i:i + 64] for i in range(0, len(text), 64)]
    return "\n".join(["-----BEGIN %s-----" % label] + lines + ["-----END %s-----" % label, ""])


def public_pem(ek):
    return pem("PUBLIC KEY", der(0x30, der(0x30, ML_KEM_768_OID), der(0x03, b"\x00", ek)))


def private_pem(seed):
    """RFC 9935: the seed alone, [0] IMPLICIT OCTET STRING."""
    return pem("PRIVATE KEY", der(0x30, der(0x02, b"\x00"), der(0x30, ML_KEM_768_OID), der(0x04, der(0x80, seed))))


class OpenSSL:
    def __init__(self, command, directory):
        self.command, self.directory = command, directory

    def path(self, name, content=None):
        path = os.path.join(self.directory, name)
        if content is not None:
            with open(path, "wb") as f:
                f.write(content if isinstance(content, bytes) else content.encode())
        return path

    def run(self, *arguments):
        subprocess.run([self.command, *arguments], check=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE)

    def read(self, name):
        with open(self.path(name), "rb") as f:
            return f.read()

    def public_key(self, seed):
        self.run("pkey", "-in", self.path("key", private_pem(seed)), "-pubout", "-outform", "DER", "-out",
                 self.path("public"))
        return self.read("public")[-EK_SIZE:]

    def encapsulate(self, ek):
        self.run("pkeyutl", "-encap", "-pubin", "-inkey", self.path("public", public_pem(ek)), "-out",
                 self.path("ct"), "-secret", self.path("shared"))
        return self.read("ct"), self.read("shared")

    def decapsulate(self, seed, ct):
        self.run("pkeyutl", "-decap", "-inkey", self.path("key", private_pem(seed)), "-in", self.path("ct", ct),
                 "-secret", self.path("shared"))
        return self.read("shared")


# ---- the two sides ----

def python_seal(openssl, ek, info, aad, plain, psk=b"", psk_id=b""):
    ct, shared = openssl.encapsulate(ek)
    key, nonce = key_schedule(shared, info, psk, psk_id)
    return ct + AESGCM(key).encrypt(nonce, plain, aad)


def python_open(openssl, seed, info, aad, sealed, psk=b"", psk_id=b""):
    key, nonce = key_schedule(openssl.decapsulate(seed, sealed[:CT_SIZE]), info, psk, psk_id)
    return AESGCM(key).decrypt(nonce, sealed[CT_SIZE:], aad)


class Driver:
    def __init__(self, path):
        self.path = path

    def run(self, arguments, message=b"", refused=False):
        p = subprocess.run([self.path, *arguments], input=message, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        if refused:
            expect(p.returncode == 3 and p.stdout == b"", "refused with status 3 and no output")
            return None
        expect(p.returncode == 0, "driver: " + p.stderr.decode(errors="replace"))
        return p.stdout

    def public(self, seed):
        return self.run(["public", seed.hex()])

    def seal(self, ek, info, aad, plain, *psk):
        return self.run(["seal", ek.hex(), info.hex(), aad.hex(), *(p.hex() for p in psk)], plain)

    def open(self, seed, info, aad, sealed, *psk, refused=False):
        return self.run(["open", seed.hex(), info.hex(), aad.hex(), *(p.hex() for p in psk)], sealed, refused)


checks = 0


def expect(condition, what):
    global checks
    checks += 1
    if not condition:
        sys.exit("FAILED: " + what)


def exchange(openssl, driver, length):
    seed, plain = os.urandom(64), os.urandom(length)
    info, aad = os.urandom(length % 300), os.urandom(length % 41)
    ek = openssl.public_key(seed)

    expect(driver.public(seed).decode() == public_pem(ek), "our public key PEM is RFC 9935's")
    sealed = driver.seal(ek, info, aad, plain)
    expect(len(sealed) == length + CT_SIZE + TAG_SIZE, "length of a sealed message")
    expect(python_open(openssl, seed, info, aad, sealed) == plain, "ours, opened here")
    sealed = python_seal(openssl, ek, info, aad, plain)
    expect(driver.open(seed, info, aad, sealed) == plain, "sealed here, opened by ours")

    for at in (0, CT_SIZE - 1, CT_SIZE, len(sealed) - 1):
        bad = bytearray(sealed)
        bad[at] ^= 1
        driver.open(seed, info, aad, bytes(bad), refused=True)
    driver.open(seed, info + b"x", aad, sealed, refused=True)
    driver.open(seed, info, aad + b"x", sealed, refused=True)
    driver.open(os.urandom(64), info, aad, sealed, refused=True)
    driver.open(seed, info, aad, sealed[:-1], refused=True)
    driver.open(seed, info, aad, sealed[:CT_SIZE], refused=True)
    try:
        python_open(openssl, seed, info + b"x", aad, driver.seal(ek, info, aad, plain))
        expect(False, "another info must not open")
    except InvalidTag:
        pass


def exchange_by_psk(openssl, driver, length):
    seed, plain, psk, psk_id = os.urandom(64), os.urandom(length), os.urandom(32), os.urandom(16)
    info, aad = os.urandom(length % 300), os.urandom(length % 41)
    ek = openssl.public_key(seed)

    expect(python_open(openssl, seed, info, aad, driver.seal(ek, info, aad, plain, psk, psk_id), psk, psk_id) == plain,
           "ours, opened here with the PSK")
    sealed = python_seal(openssl, ek, info, aad, plain, psk, psk_id)
    expect(driver.open(seed, info, aad, sealed, psk, psk_id) == plain, "sealed here with a PSK, opened by ours")
    driver.open(seed, info, aad, sealed, os.urandom(32), psk_id, refused=True)
    driver.open(seed, info, aad, sealed, psk, psk_id + b"x", refused=True)
    driver.open(seed, info, aad, sealed, refused=True)
    driver.open(seed, info, aad, python_seal(openssl, ek, info, aad, plain), psk, psk_id, refused=True)


def third_party():
    """python3-cryptography's HPKE, if it has ML-KEM-768; its single-shot calls have no aad."""
    try:
        from cryptography.hazmat.primitives import hpke
        from cryptography.hazmat.primitives.asymmetric import mlkem
        suite = hpke.Suite(hpke.KEM.MLKEM768, hpke.KDF.HKDF_SHA256, hpke.AEAD.AES_256_GCM)
        mlkem.MLKEM768PrivateKey.generate()
    except Exception:  # not there, or its own libcrypto is too old
        return None
    return suite, mlkem.MLKEM768PrivateKey


def exchange_with(party, driver, length):
    suite, private_key = party
    seed, plain, info = os.urandom(64), os.urandom(length), os.urandom(20)
    key = private_key.from_seed_bytes(seed)
    ek = key.public_key().public_bytes_raw()
    expect(suite.decrypt(driver.seal(ek, info, b"", plain), key, info=info) == plain, "ours, opened by cryptography")
    expect(driver.open(seed, info, b"", suite.encrypt(plain, key.public_key(), info=info)) == plain,
           "sealed by cryptography, opened by ours")


def openssl_is_new_enough(command):
    try:
        text = subprocess.run([command, "version"], stdout=subprocess.PIPE, check=True).stdout.decode()
    except (OSError, subprocess.CalledProcessError):
        return False
    match = re.match(r"OpenSSL (\d+)\.(\d+)", text)
    return bool(match) and (int(match[1]), int(match[2])) >= (3, 5)


def main():
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    driver = Driver(sys.argv[1])
    if not openssl_is_new_enough(sys.argv[2]):
        print("skipped: %s is not an openssl command of version 3.5 or later" % sys.argv[2])
        return 77
    with tempfile.TemporaryDirectory() as directory:
        for length in LENGTHS:
            exchange(OpenSSL(sys.argv[2], directory), driver, length)
            exchange_by_psk(OpenSSL(sys.argv[2], directory), driver, length)
    party = third_party()
    if party is None:
        print("this python3-cryptography has no HPKE with ML-KEM-768: not a third party here")
    else:
        for length in LENGTHS:
            exchange_with(party, driver, length)
        print("exchanged with python3-cryptography's HPKE too")
    print("%d checks passed" % checks)
    return 0


sys.exit(main())
