/*
 * A hostile service on the way to TLS.  The first octet picks the protocol, the
 * second the width of the pieces; the rest is what the service says, and behind
 * the go-ahead, under TLS.  Whatever it is, the engine comes to an end, sends
 * little, keeps what it shows printable, and finds nothing good without TLS.
 */
#include "config.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/str.h"
#include "smtpd-out/starttls/starttls.h"

#define SENT_MAX 4096

int LLVMFuzzerTestOneInput(const uint8_t *, size_t);

static void
must(bool fact)
{
	if (!fact)
		abort();
}

static void
check_list(const struct starttls_list *l)
{
	must(l->count <= STARTTLS_WORDS_MAX && l->count <= l->total);
	for (size_t i = 0; i < l->count; i++)
		must(l->words[i][0] != '\0' && str_is_utf8(l->words[i],
			strlen(l->words[i])) && strpbrk(l->words[i],
			"\r\n\033") == NULL);
}

static void
check_facts(const struct starttls_facts *f)
{
	must(strpbrk(f->greeting, "\r\n\033") == NULL);
	must(strpbrk(f->answer, "\r\n\033") == NULL);
	must(f->note_count <= STARTTLS_NOTES_MAX);
	must(f->result != STARTTLS_OK || f->text[0] == '\0');
	/* Nothing good comes of a session that never got to TLS. */
	must(f->result != STARTTLS_OK || f->tls);
	must(starttls_exit_code(f->result) >= 0);
	check_list(&f->before);
	check_list(&f->after);
}

static void
talk(const struct starttls_row *row, const uint8_t *p, size_t len,
	size_t step)
{
	struct starttls *s = starttls_new(row, "we.test", "they.test");
	enum starttls_want want;
	struct buf out;

	buf_init(&out, SENT_MAX);
	want = starttls_begin(s, &out);
	for (size_t at = 0; want != STARTTLS_WANT_CLOSE;) {
		size_t n = len - at < step ? len - at : step;

		if (want == STARTTLS_WANT_TLS) {
			want = starttls_secured(s, &out);
			continue;
		}
		if (n == 0)
			break;
		want = starttls_input(s, p + at, n, &out);
		at += n;
	}
	must(out.len < SENT_MAX);
	starttls_end(s, STARTTLS_CLOSED, "over");
	must(starttls_facts(s)->result != STARTTLS_OPEN);
	check_facts(starttls_facts(s));
	buf_clear(&out);
	starttls_free(&s);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	const struct starttls_row *row;
	size_t rows = 0;

	if (len < 2)
		return 0;
	while (starttls_row_at(rows) != NULL)
		rows++;
	row = starttls_row_at(data[0] % rows);
	talk(row, data + 2, len - 2, (size_t)data[1] + 1);
	/* One octet at a time nothing can stand behind the go-ahead. */
	talk(row, data + 2, len - 2, 1);
	return 0;
}
