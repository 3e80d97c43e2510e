/*
 * A report on a service, printed in two ways.
 */
#include "config.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "smtpd-out/check_json.h"
#include "smtpd-out/check_words.h"
#include "smtpd-out/starttls_print.h"

#define LABEL_WIDTH 12
#define DATA_SHOWN 16		/* bytes of a TLSA record, unless verbose */

static const struct {
	const char *colour;
	const char *next;
} advice[] = {
	[STARTTLS_OPEN] = { "\033[31m", "" },
	[STARTTLS_OK] = { "\033[32m", "" },
	[STARTTLS_UNREACHABLE] = { "\033[31m", "see that the service runs, "
	    "and that nothing on the way blocks its port" },
	[STARTTLS_TIMEOUT] = { "\033[31m", "see why the server does not "
	    "answer" },
	[STARTTLS_CLOSED] = { "\033[31m", "see in the server's log why it "
	    "ended the connection" },
	[STARTTLS_TURNED_AWAY] = { "\033[31m", "see in the server's log why "
	    "it turned us away" },
	[STARTTLS_GARBAGE] = { "\033[31m", "see that port and protocol fit; "
	    "with TLS from the first octet the protocol is none" },
	[STARTTLS_ABSENT] = { "\033[31m", "switch TLS on; if it is on, look "
	    "from elsewhere" },
	[STARTTLS_REFUSED] = { "\033[31m", "see in the server's log why it "
	    "cannot do TLS: often a certificate or key that it cannot read" },
	[STARTTLS_STRIPPED] = { "\033[31m", "look from elsewhere: a firewall "
	    "that inspects the protocol, or an attacker" },
	[STARTTLS_INJECTED] = { "\033[31m", "look from elsewhere: the server "
	    "or something on the way mixes clear text into TLS" },
	[STARTTLS_FAILED] = { "\033[31m", "see in the server's log why the "
	    "handshake failed" },
	[STARTTLS_UNVERIFIED] = { "\033[31m", "give the server a certificate "
	    "that fits, or publish what fits the certificate" },
	[STARTTLS_NO_TLSA] = { "\033[31m", "publish a TLSA record \"3 1 1\" "
	    "in a signed zone" },
	[STARTTLS_DNS] = { "\033[31m", "see why the DNS gives no answer that "
	    "can be relied on: smtpd-out check --dns" },
};

/* What is to be said of a good one. */
static const char *
good_text(const struct starttls_report *r)
{
	if (!r->verified)
		return "TLS comes up; nobody demanded to verify who is there";
	if (r->request->dane && r->request->pkix != NULL)
		return "TLS comes up, and the certificate fits TLSA records "
			"and name";
	return r->request->dane ? "TLS comes up, and the certificate fits the "
		"TLSA records" : "TLS comes up, and the certificate is for "
		"that name by a known authority";
}

static const char *
sentence(const struct starttls_report *r)
{
	return r->result == STARTTLS_OK ? good_text(r) : r->text;
}

/* ---- for people ---- */

static void
row(struct buf *out, const char *label, const char *text)
{
	if (text[0] != '\0')
		(void)!buf_printf(out, "  %-*s%s\n", LABEL_WIDTH, label,
			text);
}

static void
say_words(struct buf *out, const char *label, const struct starttls_list *l)
{
	if (!l->asked)
		return;
	(void)!buf_printf(out, "  %-*s%s", LABEL_WIDTH, label, l->refused ?
		"the server does not know the question" : l->count == 0 ?
		"nothing" : "");
	for (size_t i = 0; i < l->count; i++)
		(void)!buf_printf(out, "%s%s", i > 0 ? ", " : "",
			l->words[i]);
	if (l->total > l->count)
		(void)!buf_printf(out, " and %zu more", l->total - l->count);
	(void)!buf_puts(out, "\n");
}

