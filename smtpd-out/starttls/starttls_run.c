/*
 * The engine on a connection.  Each step has its time, however slowly its
 * answer drips.
 */
#include "config.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/mem.h"
#include "smtpd-out/check/check_env.h"
#include "smtpd-out/client/conn.h"
#include "smtpd-out/starttls/starttls_run.h"

#define STEP_MS 30000		/* who looks does not wait for minutes */

struct run {
	const struct conf *conf;
	struct event_base *base;
	struct resolver *resolver;
	struct tls_client *tls;
	struct conn *conn;
	struct demand *demand;
	struct starttls *engine;
	struct starttls_report *report;
	enum starttls_stage stage;	/* whose time runs */
	int64_t began_ms, tls_began_ms;
};

/* ---- time ---- */

static int64_t
step_ms(const struct run *r)
{
	const struct conf_timeout *t = &r->conf->timeout;
	int64_t ms = t->command_ms;

	if (r->stage == STARTTLS_CONNECT)
		ms = t->connect_ms;
	else if (r->stage == STARTTLS_GREETING)
		ms = t->banner_ms;
	else if (r->stage == STARTTLS_HANDSHAKE)
		ms = t->tls_ms;
	else if (r->stage == STARTTLS_END)
		ms = t->quit_ms;
	return ms < STEP_MS ? ms : STEP_MS;
}

static void
watch_time(struct run *r, enum starttls_stage stage)
{
	r->stage = stage;
	conn_deadline(r->conn, step_ms(r));
}

/* ---- what is demanded of the certificate ---- */

/* Who it should be for when nobody says: XMPP goes by the domain, the others
 * by the server (RFC 6120 13.7.2, RFC 7817). */
static const char *
own_name(const struct starttls_report *rep)
{
	const struct starttls_place *p = &rep->place;

	return strncmp(rep->request->row->name, "xmpp", 4) == 0 ? p->domain :
		p->server;
}

static void
add_tlsa(struct demand *d, const struct starttls_place *p)
{
	d->tlsa_base = xstrdup(p->tlsa_base);
	demand_add_name(d, p->tlsa_base);
	demand_add_name(d, p->server);
	if (strcmp(p->domain, p->server) != 0)
		demand_add_name(d, p->domain);
	for (size_t i = 0; i < p->tlsa_count; i++)
		if (p->tlsa[i].fault == DANE_USABLE)
			demand_add_tlsa(d, p->tlsa[i].usage,
				p->tlsa[i].selector, p->tlsa[i].matching,
				p->tlsa[i].data, p->tlsa[i].len);
}

static struct demand *
make_demand(const struct starttls_report *rep)
{
	const struct starttls_request *rq = rep->request;
	struct demand *d = demand_new(rq->dane ? DEMAND_DANE : rq->pkix !=
		NULL ? DEMAND_PKIX : DEMAND_ENCRYPT, WHY_LOCAL);

	if (rq->dane) {
		add_tlsa(d, &rep->place);
	} else if (rq->pkix != NULL) {
		demand_add_name(d, rq->pkix);
		d->sni = xstrdup(rq->pkix);
	}
	return d;
}

/* ---- the connection ---- */

static void
over(struct run *r)
{
	conn_close(r->conn);
	(void)event_base_loopbreak(r->base);
}

static void
end(struct run *r, enum starttls_result result, const char *text)
{
	starttls_end(r->engine, result, text);
	over(r);
}

static void
start_tls(struct run *r)
{
	const struct tls_params params = { .host = own_name(r->report),
		.demand = r->demand };

	r->tls_began_ms = clock_mono_ms();
	if (conn_start_tls(r->conn, r->tls, &params) == ST_OK)
		watch_time(r, STARTTLS_HANDSHAKE);
	else
		end(r, STARTTLS_INJECTED, "octets came between the go-ahead "
			"and the handshake: somebody injects commands or "
			"answers");
}

