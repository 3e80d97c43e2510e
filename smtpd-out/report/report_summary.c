/*
 * Adding up.  Kinds of failure are bounded per domain, names per kind; totals
 * are exact, as far as what senders claim can be added (tlsrpt_count_add()).
 */
#include "config.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/str.h"
#include "base/table.h"
#include "smtpd-out/report/report_summary.h"

static void
name_add(struct report_names *names, const char *name)
{
	if (name == NULL || name[0] == '\0')
		return;
	for (size_t i = 0; i < names->count; i++)
		if (strcmp(names->list[i], name) == 0)
			return;
	if (names->count < REPORT_NAMES_MAX)
		names->list[names->count++] = name;
	else
		names->more++;
}

static struct report_domain *
domain_for(struct report_summary *s, const char *name)
{
	struct report_domain *d;
	uintptr_t at;

	if (s->by_name == NULL)
		s->by_name = table_new();
	at = (uintptr_t)table_get(s->by_name, name, strlen(name));
	if (at > 0)
		return &s->domains[at - 1];
	s->domains = xrealloc_n(s->domains, s->domain_count + 1,
		sizeof(s->domains[0]));
	d = &s->domains[s->domain_count++];
	memset(d, 0, sizeof(*d));
	d->name = name;
	table_put(s->by_name, name, strlen(name),
		(void *)(uintptr_t)s->domain_count);
	return d;
}

/* A day is named by its own text, a sender by a borrowed one. */
static void
total_add(struct report_total **list, size_t *count, const char *name,
	const struct report_total *more)
{
	struct report_total *t = NULL;

	for (size_t i = 0; i < *count && t == NULL; i++)
		if (strcmp(name, (*list)[i].name != NULL ? (*list)[i].name :
		    (*list)[i].day) == 0)
			t = &(*list)[i];
	if (t == NULL) {
		*list = xrealloc_n(*list, *count + 1, sizeof((*list)[0]));
		t = &(*list)[(*count)++];
		*t = *more;
		return;
	}
	tlsrpt_count_add(&t->good, more->good);
	tlsrpt_count_add(&t->bad, more->bad);
	t->reports += more->reports;
}

/* The row of that kind; beyond the bound all are one. */
static struct report_trouble *
trouble_for(struct report_domain *d, const struct tlsrpt_failure *f,
	const char *policy_domain)
{
	const char *type = report_failure_name(f);
	char cure[REPORT_CURE_MAX];
	struct report_trouble *t;

	report_cure(f, policy_domain, cure);
	for (size_t i = 0; i < d->trouble_count; i++)
		if (strcmp(d->troubles[i].type, type) == 0 &&
		    strcmp(d->troubles[i].cure, cure) == 0)
			return &d->troubles[i];
	if (d->trouble_count == REPORT_TROUBLES_MAX)
		type = "other";
	else if (d->trouble_count > REPORT_TROUBLES_MAX)
		return &d->troubles[REPORT_TROUBLES_MAX];
	d->troubles = xrealloc_n(d->troubles, d->trouble_count + 1,
		sizeof(d->troubles[0]));
	t = &d->troubles[d->trouble_count++];
	memset(t, 0, sizeof(*t));
	t->type = type;
	t->meaning = tls_failure_meaning(f->result == TLS_FAILURE_NONE ?
		TLS_FAILURE_COUNT : f->result);
	(void)str_copy(t->cure, sizeof(t->cure), cure);
	return t;
}

static void
failure_add(struct report_domain *d, const struct tlsrpt_report *r,
	const char *sender, const struct tlsrpt_result *result,
	const struct tlsrpt_failure *f)
{
	struct report_trouble *t = trouble_for(d, f, result->policy.domain);

	if (t->count == 0 || r->start_s < t->first_s)
		t->first_s = r->start_s;
	if (r->start_s > t->last_s)
		t->last_s = r->start_s;
	tlsrpt_count_add(&t->count, f->count);
	name_add(&t->hosts, f->mx_host != NULL ? f->mx_host :
		f->receiving_ip);
	name_add(&t->senders, sender);
	name_add(&t->reasons, f->reason);
	name_add(&t->infos, f->info);
}

