/*
 * Who is told what, and the notice as a whole: header and multipart/report.
 * Its parts are made in bounce_text.c (words), bounce_report.c (for programs)
 * and bounce_original.c.
 *
 * A notice to an ASCII address is made so that it needs neither SMTPUTF8 nor
 * (RET=FULL apart) 8BITMIME: it must arrive at hosts that lack both.  Only a
 * sender with a non-ASCII address gets the "global" types of RFC 6533.
 */
#include "config.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/str.h"
#include "smtpd-out/mail/bounce_int.h"

#define BOUNDARY_TRIES 16
#define WORDS_MAX (1024 * 1024)

/* ---- the decision ---- */

/* Which verdict makes which notice, and when (RFC 3461 4.1: without NOTIFY a
 * failure is reported and a delay may be). */
static const struct decision {
	enum outcome_verdict verdict;
	unsigned notify;	/* asked for by this bit */
	bool unasked;		/* also when NOTIFY was not given */
	enum bounce_kind kind;
} decisions[] = {
	{ VERDICT_NEVER, NOTIFY_FAILURE, true, BOUNCE_FAILED },
	{ VERDICT_LATER, NOTIFY_DELAY, true, BOUNCE_DELAYED },
	{ VERDICT_DONE, NOTIFY_SUCCESS, false, BOUNCE_RELAYED },
};

const char *
bounce_kind_name(enum bounce_kind kind)
{
	static const char *const names[] = {	/* Action: of RFC 3464 2.3.3 */
		[BOUNCE_NONE] = "none",
		[BOUNCE_FAILED] = "failed",
		[BOUNCE_DELAYED] = "delayed",
		[BOUNCE_RELAYED] = "relayed",
	};

	return names[kind];
}

enum bounce_kind
bounce_decide(const struct bounce_facts *f)
{
	/* Never a bounce for a bounce (RFC 5321 6.1). */
	if (f->sender[0] == '\0' || (f->flags & ENVELOPE_BOUNCE) != 0 ||
	    (f->notify & NOTIFY_NEVER) != 0)
		return BOUNCE_NONE;
	if (f->verdict == VERDICT_LATER && !f->delay_due)
		return BOUNCE_NONE;
	/* RFC 3461 5.2.1: who took NOTIFY over will tell. */
	if (f->verdict == VERDICT_DONE && f->dsn_relayed)
		return BOUNCE_NONE;
	for (size_t i = 0; i < sizeof(decisions) / sizeof(decisions[0]); i++) {
		const struct decision *d = &decisions[i];

		if (d->verdict == f->verdict && (f->notify == 0 ? d->unasked :
		    (f->notify & d->notify) != 0))
			return d->kind;
	}
	return BOUNCE_NONE;
}

/* ---- the notice as a whole ---- */

struct part {
	const char *type;
	const char *encoding;
	const char *description;
	struct sink sink;
};

struct notice {
	const struct bounce_input *in;
	bool global;			/* to a non-ASCII address */
	bool full;			/* the original goes back whole */
	struct sink headers;		/* of the original, made safe */
	struct part parts[3];		/* words, report, original */
	char boundary[BOUNCE_BOUNDARY_MAX];
};

/* RFC 3461 4.3: RET concerns failures alone.  RFC 8689 5: what had to be
 * secret on the way there is not sent back whole. */
static bool
full_asked(const struct bounce_input *in)
{
	return in->kind == BOUNCE_FAILED && in->env->ret == RET_FULL &&
		in->env->size_bytes <= in->full_bytes &&
		(in->env->flags & ENVELOPE_REQUIRETLS) == 0;
}

uint64_t
bounce_body_wanted(const struct bounce_input *in)
{
	uint64_t size = in->env->size_bytes;

	return full_asked(in) || size < BOUNCE_HEADER_BYTES ? size :
		BOUNCE_HEADER_BYTES;
}

/* message/global cannot go to a host without SMTPUTF8 as it is. */
static bool
full_possible(const struct notice *n)
{
	const struct bounce_input *in = n->in;

	return full_asked(in) && in->body_len == in->env->size_bytes &&
		bounce_is_clean(in->body, in->body_len) &&
		(n->global || (in->env->flags & ENVELOPE_SMTPUTF8) == 0 ||
		sink_is_ascii(&n->headers));
}

