/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A toy that stands where your device's own library will: keys in slots, which encrypt and decrypt without coming out.
 * It keeps each key in a file, so it protects NOTHING. All functions return 0 or an errno.
 */
#ifndef TOY_DEVICE_H
#define TOY_DEVICE_H

#include <stddef.h>
#include <stdint.h>

#define TOY_SLOT_SIZE 16u /* bytes of a slot's name */
#define TOY_OVERHEAD 28u  /* bytes that encryption adds */

typedef struct toy_device toy_device;

int toy_connect(const char *directory, toy_device **out);
void toy_disconnect(toy_device *device);

/** EEXIST if the slot is taken. */
int toy_make_key(toy_device *device, const uint8_t slot[TOY_SLOT_SIZE]);
/** ENOENT if there is none. */
int toy_find_key(toy_device *device, const uint8_t slot[TOY_SLOT_SIZE]);
void toy_remove_key(toy_device *device, const uint8_t slot[TOY_SLOT_SIZE]);

/** Writes len + TOY_OVERHEAD bytes. */
int toy_encrypt(toy_device *device, const uint8_t slot[TOY_SLOT_SIZE], const uint8_t *aad, size_t aad_len,
                const uint8_t *in, size_t len, uint8_t *out);
/** Writes len - TOY_OVERHEAD bytes. EBADMSG if it is not what toy_encrypt() made with this slot and aad; `out` is of no
 *  use then. */
int toy_decrypt(toy_device *device, const uint8_t slot[TOY_SLOT_SIZE], const uint8_t *aad, size_t aad_len,
                const uint8_t *in, size_t len, uint8_t *out);

#endif
