/*
 * Questions to resolvers: who is asked, how often, and which answers count.
 *
 * A question is put to one server at a time.  No answer, an implausible one,
 * or SERVFAIL, REFUSED, NOTIMP and the like send it to the next server, with
 * a new id and a new mix of upper and lower case (the resolver copies the
 * question into its answer octet by octet, which a blind forger cannot).  A
 * resolver that does not copy the case is asked again over TCP, where forging
 * takes more than luck.
 */
#include "config.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>
#include <sys/random.h>

#include <event2/event.h>
#include <ldns/ldns.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "resolver/dns_carrier.h"
#include "resolver/dns_query.h"
#include "resolver/dns_servers.h"
#include "resolver/dns_table.h"
#include "resolver/resolver.h"

#define TICK_MS 50
#define EDNS_BYTES 1232
#define HEADER_LEN 12
#define RETIRED_MAX 4
#define FOLDS_MS (10 * 60 * 1000)

TAILQ_HEAD(question_list, question);
TAILQ_HEAD(attempt_list, attempt);

struct server {
	char text[DNS_SERVER_TEXT_MAX];
	struct dns_carrier *udp, *tcp;
	int64_t tcp_until_ms;	/* folds the case: not by UDP till then */
};

struct dns_query {
	struct event_base *base;
	struct dns_query_conf conf;
	struct server servers[DNS_SERVERS_MAX];
	size_t first;			/* the server that worked last */
	struct dns_carrier *retired[RETIRED_MAX];
	struct dns_table questions;	/* struct question */
	struct question_list waiting;	/* for a free place in a carrier */
	struct question_list held;	/* for what comes of alive */
	struct attempt_list done;	/* answered, not looked at yet */
	struct event *tick, *on_done;
	struct dns_ask *alive;		/* is anybody there? */
	struct dns_query_stats stats;
	bool closing;
};

enum question_state {
	QUESTION_WAITING = 0,	/* in the waiting list */
	QUESTION_ASKED,		/* an attempt is under way */
	QUESTION_HELD,		/* in vain; is anybody there at all? */
	QUESTION_DONE		/* telling those who wait */
};

struct dns_ask {
	TAILQ_ENTRY(dns_ask) link;
	struct question *question;
	dns_ask_cb *cb;
	void *arg;
};

struct question {
	struct dns_entry entry;		/* first: name and type */
	struct dns_query *query;
	enum question_state state;
	TAILQ_HEAD(, dns_ask) asks;
	TAILQ_ENTRY(question) link;
	struct attempt *attempt;
	size_t server, first;
	unsigned step, step_count;
	int64_t started_ms;
	bool tcp;			/* ask the same server over TCP */
	bool no_dnssec, reached;
	int ede;
	char why[DNS_WHY_MAX];
};

struct attempt {
	TAILQ_ENTRY(attempt) link;
	struct dns_query *query;
	struct question *question;	/* NULL when nobody wants it */
	uint8_t *packet, *reply;
	size_t packet_len, reply_len;
	bool timeout, tcp;
	const char *status_text;
};

static void question_send(struct question *);

static void
attempt_free(struct attempt *a)
{
	free(a->packet);
	free(a->reply);
	free(a);
}

static void
question_free(struct question *q)
{
	if (q->attempt != NULL)
		q->attempt->question = NULL;
	if (q->state == QUESTION_WAITING)
		TAILQ_REMOVE(&q->query->waiting, q, link);
	if (q->state == QUESTION_HELD)
		TAILQ_REMOVE(&q->query->held, q, link);
	if (q->state != QUESTION_DONE)
		dns_table_remove(&q->query->questions, &q->entry);
	free(q);
}

/* Tells everyone who waits.  A callback may start and cancel others. */
static void
question_finish(struct question *q, struct dns_msg *msg)
{
	struct dns_reply r = { .why = msg == NULL ? q->why : NULL,
		.ede = q->ede, .no_dnssec = q->no_dnssec,
		.reached = q->reached };
	struct dns_ask *ask;

	dns_table_remove(&q->query->questions, &q->entry);
	q->state = QUESTION_DONE;
	while ((ask = TAILQ_FIRST(&q->asks)) != NULL) {
		TAILQ_REMOVE(&q->asks, ask, link);
		r.msg = msg;
		if (msg != NULL && !TAILQ_EMPTY(&q->asks))
			r.msg = dns_msg_copy(msg);
		else
			msg = NULL;
		ask->cb(&r, ask->arg);
		free(ask);
	}
	dns_msg_free(&msg);
	question_free(q);
}

