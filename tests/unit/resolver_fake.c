/*
 * The resolver's place taken.
 */
#include "config.h"

#include <arpa/inet.h>
#include <event2/event.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>

#include <cmocka.h>

#include "base/mem.h"
#include "base/str.h"
#include "tests/unit/resolver_fake.h"

#define ANSWERS_MAX 64
#define RECORDS_MAX 32

struct dns_request {
	TAILQ_ENTRY(dns_request) link;
	char name[STR_DOMAIN_MAX];
	uint16_t type;
	struct event *ev;
	resolver_cb *cb;
	void *arg;
};

static struct known {
	const char *name;
	uint16_t type;
	enum dns_result result;
	const char *records;
	bool once;
} known[ANSWERS_MAX];
static size_t known_count, asked, forgotten;
static TAILQ_HEAD(, dns_request) requests =
	TAILQ_HEAD_INITIALIZER(requests);
static struct event_base *loop;
static bool holding, at_fault;
static enum dns_security security;
static uint32_t ttl_s;

void
fake_dns_init(struct event_base *base)
{
	loop = base;
	known_count = asked = forgotten = 0;
	holding = false;
	security = DNS_SEC_UNKNOWN;
	ttl_s = 86400;
	at_fault = false;
}

void
fake_dns_at_fault(bool value)
{
	at_fault = value;
}

bool
resolver_at_fault(const struct resolver *r, const struct dns_answer *a)
{
	(void)r;
	return at_fault && a->result == DNS_LATER;
}

void
fake_dns_ttl(uint32_t seconds)
{
	ttl_s = seconds;
}

void
fake_dns_security(enum dns_security value)
{
	security = value;
}

void
fake_dns_clear(void)
{
	assert_true(TAILQ_EMPTY(&requests));
}

void
fake_dns_set(const char *name, uint16_t type, enum dns_result result,
	const char *records)
{
	struct known *k = known;

	while (k < known + known_count && (k->type != type ||
	    strcmp(k->name, name) != 0))
		k++;
	if (k == known + known_count)
		known_count++;
	assert_true(known_count <= ANSWERS_MAX);
	*k = (struct known){ name, type, result, records, false };
}

void
fake_dns_once(const char *name, uint16_t type, enum dns_result result,
	const char *records)
{
	fake_dns_set(name, type, result, records);
	for (size_t i = 0; i < known_count; i++)
		if (known[i].type == type && strcmp(known[i].name, name) == 0)
			known[i].once = true;
}

void
fake_dns_a(const char *name, const char *address)
{
	fake_dns_set(name, DNS_TYPE_A, DNS_FOUND, address);
	fake_dns_set(name, DNS_TYPE_AAAA, DNS_NODATA, NULL);
}

/* One allocation, as dns_answer_free() wants it: records, then all text. */
static struct dns_answer *
make_answer(const struct dns_request *r, const struct known *k)
{
	struct {
		struct dns_answer answer;
		struct dns_record records[RECORDS_MAX];
		char text[8192];
	} *all = xcalloc(1, sizeof(*all));
	struct dns_answer *a = &all->answer;
	char *token, *save = NULL;
	const char *between;

	(void)str_copy(all->text, 512, r->name);
	a->name = a->canonical = all->text;
	a->type = r->type;
	a->ede = -1;
	a->ttl_s = ttl_s;
	a->security = a->chain_security = security;
	a->result = k == NULL ? DNS_NXDOMAIN : k->result;
	a->silent = at_fault && a->result == DNS_LATER;
	if (a->result == DNS_LATER)
		a->why = strcpy(all->text + 512, "SERVFAIL");
	if (a->result != DNS_FOUND)
		return a;
	a->records = all->records;
	between = r->type == DNS_TYPE_TXT ? "|" : " ";
	token = strtok_r(strcpy(all->text + 600, k->records), between, &save);
	for (; token != NULL; token = strtok_r(NULL, between, &save)) {
		struct dns_record *to = &a->records[a->count++];

		assert_true(a->count <= RECORDS_MAX);
		if (r->type == DNS_TYPE_MX) {
			to->u.mx.preference = (uint16_t)atoi(token);
			token = strtok_r(NULL, " ", &save);
			to->u.mx.host = strcmp(token, ".") == 0 ?
				token + 1 : token;
		} else if (r->type == DNS_TYPE_TLSA) {
			static const uint8_t zeroes[32];

			to->u.tlsa.usage = (uint8_t)atoi(token);
			to->u.tlsa.selector = to->u.tlsa.matching = 1;
			to->u.tlsa.data = zeroes;
			to->u.tlsa.len = sizeof(zeroes);
		} else if (r->type == DNS_TYPE_TXT) {
			to->u.txt.data = (const uint8_t *)token;
			to->u.txt.len = strlen(token);
		} else {
			assert_int_equal(inet_pton(r->type == DNS_TYPE_A ?
				AF_INET : AF_INET6, token, &to->u), 1);
		}
	}
	return a;
}

static void
request_free(struct dns_request *r)
{
	TAILQ_REMOVE(&requests, r, link);
	event_free(r->ev);
	free(r);
}

static void
on_answer(evutil_socket_t fd, short what, void *arg)
{
	struct dns_request *r = arg;
	struct dns_answer *answer;
	struct known *k = NULL;
	resolver_cb *cb = r->cb;

	(void)fd;
	(void)what;
	for (size_t i = 0; i < known_count; i++)
		if (known[i].type == r->type &&
		    strcmp(known[i].name, r->name) == 0)
			k = &known[i];
	answer = make_answer(r, k);
	if (k != NULL && k->once)
		k->result = DNS_LATER;
	arg = r->arg;
	request_free(r);
	cb(answer, arg);
}

struct dns_request *
resolver_start(struct resolver *resolver, const char *name, uint16_t type,
	resolver_cb *cb, void *arg)
{
	struct dns_request *r = xcalloc(1, sizeof(*r));

	(void)resolver;
	assert_true(str_is_domain(name));	/* normalised, says the API */
	(void)str_copy(r->name, sizeof(r->name), name);
	r->type = type;
	r->cb = cb;
	r->arg = arg;
	r->ev = event_new(loop, -1, 0, on_answer, r);
	TAILQ_INSERT_TAIL(&requests, r, link);
	if (!holding)
		event_active(r->ev, EV_TIMEOUT, 0);
	asked++;
	return r;
}

void
resolver_cancel(struct dns_request **rp)
{
	if (*rp != NULL)
		request_free(*rp);
	*rp = NULL;
}

void
fake_dns_hold(bool hold)
{
	struct dns_request *r;

	holding = hold;
	if (!hold)
		TAILQ_FOREACH(r, &requests, link)
			event_active(r->ev, EV_TIMEOUT, 0);
}

size_t
fake_dns_pending(void)
{
	struct dns_request *r;
	size_t n = 0;

	TAILQ_FOREACH(r, &requests, link)
		n++;
	return n;
}

void
resolver_forget(struct resolver *resolver, const char *name, uint16_t type)
{
	(void)resolver;
	(void)type;
	assert_true(str_is_domain(name));
	forgotten++;
}

size_t
fake_dns_forgotten(void)
{
	return forgotten;
}

size_t
fake_dns_asked(void)
{
	return asked;
}
