/* A model with its adapter folded into the weights, W + s·B·A, made row by row as it is written:
 * neither is held in memory a second time. */
#ifndef AP_MODEL_MERGE_H
#define AP_MODEL_MERGE_H

#include "base/progress.h"
#include "model/weights.h"

struct ap_merged {
    const struct ap_adapter *adapter; /* NULL: the base as it is */
    struct ap_weights *model;   /* what comes out, described: configuration, names, shapes. A scalar
                                 * head of the adapter makes it a classifier */
    struct ap_merged_row *rows; /* one for each of its table */
    const struct ap_sink *sink;
};

/* base (which ap_weights_open is enough for), adapter and sink are borrowed until close. */
ap_status ap_merged_open(struct ap_merged *m, const struct ap_weights *base,
                         const struct ap_adapter *adapter, const struct ap_sink *sink,
                         struct ap_error *err);
void ap_merged_close(struct ap_merged *m);

/* n rows of a matrix, or elements of a vector, from `first` on, as f32. */
ap_status ap_merged_read(const struct ap_merged *m, int row, int first, int n, float *out,
                         struct ap_error *err);
/* The whole of row `row` of the table, rounded to dtype, appended to w in pieces. pair > 0: the
 * values of each head of `pair` rows in GGML's order, i and i + pair/2 side by side. A finite
 * number too large for dtype is AP_NUMERIC by the tensor's name; a sink that asks to stop
 * AP_INTERRUPTED.
 */
ap_status ap_merged_append(const struct ap_merged *m, int row, ap_dtype dtype, int pair,
                           struct ap_writer *w, struct ap_error *err);
/* n numbers that are no tensor of the model's, as ap_merged_append does; name: for messages. */
ap_status ap_merged_append_floats(const char *name, const float *x, size_t n, ap_dtype dtype,
                                  struct ap_writer *w, struct ap_error *err);
/* config.json, generation_config.json, model.safetensors into dir, which is there. */
ap_status ap_merged_save(const struct ap_merged *m, const char *dir, ap_dtype dtype,
                         struct ap_error *err);

/* Row `i` of a tensor in GGML's order of heads of `pair` rows is the model's row of this number. */
static inline int ap_unpaired_row(int i, int pair)
{
    int at = i % pair;
    return i - at + at % 2 * (pair / 2) + at / 2;
}

#endif
