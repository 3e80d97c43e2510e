/*
 * The summary as JSON.
 */
#include "config.h"

#include <jansson.h>
#include <string.h>

#include "base/str.h"
#include "smtpd-out/report/report_print.h"

static void
set_text(json_t *o, const char *key, const char *text)
{
	(void)json_object_set_new(o, key, text == NULL ? json_null() :
		json_string(text));
}

static void
set_count(json_t *o, const char *key, uint64_t n)
{
	(void)json_object_set_new(o, key, json_integer((json_int_t)n));
}

static void
set_day(json_t *o, const char *key, int64_t unix_s)
{
	char day[REPORT_DAY_MAX];

	report_day_text(unix_s, day);
	set_text(o, key, day);
}

static void
set_names(json_t *o, const char *key, const struct report_names *names)
{
	json_t *list = json_array();

	for (size_t i = 0; i < names->count; i++)
		(void)json_array_append_new(list,
			json_string(names->list[i]));
	(void)json_object_set_new(o, key, list);
}

static json_t *
totals_json(const struct report_total *list, size_t count, const char *key)
{
	json_t *array = json_array();

	for (size_t i = 0; i < count; i++) {
		json_t *o = json_object();

		set_text(o, key, list[i].name != NULL ? list[i].name :
			list[i].day);
		set_count(o, "successful", list[i].good);
		set_count(o, "failed", list[i].bad);
		set_count(o, "reports", list[i].reports);
		(void)json_array_append_new(array, o);
	}
	return array;
}

static json_t *
trouble_json(const struct report_trouble *t)
{
	json_t *o = json_object();

	set_text(o, "result-type", t->type);
	set_count(o, "failed", t->count);
	set_day(o, "first-day", t->first_s);
	set_day(o, "last-day", t->last_s);
	set_text(o, "meaning", t->meaning);
	set_text(o, "remedy", t->cure);
	set_names(o, "hosts", &t->hosts);
	set_names(o, "senders", &t->senders);
	set_names(o, "reasons", &t->reasons);
	set_names(o, "information", &t->infos);
	return o;
}

static json_t *
domain_json(const struct report_domain *d)
{
	json_t *o = json_object(), *troubles = json_array();

	set_text(o, "domain", d->name);
	set_count(o, "successful", d->good);
	set_count(o, "failed", d->bad);
	(void)json_object_set_new(o, "senders", totals_json(d->senders,
		d->sender_count, "sender"));
	(void)json_object_set_new(o, "days", totals_json(d->days,
		d->day_count, "day"));
	for (size_t i = 0; i < d->trouble_count; i++)
		(void)json_array_append_new(troubles,
			trouble_json(&d->troubles[i]));
	(void)json_object_set_new(o, "failures", troubles);
	return o;
}

static json_t *
received_json(const struct report_received *one)
{
	json_t *o = json_object();

	char source[1024];

	str_sanitise(source, sizeof(source), one->source,
		strlen(one->source));
	set_text(o, "source", source);
	set_text(o, "domain", one->report.domain);
	set_text(o, "sender", report_sender(one));
	set_text(o, "submitter", one->submitter);
	set_text(o, "contact", one->report.contact);
	set_text(o, "report-id", one->report.id);
	set_day(o, "day", one->report.start_s);
	set_count(o, "successful", tlsrpt_report_successes(&one->report));
	set_count(o, "failed", tlsrpt_report_failures(&one->report));
	return o;
}

/* Names of files may be in any encoding. */
static json_t *
fault_json(const struct report_fault *fault)
{
	json_t *o = json_object();

	char source[1024];

	str_sanitise(source, sizeof(source), fault->source,
		strlen(fault->source));
	set_text(o, "source", source);
	set_text(o, "reason", fault->why);
	return o;
}

static int
on_dump(const char *bytes, size_t count, void *arg)
{
	sink_put(arg, bytes, count);
	return 0;
}

void
report_print_json(const struct report_summary *s,
	const struct report_set *set, struct sink *out)
{
	json_t *o = json_object(), *domains = json_array();
	json_t *reports = json_array(), *faults = json_array();

	for (size_t i = 0; i < s->domain_count; i++)
		(void)json_array_append_new(domains,
			domain_json(&s->domains[i]));
	for (size_t i = 0; i < set->count; i++)
		(void)json_array_append_new(reports,
			received_json(&set->items[i]));
	for (size_t i = 0; i < set->fault_count; i++)
		(void)json_array_append_new(faults,
			fault_json(&set->faults[i]));
	set_count(o, "successful", s->good);
	set_count(o, "failed", s->bad);
	(void)json_object_set_new(o, "domains", domains);
	(void)json_object_set_new(o, "reports", reports);
	(void)json_object_set_new(o, "faults", faults);
	set_count(o, "duplicates", set->duplicates);
	(void)json_dump_callback(o, on_dump, out, JSON_COMPACT);
	sink_puts(out, "\n");
	json_decref(o);
}
