/*
 * Lookups for the look at a service, one by one.
 */
#include "config.h"

#include <arpa/inet.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>

#include "base/mem.h"
#include "smtpd-out/starttls/starttls_find.h"

#define SRV_TYPE 33

struct ask {
	struct event_base *base;
	struct dns_answer *answer;
};

static void
on_answer(struct dns_answer *answer, void *arg)
{
	struct ask *q = arg;

	q->answer = answer;
	(void)event_base_loopbreak(q->base);
}

static struct dns_answer *
ask(const struct starttls_finder *f, const char *name, uint16_t type)
{
	struct ask q = { .base = f->base };
	struct dns_request *rq = resolver_start(f->resolver, name, type,
		on_answer, &q);

	while (q.answer == NULL && event_base_dispatch(f->base) == 0)
		;
	if (q.answer == NULL)
		resolver_cancel(&rq);
	return q.answer;
}

static void __attribute__((format(printf, 3, 4)))
stop(struct starttls_place *p, enum starttls_result result, const char *fmt,
	...)
{
	va_list ap;

	p->result = result;
	va_start(ap, fmt);
	(void)vsnprintf(p->text, sizeof(p->text), fmt, ap);
	va_end(ap);
}

/* ---- what was asked for ---- */

static bool
parse_port(const char *text, uint16_t *port_out)
{
	char *end;
	unsigned long n = strtoul(text, &end, 10);

	if (text[0] < '0' || text[0] > '9' || *end != '\0' || n < 1 ||
	    n > 65535)
		return false;
	*port_out = (uint16_t)n;
	return true;
}

static bool
is_literal(const char *text)
{
	struct in6_addr any;

	return inet_pton(AF_INET, text, &any) == 1 ||
		inet_pton(AF_INET6, text, &any) == 1;
}

static enum status
take_host(const char *host, struct starttls_place *p)
{
	p->literal = is_literal(host);
	if (p->literal)
		return str_copy(p->domain, sizeof(p->domain), host) ? ST_OK :
			ST_PARSE;
	return str_domain(host, p->domain);
}

enum status
starttls_place_parse(const char *text, struct starttls_place *p)
{
	char host[STR_DOMAIN_MAX * 2];
	const char *port = NULL;
	size_t len = strlen(text);

	memset(p, 0, sizeof(*p));
	if (strncmp(text, "unix:", 5) == 0) {
		(void)str_copy(p->domain, sizeof(p->domain), "localhost");
		return text[5] != '\0' && str_copy(p->path, sizeof(p->path),
			text + 5) ? ST_OK : ST_PARSE;
	}
	if (text[0] == '[') {
		const char *close = strchr(++text, ']');

		if (close == NULL || (close[1] != '\0' && close[1] != ':'))
			return ST_PARSE;
		len = (size_t)(close - text);
		port = close[1] == ':' ? close + 2 : NULL;
	} else if (!is_literal(text) && strrchr(text, ':') != NULL) {
		port = strrchr(text, ':') + 1;
		len = (size_t)(port - text) - 1;
	}
	if (len >= sizeof(host) || (port != NULL && !parse_port(port,
	    &p->port)))
		return ST_PARSE;
	memcpy(host, text, len);
	host[len] = '\0';
	return take_host(host, p);
}

void
starttls_place_clear(struct starttls_place *p)
{
	for (size_t i = 0; i < p->tlsa_count; i++)
		free(p->tlsa[i].data);
	p->tlsa_count = 0;
}

/* ---- SRV ---- */

struct srv {
	uint16_t priority, weight, port;
	char target[STR_DOMAIN_MAX];
};

/* Priority, weight, port, and an uncompressed name (RFC 2782). */
static bool
read_srv(const struct dns_bytes *raw, struct srv *out)
{
	struct reader r;
	size_t at = 0, len;

	reader_init(&r, raw->data, raw->len);
	out->priority = reader_u16(&r);
	out->weight = reader_u16(&r);
	out->port = reader_u16(&r);
	while ((len = reader_u8(&r)) > 0 && len < 64) {
		if (at + len + 2 > sizeof(out->target))
			return false;
		if (at > 0)
			out->target[at++] = '.';
		while (len-- > 0)
			out->target[at++] = (char)reader_u8(&r);
	}
	out->target[at] = '\0';
	return reader_ok(&r, true) && (at == 0 || (strlen(out->target) == at
		&& str_domain(out->target, out->target) == ST_OK));
}

/* The one that a client would take first; without the dice. */
static bool
best_srv(const struct dns_answer *a, struct srv *best)
{
	struct srv one;
	bool found = false;

	for (size_t i = 0; i < a->count; i++) {
		if (!read_srv(&a->records[i].u.raw, &one))
			continue;
		if (!found || one.priority < best->priority ||
		    (one.priority == best->priority && one.weight >
		    best->weight))
			*best = one;
		found = true;
	}
	return found;
}

