/*
 * Large bodies on their way to the disk: the pieces of the receiver, the
 * session that waits for them (with a fake queue), and the role as a process
 * with a disk that is slow or fails.  250 comes after the disk has it all.
 */
#include "config.h"

#include <dirent.h>
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/sandbox.h"
#include "base/str.h"
#include "tests/unit/inject_fake.h"
#include "tests/unit/inject_parent.h"

#define MIB (1024UL * 1024)
#define NOW_MS 5000
#define ONE "MAIL FROM:<a@b.example>\r\nRCPT TO:<c@d.example>\r\n"
#define ASKED "250 2.1.0 Sender ok\r\n250 2.1.5 Recipient ok\r\n" \
	"354 End with CRLF.CRLF\r\n"
#define QUEUED "250 2.0.0 Ok: queued as "
#define STOPPING "421 4.3.2 Service is stopping, try later\r\n"

/* The disk of the processes that the tests start. */
static struct disk {
	_Atomic useconds_t delay_us;
	_Atomic int error;
	atomic_uint calls, ended;
} *disk;

/* In the place of the C library's. */
int
fdatasync(int fd)
{
	int error = disk->error;

	disk->calls++;
	if (disk->delay_us > 0)
		(void)usleep(disk->delay_us);
	disk->ended++;
	if (error != 0) {
		errno = error;
		return -1;
	}
	return (int)syscall(SYS_fdatasync, fd);
}

/* Lines of 64 octets in all, so that pieces end where a line does. */
static char *
lines(size_t bytes)
{
	char *text = xmalloc(bytes + 1);

	for (size_t i = 0; i < bytes; i += 64) {
		memset(text + i, 'a' + (int)(i / 64 % 26), 62);
		memcpy(text + i + 62, "\r\n", 2);
	}
	text[bytes] = '\0';
	return text;
}

/* ---- the receiver ---------------------------------------------------- */

static size_t
take(struct inject_body *b, const char *text)
{
	return inject_body_text(b, (const uint8_t *)text, strlen(text));
}

static void
open_body(struct inject_body *b, struct inject_pool *pool)
{
	static const struct inject_body_rules rules = {
		.message_bytes = 100 * MIB, .line_bytes = 998, .hops = 5,
	};

	*pool = (struct inject_pool){ 0, 8 * MIB };
	inject_body_init(b, &rules, pool);
	(void)take(b, "x");
	while (!inject_body_wants_file(b))
		(void)take(b, "x");
	inject_body_set_file(b, memfd_create("body", MFD_CLOEXEC), 7);
	(void)take(b, "\r\n");
}

/* While one piece is written the next one is taken, no more; then all of it
 * is told to be on the disk once, at the end. */
static void
pieces(void **state)
{
	char *text = lines(4 * MIB);
	struct inject_write what;
	struct inject_pool pool;
	struct inject_body b;
	size_t used, more;

	(void)state;
	open_body(&b, &pool);
	assert_false(inject_body_next_write(&b, &what));
	used = inject_body_text(&b, (uint8_t *)text, MIB);
	assert_int_equal(used, MIB);
	assert_true(inject_body_next_write(&b, &what));
	assert_int_equal(what.fd, b.fd);
	assert_true(what.from == 0 && what.len >= MIB && !what.sync);
	assert_false(inject_body_next_write(&b, &what));
	assert_false(inject_body_waits(&b));
	more = inject_body_text(&b, (uint8_t *)text + used, 3 * MIB);
	assert_true(more >= MIB && more < MIB + 128 * 1024);
	assert_true(inject_body_waits(&b));
	assert_int_equal(take(&b, "x"), 0);
	inject_body_written(&b, 0);
	assert_false(inject_body_waits(&b));
	assert_false(b.durable);
	assert_true(inject_body_next_write(&b, &what));
	assert_true(what.from > 0 && !what.sync);
	assert_int_equal(take(&b, "\r\n.\r\n"), 5);
	assert_true(b.ended && inject_body_waits(&b));
	inject_body_written(&b, 0);
	assert_true(inject_body_waits(&b));	/* that was not the end */
	assert_true(inject_body_next_write(&b, &what));
	assert_true(what.sync);
	assert_true(what.from + what.len == b.stored_bytes);
	inject_body_written(&b, 0);
	assert_true(b.durable);
	assert_false(inject_body_waits(&b));
	assert_false(inject_body_next_write(&b, &what));
	inject_body_clear(&b);
	free(text);
}

