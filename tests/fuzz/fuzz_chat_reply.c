/* libFuzzer entry for what servers reply: any bytes are answers that are whole, or none and one
 * clause of why. The first byte says how many are asked for, and of what kind.
 *
 * fuzz: align/chat_api align/reward_http align/logp_http align/remote net store */
#include "align/chat_api.h"
#include "align/logp_http.h"
#include "align/reward_http.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { N_MOST = 4 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(bool fine)
{
    if (!fine)
        abort();
}

static void check_answers(struct ap_ledger_answer *out, int n, bool there)
{
    for (int i = 0; i < n; i++) {
        must((out[i].text != NULL) == there && (out[i].finish != NULL) == there);
        must(!there || (out[i].n_prompt >= -1 && out[i].n_token >= -1));
        must(!there || (out[i].n_prompt < 0) == (out[i].n_token < 0));
        json_t *text = there ? json_string(out[i].text) : json_null();
        must(text != NULL); /* UTF-8, so that it can be asked about */
        json_decref(text);
        ap_ledger_answer_free(&out[i]);
    }
}

static void check_numbers(const char *body, size_t n, int64_t skip)
{
    static const char *const shapes[] = {"scalar", "classify", "pooling"};
    double number;
    int64_t n_token;
    for (size_t i = 0; i < AP_LEN(shapes); i++)
        must(ap_reward_http_read(body, n, shapes[i], &number) || isfinite(number));
    must(ap_logp_read_echo(body, n, "ab c\xC3\xA4 d", (size_t)skip, &number) || isfinite(number));
    must(ap_logp_read_prompt(body, n, skip, &number, &n_token) ||
         (isfinite(number) && n_token >= skip));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct ap_ledger_answer out[N_MOST];
    int how = size ? data[0] : 0, n = 1 + how % N_MOST;
    /* NUL-terminated, as the client gives it */
    char *body = size ? malloc(size) : NULL;
    if (body != NULL) {
        memcpy(body, data + 1, size - 1);
        body[size - 1] = '\0';
        const char *why = ap_api_read(body, size - 1, how & 4, n, out);
        must(!why || (why[0] && !strchr(why, '\n')));
        int n_there = 0; /* the first so many: one at least, unless it says why there are none */
        while (n_there < n && out[n_there].text)
            n_there++;
        must(why ? n_there == 0 : n_there > 0);
        check_answers(out, n_there, true);
        check_answers(out + n_there, n - n_there, false);
        if (ap_api_refused(body, size - 1, n, out))
            check_answers(out, n, true);
        check_numbers(body, size - 1, how >> 3);
    }
    free(body);
    return 0;
}