/* The words of one list that the other lacks. */
static void
say_difference(struct buf *out, const char *label,
	const struct starttls_list *of, const struct starttls_list *without)
{
	const char *between = "";

	if (!of->asked || !without->asked || of->refused || without->refused)
		return;
	for (size_t i = 0; i < of->count; i++) {
		if (starttls_list_has(without, of->words[i]))
			continue;
		if (*between == '\0')
			(void)!buf_printf(out, "  %-*s", LABEL_WIDTH, label);
		(void)!buf_printf(out, "%s%s", between, of->words[i]);
		between = ", ";
	}
	if (*between != '\0')
		(void)!buf_puts(out, "\n");
}

static void
say_place(struct buf *out, const struct starttls_place *p)
{
	if (p->srv)
		(void)!buf_printf(out, "  %-*s%s:%u (%s)\n", LABEL_WIDTH,
			"SRV", p->server[0] == '\0' ? "." : p->server,
			p->port, dns_security_name(p->srv_security));
	if (p->addr_count > 0 && !p->literal && p->path[0] == '\0')
		(void)!buf_printf(out, "  %-*s%zu of %s (%s)\n", LABEL_WIDTH,
			"addresses", p->addr_count, p->server,
			dns_security_name(p->security));
	if (p->canonical[0] != '\0' && strcmp(p->canonical, p->server) != 0)
		row(out, "alias of", p->canonical);
}

static void
say_tlsa(struct buf *out, const struct starttls_place *p,
	const struct check_style *style)
{
	for (size_t i = 0; i < p->tlsa_count; i++) {
		const struct starttls_tlsa *t = &p->tlsa[i];
		size_t len = !style->verbose && t->len > DATA_SHOWN ?
			DATA_SHOWN : t->len;
		char *data = check_hex(t->data, len);

		if (i == 0)
			row(out, "TLSA", p->tlsa_name);
		(void)!buf_printf(out, "  %-*s%u %u %u %s%s  %s%s\n",
			LABEL_WIDTH, "", t->usage, t->selector, t->matching,
			data, len < t->len ? "..." : "", t->fault ==
			DANE_USABLE ? "usable" : dane_fault_text(t->fault),
			t->matched >= 0 ? t->matched == 0 ?
			", fits the certificate" : ", fits the chain" :
			t->matched == -1 ?
			", fits no certificate of the chain" : "");
		free(data);
	}
}

static void
say_facts(struct buf *out, const struct starttls_report *r,
	const struct check_style *style)
{
	const struct starttls_facts *f = r->facts;

	row(out, "connected", r->ip);
	row(out, "greeting", f->greeting);
	say_words(out, "offers", &f->before);
	row(out, "answer", f->answer);
	if (r->cert != NULL)
		check_text_tls(r->cert, r->now_s, style, out);
	say_words(out, "under TLS", &f->after);
	say_difference(out, "  new", &f->after, &f->before);
	say_difference(out, "  gone", &f->before, &f->after);
	for (size_t i = 0; i < f->note_count; i++)
		row(out, "note", f->notes[i]);
}

static void
say_times(struct buf *out, const struct starttls_report *r)
{
	(void)!buf_printf(out, "  %-*s", LABEL_WIDTH, "times");
	if (r->connect_ms >= 0)
		(void)!buf_printf(out, "connect %lld ms, ",
			(long long)r->connect_ms);
	if (r->tls_ms >= 0)
		(void)!buf_printf(out, "TLS %lld ms, ", (long long)r->tls_ms);
	(void)!buf_printf(out, "in all %lld ms\n", (long long)r->total_ms);
}

void
starttls_text(const struct starttls_report *r,
	const struct check_style *style, struct buf *out)
{
	const char *colour = advice[r->result].colour;

	(void)!buf_printf(out, "%s%s (%s)%s: %s%s%s\n",
		style->colour ? "\033[1m" : "", r->request->text,
		r->request->row->name, style->colour ? "\033[0m" : "",
		style->colour ? colour : "", starttls_result_name(r->result),
		style->colour ? "\033[0m" : "");
	row(out, "verdict", sentence(r));
	row(out, "next", advice[r->result].next);
	row(out, "resolver", r->resolver);
	say_place(out, &r->place);
	say_tlsa(out, &r->place, style);
	if (r->facts != NULL)
		say_facts(out, r, style);
	say_times(out, r);
}

