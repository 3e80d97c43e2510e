/*
 * What this system has counted and sent, for people or as JSON.
 */
#include "config.h"

#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>
#include <time.h>
#include <unistd.h>

#include "base/conf.h"
#include "base/mem.h"
#include "base/str.h"
#include "policy/tlsrpt_doc.h"
#include "smtpd-out/command/cmd_report_own.h"
#include "smtpd-out/command/control_client.h"
#include "smtpd-out/command/report_own.h"
#include "smtpd-out/mail/report_words.h"

#define ARRIVE_US 1500000	/* so long a worker may keep what it counts */
#define POLL_US 250000
#define POLLS 240		/* a minute */

struct asked {
	const char *conf_path;
	char domain[STR_DOMAIN_MAX];	/* "": all */
	int64_t day_s;			/* 0: all */
	bool json, now;
};

/* ---- the command line ---- */

static bool
parse_day(const char *text, int64_t *day_s)
{
	struct tm tm;
	const char *end;

	memset(&tm, 0, sizeof(tm));
	end = strptime(text, "%Y-%m-%d", &tm);
	if (end == NULL || *end != '\0')
		return false;
	*day_s = (int64_t)timegm(&tm);
	return *day_s > 0;
}

static bool
set_option(int opt, struct asked *a)
{
	switch (opt) {
	case 'c':
		a->conf_path = optarg;
		return true;
	case 'j':
		a->json = true;
		return true;
	case 'n':
		a->now = true;
		return true;
	case 'd':
		return str_domain(optarg, a->domain) == ST_OK;
	case 'y':
		return parse_day(optarg, &a->day_s);
	default:
		return false;
	}
}

/* words: how many of them may follow, of which the first is a domain. */
static bool
parse(int argc, char **argv, const char *allowed, int words, struct asked *a)
{
	static const struct option options[] = {
		{ "config", required_argument, NULL, 'c' },
		{ "json", no_argument, NULL, 'j' },
		{ "now", no_argument, NULL, 'n' },
		{ "domain", required_argument, NULL, 'd' },
		{ "day", required_argument, NULL, 'y' },
		{ NULL, 0, NULL, 0 },
	};
	int opt;

	memset(a, 0, sizeof(*a));
	a->conf_path = CONF_DEFAULT_FILE;
	while ((opt = getopt_long(argc, argv, "c:", options, NULL)) != -1)
		if (strchr(allowed, opt) == NULL || !set_option(opt, a))
			return false;
	if (argc - optind != words)
		return false;
	return words == 0 || str_domain(argv[optind], a->domain) == ST_OK;
}

static int
usage(const char *text)
{
	(void)fprintf(stderr, "usage: smtpd-out report %s\n", text);
	return EX_USAGE;
}

/* ---- JSON ---- */

static void
set(json_t *o, const char *key, json_t *value)
{
	(void)json_object_set_new(o, key, value);
}

static json_t *
targets_json(const struct report_own *own)
{
	json_t *all = json_array();

	for (size_t i = 0; i < own->target_count; i++) {
		const struct report_target *t = &own->targets[i];

		(void)json_array_append_new(all, json_pack("{s:s, s:s, s:I, "
			"s:s}", "to", t->to, "state", t->state, "tries",
			(json_int_t)t->tries, "note", t->note));
	}
	return all;
}

/* As it is sent. */
static json_t *
document_json(const struct tlsrpt_report *r)
{
	json_t *o = NULL;
	struct buf text;

	buf_init(&text, TLSRPT_DOC_MAX);
	if (tlsrpt_doc_format(r, &text) == ST_OK)
		o = json_loadb((const char *)buf_data(&text), text.len, 0,
			NULL);
	buf_clear(&text);
	return o != NULL ? o : json_null();
}

/* The document has no place for our sentences (additional-information is a URI
 * in RFC 8460 4.4), nor for what to do. */
static json_t *
failure_json(const struct tlsrpt_result *result,
	const struct tlsrpt_failure *f)
{
	char cure[REPORT_CURE_MAX];

	report_cure(f, result->policy.domain, cure);
	return json_pack("{s:s, s:s?, s:s, s:I, s:s?, s:s?, s:s?, s:s, s:s}",
		"policy-type", tlsrpt_policy_type_name(result->policy.type),
		"policy-domain", result->policy.domain, "result-type",
		report_failure_name(f), "failed", (json_int_t)f->count,
		"host", f->mx_host, "reason", f->reason, "information",
		f->info, "meaning", tls_failure_meaning(f->result), "remedy",
		cure);
}

