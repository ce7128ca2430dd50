/* SHA-256 (FIPS 180-4): what a file or a script held, for a reader to check with sha256sum. */
#ifndef AP_BASE_SHA256_H
#define AP_BASE_SHA256_H

#include "base/error.h"

#include <stddef.h>
#include <stdint.h>

struct ap_sha256 {
    uint32_t state[8];
    uint64_t n; /* bytes so far */
    unsigned char block[64];
};

void ap_sha256_init(struct ap_sha256 *s);
void ap_sha256_add(struct ap_sha256 *s, const void *data, size_t n);
void ap_sha256_end(struct ap_sha256 *s, unsigned char digest[32]);

#define AP_SHA256_HEX 65
#define AP_SHA256_BASE64 45
void ap_sha256_hex(const unsigned char digest[32], char out[AP_SHA256_HEX]);
void ap_sha256_base64(const unsigned char digest[32], char out[AP_SHA256_BASE64]);

#endif
