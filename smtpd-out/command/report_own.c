/*
 * Own totals from the control socket.
 */
#include "config.h"

#include <stdlib.h>
#include <string.h>
#include <sysexits.h>

#include "base/mem.h"
#include "smtpd-out/command/control_client.h"
#include "smtpd-out/command/report_own.h"

static char *
get_text(const json_t *o, const char *key)
{
	const char *text = json_string_value(json_object_get(o, key));

	return xstrdup(text != NULL ? text : "");
}

static int64_t
get_int(const json_t *o, const char *key)
{
	return (int64_t)json_integer_value(json_object_get(o, key));
}

static int
digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static bool
get_totals(const json_t *o, struct tlsrpt_report *out)
{
	const char *hex = json_string_value(json_object_get(o, "totals"));
	size_t len = hex == NULL ? 0 : strlen(hex) / 2;
	uint8_t *bytes = xmalloc(len + 1);
	struct reader in;
	bool ok = len > 0;

	for (size_t i = 0; ok && i < len; i++) {
		int high = digit(hex[2 * i]), low = digit(hex[2 * i + 1]);

		ok = high >= 0 && low >= 0;
		bytes[i] = (uint8_t)(high * 16 + low);
	}
	reader_init(&in, bytes, len);
	ok = ok && tlsrpt_report_decode(&in, out) == ST_OK;
	free(bytes);
	return ok;
}

static void
get_targets(const json_t *list, struct report_own *own)
{
	size_t count = json_array_size(list);

	own->targets = xcalloc(count, sizeof(own->targets[0]));
	own->target_count = count;
	for (size_t i = 0; i < count; i++) {
		const json_t *o = json_array_get(list, i);
		struct report_target *t = &own->targets[i];

		t->to = get_text(o, "to");
		t->state = get_text(o, "state");
		t->note = get_text(o, "note");
		t->due_s = get_int(o, "due");
		t->tries = (unsigned)get_int(o, "tries");
	}
}

static void
on_line(const json_t *o, void *arg)
{
	struct report_own_set *set = arg;
	struct report_own own = { .day_s = get_int(o, "day"),
		.due_s = get_int(o, "due"),
		.part = (unsigned)get_int(o, "part"),
		.tries = (unsigned)get_int(o, "tries") };

	if (!get_totals(o, &own.report)) {
		char *domain = get_text(o, "domain");

		tlsrpt_report_init(&own.report, domain, own.day_s);
		free(domain);
	}
	own.state = get_text(o, "state");
	own.note = get_text(o, "note");
	get_targets(json_object_get(o, "targets"), &own);
	set->items = xrealloc_n(set->items, set->count + 1,
		sizeof(set->items[0]));
	set->items[set->count++] = own;
}

int
report_own_get(const struct report_own_query *q, struct report_own_set *set)
{
	json_t *end = NULL, *request = json_pack("{s:s, s:I, s:I}", "cmd",
		"report-list", "from", (json_int_t)q->from_s, "ticket",
		(json_int_t)q->ticket);
	int status;

	memset(set, 0, sizeof(*set));
	if (q->domain != NULL)
		(void)json_object_set_new(request, "domain",
			json_string(q->domain));
	if (q->to_s != 0)
		(void)json_object_set_new(request, "to",
			json_integer((json_int_t)q->to_s));
	status = control_client_ask(q->control, request, on_line, set, &end);
	set->overflow = (uint64_t)get_int(end, "overflow");
	json_decref(end);
	json_decref(request);
	return status;
}

void
report_own_clear(struct report_own_set *set)
{
	for (size_t i = 0; i < set->count; i++) {
		struct report_own *own = &set->items[i];

		for (size_t n = 0; n < own->target_count; n++) {
			free(own->targets[n].to);
			free(own->targets[n].state);
			free(own->targets[n].note);
		}
		free(own->targets);
		free(own->state);
		free(own->note);
		tlsrpt_report_clear(&own->report);
	}
	mem_free(&set->items);
	set->count = 0;
}

/* They come in the order of day and domain. */
struct tlsrpt_report *
report_own_days(const struct report_own_set *set, size_t *count_out)
{
	struct tlsrpt_report *days = xcalloc(set->count,
		sizeof(days[0]));
	size_t count = 0;

	for (size_t i = 0; i < set->count; i++) {
		const struct report_own *own = &set->items[i];

		if (count == 0 || days[count - 1].start_s != own->day_s ||
		    strcmp(days[count - 1].domain, own->report.domain) != 0)
			tlsrpt_report_init(&days[count++], own->report.domain,
				own->day_s);
		tlsrpt_report_merge(&days[count - 1], &own->report);
	}
	*count_out = count;
	return days;
}
