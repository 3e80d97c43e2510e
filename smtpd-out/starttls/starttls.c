/*
 * The engine: one step of a row after the other.  A result that has been found
 * stands; what follows then is politeness.
 */
#include "config.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/str.h"
#include "smtpd-out/starttls/starttls_frame.h"

struct starttls {
	const struct starttls_row *row;
	const struct starttls_step *step;	/* whose answer is awaited */
	char hostname[STR_DOMAIN_MAX], domain[STR_DOMAIN_MAX];
	struct buf in;
	bool over;
	struct starttls_facts facts;
};

struct starttls *
starttls_new(const struct starttls_row *row, const char *hostname,
	const char *domain)
{
	struct starttls *s = xcalloc(1, sizeof(*s));

	s->row = row;
	(void)str_copy(s->hostname, sizeof(s->hostname), hostname);
	(void)str_copy(s->domain, sizeof(s->domain), domain);
	buf_init(&s->in, STARTTLS_ANSWER_MAX);
	return s;
}

void
starttls_free(struct starttls **sp)
{
	struct starttls *s = *sp;

	if (s == NULL)
		return;
	buf_clear(&s->in);
	starttls_list_clear(&s->facts.before);
	starttls_list_clear(&s->facts.after);
	mem_free(sp);
}

const struct starttls_facts *
starttls_facts(const struct starttls *s)
{
	return &s->facts;
}

/* ---- results ---- */

void
starttls_settle(struct starttls *s, enum starttls_result result,
	const char *text)
{
	if (s->facts.result != STARTTLS_OPEN)
		return;
	s->facts.result = result;
	str_sanitise(s->facts.text, sizeof(s->facts.text), text,
		strlen(text));
}

static enum starttls_want
close_now(struct starttls *s)
{
	s->over = true;
	return STARTTLS_WANT_CLOSE;
}

static enum starttls_want
fail(struct starttls *s, enum starttls_result result, const char *text)
{
	starttls_settle(s, result, text);
	return close_now(s);
}

static void
note(struct starttls *s, const char *text)
{
	struct starttls_facts *f = &s->facts;

	if (f->note_count < STARTTLS_NOTES_MAX)
		(void)str_copy(f->notes[f->note_count++], STARTTLS_TEXT_MAX,
			text);
}

void
starttls_end(struct starttls *s, enum starttls_result result,
	const char *text)
{
	(void)fail(s, result, text);
}

/* ---- what is sent ---- */

static void
put(const struct starttls *s, const struct starttls_step *step,
	struct buf *out)
{
	const char *p = step->send;
	enum status st = ST_OK;

	if (step->send_octets > 0) {
		(void)!buf_put(out, p, step->send_octets);
		return;
	}
	for (; p != NULL && *p != '\0' && st == ST_OK; p++) {
		if (p[0] != '%')
			st = buf_put(out, p, 1);
		else
			st = buf_puts(out, *++p == 'h' ? s->hostname :
				s->domain);
	}
}

/* The first step of that stage, or what stands at the end of the row. */
static const struct starttls_step *
step_of(const struct starttls_row *row, enum starttls_stage stage)
{
	const struct starttls_step *step = row->steps;

	while (step->frame != STARTTLS_FRAME_NONE && step->stage < stage)
		step++;
	return step;
}

static enum starttls_want
start_step(struct starttls *s, const struct starttls_step *step,
	struct buf *out)
{
	s->step = step;
	if (step->frame == STARTTLS_FRAME_NONE) {
		starttls_settle(s, STARTTLS_OK, "");
		return close_now(s);
	}
	s->facts.stage = step->stage;
	if (step->stage == STARTTLS_END)
		starttls_settle(s, STARTTLS_OK, "");
	put(s, step, out);
	return STARTTLS_WANT_INPUT;
}

static enum starttls_want
say_goodbye(struct starttls *s, struct buf *out)
{
	return start_step(s, step_of(s->row, STARTTLS_END), out);
}

/* ---- what comes ---- */

static void
keep(char *to, const char *text, size_t len)
{
	while (len > 0 && (text[len - 1] == '\n' || text[len - 1] == '\r'))
		len--;
	str_sanitise(to, STARTTLS_TEXT_MAX, text, len);
}

/* Some firewalls overwrite in a list what they do not want to be used. */
static bool
is_blotted(const char *word)
{
	size_t len = strspn(word, "Xx");

	return len >= 6 && (len == strlen(word) || strlen(word) - len == 1);
}

static enum starttls_want
on_greeting(struct starttls *s, bool good, struct buf *out)
{
	bool known;

	if (!good) {
		known = strncmp(s->facts.greeting, "* PREAUTH", 9) == 0;
		starttls_settle(s, STARTTLS_TURNED_AWAY, known ?
			"the server takes us for somebody it knows: no "
			"STARTTLS after that" : "the server turns us away");
		return say_goodbye(s, out);
	}
	return start_step(s, s->step + 1, out);
}

