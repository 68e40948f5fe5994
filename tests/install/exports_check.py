#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Holds the shared library's symbols against its export list and the public headers.

  exports_check.py LIBRARY MAP INCLUDE [LIBCRYPTO]

LIBCRYPTO is the private libcrypto.a, if the library was built with one: then nothing of OpenSSL may be visible or wanted
from outside. Exported are exactly the names in MAP, all beginning with pqe_, and these are exactly the functions that
the headers declare with PQE_API.
"""

import re
import subprocess
import sys
from pathlib import Path


def fail(text):
    sys.exit(f"exports_check.py: {text}")


def symbols(*options):
    """Names in nm's output, without symbol versions and the versions' own entries."""
    done = subprocess.run(["nm", "-P", *options], capture_output=True, text=True, check=True)
    fields = [line.split() for line in done.stdout.splitlines()]
    return {f[0].split("@")[0] for f in fields if len(f) > 1 and f[1] != "A" and not f[0].endswith(":")}


def exported_by_map(path):
    text = re.search(r"global:(.*?)local:\s*\*;", path.read_text(), re.S)
    if text is None:
        fail(f"{path.name} does not end with 'local: *;'")
    return set(re.findall(r"(\w+);", text[1]))


def declared(include):
    """Functions that the headers declare; each must be marked PQE_API."""
    names = set()
    for header in sorted(include.rglob("*.h")):
        text = re.sub(r"/\*.*?\*/|//[^\n]*", "", header.read_text(), flags=re.S)
        text = re.sub(r"^#(?:\\\n|[^\n])*", "", text, flags=re.M)
        for statement in re.split(r"[;{}]", text):
            match = re.match(r"\s*(PQE_API\s+)?(?!typedef\b)[\w\s*]+?\b(pqe_\w+)\s*\((?!\s*\*)", statement)
            if match is None:
                continue
            if match[1] is None:
                fail(f"{header.name} declares {match[2]} without PQE_API")
            names.add(match[2])
    return names


def some(names):
    return ", ".join(sorted(names)[:10]) + (f" and {len(names) - 10} more" if len(names) > 10 else "")


def same(what, one, other):
    if one != other:
        fail(f"{what} differ: {some(one ^ other)}")


def check_dynamic(library, private):
    dynamic = subprocess.run(["readelf", "-dlW", library], capture_output=True, text=True, check=True).stdout
    needed = set(re.findall(r"\(NEEDED\).*\[(.*)\]", dynamic))
    wanted = {n for n in needed if re.match(r"lib(crypto|ssl)\b", n)}
    if private and wanted:
        fail(f"the library has OpenSSL inside and still needs {some(wanted)}")
    if not private and wanted != {"libcrypto.so.3"}:
        fail(f"the library should need libcrypto.so.3, it needs {some(wanted) or 'none'}")
    for mark in ("BIND_NOW", "NODELETE", "GNU_RELRO"):
        if mark not in dynamic:
            fail(f"the library lacks {mark}")
    if "TEXTREL" in dynamic or re.search(r"GNU_STACK.* RWE ", dynamic):
        fail("the library has text relocations or an executable stack")


def main():
    if len(sys.argv) not in (4, 5):
        sys.exit(__doc__)
    library, exports, include = (Path(a) for a in sys.argv[1:4])
    listed = exported_by_map(exports)
    odd = {n for n in listed if not n.startswith("pqe_") or n.startswith("pqe__")}
    if odd:
        fail(f"{exports.name} lists {some(odd)}")
    same("exported symbols and the export list", symbols("-D", "--defined-only", library), listed)
    same("the export list and the headers", listed, declared(include))
    check_dynamic(library, len(sys.argv) == 5)
    if len(sys.argv) == 5:
        openssl = symbols("-g", "--defined-only", sys.argv[4])
        if len(openssl) < 1000:
            fail(f"{sys.argv[4]} has {len(openssl)} symbols only")
        outside = symbols("-D", library) & openssl
        if outside:
            fail(f"symbols of OpenSSL are visible or wanted: {some(outside)}")
    print(f"{len(listed)} functions")


main()
