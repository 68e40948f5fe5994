/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Published values, typed in from their sources: FIPS 180-4, FIPS 202, RFC 4231, RFC 5869, RFC 9106, the GCM
 * specification, draft-ietf-hpke-pq and an accumulated test of FIPS 203. They need no file and always run.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include <openssl/evp.h>

#include "crypto/crypto.h"
#include "util/text.h"

/** Decodes a hexadecimal literal; freed by the caller. */
static uint8_t *
unhex(const char *text, size_t *len)
{
    uint8_t *out;

    *len = strlen(text) / 2;
    out = malloc(*len + 1);
    assert_non_null(out);
    assert_true(strlen(text) % 2 == 0 && (*len == 0 || pqe__hex_decode(text, *len, out)));
    return out;
}

static void
assert_hex(const uint8_t *data, size_t len, const char *expected)
{
    char *text = malloc(2 * len + 1);

    assert_non_null(text);
    pqe__hex_encode(data, len, text);
    assert_string_equal(text, expected);
    free(text);
}

/* ---- hashes ---- */

static void
check_hash(pqe__hash_id id, const char *message, const char *expected)
{
    uint8_t out[32];

    assert_int_equal(pqe__hash_once(id, message, strlen(message), out, NULL), PQE_OK);
    assert_hex(out, sizeof out, expected);
}

/* FIPS 202: the examples NIST publishes for SHA3-256 (empty message, 1600 bits of 0xa3), and "abc". */
static void
test_sha3_256(void **state)
{
    uint8_t message[200], out[32];

    (void)state;
    check_hash(PQE__SHA3_256, "", "a7ffc6f8bf1ed76651c14756a061d662f580ff4de43b49fa82d80a4b80f8434a");
    check_hash(PQE__SHA3_256, "abc", "3a985da74fe225b2045c172d6bd390bd855f086e3e9d525b46bfe24511431532");
    memset(message, 0xa3, sizeof message);
    assert_int_equal(pqe__hash_once(PQE__SHA3_256, message, sizeof message, out, NULL), PQE_OK);
    assert_hex(out, sizeof out, "79f38adec5c20307a98ef76e8324afbfd46cfd81b22e3973c65fa1bd9de31787");
}

