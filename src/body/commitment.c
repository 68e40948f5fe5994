/* SPDX-License-Identifier: Apache-2.0 */
/*
 * RFC 9162, section 2.1.1: leaf = SHA-256(0x00 || bytes), node = SHA-256(0x01 || left || right), and the left subtree of
 * n leaves holds the largest power of two smaller than n. As leaves come in, complete subtrees wait on a stack, one for
 * each bit that is set in their number.
 */
#include "body/commitment.h"

#include <stdlib.h>
#include <string.h>

#define DEPTH 40 /* 2^38 chunks are 2^32 segments, and a header */

struct pqe__commitment {
    pqe__hash *leaf;     /* of the segment under way */
    size_t filled, size; /* bytes of it; how many it takes */
    uint64_t count;      /* leaves complete */
    uint8_t stack[DEPTH][PQE__COMMITMENT_SIZE];
    size_t depth;
};

pqe_status
pqe__commitment_begin_leaf(pqe__hash *hash, pqe_error *err)
{
    return pqe__hash_update(hash, "\x00", 1, err);
}

pqe_status
pqe__commitment_new(pqe__commitment **out, pqe_error *err)
{
    pqe__commitment *c = calloc(1, sizeof *c);
    pqe_status status;

    *out = NULL;
    if (c == NULL)
        return pqe__fail_nomem(err);
    c->size = PQE__BODY_HEADER;
    status = pqe__hash_new(PQE__SHA256, &c->leaf, err);
    if (status == PQE_OK)
        *out = c;
    else
        pqe__commitment_free(&c);
    return status;
}

void
pqe__commitment_free(pqe__commitment **c)
{
    if (*c == NULL)
        return;
    pqe__hash_free(&(*c)->leaf);
    free(*c);
    *c = NULL;
}

/* Replaces the two topmost subtrees by the one above them. */
static pqe_status
join(pqe__commitment *c, pqe_error *err)
{
    uint8_t node[1 + 2 * PQE__COMMITMENT_SIZE] = {1};

    c->depth -= 2;
    memcpy(node + 1, c->stack[c->depth], PQE__COMMITMENT_SIZE);
    memcpy(node + 1 + PQE__COMMITMENT_SIZE, c->stack[c->depth + 1], PQE__COMMITMENT_SIZE);
    return pqe__hash_once(PQE__SHA256, node, sizeof node, c->stack[c->depth++], err);
}

static pqe_status
push(pqe__commitment *c, const uint8_t leaf[PQE__COMMITMENT_SIZE], pqe_error *err)
{
    pqe_status status = PQE_OK;

    if (c->depth == DEPTH)
        return pqe__fail(err, PQE_E_LIMIT, PQE_ORIGIN_FORMAT, 0, "the body is too long");
    memcpy(c->stack[c->depth++], leaf, PQE__COMMITMENT_SIZE);
    c->count++;
    for (uint64_t n = c->count; (n & 1) == 0 && status == PQE_OK; n >>= 1)
        status = join(c, err);
    return status;
}

static pqe_status
end_leaf(pqe__commitment *c, pqe_error *err)
{
    uint8_t leaf[PQE__COMMITMENT_SIZE];
    pqe_status status = pqe__hash_final(c->leaf, leaf, err);

    c->filled = 0;
    c->size = PQE__SEGMENT_STORED;
    return status == PQE_OK ? push(c, leaf, err) : status;
}

pqe_status
pqe__commitment_update(pqe__commitment *c, const uint8_t *data, size_t len, pqe_error *err)
{
    pqe_status status = PQE_OK;

    while (len > 0 && status == PQE_OK) {
        size_t n = c->size - c->filled < len ? c->size - c->filled : len;
        if (c->filled == 0)
            status = pqe__commitment_begin_leaf(c->leaf, err);
        if (status == PQE_OK)
            status = pqe__hash_update(c->leaf, data, n, err);
        c->filled += n;
        data += n;
        len -= n;
        if (status == PQE_OK && c->filled == c->size)
            status = end_leaf(c, err);
    }
    return status;
}

pqe_status
pqe__commitment_add(pqe__commitment *c, const uint8_t leaf[PQE__COMMITMENT_SIZE], pqe_error *err)
{
    if (c->filled != 0 || c->count == 0)
        return pqe__fail(err, PQE_E_STATE, PQE_ORIGIN_FORMAT, 0, "a segment of the body is not complete");
    return push(c, leaf, err);
}

pqe_status
pqe__commitment_final(pqe__commitment *c, uint8_t root[PQE__COMMITMENT_SIZE], pqe_error *err)
{
    pqe_status status = c->filled != 0 ? end_leaf(c, err) : PQE_OK;

    if (status == PQE_OK && c->depth == 0)
        status = pqe__fail(err, PQE_E_STATE, PQE_ORIGIN_FORMAT, 0, "the body is empty");
    while (status == PQE_OK && c->depth > 1)
        status = join(c, err);
    if (status == PQE_OK)
        memcpy(root, c->stack[0], PQE__COMMITMENT_SIZE);
    return status;
}