/* ---- one attempt ---- */

/* Random case for every letter (draft-vixie-dnsext-dns0x20). */
static void
case_mix(uint8_t *name, const uint8_t *random)
{
	for (unsigned i = 0; name[i] != 0;) {
		unsigned end = i + name[i];

		while (++i <= end)
			if (name[i] >= 'a' && name[i] <= 'z' &&
			    (random[i / 8] >> (i % 8) & 1) != 0)
				name[i] = (uint8_t)(name[i] - 32);
	}
}

static bool
packet_build(struct question *q, struct attempt *a)
{
	const struct dns_query_conf *conf = &q->query->conf;
	uint8_t random[2 + DNS_NAME_MAX / 8 + 1];
	dns_name name;
	ldns_rdf *rdf;
	ldns_pkt *pkt;
	ldns_status st;

	if (getrandom(random, sizeof(random), 0) != sizeof(random))
		return false;
	dns_name_copy(name, q->entry.name);
	case_mix(name, random + 2);
	rdf = ldns_dname_new_frm_data((uint16_t)dns_name_len(name), name);
	pkt = ldns_pkt_query_new(rdf, (ldns_rr_type)q->entry.type,
		LDNS_RR_CLASS_IN, (uint16_t)(LDNS_RD |
		(conf->checking_disabled ? LDNS_CD : 0) |
		(conf->want_ad ? LDNS_AD : 0)));
	if (pkt == NULL)
		return false;
	ldns_pkt_set_id(pkt, dns_get16(random));
	ldns_pkt_set_edns_udp_size(pkt, EDNS_BYTES);
	ldns_pkt_set_edns_do(pkt, conf->want_dnssec);
	st = ldns_pkt2wire(&a->packet, pkt, &a->packet_len);
	ldns_pkt_free(pkt);
	return st == LDNS_STATUS_OK;
}

/* From inside c-ares: only takes note. */
static void
on_carried(void *arg, const uint8_t *reply, size_t len, bool timeout,
	const char *status_text)
{
	struct attempt *a = arg;
	struct dns_query *dq = a->query;

	if (a->question == NULL || dq->closing) {
		attempt_free(a);
		return;
	}
	if (reply != NULL) {
		a->reply = xmalloc(len + 1);
		memcpy(a->reply, reply, len);
		a->reply_len = len;
	}
	a->timeout = timeout;
	a->status_text = status_text;
	TAILQ_INSERT_TAIL(&dq->done, a, link);
	event_active(dq->on_done, EV_TIMEOUT, 0);
}

static struct dns_carrier *
carrier_get(struct dns_query *dq, struct server *s, bool tcp)
{
	struct dns_carrier **cp = tcp ? &s->tcp : &s->udp;

	if (*cp == NULL && dns_carrier_new(dq->base, s->text, tcp,
	    dq->conf.timeout_ms, cp) != ST_OK)
		*cp = NULL;
	return *cp;
}

static void
tick_start(struct dns_query *dq)
{
	struct timeval tv = { 0, TICK_MS * 1000 };

	if (!event_pending(dq->tick, EV_TIMEOUT, NULL))
		(void)event_add(dq->tick, &tv);
}

static void
question_wait(struct question *q)
{
	q->state = QUESTION_WAITING;
	TAILQ_INSERT_TAIL(&q->query->waiting, q, link);
	tick_start(q->query);
}

static void
question_send(struct question *q)
{
	struct dns_query *dq = q->query;
	struct dns_carrier *c;
	struct attempt *a;
	struct server *s;

	q->server = (q->first + q->step) % dq->conf.server_count;
	s = &dq->servers[q->server];
	q->tcp |= clock_mono_ms() < s->tcp_until_ms;
	c = carrier_get(dq, s, q->tcp);
	if (c != NULL && dns_carrier_full(c)) {
		question_wait(q);
		return;
	}
	q->state = QUESTION_ASKED;
	a = xcalloc(1, sizeof(*a));
	a->query = dq;
	a->question = q;
	a->tcp = q->tcp;
	q->attempt = a;
	if (c == NULL || !packet_build(q, a)) {
		on_carried(a, NULL, 0, false, "cannot ask");
		return;
	}
	dq->stats.packets++;
	tick_start(dq);
	dns_carrier_send(c, a->packet, a->packet_len, on_carried, a);
}

/* ---- judging the answer ---- */

enum judgement { JUDGE_GOOD = 0, JUDGE_NEXT, JUDGE_TCP };