/* FIPS 180-4: the examples NIST publishes for SHA-256. */
static void
test_sha256(void **state)
{
    (void)state;
    check_hash(PQE__SHA256, "", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    check_hash(PQE__SHA256, "abc", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    check_hash(PQE__SHA256, "abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq",
               "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1");
}

/* ---- HMAC and key derivation ---- */

static void
check_hmac(const char *key_hex, const char *data_hex, const char *expected)
{
    size_t key_len, len;
    uint8_t *key = unhex(key_hex, &key_len), *data = unhex(data_hex, &len), out[32];

    assert_int_equal(pqe__hmac_sha256(key, key_len, data, len, out, NULL), PQE_OK);
    assert_hex(out, sizeof out, expected);
    free(key);
    free(data);
}

/* RFC 4231, test cases 1, 2 and 4. */
static void
test_hmac_sha256(void **state)
{
    (void)state;
    check_hmac("0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b", "4869205468657265",
               "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7");
    check_hmac("4a656665", "7768617420646f2079612077616e7420666f72206e6f7468696e673f",
               "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
    check_hmac("0102030405060708090a0b0c0d0e0f10111213141516171819",
               "cdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcd",
               "82558a389a443c0ea4cc819899f2083a85f0faa3e578f8077a2e3ff46729665b");
}

static void
check_hkdf(const char *ikm_hex, const char *salt_hex, const char *info_hex, const char *prk_hex, const char *okm_hex)
{
    size_t ikm_len, salt_len, info_len, len = strlen(okm_hex) / 2;
    uint8_t *ikm = unhex(ikm_hex, &ikm_len), *salt = unhex(salt_hex, &salt_len), *info = unhex(info_hex, &info_len);
    uint8_t prk[32], okm[128];

    assert_int_equal(pqe__hkdf_extract(salt, salt_len, ikm, ikm_len, prk, NULL), PQE_OK);
    assert_hex(prk, sizeof prk, prk_hex);
    assert_int_equal(pqe__hkdf_expand(PQE__HKDF_SHA256, prk, sizeof prk, info, info_len, okm, len, NULL), PQE_OK);
    assert_hex(okm, len, okm_hex);
    free(ikm);
    free(salt);
    free(info);
}

/* RFC 5869, appendix A.1 to A.3. */
static void
test_hkdf_sha256(void **state)
{
    (void)state;
    check_hkdf("0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b", "000102030405060708090a0b0c", "f0f1f2f3f4f5f6f7f8f9",
               "077709362c2e32df0ddc3f0dc47bba6390b6c73bb50f9c3122ec844ad7c2b3e5",
               "3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf34007208d5b887185865");
    check_hkdf("000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f202122232425262728292a2b2c2d2e2f"
               "303132333435363738393a3b3c3d3e3f404142434445464748494a4b4c4d4e4f",
               "606162636465666768696a6b6c6d6e6f707172737475767778797a7b7c7d7e7f808182838485868788898a8b8c8d8e8f"
               "909192939495969798999a9b9c9d9e9fa0a1a2a3a4a5a6a7a8a9aaabacadaeaf",
               "b0b1b2b3b4b5b6b7b8b9babbbcbdbebfc0c1c2c3c4c5c6c7c8c9cacbcccdcecfd0d1d2d3d4d5d6d7d8d9dadbdcdddedf"
               "e0e1e2e3e4e5e6e7e8e9eaebecedeeeff0f1f2f3f4f5f6f7f8f9fafbfcfdfeff",
               "06a6b88c5853361a06104c9ceb35b45cef760014904671014a193f40c15fc244",
               "b11e398dc80327a1c8e7f78c596a49344f012eda2d4efad8a050cc4c19afa97c59045a99cac7827271cb41c65e590e09"
               "da3275600c2f09b8367793a9aca3db71cc30c58179ec3e87c14c01d5c1f3434f1d87");
    check_hkdf("0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b", "", "",
               "19ef24a32c717b167f33a91d6f648bdf96596776afdb6377ac434c1c293ccb04",
               "8da4e775a563c18f715f802a063c5a31b8a11f5c5ee1879ec3454e5f3c738d2d9d201395faa4b61a96c8");
}

/* Project Wycheproof, hkdf_sha512_test.json, tcId 12 and 71. Only Expand is ours with SHA-512; Extract is HMAC (RFC
 * 5869, section 2.2). */
static void
check_hkdf_sha512(const char *ikm_hex, const char *salt_hex, const char *info_hex, const char *okm_hex)
{
    size_t ikm_len, salt_len, info_len, prk_len = 0, len = strlen(okm_hex) / 2;
    uint8_t *ikm = unhex(ikm_hex, &ikm_len), *salt = unhex(salt_hex, &salt_len), *info = unhex(info_hex, &info_len);
    uint8_t prk[64], okm[128];

    assert_non_null(
        EVP_Q_mac(NULL, "HMAC", NULL, "SHA2-512", NULL, salt, salt_len, ikm, ikm_len, prk, sizeof prk, &prk_len));
    assert_int_equal(pqe__hkdf_expand(PQE__HKDF_SHA512, prk, prk_len, info, info_len, okm, len, NULL), PQE_OK);
    assert_hex(okm, len, okm_hex);
    free(ikm);
    free(salt);
    free(info);
}

static void
test_hkdf_sha512(void **state)
{
    (void)state;
    check_hkdf_sha512("7a00817689a3d79001825a864c69c120", "08bc01c053a6406c7c4a667c9b9b3894",
                      "967ccd75395be6e96a67759f070487c9e2107791",
                      "aed987bcc5ed33c4feec7b28aa9fe1c16b1181e00ff42c63cf692ec19242f6d4"
                      "628604b3382db0806d5e61518f83fc651e6f3bd0a9d1322926a76869b98b75d6");
    check_hkdf_sha512("c132ac861d00e8aa82470baf3be3851c9f77f96b19cc2c3eb5558c20915ad16cb45c50db9b230c5279bf7b38fbf50ce6"
                      "8b60d7b230530f3a5f4016883f217168",
                      "4c3582c867fab84ca075da5aef6b78b8db982ee4fe33fb4500294659aad63dd7677f2f256bf719c6796ea8fdf12c4686"
                      "3064875a529aeef9318f344335610f82",
                      "7573b95f1d8ee5d0",
                      "d93663825963a4a2328a6e56ee7d108de95b7c981c3e62dc8df40105e4995137ca8cfa91cbffb447ffd80b0b901578aa"
                      "abc6c56b3aa66734fbe98b95c1125990e14533e13d049f025880fb2834c8e5e2bbc8719deb3b207429397c19beb0160f"
                      "46441f95f8b11ab2ead32c64c12d9f46d6aaa58f9e685771");
}

static void
check_argon2id(uint32_t passes, uint32_t memory_kib, uint32_t lanes, const char *passphrase, const char *salt,
               const char *expected)
{
    const pqe__argon2_params params = {memory_kib, passes, lanes};
    uint8_t out[32];

    assert_int_equal(
        pqe__argon2id(passphrase, strlen(passphrase), (const uint8_t *)salt, strlen(salt), &params, out, NULL), PQE_OK);
    assert_hex(out, sizeof out, expected);
}

/* The test values of Argon2's reference implementation (version 0x13, as in RFC 9106). The example of RFC 9106,
 * section 5.3, has a secret value and associated data, which we do not use. */
static void
test_argon2id(void **state)
{
    (void)state;
    check_argon2id(2, 256, 1, "password", "somesalt",
                   "9dfeb910e80bad0311fee20f9c0e2b12c17987b4cac90c2ef54d5b3021c68bfe");
    check_argon2id(2, 256, 2, "password", "somesalt",
                   "6d093c501fd5999645e0ea3bf620d7b8be7fd2db59c20d9fff9539da2bf57037");
    check_argon2id(1, 65536, 1, "password", "somesalt",
                   "f6a5adc1ba723dddef9b5ac1d464e180fcd9dffc9d1cbf76cca2fed795d9ca98");
    check_argon2id(2, 65536, 1, "differentpassword", "somesalt",
                   "0b84d652cf6b0c4beaef0dfe278ba6a80df6696281d7e0d2891b817d8c458fde");
    check_argon2id(2, 65536, 1, "password", "diffsalt",
                   "bdf32b05ccc42eb15d58fd19b1f856b113da1e9a5874fdcc544308565aa8141c");
}

/* ---- AES-GCM ---- */

static void
check_gcm(const char *key_hex, const char *nonce_hex, const char *aad_hex, const char *plain_hex,
          const char *cipher_and_tag_hex)
{
    size_t key_len, nonce_len, aad_len, len, cipher_len;
    uint8_t *key = unhex(key_hex, &key_len), *nonce = unhex(nonce_hex, &nonce_len), *aad = unhex(aad_hex, &aad_len);
    uint8_t *plain = unhex(plain_hex, &len), *cipher = unhex(cipher_and_tag_hex, &cipher_len), out[128];
    pqe__aead *aead = NULL;

    assert_int_equal(pqe__aead_new(key, key_len, &aead, NULL), PQE_OK);
    assert_int_equal(pqe__aead_seal(aead, nonce, aad, aad_len, plain, len, out, NULL), PQE_OK);
    assert_hex(out, len + PQE__TAG_SIZE, cipher_and_tag_hex);
    assert_int_equal(pqe__aead_open(aead, nonce, aad, aad_len, cipher, cipher_len, out, NULL), PQE_OK);
    assert_hex(out, len, plain_hex);
    pqe__aead_free(&aead);
    free(key);
    free(nonce);
    free(aad);
    free(plain);
    free(cipher);
}

/* "The Galois/Counter Mode of Operation" (McGrew and Viega), appendix B, test cases 13 to 16. */
static void
test_aes_256_gcm(void **state)
{
    static const char zero_key[] = "0000000000000000000000000000000000000000000000000000000000000000";
    static const char key[] = "feffe9928665731c6d6a8f9467308308feffe9928665731c6d6a8f9467308308";

    (void)state;
    check_gcm(zero_key, "000000000000000000000000", "", "", "530f8afbc74536b9a963b4f1c4cb738b");
    check_gcm(zero_key, "000000000000000000000000", "", "00000000000000000000000000000000",
              "cea7403d4d606b6e074ec5d3baf39d18d0d1c8a799996bf0265b98b5d48ab919");
    check_gcm(key, "cafebabefacedbaddecaf888", "",
              "d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a72"
              "1c3c0c95956809532fcf0e2449a6b525b16aedf5aa0de657ba637b391aafd255",
              "522dc1f099567d07f47f37a32a84427d643a8cdcbfe5c0c97598a2bd2555d1aa"
              "8cb08e48590dbb3da7b08b1056828838c5f61e6393ba7a0abcc9f662898015ad"
              "b094dac5d93471bdec1a502270e3cc6c");
    check_gcm(key, "cafebabefacedbaddecaf888", "feedfacedeadbeeffeedfacedeadbeefabaddad2",
              "d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a72"
              "1c3c0c95956809532fcf0e2449a6b525b16aedf5aa0de657ba637b39",
              "522dc1f099567d07f47f37a32a84427d643a8cdcbfe5c0c97598a2bd2555d1aa"
              "8cb08e48590dbb3da7b08b1056828838c5f61e6393ba7a0abcc9f662"
              "76fc6ece0f4e1768cddf8853bb2d551b");
}

/* ---- ML-KEM-768 ---- */

static void
squeeze(EVP_MD_CTX *stream, uint8_t *out, size_t len)
{
    assert_int_equal(EVP_DigestSqueeze(stream, out, len), 1);
}

static void
absorb(EVP_MD_CTX *sum, const uint8_t *data, size_t len)
{
    assert_int_equal(EVP_DigestUpdate(sum, data, len), 1);
}

/* One key pair, one encapsulation and its decapsulation, one decapsulation of random bytes (implicit rejection). */
static void
accumulate(EVP_MD_CTX *stream, EVP_MD_CTX *sum)
{
    uint8_t seed[PQE__KEM_SEED_SIZE], m[32], ek[PQE__KEM_PUBLIC_SIZE], ct[PQE__KEM_CIPHERTEXT_SIZE];
    uint8_t shared[PQE__KEM_SHARED_SIZE], again[PQE__KEM_SHARED_SIZE];
    pqe__kem_key *key = NULL, *public_key = NULL;

    squeeze(stream, seed, sizeof seed);
    assert_int_equal(pqe__kem_from_seed(seed, &key, NULL), PQE_OK);
    assert_int_equal(pqe__kem_public(key, ek, NULL), PQE_OK);
    absorb(sum, ek, sizeof ek);
    squeeze(stream, m, sizeof m);
    assert_int_equal(pqe__kem_from_public(ek, sizeof ek, &public_key, NULL), PQE_OK);
    assert_int_equal(pqe__kem_encapsulate(public_key, m, ct, shared, NULL), PQE_OK);
    absorb(sum, ct, sizeof ct);
    absorb(sum, shared, sizeof shared);
    assert_int_equal(pqe__kem_decapsulate(key, ct, sizeof ct, again, NULL), PQE_OK);
    assert_memory_equal(shared, again, sizeof shared);
    squeeze(stream, ct, sizeof ct);
    assert_int_equal(pqe__kem_decapsulate(key, ct, sizeof ct, again, NULL), PQE_OK);
    absorb(sum, again, sizeof again);
    pqe__kem_free(&key);
    pqe__kem_free(&public_key);
}

/* The accumulated test that Go's crypto/mlkem publishes for the final FIPS 203 (TestAccumulated, after C2SP/CCTV): a
 * SHAKE128 stream of the empty message supplies seeds, messages and random ciphertexts; SHAKE128 over all results. */
static void
test_kem_accumulated(void **state)
{
    EVP_MD_CTX *stream = EVP_MD_CTX_new(), *sum = EVP_MD_CTX_new();
    uint8_t out[32];

    (void)state;
    assert_non_null(stream);
    assert_non_null(sum);
    assert_int_equal(EVP_DigestInit_ex2(stream, EVP_shake128(), NULL), 1);
    assert_int_equal(EVP_DigestInit_ex2(sum, EVP_shake128(), NULL), 1);
    for (int i = 0; i < 10000; i++)
        accumulate(stream, sum);
    assert_int_equal(EVP_DigestFinalXOF(sum, out, sizeof out), 1);
    assert_hex(out, sizeof out, "8a518cc63da366322a8e7a818c7a0d63483cb3528d34a4cf42f35d5ad73f22fc");
    EVP_MD_CTX_free(stream);
    EVP_MD_CTX_free(sum);
}

/* ---- HPKE ---- */

/* draft-ietf-hpke-pq, test vectors, mode 0, ML-KEM-768 with HKDF-SHA256. skRm is FIPS 203's d || z, ikmE its m. */
static const char hpke_seed[] = "e3408aae322a3628a4d641c2690d4eb212fd66f369782f2dd22fa293476c6995"
                                "7716be20e83920cd26a7710110a34ac3d5da7d90efdc9759812f5cf1a47e85bf";
static const char hpke_ikm[] = "4b3d28ac17e3aadfe767671928e6c0d26c346d4c7dfcf1db0994d131fd76aaba";

static void
check_hpke(const pqe__hpke_suite *suite, const pqe__kem_key *key, const uint8_t *ikm, const char *expected)
{
    static const char info[] = "4f6465206f6e2061204772656369616e2055726e"; /* these characters, not what they encode */
    static const char plain[] = "4265617574792069732074727574682c20747275746820626561757479";
    static const char aad[] = "Count-0";
    uint8_t sealed[PQE__HPKE_OVERHEAD + sizeof plain], opened[sizeof plain], digest[32];
    size_t len = strlen(plain);

    assert_int_equal(pqe__hpke_seal(suite, key, ikm, (const uint8_t *)info, strlen(info), (const uint8_t *)aad,
                                    strlen(aad), (const uint8_t *)plain, len, sealed, NULL),
                     PQE_OK);
    assert_int_equal(pqe__hash_once(PQE__SHA256, sealed, PQE__KEM_CIPHERTEXT_SIZE, digest, NULL), PQE_OK);
    assert_hex(digest, sizeof digest, "687a88e2affee63efc5ca550ea5498beb0f1b717572c5b498231f17e7b14e68b");
    assert_hex(sealed + PQE__KEM_CIPHERTEXT_SIZE, len + PQE__TAG_SIZE, expected);
    assert_int_equal(pqe__hpke_open(suite, key, (const uint8_t *)info, strlen(info), (const uint8_t *)aad, strlen(aad),
                                    sealed, len + PQE__HPKE_OVERHEAD, opened, NULL),
                     PQE_OK);
    assert_memory_equal(opened, plain, len);
}

/* The first encryption of the draft's vector, which is for AES-128-GCM; pkRm and enc are compared by their SHA-256. The
 * same with AES-256-GCM, our suite: computed from the draft's shared_secret by tests/interop/hpke_check.py. */
static void
test_hpke(void **state)
{
    static const pqe__hpke_suite aes_128 = {0x0041, 0x0001, 0x0001, 16};
    size_t n;
    uint8_t *seed = unhex(hpke_seed, &n), *ikm = unhex(hpke_ikm, &n);
    uint8_t ek[PQE__KEM_PUBLIC_SIZE], ct[PQE__KEM_CIPHERTEXT_SIZE], shared[PQE__KEM_SHARED_SIZE], digest[32];
    pqe__kem_key *key = NULL;

    (void)state;
    assert_int_equal(pqe__kem_from_seed(seed, &key, NULL), PQE_OK);
    assert_int_equal(pqe__kem_public(key, ek, NULL), PQE_OK);
    assert_int_equal(pqe__hash_once(PQE__SHA256, ek, sizeof ek, digest, NULL), PQE_OK);
    assert_hex(digest, sizeof digest, "cf9788b0adde41745ceb639c4a4ca6e58803207fd9861c3c662737b13184d413");
    assert_int_equal(pqe__kem_encapsulate(key, ikm, ct, shared, NULL), PQE_OK);
    assert_hex(shared, sizeof shared, "4f808592f5b6325b866e7d90e48bead8ec36ae17247cf3a1370d46c582dad42e");
    check_hpke(&aes_128, key, ikm,
               "4793c6f4dc5824a0039d8faf2d84d359fd6cf423eaeee578bbb7830068ba34b576a6e3f4ba03c5c2c62f2b869224a1c5"
               "acf96083cd13bdc3623a47bde544171a72aa684b12a562196785");
    check_hpke(&pqe__hpke_ml_kem_768, key, ikm,
               "1aed31827366403967337c780f7515a9ca63bf3687e36b3c0365633eaf43e47357fe01ec0400e2e7963d7b690d1e4210"
               "f5e6e8977a6ac78c41b7543e2bb5f69d956a40e87a99c7bc06ae");
    pqe__kem_free(&key);
    free(seed);
    free(ikm);
}

/* The same vector's key pair: DeriveKeyPair(ikmR) = skRm. */
static void
test_derive_key_pair(void **state)
{
    size_t len, n;
    uint8_t *ikm = unhex("353e522ee88da0097916c435377e3ffee4cd8288b910a79882f4ac87787cebe6"
                         "ef7d126a2ef91b2c37f741af42851a08d24a756b225d86d534902829896e726b",
                         &len);
    uint8_t *expected = unhex(hpke_seed, &n), seed[PQE__KEM_SEED_SIZE];

    (void)state;
    assert_int_equal(pqe__kem_derive_seed(ikm, len, seed, NULL), PQE_OK);
    assert_memory_equal(seed, expected, n);
    free(ikm);
    free(expected);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sha3_256),    cmocka_unit_test(test_sha256),
        cmocka_unit_test(test_hmac_sha256), cmocka_unit_test(test_hkdf_sha256),
        cmocka_unit_test(test_hkdf_sha512), cmocka_unit_test(test_argon2id),
        cmocka_unit_test(test_aes_256_gcm), cmocka_unit_test(test_kem_accumulated),
        cmocka_unit_test(test_hpke),        cmocka_unit_test(test_derive_key_pair),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
