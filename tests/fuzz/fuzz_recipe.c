/* libFuzzer entry for recipes: any bytes give a recipe or one line of error; a recipe's resolved
 * text reads back to the same fingerprint.
 * fuzz: store */
#include "store/recipe_inner.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_round_trip(const struct ap_recipe *recipe)
{
    struct ap_error err;
    struct ap_buffer text = {0};
    struct ap_recipe *again;
    if (ap_recipe_resolved(recipe, &text, &err) != AP_OK ||
        ap_recipe_parse(&again, text.data, text.len, "recipe.yaml", "/", NULL, 0, &err) != AP_OK ||
        ap_recipe_fingerprint(recipe) != ap_recipe_fingerprint(again))
        abort();
    ap_recipe_close(again);
    ap_buffer_free(&text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct ap_error err = {0};
    struct ap_recipe *recipe;
    /* what follows a NUL is an override */
    const uint8_t *nul = size ? memchr(data, '\0', size) : NULL;
    size_t n = nul ? (size_t)(nul - data) : size;
    char *set = strndup(nul ? (const char *)nul + 1 : "", nul ? size - n - 1 : 0);
    const char *overrides[] = {set};
    if (!set)
        return 0;
    if (ap_recipe_parse(&recipe, (const char *)data, n, "r.yaml", "/base", overrides, nul ? 1 : 0,
                        &err) == AP_OK)
        check_round_trip(recipe);
    else if (err.status == AP_OK || !err.text[0] || strchr(err.text, '\n'))
        abort();
    ap_recipe_close(recipe);
    free(set);
    return 0;
}
