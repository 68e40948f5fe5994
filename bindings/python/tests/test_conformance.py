# SPDX-License-Identifier: Apache-2.0
"""The conformance suite of the C library over a backend written in Python."""

import re

import pytest
from software import SoftwareBackend

pqe_conformance = pytest.importorskip("pqe_conformance")


def test_python_backend_passes(capfd):
    failures = pqe_conformance.run("python", SoftwareBackend)
    report = capfd.readouterr()
    assert failures == 0, report.err
    passed = re.search(r"\[  PASSED  \] (\d+) test", report.err + report.out)
    assert passed is not None and int(passed.group(1)) >= 21


class Forgetful(SoftwareBackend):
    """Does not authenticate the AAD."""

    def seal(self, key, aad, secret):
        return super().seal(key, b"", secret)

    def unseal(self, key, aad, sealed):
        return super().unseal(key, b"", sealed)


class Repeating(SoftwareBackend):
    """Uses one nonce for all."""

    def seal(self, key, aad, secret):
        return bytes(12) + key.cipher.encrypt(bytes(12), bytes(secret), aad)


class Shared(SoftwareBackend):
    """One key for all vaults."""

    def enrol(self, vault_id):
        return super().enrol(bytes(16))

    def attach(self, vault_id, state):
        return super().attach(bytes(16), state)


@pytest.mark.parametrize("wrong", [Forgetful, Repeating, Shared])
def test_suite_notices(wrong, capfd):
    assert pqe_conformance.run("python", wrong) > 0