/* ---- for programs ---- */

static json_t *
text(const char *t)
{
	json_t *value = json_string(t);

	return value != NULL ? value : json_string("?");
}

static json_t *
text_or_null(const char *t)
{
	return t[0] == '\0' ? json_null() : text(t);
}

static json_t *
milliseconds(int64_t ms)
{
	return ms < 0 ? json_null() : json_integer((json_int_t)ms);
}

static json_t *
list(const struct starttls_facts *f, const struct starttls_list *l)
{
	json_t *a;

	if (f == NULL || !l->asked || l->refused)
		return json_null();
	a = json_array();
	for (size_t i = 0; i < l->count; i++)
		(void)json_array_append_new(a, text(l->words[i]));
	return a;
}

static json_t *
tlsa(const struct starttls_place *p)
{
	json_t *a = json_array();

	for (size_t i = 0; i < p->tlsa_count; i++) {
		const struct starttls_tlsa *t = &p->tlsa[i];
		char *data = check_hex(t->data, t->len);

		(void)json_array_append_new(a, json_pack("{s:i, s:i, s:i, "
			"s:s, s:b, s:o, s:o}", "usage", t->usage, "selector",
			t->selector, "matching", t->matching, "data", data,
			"usable", t->fault == DANE_USABLE, "why", t->fault ==
			DANE_USABLE ? json_null() :
			text(dane_fault_text(t->fault)), "matches",
			t->matched < 0 ? json_null() :
			json_integer(t->matched)));
		free(data);
	}
	return a;
}

static json_t *
notes(const struct starttls_facts *f)
{
	json_t *a = json_array();

	for (size_t i = 0; f != NULL && i < f->note_count; i++)
		(void)json_array_append_new(a, text(f->notes[i]));
	return a;
}

static json_t *
srv(const struct starttls_place *p)
{
	return !p->srv ? json_null() : json_pack("{s:o, s:i, s:s}", "target",
		text(p->server), "port", (int)p->port, "dnssec",
		dns_security_name(p->srv_security));
}

json_t *
starttls_json(const struct starttls_report *r)
{
	const struct starttls_facts *f = r->facts;
	const struct starttls_place *p = &r->place;

	return json_pack("{s:o, s:s, s:s, s:b, s:o, s:o, s:o, s:o, s:i, s:o, "
		"s:s, s:o, s:o, s:o, s:b, s:o, s:o, s:b, s:o, s:o, s:o, "
		"s:{s:o, s:o, s:o}}",
		"target", text(r->request->text),
		"protocol", r->request->row->name,
		"verdict", starttls_result_name(r->result),
		"verified", r->verified && r->result == STARTTLS_OK,
		"reason", text(sentence(r)),
		"next", text_or_null(advice[r->result].next),
		"resolver", text_or_null(r->resolver),
		"host", text(p->server),
		"port", (int)p->port,
		"srv", srv(p),
		"dnssec", dns_security_name(p->security),
		"ip", text_or_null(r->ip),
		"stage", f == NULL ? json_null() :
		text(starttls_stage_name(f->stage)),
		"greeting", f == NULL ? json_null() : text_or_null(
		f->greeting),
		"offered", f != NULL && f->offered,
		"capabilities", list(f, f == NULL ? NULL : &f->before),
		"capabilities_tls", list(f, f == NULL ? NULL : &f->after),
		"tls_active", f != NULL && f->tls,
		"tls", r->cert == NULL ? json_null() : check_json_tls(r->cert),
		"tlsa", tlsa(p),
		"notes", notes(f),
		"times_ms", "connect", milliseconds(r->connect_ms),
		"tls", milliseconds(r->tls_ms),
		"total", milliseconds(r->total_ms));
}