/* The question section as it was sent, octet by octet; over TCP a resolver
 * may fold the case. */
static bool
question_echoed(const struct attempt *a, const struct dns_msg *m)
{
	size_t len = dns_name_len(a->packet + HEADER_LEN) + 4;

	if (a->tcp)
		return dns_name_eq(m->qname, a->question->entry.name) &&
			m->qtype == a->question->entry.type;
	return a->reply_len >= HEADER_LEN + len &&
		memcmp(a->packet + HEADER_LEN, a->reply + HEADER_LEN, len) == 0;
}

static void
why_set(struct question *q, const char *why)
{
	snprintf(q->why, sizeof(q->why), "resolver %s: %s",
		q->query->servers[q->server].text, why);
}

/* After FORMERR without OPT c-ares 1.18 never uses EDNS again on a channel,
 * and a carrier must not be freed from its own callback: put it aside. */
static void
carrier_retire(struct dns_query *dq, struct dns_carrier **cp)
{
	for (int i = 0; i < RETIRED_MAX && *cp != NULL; i++) {
		if (dq->retired[i] != NULL)
			continue;
		dq->retired[i] = *cp;
		*cp = NULL;
	}
}

static enum judgement
judge_dnssec(struct question *q, const struct attempt *a,
	const struct dns_msg *m)
{
	struct server *s = &q->query->servers[q->server];

	if (!q->query->conf.want_dnssec || m->opt_do)
		return JUDGE_GOOD;
	q->no_dnssec = true;
	why_set(q, "answers without EDNS and the DO bit: it cannot do "
		"DNSSEC");
	if (!m->opt)
		carrier_retire(q->query, a->tcp ? &s->tcp : &s->udp);
	return JUDGE_NEXT;
}

static enum judgement
judge_message(struct question *q, const struct attempt *a,
	const struct dns_msg *m)
{
	static const char *const names[] = { "", "FORMERR", "SERVFAIL", "",
		"NOTIMP", "REFUSED" };
	char why[64];

	if (m->rcode == DNS_NOERROR || m->rcode == DNS_RCODE_NXDOMAIN)
		return judge_dnssec(q, a, m);
	q->query->stats.refused++;
	q->ede = m->ede;
	if (m->rcode <= DNS_REFUSED)
		snprintf(why, sizeof(why), "%s", names[m->rcode]);
	else
		snprintf(why, sizeof(why), "response code %u", m->rcode);
	why_set(q, why);
	if (m->ede >= 0) {
		size_t used = strlen(q->why);

		snprintf(q->why + used, sizeof(q->why) - used, " (EDE %d%s%s)",
			m->ede, m->ede_text[0] != '\0' ? ": " : "",
			m->ede_text);
	}
	if (m->rcode == DNS_FORMERR)
		(void)judge_dnssec(q, a, m);
	return JUDGE_NEXT;
}

static enum judgement
judge(struct question *q, struct attempt *a, struct dns_msg **msg_out)
{
	struct dns_query *dq = q->query;
	const char *why = NULL;

	*msg_out = NULL;
	if (a->reply == NULL) {
		dq->stats.timeouts += a->timeout ? 1U : 0U;
		why_set(q, a->timeout ? "no answer in time" : a->status_text);
		return JUDGE_NEXT;
	}
	q->reached = true;
	dq->stats.heard_ms = clock_mono_ms();
	if (dns_parse(a->reply, a->reply_len, msg_out, &why) != ST_OK) {
		dq->stats.malformed++;
		why_set(q, "malformed answer");
		log_debug("dns-malformed", "server",
			dq->servers[q->server].text, "why", why, NULL);
		return JUDGE_NEXT;
	}
	if (!question_echoed(a, *msg_out)) {
		dq->stats.malformed++;
		why_set(q, "answer to another question");
		return a->tcp ? JUDGE_NEXT : JUDGE_TCP;
	}
	return judge_message(q, a, *msg_out);
}

/* A resolver that folds the case is asked over TCP for a while, as long as
 * that works. */
static void
tcp_remember(struct server *s, bool tcp, enum judgement j)
{
	if (tcp && j != JUDGE_GOOD)
		s->tcp_until_ms = 0;
	else if (tcp && clock_mono_ms() >= s->tcp_until_ms)
		s->tcp_until_ms = clock_mono_ms() + FOLDS_MS;
}

