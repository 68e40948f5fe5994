# SPDX-License-Identifier: Apache-2.0
"""Builds the Python package; everything that is fixed stands in pyproject.toml. CMake makes the extension, which has the
library and, where the system's is older than 3.5, a private OpenSSL inside (scripts/setup build). libcbor, whose name
differs from one release of a distribution to the next, goes along with it.
"""

import os
import pathlib
import re
import shutil
import subprocess
import sys

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

ROOT = pathlib.Path(__file__).resolve().parent


def bundle_libcbor(extension, folder):
    """Copies the libcbor that the extension was linked to, and its licence, to where its rpath ($ORIGIN) finds it."""
    listed = subprocess.run(["ldd", extension], check=True, capture_output=True, text=True).stdout
    found = re.search(r"(libcbor\.so\S*) => (/\S+)", listed)
    if found is None:
        sys.exit("setup.py: the extension's libcbor was not found")
    shutil.copy2(os.path.realpath(found[2]), folder / found[1])
    for licence in (*pathlib.Path("/usr/share/doc").glob("libcbor*/copyright"),
                    *pathlib.Path("/usr/share/licenses").glob("libcbor*/LICENSE*")):
        shutil.copy2(licence, folder / "libcbor.LICENSE")
        break


class CMakeBuild(build_ext):
    def build_extension(self, ext):
        tree = pathlib.Path(self.build_temp).resolve() / "cmake"
        built = tree / "bindings" / "python" / "root" / "pqc_enclave_sdk" / "_native.abi3.so"
        target = pathlib.Path(self.get_ext_fullpath(ext.name))
        configure = [
            "cmake", "-S", ROOT, "-B", tree, "-G", "Ninja", "-DCMAKE_BUILD_TYPE=Release",
            "-DCMAKE_MODULE_LINKER_FLAGS=-s", "-DPQE_BUILD_TESTS=OFF", "-DPQE_BUILD_CLI=OFF", "-DPQE_BUILD_PYTHON=ON",
            f"-DPython3_EXECUTABLE={sys.executable}",
        ]
        subprocess.run(configure, check=True)
        jobs = str(self.parallel or os.cpu_count() or 1)
        subprocess.run(["cmake", "--build", tree, "--target", "pqe_python_native", "--parallel", jobs], check=True)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(built, target)
        bundle_libcbor(target, target.parent)


def version():
    return re.search(r"project\(pqc-enclave VERSION (\S+)", (ROOT / "CMakeLists.txt").read_text())[1]


setup(
    version=version(),
    ext_modules=[Extension("pqc_enclave_sdk._native", sources=[], py_limited_api=True)],
    cmdclass={"build_ext": CMakeBuild},
    options={"bdist_wheel": {"py_limited_api": "cp311"}},
)