static enum starttls_want
on_list(struct starttls *s, bool good, struct buf *out)
{
	struct starttls_facts *f = &s->facts;
	bool after = s->step->stage == STARTTLS_LIST_TLS;
	struct starttls_list *l = after ? &f->after : &f->before;

	l->refused = !good;
	if (!after) {
		f->offered = starttls_list_has(l, s->row->offer);
		for (size_t i = 0; i < l->count; i++)
			if (is_blotted(l->words[i]))
				note(s, "a word of the list has been blotted "
					"out on the way: a firewall reads "
					"along");
	} else if (starttls_list_has(l, s->row->offer)) {
		note(s, "the server offers STARTTLS once more under TLS");
	} else if (!good && !f->before.refused && s->step->frame !=
	    STARTTLS_FRAME_XML) {
		/* A server of XMPP may well want a certificate of ours. */
		note(s, "under TLS the server does not say any more what it "
			"can do");
	}
	/* Asked for even where it is not offered: who took it out of the list
	 * did so to keep us in the clear. */
	return start_step(s, s->step + 1, out);
}

static enum starttls_want
on_command(struct starttls *s, bool good, struct buf *out)
{
	struct starttls_facts *f = &s->facts;

	if (good && s->in.len > 0)
		return fail(s, STARTTLS_INJECTED, "octets came between the "
			"go-ahead and the handshake: somebody injects "
			"commands or answers");
	if (good) {
		f->stage = STARTTLS_HANDSHAKE;
		return STARTTLS_WANT_TLS;
	}
	if (f->offered)
		starttls_settle(s, STARTTLS_REFUSED, "the server offers "
			"STARTTLS and refuses it");
	else
		starttls_settle(s, STARTTLS_ABSENT, "the server has no "
			"STARTTLS, or somebody on the way hides it");
	return say_goodbye(s, out);
}

static enum starttls_want
on_answer(struct starttls *s, bool good, struct buf *out)
{
	switch (s->step->stage) {
	case STARTTLS_GREETING:
		return on_greeting(s, good, out);
	case STARTTLS_LIST:
	case STARTTLS_LIST_TLS:
		return on_list(s, good, out);
	case STARTTLS_COMMAND:
		return on_command(s, good, out);
	case STARTTLS_END:
	case STARTTLS_CONNECT:
	case STARTTLS_HANDSHAKE:
		break;
	}
	return close_now(s);
}

static void
take(struct starttls *s, const char *text, size_t len, bool good)
{
	struct starttls_facts *f = &s->facts;
	bool after = s->step->stage == STARTTLS_LIST_TLS;
	struct starttls_list *l = after ? &f->after : &f->before;

	if (s->step->stage == STARTTLS_GREETING)
		keep(f->greeting, text, len);
	else if (s->step->stage == STARTTLS_COMMAND)
		keep(f->answer, text, len);
	if (s->step->stage != STARTTLS_LIST && !after)
		return;
	l->asked = true;
	if (good)
		starttls_list_take(l, s->step->frame, text, len);
}

enum starttls_want
starttls_input(struct starttls *s, const void *data, size_t len,
	struct buf *out)
{
	enum starttls_want want = STARTTLS_WANT_INPUT;
	enum starttls_answer got;
	size_t used;

	if (s->over || s->step == NULL || s->step->frame ==
	    STARTTLS_FRAME_NONE)
		return close_now(s);
	if (buf_put(&s->in, data, len) != ST_OK)
		return fail(s, STARTTLS_GARBAGE, "what the server says does "
			"not end");
	while (want == STARTTLS_WANT_INPUT && s->in.len > 0) {
		const char *text = (const char *)buf_data(&s->in);

		got = starttls_frame(s->step, text, s->in.len, &used);
		if (got == STARTTLS_ANSWER_PART)
			break;
		if (got == STARTTLS_ANSWER_ODD) {
			keep(s->facts.answer, text, s->in.len < 80 ? s->in.len
				: 80);
			return fail(s, STARTTLS_GARBAGE, "what the server "
				"says is not this protocol");
		}
		take(s, text, used, got == STARTTLS_ANSWER_GOOD);
		buf_drain(&s->in, used);
		want = on_answer(s, got == STARTTLS_ANSWER_GOOD, out);
	}
	return want;
}

enum starttls_want
starttls_begin(struct starttls *s, struct buf *out)
{
	const struct starttls_step *first = s->row->steps;

	if (first->frame != STARTTLS_FRAME_NONE)
		return start_step(s, first, out);
	s->facts.stage = STARTTLS_HANDSHAKE;
	return STARTTLS_WANT_TLS;
}

enum starttls_want
starttls_secured(struct starttls *s, struct buf *out)
{
	struct starttls_facts *f = &s->facts;

	f->tls = true;
	buf_clear(&s->in);
	if (s->row->offer != NULL && !f->offered)
		starttls_settle(s, STARTTLS_STRIPPED, "the server has "
			"STARTTLS though it does not offer it: somebody on "
			"the way may have taken it out of the list");
	return start_step(s, step_of(s->row, STARTTLS_LIST_TLS), out);
}