/* Puts the text into the part as it is or encoded, and says which. */
static void
fill_encoded(struct part *part, const struct sink *text, bool allow_8bit)
{
	const uint8_t *data = buf_data(&text->buf);

	part->sink.full = part->sink.full || text->full;
	if (sink_is_ascii(text) || allow_8bit) {
		part->encoding = sink_is_ascii(text) ? "7bit" : "8bit";
		sink_put(&part->sink, data, text->buf.len);
		return;
	}
	part->encoding = "quoted-printable";
	sink_quoted_printable(&part->sink, data, text->buf.len);
}

static void
make_words(struct notice *n)
{
	struct part *part = &n->parts[0];
	struct sink text;

	part->type = "text/plain; charset=utf-8";
	part->description = "Notification";
	sink_init(&text, WORDS_MAX);
	bounce_text(n->in, &text);
	fill_encoded(part, &text, false);
	sink_clear(&text);
}

static void
make_status(struct notice *n)
{
	struct part *part = &n->parts[1];

	part->type = n->global ? "message/global-delivery-status" :
		"message/delivery-status";
	part->description = "Delivery report";
	bounce_report(n->in, &part->sink);
	part->encoding = sink_is_ascii(&part->sink) ? "7bit" : "8bit";
}

static void
make_original(struct notice *n)
{
	bool utf8 = (n->in->env->flags & ENVELOPE_SMTPUTF8) != 0 &&
		!sink_is_ascii(&n->headers);
	struct part *part = &n->parts[2];

	part->description = n->full ? "Your message" :
		"Header of your message";
	if (n->full) {
		part->type = utf8 ? "message/global" : "message/rfc822";
		sink_put(&part->sink, n->in->body, n->in->body_len);
		part->encoding = sink_is_ascii(&part->sink) ? "7bit" : "8bit";
		return;
	}
	part->type = utf8 ? "message/global-headers" :
		sink_is_ascii(&n->headers) ? "text/rfc822-headers" :
		"text/rfc822-headers; charset=utf-8";
	fill_encoded(part, &n->headers, n->global);
}

static uint64_t
hash_part(uint64_t hash, const struct part *part)
{
	const uint8_t *p = buf_data(&part->sink.buf);

	for (size_t i = 0; i < part->sink.buf.len; i++)
		hash = (hash ^ p[i]) * 0x100000001b3;
	return hash;
}

static bool
in_parts(const char *text, const void *arg)
{
	const struct notice *n = arg;

	for (size_t i = 0; i < 3; i++)
		if (memmem(buf_data(&n->parts[i].sink.buf),
		    n->parts[i].sink.buf.len, text, strlen(text)) != NULL)
			return true;
	return false;
}

bool
bounce_boundary(uint64_t seed, uint64_t id,
	bool (*occurs)(const char *, const void *), const void *arg,
	char out[BOUNCE_BOUNDARY_MAX])
{
	for (int i = 0; i < BOUNDARY_TRIES; i++) {
		(void)snprintf(out, BOUNCE_BOUNDARY_MAX,
			"=_%016llx.%016llx", (unsigned long long)seed,
			(unsigned long long)id);
		if (!occurs(out, arg))
			return true;
		seed = seed * 6364136223846793005ULL + 1442695040888963407ULL;
	}
	return false;
}

static bool
choose_boundary(struct notice *n)
{
	uint64_t hash = 0xcbf29ce484222325;

	for (size_t i = 0; i < 3; i++)
		hash = hash_part(hash, &n->parts[i]);
	return bounce_boundary(hash, n->in->env->id, in_parts, n,
		n->boundary);
}