static void
follow(struct run *r, enum starttls_want want)
{
	enum starttls_stage stage = starttls_facts(r->engine)->stage;

	conn_flush(r->conn);
	if (want == STARTTLS_WANT_CLOSE)
		over(r);
	else if (want == STARTTLS_WANT_TLS)
		start_tls(r);
	else if (stage != r->stage)
		watch_time(r, stage);
}

static void
on_input(struct run *r)
{
	struct buf *in = conn_in(r->conn);
	enum starttls_want want = starttls_input(r->engine, buf_data(in),
		in->len, conn_out(r->conn));

	buf_clear(in);
	follow(r, want);
}

/* What the peer showed, whether it will do or not. */
static void
look(struct run *r)
{
	struct starttls_report *rep = r->report;
	struct starttls_place *p = &rep->place;
	const struct tls *tls = conn_tls(r->conn);
	const char *name = rep->request->pkix != NULL ? rep->request->pkix :
		own_name(rep);

	rep->tls_ms = clock_mono_ms() - r->tls_began_ms;
	if (tls == NULL)
		return;
	rep->cert = tls_report(tls, name);
	for (size_t i = 0; i < p->tlsa_count && rep->cert->count > 0; i++)
		p->tlsa[i].matched = cert_report_match(rep->cert,
			p->tlsa[i].usage, p->tlsa[i].selector,
			p->tlsa[i].matching, p->tlsa[i].data, p->tlsa[i].len);
}

static void
on_secured(struct run *r)
{
	const struct starttls_request *rq = r->report->request;
	const struct cert_report *cert;

	look(r);
	cert = r->report->cert;
	r->report->verified = rq->dane || rq->pkix != NULL;
	if (rq->pkix != NULL && (cert == NULL || cert->pkix !=
	    TLS_FAILURE_NONE)) {
		r->report->verified = false;
		r->report->failure = cert == NULL ? TLS_FAILURE_VALIDATION :
			cert->pkix;
		starttls_settle(r->engine, STARTTLS_UNVERIFIED, cert == NULL ?
			"no certificate" : cert->pkix_text);
	}
	follow(r, starttls_secured(r->engine, conn_out(r->conn)));
}

static void
on_tls_failed(struct run *r)
{
	struct starttls_report *rep = r->report;
	bool seen;

	look(r);
	seen = rep->cert != NULL && rep->cert->count > 0;
	rep->failure = conn_tls_failure(r->conn);
	end(r, seen && demand_verifies(r->demand) ? STARTTLS_UNVERIFIED :
		STARTTLS_FAILED, conn_error(r->conn));
}

static void
on_deadline(struct run *r)
{
	char text[STARTTLS_TEXT_MAX];

	(void)snprintf(text, sizeof(text), "no %s within %lld s",
		r->stage == STARTTLS_CONNECT ? "connection" :
		r->stage == STARTTLS_HANDSHAKE ? "end of the handshake" :
		"whole answer", (long long)(step_ms(r) / 1000));
	end(r, STARTTLS_TIMEOUT, text);
}

static void
on_conn(enum conn_event event, void *arg)
{
	struct run *r = arg;

	switch (event) {
	case CONN_UP:
		r->report->connect_ms = clock_mono_ms() - r->began_ms;
		(void)str_copy(r->report->ip, sizeof(r->report->ip),
			r->report->place.path[0] != '\0' ?
			r->report->place.path : conn_ip(r->conn));
		conn_watch(r->conn, true, false);
		r->stage = STARTTLS_END;	/* so that any is another */
		follow(r, starttls_begin(r->engine, conn_out(r->conn)));
		break;
	case CONN_INPUT:
		on_input(r);
		break;
	case CONN_TLS_UP:
		on_secured(r);
		break;
	case CONN_TLS_FAILED:
		on_tls_failed(r);
		break;
	case CONN_LOST:
		end(r, r->stage == STARTTLS_CONNECT ? STARTTLS_UNREACHABLE :
			STARTTLS_CLOSED, conn_error(r->conn));
		break;
	case CONN_DEADLINE:
		on_deadline(r);
		break;
	case CONN_WAKE:
	case CONN_WRITTEN:
		break;
	}
}