static void
find_srv(const struct starttls_finder *f, struct starttls_place *p)
{
	char name[STR_DOMAIN_MAX + 32];
	struct dns_answer *a;
	struct srv srv;

	(void)snprintf(name, sizeof(name), "%s.%s", f->row->srv, p->domain);
	if (!str_is_domain(name))
		return;
	a = ask(f, name, SRV_TYPE);
	if (a == NULL || a->result == DNS_LATER) {
		stop(p, STARTTLS_DNS, "no usable answer to the question for "
			"the service's SRV record: %.150s", a == NULL ||
			a->why == NULL ? "none came" : a->why);
	} else if (a->result == DNS_FOUND && best_srv(a, &srv)) {
		p->srv = true;
		p->srv_security = a->security;
		p->port = srv.port;
		(void)str_copy(p->server, sizeof(p->server), srv.target);
		if (srv.target[0] == '\0')
			stop(p, STARTTLS_ABSENT, "the domain says that it has "
				"no such service (SRV)");
	}
	dns_answer_free(&a);
}

/* ---- addresses ---- */

static void
add_address(struct starttls_place *p, int family, const void *bytes)
{
	struct session_addr *to = &p->addrs[p->addr_count];
	struct sockaddr_in *in = (struct sockaddr_in *)&to->addr;
	struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)&to->addr;

	if (p->addr_count == SESSION_ADDRS_MAX)
		return;
	memset(to, 0, sizeof(*to));
	if (family == AF_INET) {
		in->sin_family = AF_INET;
		in->sin_port = htons(p->port);
		memcpy(&in->sin_addr, bytes, 4);
		to->len = sizeof(*in);
	} else {
		in6->sin6_family = AF_INET6;
		in6->sin6_port = htons(p->port);
		memcpy(&in6->sin6_addr, bytes, 16);
		to->len = sizeof(*in6);
	}
	p->addr_count++;
}

static void
add_path(struct starttls_place *p)
{
	struct session_addr *to = &p->addrs[p->addr_count++];
	struct sockaddr_un *un = (struct sockaddr_un *)&to->addr;

	memset(to, 0, sizeof(*to));
	un->sun_family = AF_UNIX;
	(void)str_copy(un->sun_path, sizeof(un->sun_path), p->path);
	to->len = sizeof(*un);
}

static void
add_literal(struct starttls_place *p)
{
	struct in6_addr bytes;

	if (inet_pton(AF_INET, p->domain, &bytes) == 1)
		add_address(p, AF_INET, &bytes);
	else if (inet_pton(AF_INET6, p->domain, &bytes) == 1)
		add_address(p, AF_INET6, &bytes);
}

/* What is known of the addresses: enough of dns_answer for TLSA. */
struct addresses {
	enum dns_security chain;
	bool later, insecure;
	char why[160];
};

static void
find_family(const struct starttls_finder *f, struct starttls_place *p,
	uint16_t type, struct addresses *all)
{
	struct dns_answer *a = ask(f, p->server, type);

	if (a == NULL || a->result == DNS_LATER) {
		all->later = true;
		(void)str_copy(all->why, sizeof(all->why), a == NULL ||
			a->why == NULL ? "none came" : a->why);
	} else if (a->result == DNS_FOUND) {
		all->insecure = all->insecure || a->security !=
			DNS_SEC_SECURE;
		all->chain = a->chain_security;
		p->security = all->insecure ? a->security == DNS_SEC_SECURE ?
			p->security : a->security : DNS_SEC_SECURE;
		(void)str_copy(p->canonical, sizeof(p->canonical),
			a->canonical);
		for (size_t i = 0; i < a->count; i++)
			add_address(p, type == DNS_TYPE_A ? AF_INET :
				AF_INET6, &a->records[i].u);
	}
	dns_answer_free(&a);
}

static void
find_addresses(const struct starttls_finder *f, struct starttls_place *p,
	struct addresses *all)
{
	if (f->ipv6)
		find_family(f, p, DNS_TYPE_AAAA, all);
	if (f->ipv4)
		find_family(f, p, DNS_TYPE_A, all);
	if (p->addr_count == 0 || (all->later && f->want_tlsa)) {
		if (all->later)
			stop(p, STARTTLS_DNS, "no usable answer to the "
				"question for addresses of %.80s: %s",
				p->server, all->why);
		else
			stop(p, STARTTLS_UNREACHABLE, "%.200s has no address",
				p->server);
	}
}

/* ---- TLSA ---- */

/* RFC 7672 3.1.3 takes usages 0 and 1 from SMTP alone; by their form they are
 * like 2 and 3. */
