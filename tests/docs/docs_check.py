#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""docs_check.py SOURCE CTEST BUILD: what documents say of tests, links and packages is so."""
import fnmatch
import pathlib
import re
import subprocess
import sys

source, ctest, build = sys.argv[1:]
root = pathlib.Path(source)
problems = []

listing = subprocess.run([ctest, "-N"], cwd=build, capture_output=True, text=True, check=True).stdout
tests = set(re.findall(r"^ *Test +#\d+: (\S+)$", listing, re.M)) | {"quickstart"}
rows = [line.split("|") for line in (root / "docs/threat-model.md").read_text().splitlines() if line.startswith("|")]
named = {name for row in rows if len(row) == 6 for name in re.findall(r"`([^`]+)`", row[3])}
if len(tests) < 20 or len(named) < 5:
    problems.append(f"{len(tests)} tests and {len(named)} names of tests: this check looks in the wrong place")
problems += [f"threat-model.md: no test is called {name}" for name in sorted(named) if not fnmatch.filter(tests, name)]

for document in [*root.glob("*.md"), *root.glob("docs/**/*.md"), *root.glob("vectors/*.md")]:
    for target in re.findall(r"\]\(([^)#]+)[^)]*\)", document.read_text()):
        if "://" not in target and not (document.parent / target).exists():
            problems.append(f"{document.relative_to(root)}: {target} is not there")

# The packages that the README lists are those that scripts/setup installs.
setup = dict(re.findall(r"\[(\w+-\w+)\]='([^']*)'", (root / "scripts/setup").read_text()))
lists = {"Debian 13": ["deb-build deb-openssl", "deb-test"], "Debian 12": ["deb-openssl", "deb-private"],
         "Fedora": ["rpm-build", "rpm-test"]}
readme = (root / "README.md").read_text()
for system, groups in lists.items():
    row = re.search(rf"^\| {system}.*$", readme, re.M)
    told = [set(text.split()) for text in re.findall(r"`([^`]+)`", row[0])] if row else []
    for i, group in enumerate(groups):
        packages = {name for key in group.split() for name in setup[key].split()}
        if i >= len(told) or told[i] != packages:
            wrong = packages ^ (told[i] if i < len(told) else set())
            problems.append(f"README.md, {system}: scripts/setup has other packages: {' '.join(sorted(wrong))}")

for system, kind in {"Debian 13": "deb", "Fedora": "rpm"}.items():
    row = re.search(rf"^\| {system}.*$", readme, re.M)
    missing = set(setup[kind + "-python"].split()) - {name for text in re.findall(r"`([^`]+)`", row[0]) for name in text.split()}
    if missing - {"python3-cryptography"}:
        problems.append(f"README.md, {system}: packages of Python are missing: {' '.join(sorted(missing))}")

print("\n".join(problems) or f"{len(named)} names of tests and all links are right")
sys.exit(bool(problems))