/* Whatever came of it: heard_ms says it.  A callback may cancel others. */
static void
on_alive(const struct dns_reply *r, void *arg)
{
	struct dns_query *dq = arg;
	struct dns_msg *msg = r->msg;
	struct question *q;

	dq->alive = NULL;
	dns_msg_free(&msg);
	while ((q = TAILQ_FIRST(&dq->held)) != NULL && dq->alive == NULL) {
		TAILQ_REMOVE(&dq->held, q, link);
		question_finish(q, NULL);
	}
}

/* The name servers of a domain may be silent, and the resolver with them.  True
 * while it is asked whether others are answered. */
static bool
alive_ask(struct dns_query *dq, const struct question *q)
{
	static const uint8_t root[] = { 0 };

	if (q->reached || dq->stats.heard_ms > q->started_ms)
		return false;
	if (dq->alive == NULL)
		dq->alive = dns_query_start(dq, root, DNS_TYPE_SOA, on_alive,
			dq);
	return dq->alive->question != q;
}

static void
question_hold(struct question *q)
{
	q->state = QUESTION_HELD;
	TAILQ_INSERT_TAIL(&q->query->held, q, link);
}

static void
attempt_finish(struct attempt *a)
{
	struct question *q = a->question;
	struct dns_query *dq = a->query;
	struct dns_msg *msg = NULL;
	enum judgement j = judge(q, a, &msg);
	bool unsure;

	q->attempt = NULL;
	q->tcp = j == JUDGE_TCP;
	tcp_remember(&dq->servers[q->server], a->tcp, j);
	attempt_free(a);
	if (j == JUDGE_GOOD) {
		dq->first = q->server;
		question_finish(q, msg);
		return;
	}
	dns_msg_free(&msg);
	if (j == JUDGE_TCP) {
		question_send(q);
		return;
	}
	if (dq->first == q->server)
		dq->first = (q->server + 1) % dq->conf.server_count;
	unsure = alive_ask(dq, q);
	if (++q->step < q->step_count)
		question_send(q);
	else if (unsure)
		question_hold(q);
	else
		question_finish(q, NULL);
}

static void
waiting_send(struct dns_query *dq)
{
	struct question_list todo = TAILQ_HEAD_INITIALIZER(todo);
	struct question *q;

	TAILQ_CONCAT(&todo, &dq->waiting, link);
	while ((q = TAILQ_FIRST(&todo)) != NULL) {
		TAILQ_REMOVE(&todo, q, link);
		if (q->step == 0)	/* which server works is known now */
			q->first = dq->first;
		question_send(q);
		if (q->state == QUESTION_WAITING)
			break;
	}
	TAILQ_CONCAT(&dq->waiting, &todo, link);
}

static void
on_done(evutil_socket_t fd, short what, void *arg)
{
	struct dns_query *dq = arg;
	struct attempt *a;

	(void)fd;
	(void)what;
	while ((a = TAILQ_FIRST(&dq->done)) != NULL) {
		TAILQ_REMOVE(&dq->done, a, link);
		if (a->question == NULL)
			attempt_free(a);
		else
			attempt_finish(a);
	}
	if (!TAILQ_EMPTY(&dq->waiting))
		waiting_send(dq);
}

/* ---- timers ---- */

static bool
carrier_tick(struct dns_carrier *c)
{
	if (c == NULL || dns_carrier_in_flight(c) == 0)
		return false;
	dns_carrier_tick(c);
	return true;
}

static void
on_tick(evutil_socket_t fd, short what, void *arg)
{
	struct dns_query *dq = arg;
	bool busy = !TAILQ_EMPTY(&dq->waiting);

	(void)fd;
	(void)what;
	for (size_t i = 0; i < dq->conf.server_count; i++) {
		busy |= carrier_tick(dq->servers[i].udp);
		busy |= carrier_tick(dq->servers[i].tcp);
	}
	for (int i = 0; i < RETIRED_MAX; i++) {
		if (carrier_tick(dq->retired[i]))
			busy = true;
		else
			dns_carrier_free(&dq->retired[i]);
	}
	if (!TAILQ_EMPTY(&dq->waiting))
		event_active(dq->on_done, EV_TIMEOUT, 0);
	if (busy)
		tick_start(dq);
}

/* ---- life ---- */

static enum status
servers_open(struct dns_query *dq, const struct dns_query_conf *conf,
	char err[CONF_ERR_MAX])
{
	for (size_t i = 0; i < conf->server_count; i++) {
		struct server *s = &dq->servers[i];

		if (dns_servers_format(&conf->servers[i], s->text) == ST_OK &&
		    carrier_get(dq, s, false) != NULL)
			continue;
		snprintf(err, CONF_ERR_MAX, "resolver \"%s\" cannot be used",
			conf->servers[i].text == NULL ? s->text :
			conf->servers[i].text);
		return ST_SYS;
	}
	return ST_OK;
}

