/*
 * The list of domains of one run of `check`.
 */
#include "config.h"

#include <event2/event.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>

#include "base/clock.h"
#include "base/mem.h"
#include "smtpd-out/check/check_domain.h"
#include "smtpd-out/check/check_json.h"
#include "smtpd-out/check/check_many.h"

#define BAR_WIDTH 30
#define BAR_MS 100		/* drawn no more often */
#define AHEAD_MAX 1000		/* results that wait for an earlier one */

struct item {
	struct many *owner;
	const char *name, *text;
	struct check_domain *check;
	char *report;			/* until it is printed */
};

struct many {
	struct check_env *env;
	const struct check_output *output;
	struct item *items;
	size_t count, next, printed, running, finished;
	int64_t drawn_ms;
	int code;
};

/* ---- progress ---- */

static void
draw(struct many *m, bool last)
{
	size_t full = m->count == 0 ? 0 : BAR_WIDTH * m->finished / m->count;
	char bar[BAR_WIDTH + 1];
	int64_t now_ms = clock_mono_ms();

	if (!m->output->progress || (!last && now_ms - m->drawn_ms < BAR_MS))
		return;
	m->drawn_ms = now_ms;
	memset(bar, '.', BAR_WIDTH);
	memset(bar, '#', full);
	bar[BAR_WIDTH] = '\0';
	if (last)
		(void)fputs("\r\033[K", stderr);
	else
		(void)fprintf(stderr, "\r[%s] %zu of %zu\033[K", bar,
			m->finished, m->count);
	(void)fflush(stderr);
}

/* ---- reports ---- */

static char *
render_text(const struct many *m, const struct check_facts *f,
	const struct check_verdict *v)
{
	struct buf out;
	char *text;

	buf_init(&out, CHECK_REPORT_MAX);
	check_text(f, v, &m->output->style, &out);
	text = xstrndup((const char *)buf_data(&out), out.len);
	buf_clear(&out);
	return text;
}

static char *
render_json(json_t *o)
{
	char *text = json_dumps(o, JSON_COMPACT), *line;

	line = xasprintf("%s\n", text == NULL ? "{}" : text);
	free(text);
	json_decref(o);
	return line;
}

/* Severity goes up: mail that bounces is worse than mail that waits. */
static void
take_code(struct many *m, int code)
{
	if (m->code == EX_OK || code == EX_UNAVAILABLE)
		m->code = code == EX_OK ? m->code : code;
}

static void
print_ready(struct many *m)
{
	while (m->printed < m->count && m->items[m->printed].report != NULL) {
		struct item *i = &m->items[m->printed++];

		if (m->output->progress)
			(void)fputs("\r\033[K", stderr);
		if (!m->output->json && m->printed > 1)
			(void)fputs("\n", stdout);
		(void)fputs(i->report, stdout);
		mem_free(&i->report);
	}
	(void)fflush(stdout);
	m->drawn_ms = 0;
}

static void pump(struct many *);

static void
on_checked(struct check_facts *f, void *arg)
{
	struct item *i = arg;
	struct many *m = i->owner;
	struct check_verdict v;

	i->check = NULL;
	m->running--;
	m->finished++;
	str_sanitise(f->asked, sizeof(f->asked), i->text, strlen(i->text));
	check_verdict(f, &v);
	i->report = m->output->json ? render_json(check_json(f, &v)) :
		render_text(m, f, &v);
	take_code(m, f->only_mx_missing ? EX_DATAERR :
		check_result_exit(v.result));
	check_facts_free(&f);
	print_ready(m);
	pump(m);
}

/* What no mail can be sent to. */
static void
refuse(struct many *m, struct item *i)
{
	char shown[STR_DOMAIN_MAX];

	str_sanitise(shown, sizeof(shown), i->text, strlen(i->text));
	m->finished++;
	i->report = m->output->json ? render_json(json_pack(
		"{s:s, s:s, s:s, s:i, s:n, s:[]}", "domain", shown, "verdict",
		"bounced", "reason", "not a domain or address", "exit",
		EX_UNAVAILABLE, "resolver", "mx")) :
		xasprintf("%s: not a domain or address\n", shown);
	take_code(m, EX_UNAVAILABLE);
	print_ready(m);
}

static void
pump(struct many *m)
{
	while (m->running < CHECK_PARALLEL && m->next < m->count &&
	    m->next < m->printed + AHEAD_MAX) {
		struct item *i = &m->items[m->next++];

		if (i->name == NULL) {
			refuse(m, i);
			continue;
		}
		m->running++;
		i->check = check_domain_start(m->env, i->name, on_checked, i);
	}
	draw(m, false);
	if (m->printed == m->count)
		(void)event_base_loopbreak(m->env->base);
}

int
check_many(struct check_env *env, char *const *names, char *const *texts,
	size_t count, const struct check_output *output)
{
	struct many m = { .env = env, .output = output, .count = count,
		.code = EX_OK };

	m.items = xcalloc(count + 1, sizeof(m.items[0]));
	for (size_t i = 0; i < count; i++)
		m.items[i] = (struct item){ .owner = &m, .name = names[i],
			.text = texts[i] };
	pump(&m);
	if (m.printed < m.count)
		(void)event_base_dispatch(env->base);
	draw(&m, true);
	for (size_t i = 0; i < count; i++) {
		check_domain_cancel(&m.items[i].check);
		free(m.items[i].report);
	}
	free(m.items);
	return m.code;
}