static json_t *
failures_json(const struct tlsrpt_report *r)
{
	json_t *all = json_array();

	for (size_t i = 0; i < r->result_count; i++)
		for (size_t j = 0; j < r->results[i].failure_count; j++)
			(void)json_array_append_new(all, failure_json(
				&r->results[i], &r->results[i].failures[j]));
	return all;
}

static json_t *
own_json(const struct report_own *own)
{
	json_t *o = json_object(), *sessions = json_object();
	const struct tlsrpt_report *r = &own->report;
	char day[REPORT_DAY_MAX];

	report_day_text(own->day_s, day);
	set(o, "domain", json_string(r->domain));
	set(o, "day", json_string(day));
	set(o, "part", json_integer((json_int_t)own->part));
	set(o, "state", json_string(own->state));
	set(o, "due", json_integer((json_int_t)own->due_s));
	set(o, "note", json_string(own->note));
	set(o, "successful", json_integer((json_int_t)
		tlsrpt_report_successes(r)));
	set(o, "failed", json_integer((json_int_t)
		tlsrpt_report_failures(r)));
	for (unsigned i = TLSRPT_ENDED_NONE + 1; i < TLSRPT_ENDED_COUNT; i++)
		set(sessions, tlsrpt_ended_name((enum tlsrpt_ended)i),
			json_integer((json_int_t)r->sessions[i]));
	set(o, "sessions", sessions);
	set(o, "targets", targets_json(own));
	set(o, "failures", failures_json(r));
	set(o, "report", document_json(r));
	return o;
}

static void
print_json(const struct report_own_set *s)
{
	json_t *all = json_object(), *list = json_array();
	char *text;

	for (size_t i = 0; i < s->count; i++)
		(void)json_array_append_new(list, own_json(&s->items[i]));
	set(all, "reports", list);
	set(all, "not_counted", json_integer((json_int_t)s->overflow));
	text = json_dumps(all, JSON_COMPACT);
	(void)printf("%s\n", text != NULL ? text : "{}");
	free(text);
	json_decref(all);
}

/* ---- for people ---- */

static void
print_state(const struct report_own *own)
{
	char due[40];

	str_date(own->due_s, due);
	if (strcmp(own->state, "done") != 0)
		(void)printf("  %s, next step %s\n", own->state, due);
	if (own->note[0] != '\0')
		(void)printf("  %s\n", own->note);
	for (size_t i = 0; i < own->target_count; i++) {
		const struct report_target *t = &own->targets[i];

		(void)printf("  %s: %s%s%s\n", t->to, t->state,
			t->note[0] != '\0' ? ": " : "", t->note);
	}
}

static void
print_head(void)
{
	(void)printf("%-10s %-28s %7s %9s %6s %6s  %s\n", "day", "domain",
		"secured", "encrypted", "clear", "failed", "report");
}

static void
print_row(const struct report_own *own)
{
	const uint64_t *n = own->report.sessions;
	char day[REPORT_DAY_MAX];

	report_day_text(own->day_s, day);
	(void)printf("%-10s %-28s %7" PRIu64 " %9" PRIu64 " %6" PRIu64
		" %6" PRIu64 "  %s\n", day,
		own->report.domain, n[TLSRPT_ENDED_SECURED],
		n[TLSRPT_ENDED_ENCRYPTED], n[TLSRPT_ENDED_CLEAR],
		n[TLSRPT_ENDED_FAILED], own->state);
}

/* In words, with the line ends of a terminal. */
static void
print_words(const struct tlsrpt_report *r)
{
	struct sink text;
	const char *p;

	sink_init(&text, 1U << 20);
	report_words_results(r, &text);
	p = (const char *)buf_data(&text.buf);
	for (size_t i = 0; i < text.buf.len; i++)
		if (p[i] != '\r')
			(void)putchar(p[i]);
	sink_clear(&text);
}

static int
get(const struct asked *a, int64_t ticket, struct report_own_set *out)
{
	char *control = control_client_find(a->conf_path);
	const struct report_own_query query = {
		.control = control,
		.domain = a->domain[0] != '\0' ? a->domain : NULL,
		.from_s = a->day_s, .to_s = a->day_s, .ticket = ticket,
	};
	int status = control == NULL ? EX_CONFIG :
		report_own_get(&query, out);

	free(control);
	return status;
}