/* The last piece has all octets, and the end comes while it is written: what
 * is durable is only what has been synced. */
static void
end_in_piece(void **state)
{
	char *text = lines(MIB);
	struct inject_write what;
	struct inject_pool pool;
	struct inject_body b;

	(void)state;
	open_body(&b, &pool);
	assert_int_equal(inject_body_text(&b, (uint8_t *)text, MIB), MIB);
	(void)take(&b, ".\r");
	while (b.mem.len > 0)
		(void)take(&b, "");
	assert_true(inject_body_next_write(&b, &what));
	assert_int_equal(take(&b, "\n"), 1);
	assert_true(b.ended);
	inject_body_written(&b, 0);
	assert_false(b.durable);
	assert_true(inject_body_waits(&b));
	assert_true(inject_body_next_write(&b, &what));
	assert_true(what.sync);
	inject_body_written(&b, EIO);
	assert_false(b.durable);
	assert_int_equal(b.fault, REPLY_STORE);
	assert_false(inject_body_waits(&b));
	assert_false(inject_body_next_write(&b, &what));
	inject_body_clear(&b);
	free(text);
}

/* ---- the session ----------------------------------------------------- */

static char *
message(size_t bytes, const char *after)
{
	static const char before[] = ONE "DATA\r\n";
	char *body = lines(bytes), *text;

	text = xasprintf("%s%s%s", before, body, after);
	free(body);
	return text;
}

static void
expect_out(struct fake *f, const char *want)
{
	struct buf *out = inject_session_output(f->session);
	char *got = xstrndup((const char *)buf_data(out), out->len);

	buf_clear(out);
	if (strcmp(got, want) != 0)
		fail_msg("got:\n%s\nwanted:\n%s", got, want);
	free(got);
}

static void
begin(struct fake *f)
{
	fake_session(f);
	inject_session_start(f->session, REPLY_NONE);
	(void)fake_feed(f, "EHLO me.example\r\n", 17, 0);
	buf_clear(inject_session_output(f->session));
}

static void
fake_start(struct fake *f)
{
	fake_init(f, CONF_SMTP);
	f->conf.limit.message_bytes = 100 * MIB;
	f->conf.limit.inject_session_ms = 3600 * 1000;
	begin(f);
}

/* Feeds until the session waits for the disk. */
static size_t
feed_to_disk(struct fake *f, const char *text)
{
	size_t used;

	f->disk_answer = FAKE_SILENT;
	used = fake_feed(f, text, strlen(text), 16 * 1024);
	assert_int_equal(inject_session_state(f->session), INJECT_DISK);
	assert_false(inject_session_wants_input(f->session));
	return used;
}

static void
session_waits(void **state)
{
	char *text = message(3 * MIB, ".\r\nNOOP\r\n");
	struct fake f;
	size_t used;

	(void)state;
	fake_start(&f);
	used = feed_to_disk(&f, text);
	assert_true(used < 2 * MIB + 128 * 1024);
	assert_int_equal(f.writes, 1);
	expect_out(&f, ASKED);
	fake_disk(&f, 0);
	used += feed_to_disk(&f, text + used);
	fake_disk(&f, 0);
	used += feed_to_disk(&f, text + used);
	assert_true(used > 3 * MIB);
	assert_int_equal(f.submits, 0);
	expect_out(&f, "");
	while (f.submits == 0)
		fake_disk(&f, 0);
	f.disk_answer = FAKE_ACCEPT;
	(void)fake_feed(&f, text + used, strlen(text + used), 0);
	expect_out(&f, QUEUED "0000000000001\r\n250 2.0.0 Ok\r\n");
	assert_int_equal(f.drops, 0);
	fake_clear(&f);
	free(text);
}

