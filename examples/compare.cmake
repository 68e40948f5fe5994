# SPDX-License-Identifier: Apache-2.0
# Runs PROGRAM (a list: with arguments) in an empty SCRATCH directory and compares its output with the file EXPECTED.
file(REMOVE_RECURSE "${SCRATCH}")
file(MAKE_DIRECTORY "${SCRATCH}")
execute_process(COMMAND ${PROGRAM} WORKING_DIRECTORY "${SCRATCH}" RESULT_VARIABLE status OUTPUT_VARIABLE printed)
file(READ "${EXPECTED}" expected)
if(NOT status EQUAL 0 OR NOT printed STREQUAL expected)
  message(FATAL_ERROR "status ${status}, printed:\n${printed}\nexpected:\n${expected}")
endif()
file(REMOVE_RECURSE "${SCRATCH}")
