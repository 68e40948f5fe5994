# SPDX-License-Identifier: Apache-2.0
# What `cmake --install` puts where, for the library: headers, shared and static library, pkg-config file, CMake package.
# The installed tree may be moved as a whole. A private OpenSSL comes along for static linking, in a directory of its
# own where no linker looks by itself.

install(TARGETS pqcenclave pqcenclave_static
  LIBRARY DESTINATION "${CMAKE_INSTALL_LIBDIR}"
  ARCHIVE DESTINATION "${CMAKE_INSTALL_LIBDIR}")
install(DIRECTORY "${PROJECT_SOURCE_DIR}/include/" DESTINATION "${CMAKE_INSTALL_INCLUDEDIR}"
  FILES_MATCHING PATTERN "*.h")
if(PQE_PRIVATE_OPENSSL)
  install(FILES "${PQE_OPENSSL_ROOT}/lib/libcrypto.a" DESTINATION "${CMAKE_INSTALL_LIBDIR}/pqc-enclave")
endif()

# ---- pkg-config ----

set(PQE_PC_PREFIX "${CMAKE_INSTALL_PREFIX}")
if(NOT IS_ABSOLUTE "${CMAKE_INSTALL_LIBDIR}")
  file(RELATIVE_PATH _pqe_up "/${CMAKE_INSTALL_LIBDIR}/pkgconfig" "/")
  string(REGEX REPLACE "/$" "" _pqe_up "${_pqe_up}")
  set(PQE_PC_PREFIX "\${pcfiledir}/${_pqe_up}")
endif()
# pqe_pc_directory(VARIABLE DIRECTORY): under ${prefix} unless absolute.
function(pqe_pc_directory variable directory)
  if(IS_ABSOLUTE "${directory}")
    set(${variable} "${directory}" PARENT_SCOPE)
  else()
    set(${variable} "\${prefix}/${directory}" PARENT_SCOPE)
  endif()
endfunction()
pqe_pc_directory(PQE_PC_LIBDIR "${CMAKE_INSTALL_LIBDIR}")
pqe_pc_directory(PQE_PC_INCLUDEDIR "${CMAKE_INSTALL_INCLUDEDIR}")
set(PQE_PC_REQUIRES_PRIVATE "sqlite3 >= 3.37, libcbor >= 0.8")
set(PQE_PC_LIBS_PRIVATE "-pthread -Wl,-z,now")
if(PQE_PRIVATE_OPENSSL)
  string(PREPEND PQE_PC_LIBS_PRIVATE "\${libdir}/pqc-enclave/libcrypto.a -ldl ")
else()
  string(APPEND PQE_PC_REQUIRES_PRIVATE ", libcrypto >= 3.5")
endif()
configure_file("${PROJECT_SOURCE_DIR}/cmake/pqcenclave.pc.in" "${PROJECT_BINARY_DIR}/pqcenclave.pc" @ONLY)
install(FILES "${PROJECT_BINARY_DIR}/pqcenclave.pc" DESTINATION "${CMAKE_INSTALL_LIBDIR}/pkgconfig")

# ---- CMake package ----

get_target_property(PQE_SOVERSION pqcenclave SOVERSION)
set(_pqe_package_dir "${CMAKE_INSTALL_LIBDIR}/cmake/PqcEnclave")
configure_package_config_file("${PROJECT_SOURCE_DIR}/cmake/PqcEnclaveConfig.cmake.in"
  "${PROJECT_BINARY_DIR}/PqcEnclaveConfig.cmake" INSTALL_DESTINATION "${_pqe_package_dir}"
  PATH_VARS CMAKE_INSTALL_LIBDIR CMAKE_INSTALL_INCLUDEDIR)
write_basic_package_version_file("${PROJECT_BINARY_DIR}/PqcEnclaveConfigVersion.cmake" COMPATIBILITY SameMinorVersion)
install(FILES "${PROJECT_BINARY_DIR}/PqcEnclaveConfig.cmake" "${PROJECT_BINARY_DIR}/PqcEnclaveConfigVersion.cmake"
  DESTINATION "${_pqe_package_dir}")
