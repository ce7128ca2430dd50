/* The page at / : a person types a prompt and sees the rewrite, what it changed, both answers and
 * their rewards. Three files, embedded at build time (page.html, page.css, page.js); nothing comes
 * from elsewhere. */
#ifndef AP_SERVE_PAGE_H
#define AP_SERVE_PAGE_H

/* The Content-Security-Policy of all three. */
extern const char ap_page_policy[];

/* The text at "/", "/page.css" or "/page.js", static, and its Content-Type; NULL: no file of the
 * page. */
const char *ap_page(const char *path, const char **type);

#endif
