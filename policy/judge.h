/*
 * What the parsers of published texts (policies, records) say of them: the one
 * fault that makes a text invalid, and notes on a valid one.  For this folder.
 */
#ifndef POLICY_JUDGE_H
#define POLICY_JUDGE_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

#define JUDGE_TEXT_MAX 256	/* of a sentence */
#define JUDGE_SHOW_MAX 72	/* of a piece of the text within it */

typedef void judge_note_cb(unsigned line, const char *sentence, void *arg);

struct judge {
	char *err;		/* JUDGE_TEXT_MAX bytes; "" so far */
	judge_note_cb *note;	/* or NULL */
	void *arg;
	unsigned line;		/* where we are; 0: a text without lines */
};

/* Puts the sentence into err, with the line, and returns ST_PARSE. */
enum status judge_fail(const struct judge *, const char *fmt, ...) MUST_CHECK
	__attribute__((format(printf, 2, 3)));
void judge_note(const struct judge *, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));
/* Makes a piece of hostile text fit to be quoted; returns out. */
const char *judge_show(char out[JUDGE_SHOW_MAX], const void *text, size_t len);

#endif
