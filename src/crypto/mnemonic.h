/* SPDX-License-Identifier: Apache-2.0 */
/*
 * 32 bytes as 24 words, BIP-39: each word is 11 bits, the last eight bits are the first byte of the SHA-256 of the
 * others. Only the encoding is BIP-39's; keys are not derived the way it derives those of wallets.
 */
#ifndef PQE_CRYPTO_MNEMONIC_H
#define PQE_CRYPTO_MNEMONIC_H

#include "util/error.h"

#define PQE__MNEMONIC_ENTROPY 32u
#define PQE__MNEMONIC_WORDS 24u
#define PQE__MNEMONIC_MAX (PQE__MNEMONIC_WORDS * 9u) /* the longest text with its NUL: a word has at most 8 letters */

/** All words, each followed by a space. */
extern const char pqe__wordlist[];

/** Words with a space between them, NUL-terminated. Both buffers are locked memory. */
pqe_status pqe__mnemonic_encode(const uint8_t entropy[PQE__MNEMONIC_ENTROPY], char words[PQE__MNEMONIC_MAX],
                                pqe_error *err);
/** Words may be parted by any white space and be in capitals. PQE_E_MALFORMED if they are not 24 of the list, or their
 *  checksum is wrong; the message names a word's number, never the word. */
pqe_status pqe__mnemonic_decode(const char *words, size_t len, uint8_t entropy[PQE__MNEMONIC_ENTROPY], pqe_error *err);

#endif