static void
put_header(const struct notice *n, struct sink *out)
{
	const struct bounce_input *in = n->in;
	char date[40], id[STR_ID_MAX], rcpt[STR_ID_MAX];
	char to[ENVELOPE_STR_MAX + 1], original[BOUNCE_MESSAGE_ID_MAX];

	str_date(in->now_s, date);
	str_id_format(in->env->id, id);
	str_id_format(in->rcpts[0].rcpt->id, rcpt);
	str_sanitise(to, sizeof(to), in->env->sender,
		strlen(in->env->sender));
	bounce_message_id(&n->headers.buf, original);
	sink_printf(out, "Date: %s\r\nFrom: Mail Delivery System <%s>\r\n"
		"To: <%s>\r\nSubject: %s\r\n"
		"Message-ID: <%s.%s.%s@%s>\r\n", date, in->postmaster, to,
		bounce_subject(in->kind), id, rcpt,
		bounce_kind_name(in->kind), in->hostname);
	if (original[0] != '\0')
		sink_printf(out, "In-Reply-To: %s\r\nReferences: %s\r\n",
			original, original);
	sink_printf(out, "Auto-Submitted: auto-replied\r\n"
		"MIME-Version: 1.0\r\n"
		"Content-Type: multipart/report; report-type=%s;\r\n"
		" boundary=\"%s\"\r\n\r\n"
		"This is a MIME-encapsulated message.\r\n",
		n->global ? "global-delivery-status" : "delivery-status",
		n->boundary);
}

static void
put_notice(const struct notice *n, struct sink *out)
{
	put_header(n, out);
	for (size_t i = 0; i < 3; i++) {
		const struct part *part = &n->parts[i];
		const struct buf *b = &part->sink.buf;

		sink_printf(out, "\r\n--%s\r\nContent-Description: %s\r\n"
			"Content-Type: %s\r\n"
			"Content-Transfer-Encoding: %s\r\n\r\n", n->boundary,
			part->description, part->type, part->encoding);
		sink_put(out, buf_data(b), b->len);
		out->full = out->full || part->sink.full;
	}
	sink_printf(out, "\r\n--%s--\r\n", n->boundary);
}

static unsigned
flags_of(const struct notice *n, const struct sink *out)
{
	unsigned flags = ENVELOPE_BOUNCE;

	if (!sink_is_ascii(out))
		flags |= ENVELOPE_8BITMIME;
	if (n->global)
		flags |= ENVELOPE_SMTPUTF8;
	/* RFC 8689 5: the notice is as confidential as the message. */
	return flags | (n->in->env->flags & ENVELOPE_REQUIRETLS);
}

/* Fewer and fewer of the original until it fits. */
enum attempt { WITH_FULL = 0, WITH_HEADERS, WITH_NOTHING, ATTEMPT_COUNT };

static bool
try_format(struct notice *n, enum attempt attempt, struct sink *out)
{
	bool chosen;

	n->full = attempt == WITH_FULL && full_possible(n);
	for (size_t i = 0; i < 3; i++)
		sink_init(&n->parts[i].sink, out->buf.max_bytes);
	if (attempt == WITH_NOTHING)
		sink_clear(&n->headers);
	make_words(n);
	make_status(n);
	make_original(n);
	chosen = choose_boundary(n);
	if (chosen)
		put_notice(n, out);
	for (size_t i = 0; i < 3; i++)
		sink_clear(&n->parts[i].sink);
	return chosen && !out->full;
}

enum status
bounce_format(const struct bounce_input *in, struct buf *out,
	unsigned *flags_out)
{
	struct notice n = { .in = in,
		.global = !str_is_ascii(in->env->sender) };
	enum status st = ST_LIMIT;

	assert(in->kind != BOUNCE_NONE && in->rcpt_count > 0);
	*flags_out = 0;
	sink_init(&n.headers, BOUNCE_HEADER_BYTES);
	bounce_headers(in->body, in->body_len, &n.headers);
	for (int i = 0; st != ST_OK && i < ATTEMPT_COUNT; i++) {
		struct sink sink;

		sink_init(&sink, out->max_bytes);
		if (try_format(&n, (enum attempt)i, &sink)) {
			*flags_out = flags_of(&n, &sink);
			buf_clear(out);
			*out = sink.buf;
			st = ST_OK;
		} else {
			sink_clear(&sink);
		}
	}
	sink_clear(&n.headers);
	return st;
}

struct envelope *
bounce_envelope(const struct bounce_input *in, unsigned flags)
{
	char domain[STR_DOMAIN_MAX];
	struct envelope *env;
	size_t local;
	bool utf8;

	if (str_address(in->env->sender, &local, domain, &utf8) != ST_OK)
		return NULL;
	env = envelope_new("");
	(void)envelope_add_rcpt(env, in->env->sender, domain);
	env->received_ms = in->now_s * 1000;
	env->flags = flags;
	env->origin = xstrdup("notice");
	return env;
}