int
cmd_report_list(int argc, char **argv)
{
	struct report_own_set s = { 0 };
	struct asked a;
	int status;

	if (!parse(argc, argv, "cjdy", 0, &a))
		return usage("list [-c FILE] [--json] [--day YYYY-MM-DD] "
			"[--domain DOMAIN]");
	status = get(&a, 0, &s);
	if (status == EX_OK && a.json)
		print_json(&s);
	if (!a.json && s.count > 0)
		print_head();
	for (size_t i = 0; !a.json && i < s.count; i++)
		print_row(&s.items[i]);
	if (status == EX_OK && !a.json && s.count == 0)
		(void)printf("Nothing was counted.\n");
	if (s.overflow > 0 && !a.json)
		(void)printf("%" PRIu64 " results found no place (tlsrpt "
			"max-domains).\n", s.overflow);
	report_own_clear(&s);
	return status;
}

int
cmd_report_show(int argc, char **argv)
{
	struct report_own_set s = { 0 };
	struct asked a;
	int status;

	if (!parse(argc, argv, "cjy", 1, &a))
		return usage("show [-c FILE] [--json] [--day YYYY-MM-DD] "
			"DOMAIN");
	status = get(&a, 0, &s);
	if (status == EX_OK && s.count == 0) {
		(void)fprintf(stderr, "smtpd-out: nothing was counted of "
			"%s\n", a.domain);
		status = EX_UNAVAILABLE;
	}
	if (status == EX_OK && a.json)
		print_json(&s);
	for (size_t i = 0; !a.json && i < s.count; i++) {
		if (i > 0)
			(void)printf("\n");
		print_head();
		print_row(&s.items[i]);
		print_state(&s.items[i]);
		(void)printf("\n");
		print_words(&s.items[i].report);
	}
	report_own_clear(&s);
	return status;
}

/* ---- send ---- */

/* True when each of them has had a try. */
static bool
all_tried(const struct report_own_set *s)
{
	for (size_t i = 0; i < s->count; i++) {
		const struct report_own *own = &s->items[i];

		if (strcmp(own->state, "open") == 0 && own->tries == 0)
			return false;
		for (size_t n = 0; n < own->target_count; n++)
			if (strcmp(own->targets[n].state, "waiting") == 0 &&
			    own->targets[n].tries == 0)
				return false;
	}
	return true;
}

static bool
all_done(const struct report_own_set *s)
{
	for (size_t i = 0; i < s->count; i++)
		if (strcmp(s->items[i].state, "done") != 0)
			return false;
	return true;
}

static int
ask_send(const struct asked *a, int64_t *ticket, int64_t *count)
{
	json_t *end = NULL, *request = json_pack("{s:s, s:b}", "cmd",
		"report-send", "today", a->now);
	char *control = control_client_find(a->conf_path);
	int status = EX_CONFIG;

	if (a->domain[0] != '\0')
		set(request, "domain", json_string(a->domain));
	if (control != NULL)
		status = control_client_ask(control, request, NULL, NULL,
			&end);
	*ticket = json_integer_value(json_object_get(end, "ticket"));
	*count = json_integer_value(json_object_get(end, "count"));
	json_decref(end);
	json_decref(request);
	free(control);
	return status;
}

static int
wait_for(const struct asked *a, int64_t ticket, struct report_own_set *s)
{
	int status = EX_OK;

	for (int i = 0; i < POLLS; i++) {
		report_own_clear(s);
		status = get(a, ticket, s);
		if (status != EX_OK || all_tried(s))
			break;
		(void)usleep(POLL_US);
	}
	return status;
}

int
cmd_report_send(int argc, char **argv)
{
	struct report_own_set s = { 0 };
	int64_t ticket = 0, count = 0;
	struct asked a;
	int status;

	if (!parse(argc, argv, "cjdn", 0, &a))
		return usage("send [-c FILE] [--json] [--domain DOMAIN] "
			"[--now]");
	if (a.now)
		(void)usleep(ARRIVE_US);
	status = ask_send(&a, &ticket, &count);
	if (status == EX_OK && count > 0)
		status = wait_for(&a, ticket, &s);
	if (status == EX_OK && a.json)
		print_json(&s);
	if (status == EX_OK && !a.json && count == 0)
		(void)printf("Nothing is to be sent.\n");
	for (size_t i = 0; !a.json && i < s.count; i++) {
		print_row(&s.items[i]);
		print_state(&s.items[i]);
	}
	if (status == EX_OK && !all_done(&s))
		status = EX_TEMPFAIL;
	report_own_clear(&s);
	return status;
}
