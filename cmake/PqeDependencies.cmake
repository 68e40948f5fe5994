# SPDX-License-Identifier: Apache-2.0
# OpenSSL >= 3.5 (libcrypto only), SQLite, libcbor. Where the system's OpenSSL is older, the private static build that
# scripts/openssl-private makes is used; its symbols stay hidden inside our library.
find_package(PkgConfig REQUIRED)

set(PQE_OPENSSL_ROOT "" CACHE PATH "Prefix of a private OpenSSL >= 3.5 (empty: system's, else the cached private build)")
execute_process(COMMAND "${PROJECT_SOURCE_DIR}/scripts/cache-dir" OUTPUT_VARIABLE _pqe_private_cache
  OUTPUT_STRIP_TRAILING_WHITESPACE COMMAND_ERROR_IS_FATAL ANY)

if(NOT PQE_OPENSSL_ROOT)
  pkg_check_modules(PQE_SYSTEM_CRYPTO QUIET IMPORTED_TARGET libcrypto>=3.5)
  if(NOT PQE_SYSTEM_CRYPTO_FOUND AND EXISTS "${_pqe_private_cache}/openssl/lib/libcrypto.a")
    file(REAL_PATH "${_pqe_private_cache}/openssl" PQE_OPENSSL_ROOT)
  endif()
endif()

add_library(pqe_crypto_dep INTERFACE)
if(PQE_OPENSSL_ROOT)
  set(PQE_PRIVATE_OPENSSL TRUE)
  message(STATUS "OpenSSL: private build in ${PQE_OPENSSL_ROOT}")
  target_include_directories(pqe_crypto_dep SYSTEM INTERFACE "${PQE_OPENSSL_ROOT}/include")
  target_link_libraries(pqe_crypto_dep INTERFACE "${PQE_OPENSSL_ROOT}/lib/libcrypto.a" ${CMAKE_DL_LIBS} Threads::Threads)
elseif(PQE_SYSTEM_CRYPTO_FOUND)
  set(PQE_PRIVATE_OPENSSL FALSE)
  message(STATUS "OpenSSL: the system's ${PQE_SYSTEM_CRYPTO_VERSION}")
  target_link_libraries(pqe_crypto_dep INTERFACE PkgConfig::PQE_SYSTEM_CRYPTO)
else()
  message(FATAL_ERROR "OpenSSL >= 3.5 is needed. Run scripts/setup build, or give -DPQE_OPENSSL_ROOT=PREFIX.")
endif()

pkg_check_modules(PQE_SQLITE REQUIRED IMPORTED_TARGET sqlite3>=3.37)
pkg_check_modules(PQE_CBOR REQUIRED IMPORTED_TARGET libcbor>=0.8)

# The TPM backend is built where the headers of tpm2-tss are. Its libraries are loaded when a TPM is used, not linked.
option(PQE_WITH_TPM2 "Build the tpm2 backend where tpm2-tss is installed" ON)
set(PQE_TPM2 FALSE)
if(PQE_WITH_TPM2)
  pkg_check_modules(PQE_TSS2 QUIET tss2-esys>=3.0 tss2-mu tss2-tctildr)
  set(PQE_TPM2 ${PQE_TSS2_FOUND})
endif()
if(PQE_TPM2)
  message(STATUS "TPM 2.0: tpm2-tss ${PQE_TSS2_tss2-esys_VERSION}, loaded when used")
else()
  message(STATUS "TPM 2.0: backend not built (tpm2-tss's headers are missing, or PQE_WITH_TPM2 is off)")
endif()

# Evidence of TPMs is read by libtss2-mu, where its headers are. It is loaded when it is used, not linked.
option(PQE_WITH_TSS2_MU "Verify evidence of TPMs where tpm2-tss is installed" ON)
if(PQE_WITH_TSS2_MU)
  pkg_check_modules(PQE_TSS2_MU QUIET IMPORTED_TARGET tss2-mu)
endif()
if(PQE_TSS2_MU_FOUND)
  message(STATUS "Evidence of TPMs: read by libtss2-mu ${PQE_TSS2_MU_VERSION}")
else()
  message(STATUS "Evidence of TPMs: not verified by this build (tpm2-tss's headers are missing, or PQE_WITH_TSS2_MU is off)")
endif()

# Published vectors that scripts/openssl-vectors keeps; the test that reads them is skipped without.
set(PQE_OPENSSL_VECTORS "" CACHE PATH "Directory with OpenSSL's evp_test data")
if(NOT PQE_OPENSSL_VECTORS AND EXISTS "${_pqe_private_cache}/openssl-vectors")
  set(PQE_OPENSSL_VECTORS "${_pqe_private_cache}/openssl-vectors")
endif()

# PKCS#11 tokens: p11-kit's headers; its library is opened at run time, by programs that use a token.
option(PQE_WITH_PKCS11 "Build the pkcs11 backend where p11-kit is installed" ON)
set(PQE_PKCS11 FALSE)
if(PQE_WITH_PKCS11)
  pkg_check_modules(PQE_P11KIT QUIET p11-kit-1)
  set(PQE_PKCS11 ${PQE_P11KIT_FOUND})
endif()
if(PQE_PKCS11)
  pkg_get_variable(PQE_P11_MODULE_DIR p11-kit-1 p11_module_path)
  message(STATUS "PKCS#11: p11-kit ${PQE_P11KIT_VERSION}, loaded when used")
else()
  message(STATUS "PKCS#11: backend not built (p11-kit's headers are missing, or PQE_WITH_PKCS11 is off)")
endif()