enum status
dns_query_new(struct event_base *base, const struct dns_query_conf *conf,
	struct dns_query **out, char err[CONF_ERR_MAX])
{
	struct dns_query *dq;
	enum status st;

	if (conf->server_count == 0 || conf->server_count > DNS_SERVERS_MAX) {
		snprintf(err, CONF_ERR_MAX, "between 1 and %d resolvers are "
			"needed", DNS_SERVERS_MAX);
		return ST_PARSE;
	}
	dq = xcalloc(1, sizeof(*dq));
	dq->base = base;
	dq->conf = *conf;
	dq->conf.servers = NULL;	/* not ours to keep */
	dns_table_init(&dq->questions);
	TAILQ_INIT(&dq->waiting);
	TAILQ_INIT(&dq->held);
	TAILQ_INIT(&dq->done);
	dq->tick = evtimer_new(base, on_tick, dq);
	dq->on_done = evtimer_new(base, on_done, dq);
	if (dq->tick == NULL || dq->on_done == NULL)
		abort();	/* out of memory */
	st = servers_open(dq, conf, err);
	if (st != ST_OK)
		dns_query_free(&dq);
	*out = dq;
	return st;
}

static void
question_drop(struct question *q)
{
	struct dns_ask *ask;

	while ((ask = TAILQ_FIRST(&q->asks)) != NULL) {
		TAILQ_REMOVE(&q->asks, ask, link);
		free(ask);
	}
	question_free(q);
}

void
dns_query_free(struct dns_query **dqp)
{
	struct dns_query *dq = *dqp;
	struct attempt *a;
	struct dns_entry *e;

	if (dq == NULL)
		return;
	dq->closing = true;
	while ((e = dns_table_any(&dq->questions)) != NULL)
		question_drop((struct question *)e);
	while ((a = TAILQ_FIRST(&dq->done)) != NULL) {
		TAILQ_REMOVE(&dq->done, a, link);
		attempt_free(a);
	}
	for (size_t i = 0; i < DNS_SERVERS_MAX; i++) {
		dns_carrier_free(&dq->servers[i].udp);
		dns_carrier_free(&dq->servers[i].tcp);
	}
	for (int i = 0; i < RETIRED_MAX; i++)
		dns_carrier_free(&dq->retired[i]);
	event_free(dq->on_done);
	event_free(dq->tick);
	dns_table_clear(&dq->questions);
	mem_free(dqp);
}

struct dns_ask *
dns_query_start(struct dns_query *dq, const uint8_t *name, uint16_t type,
	dns_ask_cb *cb, void *arg)
{
	struct question *q =
		(struct question *)dns_table_find(&dq->questions, name, type);
	struct dns_ask *ask = xcalloc(1, sizeof(*ask));
	bool fresh = q == NULL;

	if (fresh) {
		q = xcalloc(1, sizeof(*q));
		q->query = dq;
		q->ede = -1;
		q->started_ms = clock_mono_ms();
		q->first = dq->first;
		q->step_count = (dq->conf.tries == 0 ? 1 : dq->conf.tries) *
			(unsigned)dq->conf.server_count;
		TAILQ_INIT(&q->asks);
		dns_table_add(&dq->questions, &q->entry, name, type);
	}
	ask->question = q;
	ask->cb = cb;
	ask->arg = arg;
	TAILQ_INSERT_TAIL(&q->asks, ask, link);
	if (fresh)
		question_send(q);
	return ask;
}

void
dns_query_cancel(struct dns_ask **askp)
{
	struct dns_ask *ask = *askp;
	struct question *q;

	if (ask == NULL)
		return;
	*askp = NULL;
	q = ask->question;
	TAILQ_REMOVE(&q->asks, ask, link);
	free(ask);
	if (TAILQ_EMPTY(&q->asks) && q->state != QUESTION_DONE)
		question_free(q);
}

void
dns_query_rotate(struct dns_query *dq)
{
	dq->first = (dq->first + 1) % dq->conf.server_count;
}

size_t
dns_query_servers(const struct dns_query *dq)
{
	return dq->conf.server_count;
}

void
dns_query_stats(const struct dns_query *dq, struct dns_query_stats *out)
{
	*out = dq->stats;
	out->in_flight = dq->questions.count;
}
