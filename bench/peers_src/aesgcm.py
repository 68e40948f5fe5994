# SPDX-License-Identifier: Apache-2.0
"""python-cryptography's AESGCM over a whole file: aesgcm.py e|d IN OUT, or aesgcm.py small COUNT."""
import os
import sys
import time

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

cipher = AESGCM(bytes(32))
if sys.argv[1] == "small":
    count, data = int(sys.argv[2]), os.urandom(1024)
    start = time.perf_counter()
    sealed = {}
    for i in range(count):
        nonce = os.urandom(12)
        sealed[f"cred/{i}"] = nonce + cipher.encrypt(nonce, data, b"")
    middle = time.perf_counter()
    for box in sealed.values():
        cipher.decrypt(box[:12], box[12:], b"")
    end = time.perf_counter()
    print(count / (middle - start), count / (end - middle))
else:
    with open(sys.argv[2], "rb") as file:
        text = file.read()
    if sys.argv[1] == "e":
        nonce = os.urandom(12)
        text = nonce + cipher.encrypt(nonce, text, b"")
    else:
        text = cipher.decrypt(text[:12], text[12:], b"")
    with open(sys.argv[3], "wb") as file:
        file.write(text)
