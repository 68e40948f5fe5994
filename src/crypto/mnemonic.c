/* SPDX-License-Identifier: Apache-2.0 */
#include "crypto/mnemonic.h"

#include <string.h>

#include "crypto/crypto.h"
#include "crypto/library.h"
#include "util/secmem.h"

#define LIST_WORDS 2048u
#define WORD_BITS 11u
#define WORD_MAX 8u
#define BYTES (PQE__MNEMONIC_ENTROPY + 1u) /* with the checksum */

static pqe_status
checksum(const uint8_t entropy[PQE__MNEMONIC_ENTROPY], uint8_t *out, pqe_error *err)
{
    uint8_t digest[PQE__SHA256_SIZE];
    pqe_status status = pqe__hash_once(PQE__SHA256, entropy, PQE__MNEMONIC_ENTROPY, digest, err);

    pqe__wipe_stack_shallow();
    *out = digest[0];
    pqe__wipe(digest, sizeof digest);
    return status;
}

static const char *
word_at(size_t index)
{
    const char *word = pqe__wordlist;

    while (index-- > 0)
        word = strchr(word, ' ') + 1;
    return word;
}

pqe_status
pqe__mnemonic_encode(const uint8_t entropy[PQE__MNEMONIC_ENTROPY], char words[PQE__MNEMONIC_MAX], pqe_error *err)
{
    uint8_t *bits = pqe__secmem_alloc(BYTES);
    char *at = words;
    pqe_status status;

    if (bits == NULL)
        return pqe__fail_nomem(err);
    memcpy(bits, entropy, PQE__MNEMONIC_ENTROPY);
    status = checksum(entropy, &bits[PQE__MNEMONIC_ENTROPY], err);
    for (size_t i = 0; i < PQE__MNEMONIC_WORDS && status == PQE_OK; i++) {
        size_t index = 0, len;
        const char *word;
        for (size_t b = i * WORD_BITS; b < (i + 1) * WORD_BITS; b++)
            index = index << 1 | ((size_t)bits[b / 8] >> (7 - b % 8) & 1u);
        word = word_at(index);
        len = (size_t)(strchr(word, ' ') - word) + 1;
        memcpy(at, word, len);
        at += len;
    }
    if (status == PQE_OK)
        at[-1] = '\0';
    pqe__secmem_free(bits);
    return status;
}

static bool
is_space(char c)
{
    return c == ' ' || (c >= '\t' && c <= '\r');
}

static char
lower(char c)
{
    return c >= 'A' && c <= 'Z' ? (char)(c - 'A' + 'a') : c;
}

/* LIST_WORDS if it is not one of them. */
static size_t
find_word(const char *given, size_t len)
{
    const char *word = pqe__wordlist;

    for (size_t index = 0; index < LIST_WORDS && len <= WORD_MAX; index++) {
        size_t i = 0;
        while (i < len && lower(given[i]) == word[i])
            i++;
        if (i == len && word[i] == ' ')
            return index;
        word = strchr(word, ' ') + 1;
    }
    return LIST_WORDS;
}

static pqe_status
take_words(const char *words, size_t len, uint8_t bits[BYTES], pqe_error *err)
{
    size_t count = 0, at = 0;

    for (;;) {
        size_t start, index;
        while (at < len && is_space(words[at]))
            at++;
        if (at == len)
            break;
        for (start = at; at < len && !is_space(words[at]);)
            at++;
        if (++count > PQE__MNEMONIC_WORDS)
            break;
        if ((index = find_word(words + start, at - start)) == LIST_WORDS)
            return pqe__fail(err, PQE_E_MALFORMED, PQE_ORIGIN_FORMAT, 0,
                             "word %zu is not one of the list of recovery words", count);
        for (size_t b = 0; b < WORD_BITS; b++) {
            size_t bit = (count - 1) * WORD_BITS + b;
            bits[bit / 8] |= (uint8_t)((index >> (WORD_BITS - 1 - b) & 1u) << (7 - bit % 8));
        }
    }
    if (count == PQE__MNEMONIC_WORDS)
        return PQE_OK;
    return pqe__fail(err, PQE_E_MALFORMED, PQE_ORIGIN_FORMAT, 0, "a recovery key has %u words, not %s",
                     PQE__MNEMONIC_WORDS, count < PQE__MNEMONIC_WORDS ? "fewer" : "more");
}

pqe_status
pqe__mnemonic_decode(const char *words, size_t len, uint8_t entropy[PQE__MNEMONIC_ENTROPY], pqe_error *err)
{
    uint8_t *bits = pqe__secmem_alloc(BYTES), sum = 0;
    pqe_status status;

    if (bits == NULL)
        return pqe__fail_nomem(err);
    status = take_words(words, len, bits, err);
    if (status == PQE_OK)
        status = checksum(bits, &sum, err);
    if (status == PQE_OK && sum != bits[PQE__MNEMONIC_ENTROPY])
        status = pqe__fail(err, PQE_E_MALFORMED, PQE_ORIGIN_FORMAT, 0,
                           "the recovery words do not belong together: one is wrong, or two are swapped");
    if (status == PQE_OK)
        memcpy(entropy, bits, PQE__MNEMONIC_ENTROPY);
    pqe__secmem_free(bits);
    return status;
}
