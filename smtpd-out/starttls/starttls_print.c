/*
 * A report on a service, printed in two ways.
 */
#include "config.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "smtpd-out/check/check_json.h"
#include "smtpd-out/check/check_words.h"
#include "smtpd-out/starttls/starttls_print.h"

#define LINE_BYTES_MAX 65536
#define DATA_SHOWN 16		/* bytes of a TLSA record, unless verbose */

/* What to do next. */
static const char *const advice[] = {
	[STARTTLS_OPEN] = "",
	[STARTTLS_OK] = "",
	[STARTTLS_UNREACHABLE] = "see that the service runs, "
		"and that nothing on the way blocks its port",
	[STARTTLS_TIMEOUT] = "see why the server does not "
		"answer",
	[STARTTLS_CLOSED] = "see in the server's log why it "
		"ended the connection",
	[STARTTLS_TURNED_AWAY] = "see in the server's log why "
		"it turned us away",
	[STARTTLS_GARBAGE] = "see that port and protocol fit; "
		"with TLS from the first octet the protocol is none",
	[STARTTLS_ABSENT] = "switch TLS on; if it is on, look "
		"from elsewhere",
	[STARTTLS_REFUSED] = "see in the server's log why it "
		"cannot do TLS: often a certificate or key that it cannot read",
	[STARTTLS_STRIPPED] = "look from elsewhere: a firewall "
		"that inspects the protocol, or an attacker",
	[STARTTLS_INJECTED] = "look from elsewhere: the server "
		"or something on the way mixes clear text into TLS",
	[STARTTLS_FAILED] = "see in the server's log why the "
		"handshake failed",
	[STARTTLS_UNVERIFIED] = "give the server a certificate "
		"that fits, or publish what fits the certificate",
	[STARTTLS_NO_TLSA] = "publish a TLSA record \"3 1 1\" "
		"in a signed zone",
	[STARTTLS_DNS] = "see why the DNS gives no answer that "
		"can be relied on: smtpd-out check --dns",
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

struct page {
	const struct check_style *style;
	struct buf *out;
	struct buf line;		/* the row that is being put together */
};

static void
row(struct page *p, const char *label, const char *text)
{
	if (text[0] != '\0')
		check_text_row(label, text, p->style, p->out);
}

/* The line that has been put together. */
static void
end_row(struct page *p, const char *label)
{
	if (p->line.len > 0 && buf_put(&p->line, "", 1) == ST_OK)
		row(p, label, (const char *)buf_data(&p->line));
	buf_clear(&p->line);
}

static void
say_words(struct page *p, const char *label, const struct starttls_list *l)
{
	if (!l->asked)
		return;
	if (l->refused || l->count == 0)
		(void)!buf_puts(&p->line, l->refused ? "the server does not "
			"know the question" : "nothing");
	for (size_t i = 0; i < l->count; i++)
		(void)!buf_printf(&p->line, "%s%s", i > 0 ? ", " : "",
			l->words[i]);
	if (l->total > l->count)
		(void)!buf_printf(&p->line, " and %zu more", l->total -
			l->count);
	end_row(p, label);
}

/* The words of one list that the other lacks. */
static void
say_difference(struct page *p, const char *label,
	const struct starttls_list *of, const struct starttls_list *without)
{
	if (!of->asked || !without->asked || of->refused || without->refused)
		return;
	for (size_t i = 0; i < of->count; i++)
		if (!starttls_list_has(without, of->words[i]))
			(void)!buf_printf(&p->line, "%s%s", p->line.len > 0 ?
				", " : "", of->words[i]);
	end_row(p, label);
}

static void
say_place(struct page *p, const struct starttls_place *place)
{
	if (place->srv) {
		(void)!buf_printf(&p->line, "%s:%u  %s", place->server[0] ==
			'\0' ? "." : place->server, place->port,
			dns_security_name(place->srv_security));
		end_row(p, "SRV");
	}
	if (place->addr_count > 0 && !place->literal && place->path[0] ==
	    '\0') {
		(void)!buf_printf(&p->line, "%zu of %s  %s",
			place->addr_count, place->server,
			dns_security_name(place->security));
		end_row(p, "addresses");
	}
	if (strcmp(place->canonical, place->server) != 0)
		row(p, "alias of", place->canonical);
}

static const char *
fit_text(int matched)
{
	if (matched == -1)
		return ", fits no certificate of the chain";
	return matched < 0 ? "" : matched == 0 ? ", fits the certificate" :
		", fits the chain";
}

static void
say_tlsa(struct page *p, const struct starttls_place *place)
{
	for (size_t i = 0; i < place->tlsa_count; i++) {
		const struct starttls_tlsa *t = &place->tlsa[i];
		size_t len = !p->style->verbose && t->len > DATA_SHOWN ?
			DATA_SHOWN : t->len;
		char *data = check_hex(t->data, len);

		if (i == 0)
			row(p, "TLSA", place->tlsa_name);
		(void)!buf_printf(&p->line, "%u %u %u %s%s  %s%s", t->usage,
			t->selector, t->matching, data, len < t->len ? "..." :
			"", t->fault == DANE_USABLE ? "usable" :
			dane_fault_text(t->fault), fit_text(t->matched));
		end_row(p, "");
		free(data);
	}
}

static void
say_facts(struct page *p, const struct starttls_report *r)
{
	const struct starttls_facts *f = r->facts;

	row(p, "connected", r->ip);
	row(p, "greeting", f->greeting);
	say_words(p, "offers", &f->before);
	row(p, "answer", f->answer);
	if (r->cert != NULL)
		check_text_tls(r->cert, r->now_s, p->style, p->out);
	say_words(p, "under TLS", &f->after);
	say_difference(p, "  new", &f->after, &f->before);
	say_difference(p, "  gone", &f->before, &f->after);
	for (size_t i = 0; i < f->note_count; i++)
		row(p, "note", f->notes[i]);
}

static void
say_times(struct page *p, const struct starttls_report *r)
{
	if (r->connect_ms >= 0)
		(void)!buf_printf(&p->line, "connect %lld ms, ",
			(long long)r->connect_ms);
	if (r->tls_ms >= 0)
		(void)!buf_printf(&p->line, "TLS %lld ms, ",
			(long long)r->tls_ms);
	(void)!buf_printf(&p->line, "in all %lld ms", (long long)r->total_ms);
	end_row(p, "times");
}

void
starttls_text(const struct starttls_report *r,
	const struct check_style *style, struct buf *out)
{
	const char *bold = style->colour ? "\033[1m" : "";
	const char *colour = !style->colour ? "" : r->result == STARTTLS_OK ?
		"\033[32m" : "\033[31m";
	const char *plain = style->colour ? "\033[0m" : "";
	struct page p = { .style = style, .out = out };

	buf_init(&p.line, LINE_BYTES_MAX);
	(void)!buf_printf(out, "%s%s%s (%s): %s%s%s\n", bold,
		r->request->text, plain, r->request->row->name, colour,
		starttls_result_name(r->result), plain);
	row(&p, "verdict", sentence(r));
	row(&p, "next", advice[r->result]);
	row(&p, "resolver", r->resolver);
	say_place(&p, &r->place);
	say_tlsa(&p, &r->place);
	if (r->facts != NULL)
		say_facts(&p, r);
	say_times(&p, r);
}

/* ---- for programs ---- */

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
		(void)json_array_append_new(a, jtext(l->words[i]));
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
			jtext(dane_fault_text(t->fault)), "matches",
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
		(void)json_array_append_new(a, jtext(f->notes[i]));
	return a;
}

static json_t *
srv(const struct starttls_place *p)
{
	return !p->srv ? json_null() : json_pack("{s:o, s:i, s:s}", "target",
		jtext(p->server), "port", (int)p->port, "dnssec",
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
		"target", jtext(r->request->text),
		"protocol", r->request->row->name,
		"verdict", starttls_result_name(r->result),
		"verified", r->verified && r->result == STARTTLS_OK,
		"reason", jtext(sentence(r)),
		"next", jtext_or_null(advice[r->result]),
		"resolver", jtext_or_null(r->resolver),
		"host", jtext(p->server),
		"port", (int)p->port,
		"srv", srv(p),
		"dnssec", dns_security_name(p->security),
		"ip", jtext_or_null(r->ip),
		"stage", f == NULL ? json_null() :
		jtext(starttls_stage_name(f->stage)),
		"greeting", f == NULL ? json_null() : jtext_or_null(
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
