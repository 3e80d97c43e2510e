/*
 * What a local program may pipe into the submit command: line ends, header,
 * address lists.
 */
#include "config.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "smtpd-out/command/submit_header.h"

int LLVMFuzzerTestOneInput(const uint8_t *, size_t);

static void
check_lines(const struct buf *b)
{
	const uint8_t *p = buf_data(b);

	for (size_t i = 0; i < b->len; i++)
		if ((p[i] == '\n' && (i == 0 || p[i - 1] != '\r')) ||
		    (p[i] == '\r' && (i + 1 == b->len || p[i + 1] != '\n')))
			abort();
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const struct submit_fill fill = { "u@h", "A \"b\"", "date",
		"<i@h>" };
	struct submit_text t = { .ignore_dots = size % 2 == 0 };
	struct submit_list list = { NULL, 0 };
	struct buf text, head;
	size_t head_len, body_at;
	char field[32];

	if (size > 100000)
		return 0;
	buf_init(&text, 2 * size + 2);
	buf_init(&head, 2 * size + 4096);
	if (submit_text_feed(&t, data, size, &text) != ST_OK ||
	    submit_text_end(&t, &text) != ST_OK)
		abort();
	check_lines(&text);
	if (submit_header_end((const char *)buf_data(&text), text.len, true,
	    &head_len, &body_at) != ST_OK || head_len > body_at ||
	    body_at > text.len)
		abort();
	(void)!submit_header_rcpts((const char *)buf_data(&text), head_len,
		&list, field);
	if (submit_header_edit((const char *)buf_data(&text), head_len, &fill,
	    &head) != ST_OK)
		abort();
	check_lines(&head);
	submit_list_clear(&list);
	buf_clear(&head);
	buf_clear(&text);
	return 0;
}
