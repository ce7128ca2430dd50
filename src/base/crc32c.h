/* CRC-32C, Castagnoli's polynomial: the sum of TFRecord, iSCSI and ext4; zlib's is another one. */
#ifndef AP_BASE_CRC32C_H
#define AP_BASE_CRC32C_H

#include <stddef.h>
#include <stdint.h>

/* Of n bytes; 0 for none. Source: RFC 3720, B.4, whose values it is checked against. */
uint32_t ap_crc32c(const void *data, size_t n);

#endif
