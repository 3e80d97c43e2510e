/*
 * Answers `report list`, `show`, `send` and `html`: totals of days, and what
 * became of their reports.  Totals are handed on in the form of the store.
 */
#include "config.h"

#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/mem.h"
#include "base/str.h"
#include "smtpd-out/parent/control_int.h"
#include "smtpd-out/queue/queue_report.h"

#define REPORT_PAGE 10		/* with totals */
#define REPORT_NAMES_MAX 4096	/* of organization, contact, id */

static json_t *
hex_json(const uint8_t *bytes, size_t len)
{
	static const char digits[] = "0123456789abcdef";
	char *text = xmalloc(2 * len + 1);
	json_t *value;

	for (size_t i = 0; i < len; i++) {
		text[2 * i] = digits[bytes[i] >> 4];
		text[2 * i + 1] = digits[bytes[i] & 15];
	}
	value = json_stringn(text, 2 * len);
	free(text);
	return value;
}

static json_t *
targets_json(struct client *c, uint64_t row)
{
	static const char *const states[] = {
		[SPOOL_RUA_WAITING] = "waiting", [SPOOL_RUA_SENT] = "sent",
		[SPOOL_RUA_DROPPED] = "dropped",
	};
	struct spool_rua *list = xcalloc(TLSRPT_RUA_MAX, sizeof(list[0]));
	json_t *all = json_array();
	size_t count = 0;

	if (spool_rua_list(c->control->spool, row, list, TLSRPT_RUA_MAX,
	    &count) != ST_OK)
		count = 0;
	for (size_t i = 0; i < count; i++) {
		json_t *o = json_object();

		control_set(o, "to", control_text_json(list[i].rua));
		control_set(o, "state", json_string(states[list[i].state]));
		control_set_int(o, "tries", list[i].tries);
		control_set_int(o, "due", list[i].due_s);
		control_set(o, "note", control_text_json(list[i].note));
		(void)json_array_append_new(all, o);
	}
	free(list);
	return all;
}

static json_t *
row_json(struct client *c, const struct spool_report *r)
{
	static const char *const states[] = {
		[SPOOL_REPORT_OPEN] = "open",
		[SPOOL_REPORT_SENDING] = "sending",
		[SPOOL_REPORT_DONE] = "done",
	};
	json_t *o = json_object();
	struct buf report;

	buf_init(&report, SPOOL_REPORT_TOTALS_MAX + REPORT_NAMES_MAX);
	control_set(o, "domain", control_text_json(r->domain));
	control_set_int(o, "day", r->day_s);
	control_set_int(o, "part", r->part);
	control_set(o, "state", json_string(states[r->state]));
	control_set_int(o, "due", r->due_s);
	control_set_int(o, "tries", r->tries);
	control_set(o, "note", control_text_json(r->note));
	control_set(o, "targets", targets_json(c, r->row));
	if (queue_report_encode(c->control->queue, r, &report))
		control_set(o, "totals", hex_json(buf_data(&report),
			report.len));
	buf_clear(&report);
	return o;
}

/* ---- list ---- */

static int64_t
number_of(const json_t *request, const char *key, int64_t otherwise)
{
	const json_t *value = json_object_get(request, key);

	return json_is_integer(value) ? (int64_t)json_integer_value(value) :
		otherwise;
}

static void
list_page(struct client *c)
{
	const struct spool_report_query query = {
		.from_s = number_of(c->request, "from", 0),
		.to_s = number_of(c->request, "to", INT64_MAX),
		.domain = control_text_of(c->request, "domain"),
		.asked_ms = number_of(c->request, "ticket", 0),
	};
	struct spool_report *rows = xcalloc(REPORT_PAGE, sizeof(rows[0]));
	struct spool *spool = c->control->spool;
	struct queue_report_stats stats;
	size_t count = 0;
	enum status st = spool_report_list(spool, &query, &c->report_at, rows,
		REPORT_PAGE, &count);

	for (size_t i = 0; i < count; i++)
		control_send(c, row_json(c, &rows[i]));
	spool_report_clear_all(rows, count);
	free(rows);
	c->rows += count;
	if (count == REPORT_PAGE)
		return;
	c->page = NULL;
	queue_report_stats(c->control->queue, &stats);
	control_end(c, json_pack("{s:I, s:I}", "rows", (json_int_t)c->rows,
		"overflow", (json_int_t)stats.overflow), st == ST_OK ? NULL :
		spool_error(spool));
}

void
control_report_list(struct client *c)
{
	/* What was counted until now is in it. */
	(void)queue_flush(c->control->queue);
	c->report_at.part = -1;
	c->page = list_page;
	list_page(c);
}

/* ---- send ---- */

void
control_report_send(struct client *c)
{
	const char *domain = control_text_of(c->request, "domain");
	bool today = json_is_true(json_object_get(c->request, "today"));
	int64_t ticket_ms = 0;
	uint64_t count = 0;

	if (queue_report_send(c->control->queue, today, domain, &ticket_ms,
	    &count) != ST_OK) {
		control_fail(c, spool_error(c->control->spool));
		return;
	}
	log_info("operator", "action", "report-send", "domain", domain,
		"today", today ? "yes" : "no", "reports",
		log_num((long long)count), NULL);
	control_end(c, json_pack("{s:I, s:I}", "count", (json_int_t)count,
		"ticket", (json_int_t)ticket_ms), NULL);
}
