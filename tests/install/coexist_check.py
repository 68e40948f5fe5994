#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Our shared library and Python's own OpenSSL in one process.

  coexist_check.py LIBRARY                       runs each order and manner of loading in a process of its own
  coexist_check.py LIBRARY ORDER MODE DIRECTORY  one of them

ORDER is python-first or vault-first, MODE local or global (RTLD_LOCAL, RTLD_GLOBAL).
"""

import ctypes
import subprocess
import sys
import tempfile
from ctypes import POINTER, Structure, byref, c_bool, c_char, c_char_p, c_int, c_int64, c_size_t, c_uint32, c_void_p

# Known answers, so that neither side vouches for itself (FIPS 202 and FIPS 180-4: the empty message).
SHA3_256 = "a7ffc6f8bf1ed76651c14756a061d662f580ff4de43b49fa82d80a4b80f8434a"
SHA256 = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"


class Error(Structure):
    _fields_ = [("status", c_int), ("origin", c_int), ("native", c_int64), ("message", c_char * 240)]


class VaultOpts(Structure):
    _fields_ = [("size", c_size_t), ("dir", c_char_p), ("backend", c_void_p), ("create", c_bool),
                ("read_only", c_bool), ("device_id", c_char_p), ("busy_timeout_ms", c_uint32)]


class PutOpts(Structure):
    _fields_ = [("size", c_size_t), ("name", c_char_p), ("kind", c_int), ("version", c_char_p),
                ("app_bundle_id", c_char_p), ("model_did", c_char_p), ("description", c_char_p),
                ("tags", POINTER(c_char_p)), ("tag_count", c_size_t)]


class Library:
    def __init__(self, path, mode):
        self.lib = ctypes.CDLL(path, mode=ctypes.RTLD_GLOBAL if mode == "global" else ctypes.RTLD_LOCAL)

    def call(self, name, *arguments):
        error = Error()
        status = getattr(self.lib, name)(*arguments, byref(error))
        if status != 0:
            sys.exit(f"coexist_check.py: {name}: {status}: {error.message.decode()}")

    def use_vault(self, directory, config):
        backend, vault = c_void_p(), c_void_p()
        self.call("pqe_backend_open", config, None, byref(backend))
        options = VaultOpts(size=ctypes.sizeof(VaultOpts), dir=directory, backend=backend, create=True)
        self.call("pqe_vault_open", byref(options), byref(vault))
        for size in (0, 1000, 300000):
            content = bytes(i * 7 & 255 for i in range(size))
            put = PutOpts(size=ctypes.sizeof(PutOpts), name=b"artifact %d" % size, kind=1)
            self.call("pqe_put", vault, byref(put), content, c_size_t(size), None)
            got, length = c_void_p(), c_size_t()
            self.call("pqe_get", vault, put.name, byref(got), byref(length), None)
            if ctypes.string_at(got, length.value) != content:
                sys.exit("coexist_check.py: get gave something else than was put")
            self.lib.pqe_content_free(byref(got), length)
        self.lib.pqe_vault_lock(vault)
        self.call("pqe_vault_unlock", vault, c_uint32(0))
        self.call("pqe_verify", vault, None, None, None, None)
        self.lib.pqe_vault_close(byref(vault))
        self.lib.pqe_backend_close(byref(backend))


def use_python():
    """Digests, key derivation, randomness and the first half of a TLS handshake by Python's OpenSSL."""
    import hashlib
    import hmac
    import ssl

    assert hashlib.new("sha3_256", b"").hexdigest() == SHA3_256
    assert hashlib.new("sha256", b"").hexdigest() == SHA256
    assert len(hashlib.scrypt(b"password", salt=b"salt", n=16, r=8, p=1)) == 64
    assert hmac.new(b"k", b"m", "sha512").digest() == hmac.digest(b"k", b"m", "sha512")
    assert len(ssl.RAND_bytes(32)) == 32
    context = ssl.create_default_context()
    context.set_ciphers("ECDHE+AESGCM")
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = context.wrap_bio(incoming, outgoing, server_hostname="example.org")
    try:
        client.do_handshake()
        sys.exit("coexist_check.py: a handshake ended without a server")
    except ssl.SSLWantReadError:
        pass
    hello = outgoing.read()
    assert hello[0] == 22 and len(hello) > 100, hello
    return ssl.OPENSSL_VERSION


def one(path, order, mode, directory):
    before = use_python() if order == "python-first" else None
    library = Library(path, mode)
    for _ in range(2):
        library.use_vault(None, b"memory")
        version = use_python()
        if before is not None and version != before:
            sys.exit(f"coexist_check.py: Python's OpenSSL was {before}, now it is {version}")
        before = version
    library.use_vault(directory.encode() + b"/vault", b"file:key-file=" + directory.encode() + b"/key")
    use_python()
    print(f"{order}, {mode}: {before}")


def main():
    if len(sys.argv) == 5:
        one(*sys.argv[1:])
        return
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    for order in ("python-first", "vault-first"):
        for mode in ("local", "global"):
            with tempfile.TemporaryDirectory(prefix="pqe-coexist-") as directory:
                subprocess.run([sys.executable, __file__, sys.argv[1], order, mode, directory], check=True)


main()
