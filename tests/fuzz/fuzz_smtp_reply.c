/*
 * Replies: whatever comes, the parser stays within its bounds, takes all that
 * it says it takes, and gives the same answer however the bytes are cut.  The
 * first byte of the input is the width of the pieces.
 */
#include "config.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "smtpd-out/client/smtp_command.h"
#include "smtpd-out/client/smtp_reply.h"

int LLVMFuzzerTestOneInput(const uint8_t *, size_t);

static void
must(bool fact)
{
	if (!fact)
		abort();
}

static enum status
feed(struct smtp_reply *r, const uint8_t *p, size_t len, size_t step)
{
	enum status st = ST_AGAIN;
	size_t used, n;

	while (st == ST_AGAIN && len > 0) {
		n = len < step ? len : step;
		st = smtp_reply_feed(r, p, n, &used);
		must(used <= n && (st != ST_AGAIN || used == n));
		must(r->text.len <= SMTP_REPLY_TEXT_MAX);
		must(r->line.len <= SMTP_REPLY_LINE_MAX);
		p += used;
		len -= used;
	}
	return st;
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct smtp_reply whole, cut;
	struct smtp_caps caps;
	struct outcome o;
	char text[64];
	enum status st;

	if (size < 2)
		return 0;
	smtp_reply_init(&whole);
	smtp_reply_init(&cut);
	st = feed(&whole, data + 1, size - 1, size);
	must(feed(&cut, data + 1, size - 1, 1U + data[0]) == st);
	if (st == ST_OK) {
		must(whole.code == cut.code &&
			whole.text.len == cut.text.len);
		must(strcmp(whole.enhanced, cut.enhanced) == 0);
		smtp_caps_parse(&caps, &whole);
		smtp_reply_text(&whole, text, sizeof(text));
		o = smtp_reply_outcome(&whole, SCOPE_RCPT, STAGE_RCPT);
		must(o.verdict != VERDICT_NONE);
	}
	smtp_reply_clear(&whole);
	smtp_reply_clear(&cut);
	return 0;
}