/* In chunks, which are answered one by one. */
static void
session_chunks(void **state)
{
	char *body = lines(3 * MIB);
	char *text = xasprintf(ONE "BDAT %lu\r\n%sBDAT 0 LAST\r\nNOOP\r\n",
		3 * MIB, body);
	struct fake f;

	(void)state;
	fake_start(&f);
	(void)fake_feed(&f, text, strlen(text), 4096);
	expect_out(&f, "250 2.1.0 Sender ok\r\n250 2.1.5 Recipient ok\r\n"
		"250 2.0.0 Chunk received\r\n" QUEUED "0000000000001\r\n"
		"250 2.0.0 Ok\r\n");
	assert_true(f.writes >= 3);
	assert_int_equal(f.body_len - (3 * MIB), strstr(f.body, body) -
		f.body);
	fake_clear(&f);
	free(text);
	free(body);
}

/* A write that fails, at the first piece or at the end, and no descriptor. */
static void
session_faults(void **state)
{
	static const struct {
		enum fake_answer answer;
		size_t bytes;
		int error;
		const char *want;
	} rows[] = {
		{ FAKE_REJECT, 3 * MIB, EIO, "451 4.3.0 Cannot store the "
			"message, try later\r\n250 2.0.0 Ok\r\n" },
		{ FAKE_REJECT, 3 * MIB, ENOSPC, "452 4.3.1 Not enough "
			"storage, try later\r\n250 2.0.0 Ok\r\n" },
		{ FAKE_REJECT, MIB / 2, EIO, "451 4.3.0 Cannot store the "
			"message, try later\r\n250 2.0.0 Ok\r\n" },
		{ FAKE_BROKEN, MIB / 2, 0, "451 4.3.0 Cannot store the "
			"message, try later\r\n250 2.0.0 Ok\r\n" },
		{ FAKE_BROKEN, 3 * MIB, 0, "451 4.3.0 Cannot store the "
			"message, try later\r\n250 2.0.0 Ok\r\n" },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		char *text = message(rows[i].bytes, ".\r\nNOOP\r\n");
		struct fake f;

		fake_start(&f);
		f.disk_answer = rows[i].answer;
		f.disk_error = rows[i].error;
		(void)fake_feed(&f, text, strlen(text), 30000);
		buf_drain(inject_session_output(f.session), strlen(ASKED));
		expect_out(&f, rows[i].want);
		assert_int_equal(f.submits, 0);
		assert_int_equal(f.drops, 1);
		assert_true(f.dropped_token == f.last_token);
		/* the session is in step, and the disk well again */
		f.disk_answer = FAKE_ACCEPT;
		(void)fake_feed(&f, text, strlen(text), 30000);
		assert_int_equal(f.submits, 1);
		fake_clear(&f);
		assert_true(f.pool.used_bytes == 0);
		free(text);
	}
}

/* Ends of all kinds while the disk is at it. */
static void
session_ends(void **state)
{
	char *text = message(MIB / 2, ".\r\n");
	struct fake f;

	(void)state;
	clock_test_set(NOW_MS);
	/* the submitter goes away */
	fake_start(&f);
	(void)feed_to_disk(&f, text);
	inject_session_free(&f.session);
	assert_int_equal(f.drops, 1);
	assert_int_equal(f.forgets, 1);
	/* the disk never answers; late, it is nobody's */
	begin(&f);
	(void)feed_to_disk(&f, text);
	expect_out(&f, ASKED);
	clock_test_set(NOW_MS + 599999);
	inject_session_timeout(f.session);
	expect_out(&f, "");
	clock_test_set(NOW_MS + 600000);
	inject_session_timeout(f.session);
	expect_out(&f, "451 4.3.0 Queue does not answer, try later\r\n");
	assert_int_equal(f.drops, 2);
	inject_session_written(f.session, 0);
	expect_out(&f, "");
	/* the service stops: this message is finished */
	begin(&f);
	(void)feed_to_disk(&f, text);
	expect_out(&f, ASKED);
	inject_session_stop(f.session);
	expect_out(&f, "");
	fake_disk(&f, 0);
	assert_int_equal(f.submits, 1);
	(void)fake_answer(&f);
	expect_out(&f, QUEUED "0000000000001\r\n" STOPPING);
	assert_true(inject_session_done(f.session));
	fake_clear(&f);
	clock_test_real();
	free(text);
}

