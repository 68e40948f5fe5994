/* SPDX-License-Identifier: Apache-2.0 */
/* 24 words for 32 bytes, against the vectors that BIP-39 names (trezor/python-mnemonic, vectors.json, MIT licence). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "crypto/crypto.h"
#include "crypto/mnemonic.h"
#include "util/text.h"

static const struct {
    const char *entropy, *words;
} vectors[] = {
    {"0000000000000000000000000000000000000000000000000000000000000000",
     "abandon abandon abandon abandon abandon abandon abandon abandon abandon abandon abandon abandon "
     "abandon abandon abandon abandon abandon abandon abandon abandon abandon abandon abandon art"},
    {"7f7f7f7f7f7f7f7f7f7f7f7f7f7f7f7f7f7f7f7f7f7f7f7f7f7f7f7f7f7f7f7f",
     "legal winner thank year wave sausage worth useful legal winner thank year "
     "wave sausage worth useful legal winner thank year wave sausage worth title"},
    {"8080808080808080808080808080808080808080808080808080808080808080",
     "letter advice cage absurd amount doctor acoustic avoid letter advice cage absurd "
     "amount doctor acoustic avoid letter advice cage absurd amount doctor acoustic bless"},
    {"ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
     "zoo zoo zoo zoo zoo zoo zoo zoo zoo zoo zoo zoo "
     "zoo zoo zoo zoo zoo zoo zoo zoo zoo zoo zoo vote"},
    {"00ac97c48106f0aeb8ba061e0250a559b3251dc35854e694780ba51d53a50120",
     "absent gorilla van acoustic humor firm title dolphin bulk barely citizen recall "
     "crane moment aspect appear track phrase actual enforce steel spoon afraid benefit"},
    {"3edc83b60740d77af3afa2fcb82c2f1bc541ee4e2518ddef4996d32453f54a3c",
     "disagree tomato unique attend aspect runway solid violin witness scrap armed daring "
     "favorite warm decade perfect target kid grant play early wide cigar night"},
    {"89bb4bc5555992cdaf3444c5e7ca5a6e9f27efab894f1990bae41be8b2a26ea4",
     "meadow surge vanish primary odor grocery rubber mass shine dinner notable tag "
     "venue water purchase clarify book magic ribbon daughter menu eye ritual orchard"},
    {"911fec0fbd88029f6fa99164896c18d898c9232af18bdcca3e42d53b86493104",
     "much youth advance kitchen lens exile salt cram goose enter alert raise "
     "milk muscle profit cousin system faint mouse price reveal cause series long"},
};

#define COUNT (sizeof vectors / sizeof vectors[0])

static void
test_vectors(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT; i++) {
        uint8_t entropy[32], decoded[32];
        char words[PQE__MNEMONIC_MAX];
        assert_true(pqe__hex_decode(vectors[i].entropy, sizeof entropy, entropy));
        assert_int_equal(pqe__mnemonic_encode(entropy, words, NULL), PQE_OK);
        assert_string_equal(words, vectors[i].words);
        assert_int_equal(pqe__mnemonic_decode(words, strlen(words), decoded, NULL), PQE_OK);
        assert_memory_equal(decoded, entropy, sizeof entropy);
    }
}

static pqe_status
decode(const char *words, pqe_error *err)
{
    uint8_t entropy[32] = {0};
    static const uint8_t zeros[32];
    pqe_status status = pqe__mnemonic_decode(words, strlen(words), entropy, err);

    if (status != PQE_OK)
        assert_memory_equal(entropy, zeros, sizeof zeros);
    return status;
}

static void
test_spelling(void **state)
{
    char words[2 * PQE__MNEMONIC_MAX] = "\n\t ";
    size_t at = strlen(words);

    (void)state;
    for (const char *p = vectors[4].words; *p != '\0'; p++) {
        words[at++] = *p == 'a' ? 'A' : *p;
        if (*p == ' ')
            words[at++] = '\r';
    }
    words[at++] = '\n';
    words[at] = '\0';
    assert_int_equal(decode(words, NULL), PQE_OK);
}

static void
test_refused(void **state)
{
    char words[PQE__MNEMONIC_MAX + 16], *last;
    pqe_error err = {0};

    (void)state;
    assert_int_equal(decode("", &err), PQE_E_MALFORMED);
    snprintf(words, sizeof words, "%s", vectors[0].words);
    last = strrchr(words, ' ');
    *last = '\0';
    assert_int_equal(decode(words, &err), PQE_E_MALFORMED); /* 23 words */
    assert_non_null(strstr(err.message, "fewer"));
    memcpy(last, " able", sizeof " able");
    assert_int_equal(decode(words, &err), PQE_E_MALFORMED); /* a wrong checksum */
    assert_non_null(strstr(err.message, "belong together"));
    snprintf(words, sizeof words, "%s zoo", vectors[0].words);
    assert_int_equal(decode(words, &err), PQE_E_MALFORMED);
    assert_non_null(strstr(err.message, "more"));
    for (const char *const *w = (const char *const[]){"abando", "abandons", "abandonabandon", "a,b", "\xc3\xa9", NULL};
         *w != NULL; w++) {
        snprintf(words, sizeof words, "abandon %s abandon", *w);
        assert_int_equal(decode(words, &err), PQE_E_MALFORMED);
        assert_non_null(strstr(err.message, "word 2"));
        assert_null(strstr(err.message, *w)); /* it is a secret */
    }
}

/* Every single wrong word of one phrase: all but about one of 256 are noticed. */
static void
test_checksum(void **state)
{
    size_t passed = 0;
    const char *word = pqe__wordlist;

    (void)state;
    for (size_t i = 0; i < 2048; i++) {
        char words[PQE__MNEMONIC_MAX];
        const char *end = strchr(word, ' ');
        snprintf(words, sizeof words, "%.*s%s", (int)(end - word), word, strchr(vectors[4].words, ' '));
        passed += decode(words, NULL) == PQE_OK;
        word = end + 1;
    }
    assert_in_range(passed, 1, 24); /* 2048 / 256 = 8 on average */
}

/* The list is the published file: words in order, a newline each. */
static void
test_list(void **state)
{
    static const char published[] = "2f5eed53a4727b4bf8880d8f3f199efc90e58503646d9ff8eff3a2ed3b24dbda";
    size_t len = strlen(pqe__wordlist), words = 0;
    char *text = malloc(len), hex[65];
    uint8_t digest[32];

    (void)state;
    assert_non_null(text);
    for (size_t i = 0; i < len; i++) {
        text[i] = pqe__wordlist[i] == ' ' ? '\n' : pqe__wordlist[i];
        words += text[i] == '\n';
    }
    assert_int_equal(words, 2048);
    assert_int_equal(pqe__hash_once(PQE__SHA256, text, len, digest, NULL), PQE_OK);
    pqe__hex_encode(digest, sizeof digest, hex);
    assert_string_equal(hex, published);
    free(text);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_vectors),  cmocka_unit_test(test_spelling), cmocka_unit_test(test_refused),
        cmocka_unit_test(test_checksum), cmocka_unit_test(test_list),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
