/*
 * One lookup, explained: the state of the resolver, the answer, each CNAME
 * on the way with its own status, and what is known of each zone from the
 * root down to every name that took part.
 */
#include "config.h"

#include <arpa/inet.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>

#include <event2/event.h>

#include "base/buf.h"
#include "base/mem.h"
#include "base/str.h"
#include "resolver/resolver.h"
#include "smtpd-out/check/check_dns.h"

#define LINKS_MAX 16
#define RECORD_TEXT_MAX 4096
#define ZONE_TEXT_MAX 400

struct look {
	struct event_base *base;
	struct resolver *resolver;
	struct dns_answer *answer;	/* the last one asked for */
	enum resolver_state state;
	char sentence[256];
	json_t *out;
	bool json;
};

/* ---- asking, one thing at a time ---------------------------------- */

static void
on_answer(struct dns_answer *a, void *arg)
{
	struct look *l = arg;

	l->answer = a;
	event_base_loopbreak(l->base);
}

static struct dns_answer *
ask(struct look *l, const char *name, uint16_t type)
{
	struct dns_request *rq = resolver_start(l->resolver, name, type,
		on_answer, l);

	l->answer = NULL;
	event_base_dispatch(l->base);
	if (l->answer == NULL)
		resolver_cancel(&rq);
	return l->answer;
}

static void
on_state(enum resolver_state state, const char *sentence, void *arg)
{
	struct look *l = arg;

	l->state = state;
	(void)str_copy(l->sentence, sizeof(l->sentence), sentence);
	event_base_loopbreak(l->base);
}

/* ---- records as text ----------------------------------------------- */

static void
put_hex(struct buf *b, const uint8_t *data, size_t len)
{
	for (size_t i = 0; i < len; i++)
		if (buf_printf(b, "%02x", data[i]) != ST_OK)
			return;		/* cut, as only people read it */
}

static void
put_txt(struct buf *b, const struct dns_bytes *txt)
{
	char text[1024];

	str_sanitise(text, sizeof(text), (const char *)txt->data, txt->len);
	(void)!buf_printf(b, "\"%s\"", text);
}

static void
put_record(struct buf *b, uint16_t type, const struct dns_record *r)
{
	char text[INET6_ADDRSTRLEN];

	switch (type) {
	case DNS_TYPE_A:
		(void)!buf_puts(b, inet_ntop(AF_INET, &r->u.a, text,
			sizeof(text)));
		return;
	case DNS_TYPE_AAAA:
		(void)!buf_puts(b, inet_ntop(AF_INET6, &r->u.aaaa, text,
			sizeof(text)));
		return;
	case DNS_TYPE_MX:
		(void)!buf_printf(b, "%u %s.", r->u.mx.preference,
			r->u.mx.host);
		return;
	case DNS_TYPE_TXT:
		put_txt(b, &r->u.txt);
		return;
	case DNS_TYPE_TLSA:
		(void)!buf_printf(b, "%u %u %u ", r->u.tlsa.usage,
			r->u.tlsa.selector, r->u.tlsa.matching);
		put_hex(b, r->u.tlsa.data, r->u.tlsa.len);
		return;
	case DNS_TYPE_CNAME:
	case DNS_TYPE_DNAME:
	case DNS_TYPE_NS:
	case DNS_TYPE_PTR:
		(void)!buf_printf(b, "%s.", r->u.name);
		return;
	default:	/* RFC 3597 5 */
		(void)!buf_printf(b, "\\# %zu ", r->u.raw.len);
		put_hex(b, r->u.raw.data, r->u.raw.len);
	}
}

static char *
record_text(uint16_t type, const struct dns_record *r)
{
	struct buf b;
	char *text;

	buf_init(&b, RECORD_TEXT_MAX);
	put_record(&b, type, r);
	text = xstrndup((const char *)buf_data(&b), b.len);
	buf_clear(&b);
	return text;
}

/* ---- saying -------------------------------------------------------- */

static const char *
shown(const char *name)
{
	return *name == '\0' ? "." : name;
}

static void
say_answer(struct look *l, const struct dns_answer *a)
{
	json_t *records = json_array();

	if (!l->json)
		(void)printf("%s %s: %s, %s\n", shown(a->name),
			dns_type_name(a->type), dns_result_name(a->result),
			dns_security_name(a->security));
	for (size_t i = 0; i < a->count; i++) {
		char *text = record_text(a->type, &a->records[i]);

		if (l->json)
			json_array_append_new(records, json_string(text));
		else
			(void)printf("  %s\n", text);
		free(text);
	}
	if (!l->json && a->why != NULL)
		(void)printf("reason: %s\n", a->why);
	if (!l->json && a->ede >= 0)
		(void)printf("extended error: %d\n", a->ede);
	if (!l->json && a->result != DNS_LATER)
		(void)printf("ttl: %u\n", (unsigned)a->ttl_s);
	(void)json_object_update_new(l->out, json_pack(
		"{s:s, s:s, s:s, s:s, s:s, s:s, s:i, s:s?, s:o}",
		"name", shown(a->name), "type", dns_type_name(a->type),
		"result", dns_result_name(a->result),
		"security", dns_security_name(a->security),
		"chain_security", dns_security_name(a->chain_security),
		"canonical", shown(a->canonical), "ttl", (int)a->ttl_s,
		"why", a->why, "records", records));
	if (a->ede >= 0)
		(void)json_object_set_new(l->out, "ede",
			json_integer(a->ede));
}

