# SPDX-License-Identifier: Apache-2.0
"""The life of a model's weights in a vault in memory: put, lock, unlock, get, and use them without a copy."""

import hashlib
import random

from pqc_enclave_sdk import ArtifactKind, EnclaveLockedError, EnclaveVault, InMemoryEnclaveBackend

weights = random.Random(1).randbytes(256 * 1024)  # stands for a file of weights
backend = InMemoryEnclaveBackend(device_id="phone-1", device_model="example")
vault = EnclaveVault(backend=backend)

vault.unlock(ttl_seconds=600)
stored = vault.put_artifact(
    name="tiny-llm-int4",
    kind=ArtifactKind.MODEL_WEIGHTS,
    content=weights,
    version="1.0.0",
    app_bundle_id="com.example.localllm",
    tags=("int4", "english"),
)
vault.save()
print("stored", stored.metadata.name, stored.metadata.size_bytes, "bytes as", len(stored.ciphertext) // 2, "of ciphertext")
print("its SHA3-256 is that of the weights:", stored.content_hash == hashlib.sha3_256(weights).hexdigest())

vault.lock()
try:
    vault.get_artifact("tiny-llm-int4")
except EnclaveLockedError as error:
    print("locked:", error)

with vault:  # unlocks, and locks at the end
    artifact = vault.get_artifact("tiny-llm-int4")
    with artifact.view as view:  # not a copy; wiped at the end of the block
        print("read back", len(view), "bytes, identical:", view == weights)
    with vault.open_artifact("tiny-llm-int4") as file:  # decrypts what is asked for
        file.seek(100_000)
        print("bytes 100000 to 100016 alone:", file.read(16) == weights[100_000:100_016])
print("unlocked:", vault.is_unlocked)
