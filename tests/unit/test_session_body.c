/*
 * Bodies on their way through a whole session: 5 MB of every kind of line, from
 * memory and from a file, by DATA and by BDAT, in clear text and under TLS;
 * slow and refusing receivers; and a body that cannot be read.
 */
#include "config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/mem.h"
#include "smtpd-out/client/smtp_data.h"
#include "tests/lib/scenario.h"

#define BIG (5U * 1024 * 1024)

static uint8_t *big;

/* Lines of 0 to 998 octets, some with dots in front, all byte values that a
 * line can have; the last one is not finished. */
static int
make_big(void **state)
{
	size_t at = 0, line = 0;

	(void)state;
	big = xmalloc(BIG);
	while (at < BIG - 1100) {
		size_t n = line++ % 999;

		for (size_t i = 0; i < n; i++) {
			unsigned v = (unsigned)(i * 31 + line * 7) % 256;

			big[at++] = i < line % 3 ? '.' : v == '\r' ||
				v == '\n' ? 'n' : (uint8_t)v;
		}
		big[at++] = '\r';
		big[at++] = '\n';
	}
	memset(big + at, '.', BIG - at);
	return 0;
}

static int
free_big(void **state)
{
	(void)state;
	mem_free(&big);
	return 0;
}

static int
file_of(const void *bytes, size_t len)
{
	char path[] = "/tmp/test_session_body.XXXXXX";
	int fd = mkstemp(path);

	assert_true(fd >= 0);
	assert_int_equal(unlink(path), 0);
	for (size_t at = 0; at < len;) {
		ssize_t n = write(fd, (const char *)bytes + at, len - at);

		assert_true(n > 0);
		at += (size_t)n;
	}
	return fd;
}

#define START_TLS SEND("250-x\r\n250 STARTTLS"), LINE("STARTTLS"), \
	SEND("220 go"), TLS, EXPECT("EHLO")
#define BY_DATA PIPE, MAIL, RCPT(0), DATA, \
	SEND("250 a\r\n250 b\r\n354 c"), BODY, SEND("250 queued"), BYE, \
	{ PEER_END, NULL, 0 }
#define BY_CHUNKS SEND("250-x\r\n250-PIPELINING\r\n250 CHUNKING"), MAIL, \
	RCPT(0), SEND("250 a\r\n250 b"), { PEER_CHUNKS, NULL, 0 }, \
	SEND("250 queued"), BYE, { PEER_END, NULL, 0 }

static const struct peer_step scripts[][24] = {
	{ GREETING, BY_DATA },
	{ GREETING, START_TLS, BY_DATA },
	{ GREETING, BY_CHUNKS },
	{ GREETING, START_TLS, BY_CHUNKS },
	/* chunks would cost a round trip each: DATA it is */
	{ GREETING, SEND("250-x\r\n250 CHUNKING"), MAIL, SEND("250 a"),
	  RCPT(0), SEND("250 b"), DATA, SEND("354 c"), BODY,
	  SEND("250 queued"), BYE, { PEER_END, NULL, 0 } },
};

static void
deliver(const struct peer_step *script, const struct session_body *body)
{
	struct session_rcpt rcpt;
	struct session_txn txn;
	struct peer *peer = peer_start(AF_INET, script);
	const struct buf *got;
	struct client c;

	client_init(&c);
	client_add_peer(&c, peer);
	scenario_txn(&txn, &rcpt, 1);
	txn.body = *body;
	c.txns[0] = &txn;
	client_run(&c);
	if (peer_join(peer) != NULL)
		fail_msg("%s", peer_join(peer));
	assert_int_equal(rcpt.outcome.verdict, VERDICT_DONE);
	got = peer_body(peer);
	assert_int_equal(got->len, BIG + 2);
	assert_memory_equal(buf_data(got), big, BIG);
	assert_memory_equal(buf_data(got) + BIG, "\r\n", 2);
	peer_free(&peer);
}

static void
test_big(void **state)
{
	struct session_body memory = { .data = big, .fd = -1,
		.size_bytes = BIG };
	struct session_body file = { .fd = file_of(big, BIG),
		.size_bytes = BIG };

	(void)state;
	for (size_t i = 0; i < sizeof(scripts) / sizeof(scripts[0]); i++) {
		deliver(scripts[i], &memory);
		deliver(scripts[i], &file);
	}
	(void)close(file.fd);
}

