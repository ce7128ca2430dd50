/* Making, owning and checking the rows of a parameter table, for weights and adapters. */
#ifndef AP_MODEL_PARAM_H
#define AP_MODEL_PARAM_H

#include "model/weights.h"

/* n empty rows. */
ap_status ap_params_init(struct ap_param_table *t, int n, struct ap_error *err);
void ap_params_free(const struct ap_ops *ops, struct ap_param_table *t);

/* A row's shape [n_out, n_in] (n_in 0: [n_out]). No memory yet. */
void ap_param_describe(struct ap_param *p, const char *keys, int n_out, int n_in);
/* The next n of a linear weight's rows are a part. */
void ap_param_add_part(struct ap_param *p, int n);
/* Memory for the packed form of all parts, for products of the table's dtype. */
ap_status ap_params_pack_new(const struct ap_ops *ops, struct ap_param_table *t,
                             struct ap_error *err);
/* own: room for the values; what `stored` held so far is copied in, as f32. */
ap_status ap_param_own(struct ap_param *p, struct ap_error *err);
/* own: the values of `from`, a row of the same shape. */
ap_status ap_param_copy(struct ap_param *to, const struct ap_param *from, struct ap_error *err);
/* own and a zeroed gradient for every row. */
ap_status ap_params_train(struct ap_param_table *t, struct ap_error *err);
/* Values of `from`, row by row, into rows of the same names; packed again. */
ap_status ap_params_copy(const struct ap_ops *ops, struct ap_param_table *to,
                         const struct ap_param_table *from, struct ap_error *err);

/* The view's shape must be the row's; config: the file that the shape comes from. */
ap_status ap_param_check(const struct ap_param *p, const struct ap_tensor_view *v, const char *path,
                         const char *config, struct ap_error *err);
/* The same, then `stored` borrows the view's values, of a type that can be read. */
ap_status ap_param_borrow(struct ap_param *p, const struct ap_tensor_view *v, const char *path,
                          const char *config, struct ap_error *err);
/* The same, then the values into own. */
ap_status ap_param_read(struct ap_param *p, const struct ap_tensor_view *v, const char *path,
                        const char *config, struct ap_error *err);
/* Values of all rows out of one file that holds these tensors and no others. */
ap_status ap_params_read(struct ap_param_table *t, const char *path, const char *config,
                         struct ap_error *err);
ap_status ap_params_write(const struct ap_param_table *t, const char *path, struct ap_error *err);

/* Normal(0, std) into a row that owns its values; a function of (seed, row) alone. */
void ap_param_fill_normal(struct ap_param *p, uint64_t seed, int row, double std);
/* Uniform on [−bound, bound). */
void ap_param_fill_uniform(struct ap_param *p, uint64_t seed, int row, double bound);

#endif