/* ---- the role -------------------------------------------------------- */

static void
put(int fd, const char *text)
{
	size_t len = strlen(text);

	while (len > 0) {
		ssize_t n = send(fd, text, len, MSG_NOSIGNAL);

		if (n <= 0)
			fail_msg("send: peer is gone");
		text += n;
		len -= (size_t)n;
	}
}

static void
expect(int fd, const char *want)
{
	size_t used = 0, len = strlen(want);
	char got[400];

	while (used < len && recv(fd, got + used, 1, 0) == 1)
		used++;
	got[used] = '\0';
	if (strcmp(got, want) != 0)
		fail_msg("got \"%s\", wanted \"%s\"", got, want);
}

static void
expect_queued(int fd, const char *text, size_t len)
{
	char want[128], id[STR_ID_MAX];

	str_id_format(role_sum(text, len), id);
	(void)snprintf(want, sizeof(want), QUEUED "%s\r\n", id);
	expect(fd, want);
}

static int
greeted(const struct role *r)
{
	int fd = role_connect(r, 0);

	expect(fd, "220 mx.example ESMTP smtpd-out\r\n");
	put(fd, "HELO me\r\n");
	expect(fd, "250 mx.example\r\n");
	return fd;
}

static void
put_message(int fd, const char *text)
{
	put(fd, ONE "DATA\r\n");
	expect(fd, ASKED);
	put(fd, text);
	put(fd, ".\r\n");
}

static void
expect_stats(const struct role *r, const char *want)
{
	char all[200];
	int fd = greeted(r);

	put(fd, "MAIL FROM:<>\r\nRCPT TO:<stats@b.example>\r\nDATA\r\n");
	expect(fd, ASKED);
	put(fd, ".\r\n");
	(void)snprintf(all, sizeof(all), "550 5.0.0 %s origin=uid %lu\r\n",
		want, (unsigned long)getuid());
	expect(fd, all);
	(void)close(fd);
}

static void
wait_for_calls(unsigned calls)
{
	for (int i = 0; i < 1000 && disk->calls < calls; i++)
		(void)usleep(5000);
	assert_int_equal(disk->calls, calls);
}

static void
start(struct role *r)
{
	disk->delay_us = 0;
	disk->error = 0;
	disk->calls = disk->ended = 0;
	role_init(r);
	role_start(r);
}

static int
stop(struct role *r)
{
	int status;

	assert_int_equal(write(r->control, "s", 1), 1);
	status = role_wait(r);
	role_clear(r);
	return status;
}

/* Others are served while the disk is slow; and nobody is told 250 before. */
static void
role_slow(void **state)
{
	const size_t bytes = 4 * MIB;
	char *text = lines(bytes);
	struct role r;
	int large, small;
	int64_t began_ms;

	(void)state;
	start(&r);
	disk->delay_us = 700000;
	large = greeted(&r);
	small = greeted(&r);
	put_message(large, text);
	wait_for_calls(1);
	began_ms = clock_mono_ms();
	for (int i = 0; i < 20; i++) {
		put_message(small, "x\r\n");
		expect_queued(small, "x\r\n", 3);
	}
	assert_true(clock_mono_ms() - began_ms < 600);
	assert_int_equal(recv(large, &(char){ 0 }, 1, MSG_DONTWAIT), -1);
	assert_int_equal(disk->ended, 0);
	expect_queued(large, text, bytes);
	assert_int_equal(disk->ended, 1);
	(void)close(large);
	(void)close(small);
	assert_int_equal(stop(&r), 0);
	free(text);
}

static void
role_fails(void **state)
{
	const size_t bytes = 2 * MIB;
	char *text = lines(bytes);
	struct role r;
	int fd;

	(void)state;
	start(&r);
	fd = greeted(&r);
	disk->error = EIO;
	put_message(fd, text);
	expect(fd, "451 4.3.0 Cannot store the message, try later\r\n");
	disk->error = EDQUOT;
	put_message(fd, text);
	expect(fd, "452 4.3.1 Not enough storage, try later\r\n");
	disk->error = 0;
	put_message(fd, text);
	expect_queued(fd, text, bytes);
	(void)close(fd);
	expect_stats(&r, "opens=3 drops=2");
	assert_int_equal(stop(&r), 0);
	free(text);
}

