#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# run_bench_index.sh PROGRAM: the limits of the index, in the long form alone (PQE_BEDS=1).
[ "${PQE_BEDS-}" = 1 ] || { echo "skipped: only in the long form, PQE_BEDS=1"; exit 77; }
dir=$(mktemp -d /dev/shm/pqe-bench.XXXXXX 2>/dev/null || mktemp -d) || exit 1
trap 'rm -rf "$dir"' EXIT
"$1" "$dir" 100000
