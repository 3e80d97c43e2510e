/*
 * Notices to senders: which recipients of an attempt they are about, and their
 * way into the same transaction.  The text is bounce.c's.
 */
#include "config.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "smtpd-out/mail/bounce.h"
#include "smtpd-out/mail/dkim.h"
#include "smtpd-out/queue/queue_int.h"

#define NOTICE_MAX (4U << 20)
#define SIGNATURE_MAX 8192	/* of DKIM, in front of a notice */

void
notice_list_clear(struct notice_list *list)
{
	struct notice_op *n;

	while ((n = TAILQ_FIRST(list)) != NULL) {
		TAILQ_REMOVE(list, n, link);
		envelope_free(&n->env);
		free(n->body);
		free(n);
	}
}

/* Recipients of op that get a notice of that kind. */
static size_t
select_rcpts(const struct result_op *op,
	const struct msg_rcpt_result *finals, enum bounce_kind kind,
	bool delayed, struct bounce_rcpt *out)
{
	const struct envelope *env = op->active->env;
	size_t count = 0;

	for (size_t n = 0; n < op->count; n++) {
		const struct envelope_rcpt *rcpt = &env->rcpts[op->indexes[n]];
		const struct bounce_facts facts = {
			.sender = env->sender,
			.flags = env->flags,
			.notify = rcpt->notify,
			.verdict = finals[n].outcome.verdict,
			.dsn_relayed = finals[n].dsn_relayed,
			.delay_due = delayed,
		};

		if (bounce_decide(&facts) != kind)
			continue;
		out[count++] = (struct bounce_rcpt){
			.rcpt = rcpt,
			.outcome = &finals[n].outcome,
			.remote_host = finals[n].mx,
			.why = finals[n].why,
			.last_attempt_s = clock_wall_s(),
		};
	}
	return count;
}

/* At most `want` bytes from the start of the body; owned by the caller. */
static enum status
read_body(struct queue *q, uint64_t message_id, uint64_t want,
	uint8_t **data_out, size_t *len_out)
{
	void *data = NULL;
	size_t len = 0, got = 0;
	int fd = -1;
	enum status st;

	st = spool_body_get(q->spool, message_id, &data, &len, &fd);
	if (st != ST_OK)
		return st;
	if (data != NULL) {
		*data_out = data;
		*len_out = len < want ? len : (size_t)want;
		return ST_OK;
	}
	*data_out = xmalloc((size_t)want);
	while (got < want) {
		ssize_t n = pread(fd, *data_out + got, (size_t)want - got,
			(off_t)got);

		if (n <= 0)
			break;
		got += (size_t)n;
	}
	(void)close(fd);
	*len_out = got;
	return ST_OK;
}

static void
append(struct queue *q, struct envelope *env, struct buf *text)
{
	struct notice_op *n = xcalloc(1, sizeof(*n));

	n->env = env;
	n->body_len = text->len;
	n->body = xmalloc(text->len);
	memcpy(n->body, buf_data(text), text->len);
	env->received_ms = clock_wall_ms();
	env->size_bytes = text->len;
	if (env->origin == NULL)
		env->origin = xstrdup("notice");
	TAILQ_INSERT_TAIL(&q->notices, n, link);
}

/* A notice that cannot be signed goes without. */
static void
sign(const struct queue *q, struct buf *text)
{
	char err[DKIM_ERR_MAX];

	if (q->conf->dkim.sign_notices && q->key != NULL &&
	    dkim_sign_message(q->key, text, err) != ST_OK &&
	    log_once("notice-dkim"))
		log_error("dkim", "signed", "no", "reason", err, NULL);
}

/* Too many recipients for one notice get two: nobody is left out. */
static void
format(struct queue *q, const struct bounce_input *in)
{
	struct bounce_input half = *in;
	struct envelope *env = NULL;
	struct buf text;
	unsigned flags = 0;
	enum status st;

	buf_init(&text, NOTICE_MAX - SIGNATURE_MAX);
	st = bounce_format(in, &text, &flags);
	text.max_bytes = NOTICE_MAX;
	if (st == ST_OK)
		env = bounce_envelope(in, flags);
	if (env != NULL) {
		sign(q, &text);
		append(q, env, &text);
	} else if (st != ST_OK && in->rcpt_count > 1) {
		half.rcpt_count = in->rcpt_count / 2;
		format(q, &half);
		half.rcpts = in->rcpts + half.rcpt_count;
		half.rcpt_count = in->rcpt_count - half.rcpt_count;
		format(q, &half);
	} else {
		log_error("notice", "sender", in->env->sender, "reason",
			"cannot be made", NULL);
	}
	buf_clear(&text);
}

static enum status
make_one(struct queue *q, struct bounce_input *in, uint64_t message_id)
{
	uint8_t *body = NULL;
	enum status st;

	st = read_body(q, message_id, bounce_body_wanted(in), &body,
		&in->body_len);
	if (st == ST_NOENT)
		return ST_OK;	/* removed by the operator: nobody is told */
	/* A body that cannot be read is no reason to keep silent. */
	in->body = body;
	format(q, in);
	free(body);
	return ST_OK;
}

enum status
notice_make(struct queue *q, const struct result_op *op,
	const struct msg_rcpt_result *finals, bool delayed)
{
	static const enum bounce_kind kinds[] = { BOUNCE_FAILED,
		BOUNCE_RELAYED, BOUNCE_DELAYED };
	const struct active *a = op->active;
	struct bounce_rcpt *rcpts;
	enum status st = ST_OK;

	rcpts = xcalloc(op->count, sizeof(rcpts[0]));
	for (size_t k = 0; k < 3 && st == ST_OK; k++) {
		struct bounce_input in = {
			.kind = kinds[k],
			.env = a->env,
			.rcpts = rcpts,
			.trail = a->trail,
			.hostname = q->conf->hostname,
			.postmaster = q->conf->postmaster,
			.now_s = clock_wall_s(),
			.retry_until_s = a->delivery.expires_ms / 1000,
			.full_bytes = q->conf->limit.bounce_bytes,
		};

		if (delayed != (kinds[k] == BOUNCE_DELAYED))
			continue;
		in.rcpt_count = select_rcpts(op, finals, kinds[k], delayed,
			rcpts);
		if (in.rcpt_count > 0)
			st = make_one(q, &in, a->delivery.message_id);
	}
	free(rcpts);
	return st;
}
