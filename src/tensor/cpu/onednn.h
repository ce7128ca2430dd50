/* The forward product by oneDNN, for large weights on AVX-512. See docs/decisions/0001-products.md.
 */
#ifndef AP_TENSOR_CPU_ONEDNN_H
#define AP_TENSOR_CPU_ONEDNN_H

#include <stdbool.h>

struct ap_onednn; /* a weight in oneDNN's own layout, with the primitives that use it */

/* NULL: oneDNN cannot, or is out of memory. */
struct ap_onednn *ap_onednn_new(int n_out, int n_in);
void ap_onednn_free(struct ap_onednn *o); /* NULL is fine */
void ap_onednn_pack(struct ap_onednn *o, const float *w);
/* One caller at a time: primitives for a new number of rows are made on first use. */
void ap_onednn_linear(float *y, const float *x, struct ap_onednn *o, int n_row, bool accumulate);

#endif
