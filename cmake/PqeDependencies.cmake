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

# Published vectors that scripts/openssl-vectors keeps; the test that reads them is skipped without.
set(PQE_OPENSSL_VECTORS "" CACHE PATH "Directory with OpenSSL's evp_test data")
if(NOT PQE_OPENSSL_VECTORS AND EXISTS "${_pqe_private_cache}/openssl-vectors")
  set(PQE_OPENSSL_VECTORS "${_pqe_private_cache}/openssl-vectors")
endif()

# PKCS#11 tokens: p11-kit's headers; its library is opened at run time, by programs that use a token.
pkg_check_modules(PQE_P11KIT QUIET p11-kit-1)
option(PQE_PKCS11 "Build the pkcs11 backend" ${PQE_P11KIT_FOUND})
if(PQE_PKCS11)
  if(NOT PQE_P11KIT_FOUND)
    message(FATAL_ERROR "The pkcs11 backend needs p11-kit-1. Run scripts/setup build, or give -DPQE_PKCS11=OFF.")
  endif()
  pkg_get_variable(PQE_P11_MODULE_DIR p11-kit-1 p11_module_path)
  message(STATUS "PKCS#11: with p11-kit ${PQE_P11KIT_VERSION}")
else()
  message(STATUS "PKCS#11: off, p11-kit-1 is not there (libp11-kit-dev)")
endif()
