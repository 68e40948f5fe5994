#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# The wheel as this machine's Python makes it, under the Python of Debian 13 (3.13): installed in a bare root, with the
# tests run on it. Needs PQE_BEDS=1, root, debootstrap and a mirror.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../../.." && pwd)
[ "${PQE_BEDS-}" = 1 ] || { echo "skipped: PQE_BEDS is not 1"; exit 77; }
[ "$(id -u)" -eq 0 ] && command -v debootstrap >/dev/null || { echo "skipped: no root, or no debootstrap"; exit 77; }

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"${PYTHON:-/usr/bin/python3}" "$here/wheel_check.py" "$root" "$work"
# shellcheck disable=SC2016   # expanded in the bare root
"$root/scripts/bare-root" --add "$work"/*.whl trixie bash -euc '
    export DEBIAN_FRONTEND=noninteractive
    { apt-get -qq update && apt-get -qq install -y --no-install-recommends python3 python3-pip python3-pytest \
        python3-hypothesis python3-cryptography python3-numpy libsqlite3-0; } >/tmp/apt.log 2>&1 ||
        { tail /tmp/apt.log; exit 1; }
    python3 -m pip install -q --break-system-packages --root-user-action=ignore --no-index --no-deps /root/*.whl
    python3 -c "import sys, pqc_enclave_sdk; print(sys.version.split()[0], pqc_enclave_sdk.__file__)"
    cd bindings/python/tests
    python3 -X dev -m pytest -q -p no:cacheprovider -W error .'