/* The submitter goes away while the disk is at it; the next one in the same
 * place gets no answer that is not his. */
static void
role_vanishing(void **state)
{
	const size_t bytes = 2 * MIB;
	char *text = lines(bytes);
	struct role r;
	int fd;

	(void)state;
	start(&r);
	disk->delay_us = 400000;
	disk->error = EIO;
	fd = greeted(&r);
	put_message(fd, text);
	wait_for_calls(1);
	(void)shutdown(fd, SHUT_RDWR);
	(void)close(fd);
	disk->error = 0;
	fd = greeted(&r);
	put_message(fd, text);
	expect_queued(fd, text, bytes);
	assert_int_equal(disk->ended, 2);
	(void)close(fd);
	disk->delay_us = 0;
	expect_stats(&r, "opens=2 drops=1");
	assert_int_equal(stop(&r), 0);
	free(text);
}

/* Stopped while the disk is at it: the message is taken first. */
static void
role_stops(void **state)
{
	const size_t bytes = 2 * MIB;
	char *text = lines(bytes);
	struct role r;
	int fd;

	(void)state;
	start(&r);
	disk->delay_us = 300000;
	fd = greeted(&r);
	put_message(fd, text);
	wait_for_calls(1);
	assert_int_equal(write(r.control, "s", 1), 1);
	expect_queued(fd, text, bytes);
	assert_int_equal(disk->ended, 1);
	expect(fd, STOPPING);
	(void)close(fd);
	assert_int_equal(role_wait(&r), 0);
	role_clear(&r);
	/* the parent goes away: nothing is said, and the process ends */
	start(&r);
	disk->delay_us = 300000;
	fd = greeted(&r);
	put_message(fd, text);
	wait_for_calls(1);
	(void)close(r.control);
	r.control = -1;
	assert_int_equal(recv(fd, &(char){ 0 }, 1, 0), 0);
	(void)close(fd);
	assert_int_equal(role_wait(&r), 1);
	role_clear(&r);
	free(text);
}

/* No thread is outside of the filter. */
static void
role_sandbox(void **state)
{
	char path[64], line[256];
	unsigned threads = 0, filtered = 0;
	struct dirent *d;
	struct role r;
	DIR *dir;

	(void)state;
	if (!sandbox_supported())
		skip();
	start(&r);
	(void)close(greeted(&r));
	(void)snprintf(path, sizeof(path), "/proc/%ld/task", (long)r.inject);
	dir = opendir(path);
	assert_non_null(dir);
	while ((d = readdir(dir)) != NULL) {
		FILE *f;

		if (d->d_name[0] == '.')
			continue;
		(void)snprintf(line, sizeof(line), "%s/%.20s/status", path,
			d->d_name);
		f = fopen(line, "r");
		assert_non_null(f);
		threads++;
		while (fgets(line, sizeof(line), f) != NULL)
			if (strcmp(line, "Seccomp:\t2\n") == 0)
				filtered++;
		(void)fclose(f);
	}
	(void)closedir(dir);
	assert_true(threads > 1);
	assert_int_equal(filtered, threads);
	assert_int_equal(stop(&r), 0);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(pieces),
		cmocka_unit_test(end_in_piece),
		cmocka_unit_test(session_waits),
		cmocka_unit_test(session_chunks),
		cmocka_unit_test(session_faults),
		cmocka_unit_test(session_ends),
		cmocka_unit_test(role_slow),
		cmocka_unit_test(role_fails),
		cmocka_unit_test(role_vanishing),
		cmocka_unit_test(role_stops),
		cmocka_unit_test(role_sandbox),
	};

	disk = mmap(NULL, sizeof(*disk), PROT_READ | PROT_WRITE,
		MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (disk == MAP_FAILED)
		return 1;
	(void)alarm(60);
	log_init("test", LOG_TO_STDERR, LOG_LEVEL_ERROR);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
