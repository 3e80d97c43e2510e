/*
 * Where an answer ends, and whether it is a good one.  Private to the engine
 * of starttls.h.
 */
#ifndef SMTPD_OUT_STARTTLS_FRAME_H
#define SMTPD_OUT_STARTTLS_FRAME_H

#include "smtpd-out/starttls/starttls.h"

enum starttls_answer {
	STARTTLS_ANSWER_PART = 0,	/* there must be more of it */
	STARTTLS_ANSWER_GOOD,
	STARTTLS_ANSWER_BAD,
	STARTTLS_ANSWER_ODD		/* not of this protocol */
};

/* *len_out: how much of the text the answer is, with GOOD and BAD. */
enum starttls_answer starttls_frame(const struct starttls_step *,
	const char *text, size_t len, size_t *len_out);

#endif
