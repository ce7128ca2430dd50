/* Noise as users type it, put into a prompt: a wrong key, words dropped or swapped, case,
 * punctuation repeated or missing, a sentence that is off the point. A pure function of the text,
 * the strength and the stream. */
#ifndef AP_TEXT_NOISE_H
#define AP_TEXT_NOISE_H

#include "base/buffer.h"
#include "base/random.h"

/* A touched word is so touched; where that cannot be done to it, by TYPO. */
typedef enum ap_noise_kind {
    AP_NOISE_TYPO,        /* 40%: a letter by one of its neighbours on a QWERTY keyboard; without
                             ASCII letters a character is doubled */
    AP_NOISE_DROP,        /* 15%: the word and the space before it are left out; never the first */
    AP_NOISE_SWAP,        /* 15%: it changes places with the next */
    AP_NOISE_CASE,        /* 15%: capitals become small letters, else all become capitals */
    AP_NOISE_PUNCTUATION, /* 15%: what ends the word is left out, or written two to four times */
    AP_NOISE_DISTRACTOR,  /* a sentence behind the text; not a word's */
    AP_NOISE_KINDS,
} ap_noise_kind;

struct ap_noise_counts {
    int n_word;                  /* that might have been touched */
    int touched[AP_NOISE_KINDS]; /* how often each was done */
};

/* Append the noisy text to out. Each word is touched with the probability `strength`, and with the
 * same a distractor is appended; 0 gives the text byte for byte. Words are parted by ASCII white
 * space. Left as they are: protected spans (text/spans.h), and words that hold anything but
 * letters, apostrophes and hyphens before and behind punctuation: numbers, {placeholders},
 * <|tokens|>. Valid UTF-8 stays valid; a text with a word never becomes one without. counts may be
 * NULL. */
ap_status ap_noise(const char *text, size_t n, double strength, const struct ap_stream *stream,
                   struct ap_buffer *out, struct ap_noise_counts *counts, struct ap_error *err);

#endif
