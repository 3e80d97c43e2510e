/*
 * Helpers of the notice tests.
 */
#include "config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "base/mem.h"
#include "smtpd-out/mail/bounce_int.h"
#include "tests/unit/test_bounce_util.h"

const char test_body[] =
	"Message-ID: <one@here.test>\r\n"
	"Subject: hello\r\n"
	"\r\n"
	"Text of the message.\r\n";

void
fixture_init(struct fixture *f, const char *sender, const char *rcpt)
{
	struct envelope_rcpt *r;

	memset(f, 0, sizeof(*f));
	f->env = envelope_new(sender);
	f->env->id = 1700000000000000;
	f->env->received_ms = 1700000000000;
	r = envelope_add_rcpt(f->env, rcpt, "there.test");
	r->id = f->env->id + 2;
	f->outcome = outcome_reply(SCOPE_RCPT, STAGE_RCPT, 550, "5.1.1",
		"no such user");
	f->rcpt = (struct bounce_rcpt){ .rcpt = r, .outcome = &f->outcome,
		.remote_host = "mx.there.test", .last_attempt_s = 1700000100 };
	f->in = (struct bounce_input){ .kind = BOUNCE_FAILED, .env = f->env,
		.rcpts = &f->rcpt, .rcpt_count = 1,
		.hostname = "out.example.org",
		.postmaster = "postmaster@example.org",
		.now_s = 1700000300, .retry_until_s = 1700400000,
		.full_bytes = 100000 };
	buf_init(&f->out, 1 << 20);
}

void
fixture_body(struct fixture *f, const void *body, size_t len)
{
	f->in.body = body;
	f->in.body_len = len;
	f->env->size_bytes = len;
}

void
fixture_clear(struct fixture *f)
{
	buf_clear(&f->out);
	envelope_free(&f->env);
}

size_t
fixture_count(const struct buf *b, const char *text)
{
	const uint8_t *p = buf_data(b), *end = p + b->len;
	size_t count = 0;

	while ((p = memmem(p, (size_t)(end - p), text, strlen(text))) !=
	    NULL) {
		count++;
		p++;
	}
	return count;
}

/* Header, three parts with header and empty line each, nothing that SMTP
 * forbids, flags that fit. */
static void
check_form(const struct fixture *f)
{
	static const char mark[] = "boundary=\"";
	const char *text = (const char *)buf_data(&f->out);
	const char *at = memmem(text, f->out.len, mark, sizeof(mark) - 1);
	char boundary[80], line[100];
	bool ascii = true;

	assert_true(bounce_is_clean(text, f->out.len));
	assert_memory_equal(text + f->out.len - 2, "\r\n", 2);
	assert_non_null(at);
	at += sizeof(mark) - 1;
	(void)snprintf(boundary, sizeof(boundary), "%.*s", (int)((char *)
		memchr(at, '"', 70) - at), at);
	assert_int_equal(fixture_count(&f->out, boundary), 5);
	(void)snprintf(line, sizeof(line), "\r\n\r\n--%s\r\n", boundary);
	assert_true(fixture_count(&f->out, line) >= 1);
	(void)snprintf(line, sizeof(line), "\r\n--%s\r\nContent-Desc",
		boundary);
	assert_int_equal(fixture_count(&f->out, line), 3);
	(void)snprintf(line, sizeof(line), "\r\n--%s--\r\n", boundary);
	assert_int_equal(fixture_count(&f->out, line), 1);
	for (size_t i = 0; i < f->out.len; i++)
		ascii = ascii && (unsigned char)text[i] < 128;
	assert_true((f->flags & ENVELOPE_BOUNCE) != 0);
	assert_int_equal((f->flags & ENVELOPE_8BITMIME) == 0, ascii);
}

void
fixture_format(struct fixture *f)
{
	buf_clear(&f->out);
	assert_int_equal(bounce_format(&f->in, &f->out, &f->flags), ST_OK);
	check_form(f);
}

void
fixture_has(const struct fixture *f, const char *text)
{
	if (fixture_count(&f->out, text) == 0)
		fail_msg("\"%s\" is not in:\n%.*s", text, (int)f->out.len,
			(const char *)buf_data(&f->out));
}

void
fixture_lacks(const struct fixture *f, const char *text)
{
	if (fixture_count(&f->out, text) != 0)
		fail_msg("\"%s\" is in:\n%.*s", text, (int)f->out.len,
			(const char *)buf_data(&f->out));
}
