/* Recipes: YAML in, checked values out. */
#ifndef ALIGNPRO_RECIPE_H
#define ALIGNPRO_RECIPE_H

#include "alignpro/api.h"
#include "alignpro/error.h"

#include <stddef.h>

AP_API_BEGIN

struct ap_recipe;

/* Read, check, fill in defaults. overrides: "align.kl=0.02", n of them, applied after the file.
 * Paths may hold ${VAR} and are relative to the recipe's own folder. Every error names
 * file:line:column, and an unknown key the nearest valid one. */
ap_status ap_recipe_open(struct ap_recipe **out, const char *path, const char *const *overrides,
                         size_t n_overrides, struct ap_error *err);
void ap_recipe_close(struct ap_recipe *recipe);

/* Help for a key ("align.kl"), a section ("align") or everything (NULL): type, range, default, one
 * line each. *text is allocated (ap_text_free). An unknown key is AP_NOT_FOUND with the nearest. */
ap_status ap_recipe_help(const char *key, char **text, struct ap_error *err);

AP_API_END

#endif