static void
result_add(struct report_domain *d, const struct tlsrpt_report *r,
	const char *sender, const struct tlsrpt_result *result)
{
	static char untold[] = "not-specified";
	struct tlsrpt_failure rest = { .other = untold };
	uint64_t told = 0;

	for (size_t i = 0; i < result->failure_count; i++) {
		failure_add(d, r, sender, result, &result->failures[i]);
		tlsrpt_count_add(&told, result->failures[i].count);
	}
	if (told >= result->failed)
		return;
	rest.count = result->failed - told;
	failure_add(d, r, sender, result, &rest);
}

static bool
sender_is_new(struct report_summary *s, const char *sender)
{
	if (s->by_sender == NULL)
		s->by_sender = table_new();
	if (table_get(s->by_sender, sender, strlen(sender)) != NULL)
		return false;
	table_put(s->by_sender, sender, strlen(sender), s);
	return true;
}

void
report_summary_add(struct report_summary *s, const struct tlsrpt_report *r,
	const char *sender)
{
	struct report_total total = { .good = tlsrpt_report_successes(r),
		.bad = tlsrpt_report_failures(r), .reports = 1 };
	struct report_domain *d;

	s->sender_count += sender_is_new(s, sender);
	d = domain_for(s, r->domain);
	if (s->reports == 0 || r->start_s < s->first_s)
		s->first_s = r->start_s;
	if (r->start_s > s->last_s)
		s->last_s = r->start_s;
	s->reports++;
	tlsrpt_count_add(&s->good, total.good);
	tlsrpt_count_add(&s->bad, total.bad);
	tlsrpt_count_add(&d->good, total.good);
	tlsrpt_count_add(&d->bad, total.bad);
	report_day_text(r->start_s, total.day);
	total_add(&d->days, &d->day_count, total.day, &total);
	total.name = sender;
	total_add(&d->senders, &d->sender_count, sender, &total);
	for (size_t i = 0; i < r->result_count; i++)
		result_add(d, r, sender, &r->results[i]);
}

static int
by_number(uint64_t a, uint64_t b)
{
	return a < b ? 1 : a > b ? -1 : 0;
}

static int
by_bad(const void *a, const void *b)
{
	const struct report_domain *x = a, *y = b;
	int order = by_number(x->bad, y->bad);

	return order != 0 ? order : strcmp(x->name, y->name);
}

static int
by_count(const void *a, const void *b)
{
	const struct report_trouble *x = a, *y = b;
	int order = by_number(x->count, y->count);

	return order != 0 ? order : strcmp(x->type, y->type);
}

static int
by_sessions(const void *a, const void *b)
{
	const struct report_total *x = a, *y = b;
	int order = by_number(x->good + x->bad, y->good + y->bad);

	return order != 0 ? order : strcmp(x->name, y->name);
}

static int
by_day(const void *a, const void *b)
{
	const struct report_total *x = a, *y = b;

	return strcmp(x->day, y->day);
}

static void
sort(void *list, size_t count, size_t size,
	int (*order)(const void *, const void *))
{
	if (count > 1)
		qsort(list, count, size, order);
}

void
report_summary_end(struct report_summary *s)
{
	table_free(&s->by_name);
	table_free(&s->by_sender);
	for (size_t i = 0; i < s->domain_count; i++) {
		struct report_domain *d = &s->domains[i];

		sort(d->senders, d->sender_count, sizeof(d->senders[0]),
			by_sessions);
		sort(d->days, d->day_count, sizeof(d->days[0]), by_day);
		sort(d->troubles, d->trouble_count, sizeof(d->troubles[0]),
			by_count);
	}
	sort(s->domains, s->domain_count, sizeof(s->domains[0]), by_bad);
}

void
report_summary_clear(struct report_summary *s)
{
	for (size_t i = 0; i < s->domain_count; i++) {
		free(s->domains[i].troubles);
		free(s->domains[i].days);
		free(s->domains[i].senders);
	}
	free(s->domains);
	table_free(&s->by_name);
	table_free(&s->by_sender);
	*s = (struct report_summary){ 0 };
}
