/*
 * A page of aligned rows: "  label       text", broken where the terminal
 * ends.  Private to check_text*.c.
 */
#ifndef SMTPD_OUT_CHECK_PAGE_H
#define SMTPD_OUT_CHECK_PAGE_H

#include "smtpd-out/check/check_text.h"

enum tone { TONE_NONE = 0, TONE_GOOD, TONE_WARN, TONE_BAD, TONE_DIM,
	TONE_STRONG };

struct page {
	const struct check_style *style;
	struct buf *out;
	int64_t now_s;
	size_t column;
};

/* Text of a row; a word that finds no room begins a new line below it. */
void page_put(struct page *, enum tone, const char *text);
void page_printf(struct page *, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));
void page_list(struct page *, char *const *list, size_t count);
/* "  secure", and why not. */
void page_security(struct page *, const struct check_lookup *);
void page_label(struct page *, const char *name);
void page_end(struct page *);		/* of a row */
/* All of it. */
void page_row(struct page *, const char *name, const char *text);

void page_date(int64_t unix_s, bool with_time, char out[32]);

#endif