static enum dane_fault
judge(const struct starttls_row *row, const struct dns_tlsa *t)
{
	struct dns_tlsa like = *t;

	if (!row->smtp && t->usage < 2)
		like.usage = (uint8_t)(t->usage + 2);
	return dane_judge(&like);
}

static void
take_tlsa(const struct starttls_finder *f, struct starttls_place *p,
	const struct dns_answer *a)
{
	for (size_t i = 0; i < a->count && i < STARTTLS_TLSA_MAX; i++) {
		const struct dns_tlsa *t = &a->records[i].u.tlsa;
		struct starttls_tlsa *to = &p->tlsa[p->tlsa_count++];

		to->usage = t->usage;
		to->selector = t->selector;
		to->matching = t->matching;
		to->len = t->len;
		to->data = xmalloc(t->len + 1);
		memcpy(to->data, t->data, t->len);
		to->fault = judge(f->row, t);
		to->matched = -2;
		p->usable += to->fault == DANE_USABLE;
	}
	if (p->usable == 0)
		stop(p, STARTTLS_NO_TLSA, "none of the TLSA records of %.180s "
			"can be used", p->tlsa_name);
}

/* False: nothing there, the next base may have some. */
static bool
try_base(const struct starttls_finder *f, struct starttls_place *p,
	const char *base)
{
	struct dns_answer *a;
	bool end = true;

	(void)snprintf(p->tlsa_name, sizeof(p->tlsa_name), "_%u._tcp.%s",
		p->port, base);
	if (!str_is_domain(p->tlsa_name))
		return false;
	a = ask(f, p->tlsa_name, DNS_TYPE_TLSA);
	if (a == NULL || a->result == DNS_LATER) {
		stop(p, STARTTLS_DNS, "no usable answer to the question for "
			"TLSA records: %.150s", a == NULL || a->why == NULL ?
			"none came" : a->why);
	} else if (a->result == DNS_FOUND && a->security ==
	    DNS_SEC_SECURE) {
		(void)str_copy(p->tlsa_base, sizeof(p->tlsa_base), base);
		take_tlsa(f, p, a);
	} else {
		end = false;
	}
	dns_answer_free(&a);
	return end;
}

static size_t
tlsa_bases(const struct starttls_finder *f, const struct starttls_place *p,
	const struct addresses *all, const char *bases[DANE_BASES_MAX])
{
	const struct dane_host host = { .name = p->server,
		.mx = DNS_SEC_SECURE, .address = p->security,
		.canonical = p->canonical, .chain = all->chain };
	bool need_cname;
	size_t count = dane_bases(&host, bases, &need_cname);
	struct dns_answer *a;

	if (!need_cname)
		return count;
	a = ask(f, p->server, DNS_TYPE_CNAME);
	if (a != NULL && a->result == DNS_FOUND && a->security ==
	    DNS_SEC_SECURE)
		bases[count++] = p->server;
	dns_answer_free(&a);
	return count;
}

static void
find_tlsa(const struct starttls_finder *f, struct starttls_place *p,
	const struct addresses *all)
{
	const char *bases[DANE_BASES_MAX];
	size_t count;

	/* RFC 7673 3.1: whoever can change the SRV record names the server. */
	if (p->srv && p->srv_security != DNS_SEC_SECURE) {
		stop(p, STARTTLS_NO_TLSA, "the SRV record is not signed, so "
			"TLSA records of %.120s do not count", p->server);
		return;
	}
	count = tlsa_bases(f, p, all, bases);
	if (count == 0) {
		stop(p, STARTTLS_NO_TLSA, "the addresses of %.120s are not "
			"signed, so TLSA records do not count", p->server);
		return;
	}
	for (size_t i = 0; i < count; i++)
		if (try_base(f, p, bases[i]))
			return;
	stop(p, STARTTLS_NO_TLSA, "there are no signed TLSA records for "
		"%.120s, port %u", p->server, p->port);
}

void
starttls_find(const struct starttls_finder *f, struct starttls_place *p)
{
	struct addresses all = { .chain = DNS_SEC_UNKNOWN };

	(void)str_copy(p->server, sizeof(p->server), p->domain);
	if (p->port == 0 && f->row->srv != NULL && !p->literal &&
	    p->path[0] == '\0')
		find_srv(f, p);
	if (p->port == 0)
		p->port = f->row->port;
	if (p->result != STARTTLS_OPEN)
		return;
	if (p->path[0] != '\0') {
		add_path(p);
	} else if (p->literal) {
		add_literal(p);
	} else {
		(void)str_copy(p->canonical, sizeof(p->canonical), p->server);
		find_addresses(f, p, &all);
		if (p->result == STARTTLS_OPEN && f->want_tlsa)
			find_tlsa(f, p, &all);
	}
}
