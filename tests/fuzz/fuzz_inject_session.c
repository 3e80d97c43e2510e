/*
 * A hostile submitter.  The first octet picks protocol, newline rule, what the
 * queue answers and how the rest is cut into pieces; the rest is what is
 * sent.  Whatever it is, a message that reaches the queue has clean lines,
 * output is bounded, and nothing is left behind.
 */
#include "config.h"

#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "tests/unit/inject_fake.h"

int LLVMFuzzerTestOneInput(const uint8_t *, size_t);

static void
check_body(const struct fake *f)
{
	const char *b = f->body;
	size_t len = f->body_len;

	if (b == NULL)
		return;
	if (len < 2 || memcmp(b + len - 2, "\r\n", 2) != 0 ||
	    strlen(b) != len)
		abort();
	for (size_t i = 0; i < len; i++)
		if ((b[i] == '\n' && (i == 0 || b[i - 1] != '\r')) ||
		    (b[i] == '\r' && b[i + 1] != '\n'))
			abort();
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const size_t steps[] = { 0, 1, 3, 100 };
	struct fake f;
	unsigned pick;

	if (size == 0)
		return 0;
	pick = data[0];
	log_init("fuzz", LOG_TO_STDERR, LOG_LEVEL_ERROR);
	fake_init(&f, (pick & 1) != 0 ? CONF_LMTP : CONF_SMTP);
	f.listen.bare_newline = (pick & 2) != 0 ? CONF_BARE_NORMALISE :
		CONF_BARE_REFUSE;
	f.answer = (enum fake_answer)(pick >> 2 & 3);
	f.file_answer = (enum fake_answer)(pick >> 4 & 3);
	f.disk_answer = (enum fake_answer)(pick >> 6 & 3);
	f.disk_error = EIO;
	f.conf.limit.inline_bytes = 200;
	f.conf.limit.message_bytes = 2000;
	f.conf.limit.line_bytes = 100;
	fake_session(&f);
	inject_session_start(f.session, REPLY_NONE);
	(void)fake_feed(&f, (const char *)data + 1, size - 1,
		steps[pick >> 6]);
	if (inject_session_output(f.session)->len > 64 * 1024)
		abort();
	check_body(&f);
	fake_clear(&f);
	if (f.pool.used_bytes != 0)
		abort();
	return 0;
}