static bool
zone_seen(const struct look *l, const char *name)
{
	size_t i;
	json_t *z;

	json_array_foreach(json_object_get(l->out, "zones"), i, z)
		if (strcmp(json_string_value(json_object_get(z, "name")),
		    shown(name)) == 0)
			return true;
	return false;
}

/* The names from the root down to this one, as far as they were looked at. */
static void
say_zones(struct look *l, const char *name)
{
	char text[ZONE_TEXT_MAX];
	const char *dot = strchr(name, '.');

	if (*name != '\0')
		say_zones(l, dot == NULL ? "" : dot + 1);
	if (zone_seen(l, name) || !resolver_explain(l->resolver, name, text,
	    sizeof(text)))
		return;
	if (!l->json)
		(void)printf("  %-24s %s\n", shown(name), text);
	(void)json_array_append_new(json_object_get(l->out, "zones"),
		json_pack("{s:s, s:s}", "name", shown(name), "status", text));
}

static void
say_link(struct look *l, const struct dns_answer *a)
{
	const char *target = a->records[0].u.name;
	bool first = json_array_size(json_object_get(l->out, "links")) == 0;

	if (!l->json)
		(void)printf("%s  %s CNAME %s: %s\n", first ? "links:\n" : "",
			a->name, target, dns_security_name(a->security));
	(void)json_array_append_new(json_object_get(l->out, "links"),
		json_pack("{s:s, s:s, s:s, s:s?}", "name", a->name,
			"target", target, "security",
			dns_security_name(a->security), "why", a->why));
}

/* Each CNAME is asked for by itself; a DNAME answers with what it makes. */
static void
say_links(struct look *l, const struct dns_answer *first)
{
	char *name = xstrdup(first->name);

	for (int i = 0; i < LINKS_MAX &&
	    strcmp(name, first->canonical) != 0; i++) {
		struct dns_answer *a = ask(l, name, DNS_TYPE_CNAME);

		if (a == NULL || a->result != DNS_FOUND) {
			dns_answer_free(&a);
			break;
		}
		say_link(l, a);
		mem_free(&name);
		name = xstrdup(a->records[0].u.name);
		dns_answer_free(&a);
	}
	mem_free(&name);
}

static void
say_state(struct look *l)
{
	if (!l->json)
		(void)printf("resolver: %s\n", l->sentence);
	(void)json_object_set_new(l->out, "resolver", json_pack("{s:s, s:s}",
		"state", resolver_state_name(l->state), "sentence",
		l->sentence));
}

static int
run(struct look *l, const char *name, uint16_t type)
{
	struct dns_answer *a;
	size_t i;
	json_t *link;
	int code;

	resolver_probe(l->resolver, on_state, l);
	event_base_dispatch(l->base);
	say_state(l);
	a = ask(l, name, type);
	if (a == NULL)
		return EX_SOFTWARE;
	say_answer(l, a);
	say_links(l, a);
	if (!l->json && l->state != RESOLVER_OFF &&
	    l->state != RESOLVER_TRUSTING)
		(void)printf("zones:\n");
	say_zones(l, a->name);
	json_array_foreach(json_object_get(l->out, "links"), i, link)
		say_zones(l, json_string_value(json_object_get(link,
			"target")));
	say_zones(l, a->canonical);
	if (l->json && json_dumpf(l->out, stdout, JSON_COMPACT) == 0)
		(void)printf("\n");
	code = a->result == DNS_LATER ? EX_TEMPFAIL : EX_OK;
	dns_answer_free(&a);
	return code;
}

int
check_dns(const struct conf_resolver *conf, const char *name, uint16_t type,
	bool json)
{
	struct look l = { .json = json };
	char err[CONF_ERR_MAX] = "";
	int code = EX_CONFIG;

	l.base = event_base_new();
	if (l.base == NULL)
		return EX_OSERR;
	l.out = json_pack("{s:[], s:[]}", "links", "zones");
	if (resolver_new(l.base, conf, &l.resolver, err) == ST_OK)
		code = run(&l, name, type);
	else
		(void)fprintf(stderr, "smtpd-out: %s\n", err);
	resolver_free(&l.resolver);
	json_decref(l.out);
	event_base_free(l.base);
	return code;
}