/* ---- bodies that cannot be read ---- */

static void
run_unreadable(const struct peer_step *script, const struct session_body *body)
{
	const struct want want = { VERDICT_LATER, SCOPE_DESTINATION,
		STAGE_QUEUE, 451, "4.3.0", false };
	struct session_rcpt rcpt;
	struct session_txn txn;
	struct peer *peer = peer_start(AF_INET, script);
	struct client c;

	client_init(&c);
	client_add_peer(&c, peer);
	scenario_txn(&txn, &rcpt, 1);
	txn.body = *body;
	c.txns[0] = &txn;
	client_run(&c);
	if (peer_join(peer) != NULL)
		fail_msg("%s", peer_join(peer));
	assert_int_equal(c.done, 1);
	scenario_check("unreadable", &want, &rcpt.outcome);
	scenario_check("unreadable", &want, &c.why);
	peer_free(&peer);
}

static void
test_unreadable(void **state)
{
	static const struct peer_step data[] = { GREETING, PIPE, MAIL, RCPT(0),
		DATA, SEND("250 a\r\n250 b\r\n354 c"),
		{ PEER_NEVER, ".", 0 }, { PEER_END, NULL, 0 } };
	static const struct peer_step chunks[] = { GREETING,
		SEND("250-x\r\n250-PIPELINING\r\n250 CHUNKING"), MAIL,
		RCPT(0), SEND("250 a\r\n250 b"), { PEER_NEVER, "LAST", 0 },
		{ PEER_END, NULL, 0 } };
	static const char lines[] = "Subject: x\r\n\r\n";
	struct session_body body = { .fd = file_of(lines, 14),
		.size_bytes = 15 };

	(void)state;
	run_unreadable(data, &body);
	run_unreadable(chunks, &body);
	(void)close(body.fd);
	body.fd = file_of(big, 3 * SMTP_DATA_BLOCK);
	body.size_bytes = 3 * SMTP_DATA_BLOCK + 1;
	run_unreadable(data, &body);
	run_unreadable(chunks, &body);
	(void)close(body.fd);
	run_unreadable(data, &body);
	run_unreadable(chunks, &body);
}

/* ---- receivers ---- */

static void
run_receiver(const struct peer_step *script, int64_t block_ms,
	struct outcome *outcome)
{
	struct session_rcpt rcpt;
	struct session_txn txn;
	struct peer *peer = peer_start(AF_INET, script);
	struct client c;

	client_init(&c);
	c.conf.timeout.block_ms = block_ms;
	c.conf.timeout.data_end_ms = c.conf.timeout.rset_ms = 300;
	client_add_peer(&c, peer);
	scenario_txn(&txn, &rcpt, 1);
	txn.body.data = big;
	txn.body.size_bytes = BIG;
	c.txns[0] = &txn;
	client_run(&c);
	if (peer_join(peer) != NULL)
		fail_msg("%s", peer_join(peer));
	assert_int_equal(c.done, 1);
	*outcome = rcpt.outcome;
	peer_free(&peer);
}

#define OPEN GREETING, PIPE, MAIL, RCPT(0), DATA, \
	SEND("250 a\r\n250 b\r\n354 c")

/* Taking nothing is a timeout; taking little is not. */
static void
test_slow(void **state)
{
	static const struct peer_step stuck[] = { OPEN,
		{ PEER_SLEEP, NULL, 500 }, { PEER_END, NULL, 0 } };
	static const struct peer_step slow[] = { OPEN,
		{ PEER_SLOW_READ, NULL, 65536 }, { PEER_END, NULL, 0 } };
	const struct want timed_out = { VERDICT_LATER, SCOPE_HOST, STAGE_DATA,
		451, "4.4.2", false };
	const struct want unsure = { VERDICT_LATER, SCOPE_MESSAGE, STAGE_EOM,
		451, "4.4.2", true };
	struct outcome o;

	(void)state;
	run_receiver(stuck, 200, &o);
	scenario_check("stuck", &timed_out, &o);
	/* all of it arrives, but is never answered: the time of EOM */
	run_receiver(slow, 700, &o);
	scenario_check("slow", &unsure, &o);
}