/* ---- beginning and end ---- */

static void
on_probe(enum resolver_state state, const char *sentence, void *arg)
{
	struct run *r = arg;

	(void)state;
	(void)str_copy(r->report->resolver, sizeof(r->report->resolver),
		sentence);
	(void)event_base_loopbreak(r->base);
}

static bool
open_parts(struct run *r, char err[CONF_ERR_MAX])
{
	const struct starttls_place *p = &r->report->place;
	bool named = !p->literal && p->path[0] == '\0';
	char tls_err[TLS_ERROR_MAX] = "";

	if (named && resolver_new(r->base, &r->conf->resolver, &r->resolver,
	    err) != ST_OK)
		return false;
	r->tls = tls_client_new(r->conf, tls_err);
	if (r->tls == NULL) {
		(void)str_copy(err, CONF_ERR_MAX, tls_err);
		return false;
	}
	return check_confine(r->conf, err);
}

static void
find(struct run *r)
{
	struct starttls_report *rep = r->report;
	const struct starttls_finder finder = { .base = r->base,
		.resolver = r->resolver, .row = rep->request->row,
		.ipv4 = r->conf->ipv4, .ipv6 = r->conf->ipv6,
		.want_tlsa = rep->request->dane };

	if (rep->request->dane && r->resolver != NULL) {
		resolver_probe(r->resolver, on_probe, r);
		(void)event_base_dispatch(r->base);
	}
	starttls_find(&finder, &rep->place);
	rep->result = rep->place.result;
	(void)str_copy(rep->text, sizeof(rep->text), rep->place.text);
}

static void
talk(struct run *r)
{
	struct starttls_report *rep = r->report;

	r->engine = starttls_new(rep->request->row, r->conf->hostname,
		rep->place.domain);
	rep->engine = r->engine;
	rep->facts = starttls_facts(r->engine);
	r->demand = make_demand(rep);
	r->conn = conn_new(r->base, on_conn, r);
	r->began_ms = clock_mono_ms();
	watch_time(r, STARTTLS_CONNECT);
	conn_connect(r->conn, rep->place.addrs, rep->place.addr_count);
	(void)event_base_dispatch(r->base);
	starttls_settle(r->engine, STARTTLS_CLOSED, "it ended");
	rep->result = rep->facts->result;
	(void)str_copy(rep->text, sizeof(rep->text), rep->facts->text);
}

enum status
starttls_run(const struct conf *conf, const struct starttls_request *rq,
	struct starttls_report *rep, char err[CONF_ERR_MAX])
{
	struct run r = { .conf = conf, .report = rep };
	int64_t began_ms = clock_mono_ms();
	enum status st = ST_DENIED;

	memset(rep, 0, sizeof(*rep));
	rep->request = rq;
	rep->now_s = clock_wall_s();
	rep->connect_ms = rep->tls_ms = -1;
	r.base = event_base_new();
	(void)str_copy(err, CONF_ERR_MAX, "not HOST, HOST:PORT or unix:PATH");
	if (r.base != NULL && starttls_place_parse(rq->text, &rep->place) ==
	    ST_OK && open_parts(&r, err)) {
		find(&r);
		if (rep->result == STARTTLS_OPEN)
			talk(&r);
		st = ST_OK;
	}
	rep->total_ms = clock_mono_ms() - began_ms;
	conn_free(&r.conn);
	demand_free(&r.demand);
	tls_client_free(&r.tls);
	resolver_free(&r.resolver);
	if (r.base != NULL)
		event_base_free(r.base);
	return st;
}

void
starttls_report_clear(struct starttls_report *rep)
{
	cert_report_free(&rep->cert);
	starttls_free(&rep->engine);
	starttls_place_clear(&rep->place);
}
