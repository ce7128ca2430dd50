/* One request on the wire, behind libcurl: what is sent, what came back, and what that means for
 * asking again. Not here: when to (client.c). */
#ifndef AP_NET_WIRE_H
#define AP_NET_WIRE_H

#include "base/buffer.h"
#include "net/client.h"

#include <curl/curl.h>

struct ap_wire {
    /* Made anew for each call: before 8.1.1 libcurl keeps a pointer to the last header of the call
     * before, and a reply that begins with a folded line writes there (curl's issue 11101). */
    CURL *easy;
    struct curl_slist *headers; /* of the call */
    struct ap_buffer body;
    char words[CURL_ERROR_SIZE]; /* libcurl's own of what went wrong */
    int call;                    /* −1: idle */
    int endpoint;
    double begun;
    bool too_long; /* the reply passed AP_CLIENT_REPLY_MAX */
    bool sent;     /* once, which is how often a call of ap_wire_begin may send */
    bool resends;  /* libcurl was about to send it once more */
    bool head;     /* the head of the reply came to its end */
};

typedef enum ap_wire_end {
    AP_WIRE_REPLY,    /* 2xx, whole */
    AP_WIRE_REFUSED,  /* a status that another attempt may heal */
    AP_WIRE_REJECTED, /* one that it will not */
    AP_WIRE_LOST,
    AP_WIRE_UNSENT,
    AP_WIRE_UNTRUSTED, /* unsent: the server's certificate, or the file of those to trust, is wrong
                        */
} ap_wire_end;

typedef enum ap_wire_cause { /* of an end without an answer: what there is to do about it */
                             AP_CAUSE_SERVER,
                             AP_CAUSE_PACE,
                             AP_CAUSE_TIMEOUT,
                             AP_CAUSE_REPLY, /* what came holds no answer */
                             AP_CAUSE_KEY,
                             AP_CAUSE_MONEY,
                             AP_CAUSE_ADDRESS, /* or there is no such model */
                             AP_CAUSE_REQUEST,
} ap_wire_cause;

struct ap_wire_result {
    ap_wire_end end;
    ap_wire_cause cause;
    long http_status;   /* 0: none came */
    double retry_after; /* seconds; 0: not said, or nothing that is ahead */
    bool sick;          /* speaks against the endpoint's health */
    char why[512];      /* one line, without the key */
};

/* libcurl's words of an error, or the code's where they may hold the password of a proxy. */
const char *ap_wire_words(const char *words, CURLcode code);
/* Checks https against these certificates; NULL or "": the system's. */
void ap_wire_trust(CURL *easy, const char *ca_file);
void ap_wire_open(struct ap_wire *w);
void ap_wire_close(struct ap_wire *w);
/* Fills the handle; adding it to the multi handle is the caller's. */
ap_status ap_wire_begin(struct ap_wire *w, const struct ap_client_options *o, const char *url,
                        const struct ap_client_call *call, struct ap_error *err);
/* Whether the head of a reply says one length of its body, or none. libcurl takes the last, as far
 * as it is a number; who made it up did not mean the bytes that came (RFC 9112, 6.3). */
bool ap_wire_length_is_sound(CURL *easy);
/* code: libcurl's result. Hides the key in the body. */
void ap_wire_end_of(struct ap_wire *w, const struct ap_client_options *o, CURLcode code,
                    struct ap_wire_result *out);
/* A reply that arrived is lost: its body is no answer, why says the caller's clause; what it says
 * or begins with is put behind it. */
void ap_wire_no_answer(const struct ap_wire *w, const struct ap_client_options *o, const char *why,
                       struct ap_wire_result *out);
/* What to do about a result, with the keys of `who`. */
#define AP_WIRE_ADVICE 256
void ap_wire_advise(const struct ap_wire_result *r, const char *who, char out[AP_WIRE_ADVICE]);

#endif