/* Refusals while the body is under way are not lost with the connection. */
static void
test_refused(void **state)
{
	static const struct peer_step early[] = { OPEN,
		SEND("552 5.3.4 too much"), WAIT, { PEER_END, NULL, 0 } };
	static const struct peer_step chunk[] = { GREETING,
		SEND("250-x\r\n250-PIPELINING\r\n250 CHUNKING"), MAIL,
		RCPT(0), SEND("250 a\r\n250 b"), CHUNK(""),
		SEND("552 5.3.4 too much"), { PEER_SLEEP, NULL, 20 }, WAIT,
		{ PEER_END, NULL, 0 } };
	const struct want want = { VERDICT_NEVER, SCOPE_MESSAGE, STAGE_DATA,
		552, "5.3.4", false };
	struct outcome o;

	(void)state;
	run_receiver(early, 10000, &o);
	scenario_check("early", &want, &o);
	run_receiver(chunk, 10000, &o);
	scenario_check("chunk", &want, &o);
}

/* After a refused chunk RSET makes the session whole again. */
static void
test_chunk_reset(void **state)
{
	static const struct peer_step steps[] = { GREETING,
		SEND("250-x\r\n250-PIPELINING\r\n250 CHUNKING"), MAIL,
		RCPT(0), SEND("250 a\r\n250 b"), CHUNK(""), CHUNK("LAST"),
		SEND("451 4.3.1 full\r\n503 sequence"), LINE("RSET"),
		SEND("250 ok"), BYE, { PEER_END, NULL, 0 } };
	const struct want want = { VERDICT_LATER, SCOPE_HOST, STAGE_DATA, 451,
		"4.3.1", false };
	struct session_rcpt rcpt;
	struct session_txn txn;
	struct peer *peer = peer_start(AF_INET, steps);
	struct client c;

	(void)state;
	client_init(&c);
	client_add_peer(&c, peer);
	scenario_txn(&txn, &rcpt, 1);
	txn.body.data = big;
	txn.body.size_bytes = SMTP_DATA_BLOCK + 1;
	c.txns[0] = &txn;
	client_run(&c);
	if (peer_join(peer) != NULL)
		fail_msg("%s", peer_join(peer));
	scenario_check("chunk", &want, &rcpt.outcome);
	assert_int_equal(c.why.verdict, VERDICT_DONE);
	peer_free(&peer);
}

/* ---- memory ---- */

static long
peak_kb(void)
{
	struct rusage usage;

	assert_int_equal(getrusage(RUSAGE_SELF, &usage), 0);
	return usage.ru_maxrss;
}

/* 50 MB from a file: no process holds more than a few blocks of it.  Runs
 * first, since the peak never falls. */
static void
test_memory(void **state)
{
	static const struct peer_step steps[] = { OPEN,
		{ PEER_DISCARD, NULL, 0 }, SEND("250 queued"), BYE,
		{ PEER_END, NULL, 0 } };
	struct session_rcpt rcpt;
	struct session_txn txn;
	struct peer *peer = peer_start(AF_INET, steps);
	struct client c;
	long before;

	(void)state;
#ifdef WITH_SANITIZERS
	skip();
#endif
	client_init(&c);
	client_add_peer(&c, peer);
	scenario_txn(&txn, &rcpt, 1);
	txn.body.data = NULL;
	txn.body.fd = file_of("x", 1);
	txn.body.size_bytes = 50000000;
	assert_int_equal(ftruncate(txn.body.fd, 50000000), 0);
	c.txns[0] = &txn;
	before = peak_kb();
	client_run(&c);
	assert_null(peer_join(peer));
	assert_int_equal(rcpt.outcome.verdict, VERDICT_DONE);
	assert_true(peak_kb() - before < 1024);
	(void)close(txn.body.fd);
	peer_free(&peer);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_memory),
		cmocka_unit_test_setup_teardown(test_big, make_big, free_big),
		cmocka_unit_test_setup_teardown(test_unreadable, make_big,
			free_big),
		cmocka_unit_test_setup_teardown(test_slow, make_big, free_big),
		cmocka_unit_test_setup_teardown(test_refused, make_big,
			free_big),
		cmocka_unit_test_setup_teardown(test_chunk_reset, make_big,
			free_big),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
