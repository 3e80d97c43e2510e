/*
 * The framed channel: both sides on one loop, or one side written by hand.
 * What a misbehaving process sends ends its channel, never ours.
 */
#include "config.h"

#include <dirent.h>
#include <event2/event.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/mem.h"
#include "smtpd-out/ipc/ipc_msg.h"

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))
#define SEEN_MAX 6000

struct seen {
	uint16_t type;
	uint64_t id;
	size_t len;
	uint8_t first;
	char from_fd[8];	/* what its descriptor holds */
};

/* One end of a channel and what came out of it. */
struct end {
	struct ipc *ipc;
	struct seen seen[SEEN_MAX];
	size_t count, ended, flushes;
	char why[128];
	const char *fail_with;	/* refuse the next frame */
	bool pause_next;
	bool keep_fd;
};

static struct event_base *base;
static struct end a, b;
static unsigned fds_before;

static unsigned
count_fds(void)
{
	DIR *dir = opendir("/proc/self/fd");
	unsigned n = 0;

	assert_non_null(dir);
	while (readdir(dir) != NULL)
		n++;
	(void)closedir(dir);
	return n;
}

static void
on_ipc(struct ipc *ipc, struct ipc_frame *frame, const char *why, void *arg)
{
	struct end *e = arg;
	struct seen *s = &e->seen[e->count];
	ssize_t n;

	assert_ptr_equal(ipc, e->ipc);
	if (frame == NULL) {
		assert_non_null(why);
		(void)snprintf(e->why, sizeof(e->why), "%s", why);
		e->ended++;
		return;
	}
	assert_int_equal(e->ended, 0);
	assert_true(e->count < SEEN_MAX);
	e->count++;
	s->type = frame->type;
	s->id = frame->id;
	s->len = frame->body.left;
	s->first = s->len > 0 ? frame->body.pos[0] : 0;
	for (size_t i = 0; i < s->len; i++)
		assert_int_equal(frame->body.pos[i], s->first);
	if (frame->fd >= 0) {
		n = pread(frame->fd, s->from_fd, sizeof(s->from_fd) - 1, 0);
		assert_true(n > 0);
	}
	if (e->fail_with != NULL)
		ipc_fail(ipc, e->fail_with);
	if (e->pause_next)
		ipc_pause(ipc, true);
}

static void
on_flush(void *arg)
{
	((struct end *)arg)->flushes++;
}

static void
turn(unsigned times)
{
	for (unsigned i = 0; i < times; i++)
		(void)event_base_loop(base, EVLOOP_NONBLOCK);
}

/* Until nothing happens any more; bounded. */
static void
settle(void)
{
	size_t last;

	for (int i = 0; i < 100000; i++) {
		last = a.count + b.count + a.ended + b.ended +
			(a.ipc != NULL ? ipc_backlog(a.ipc) : 0) +
			(b.ipc != NULL ? ipc_backlog(b.ipc) : 0);
		turn(3);
		if (last == a.count + b.count + a.ended + b.ended +
		    (a.ipc != NULL ? ipc_backlog(a.ipc) : 0) +
		    (b.ipc != NULL ? ipc_backlog(b.ipc) : 0))
			return;
	}
	fail_msg("does not settle");
}

static int
setup(void **state)
{
	(void)state;
	fds_before = count_fds();
	memset(&a, 0, sizeof(a));
	memset(&b, 0, sizeof(b));
	base = event_base_new();
	return base == NULL ? -1 : 0;
}

static int
teardown(void **state)
{
	(void)state;
	ipc_free(&a.ipc);
	ipc_free(&b.ipc);
	event_base_free(base);
	return count_fds() == fds_before ? 0 : -1;
}

/* a is the parent, b the child. */
static void
open_pair(enum ipc_side child)
{
	int pair[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0,
		pair), 0);
	a.ipc = ipc_new(base, pair[0], IPC_PARENT, child, on_ipc, &a);
	b.ipc = ipc_new(base, pair[1], child, IPC_PARENT, on_ipc, &b);
}

/* a is the parent, the child's end is plain. */
static int
open_raw(enum ipc_side self, enum ipc_side peer)
{
	int pair[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0,
		pair), 0);
	a.ipc = ipc_new(base, pair[0], self, peer, on_ipc, &a);
	return pair[1];
}

static void
send_frame(struct end *e, uint16_t type, uint64_t id, size_t len, int fd)
{
	struct buf payload;
	uint8_t *to;

	buf_init(&payload, IPC_PAYLOAD_MAX);
	to = buf_reserve(&payload, len);
	assert_non_null(to);
	memset(to, (int)(id & 0xff), len);
	buf_commit(&payload, len);
	assert_int_equal(ipc_send(e->ipc, type, id, &payload, fd), ST_OK);
	buf_clear(&payload);
}

static void
say_hello(void)
{
	send_frame(&b, IPC_HELLO, 0, 2, -1);
}

static size_t
frame_bytes(uint8_t out[16 + 100], uint32_t len, uint16_t type,
	uint16_t flags)
{
	const uint8_t head[16] = { (uint8_t)(len >> 24), (uint8_t)(len >> 16),
		(uint8_t)(len >> 8), (uint8_t)len, (uint8_t)(type >> 8),
		(uint8_t)type, (uint8_t)(flags >> 8), (uint8_t)flags,
		0, 0, 0, 0, 0, 0, 0, 9 };

	memcpy(out, head, 16);
	memset(out + 16, 9, 100);
	return 16 + (len < 100 ? len : 100);
}

static int
make_file(unsigned n)
{
	FILE *f = tmpfile();
	int fd;

	assert_non_null(f);
	assert_true(fprintf(f, "%u", n) > 0 && fflush(f) == 0);
	fd = dup(fileno(f));
	assert_true(fd >= 0);
	(void)fclose(f);
	return fd;
}

/* Bytes with descriptors, as no honest sender would. */
static void
send_raw(int fd, const void *bytes, size_t len, int passed, size_t times)
{
	union {
		char room[CMSG_SPACE(16 * sizeof(int))];
		struct cmsghdr align;
	} control;
	struct iovec iov = { .iov_base = (void *)(uintptr_t)bytes,
		.iov_len = len };
	struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1,
		.msg_control = control.room,
		.msg_controllen = CMSG_SPACE(times * sizeof(int)) };
	struct cmsghdr *c;

	memset(&control, 0, sizeof(control));
	c = CMSG_FIRSTHDR(&msg);
	c->cmsg_level = SOL_SOCKET;
	c->cmsg_type = SCM_RIGHTS;
	c->cmsg_len = CMSG_LEN(times * sizeof(int));
	for (size_t i = 0; i < times; i++)
		memcpy(CMSG_DATA(c) + i * sizeof(int), &passed, sizeof(int));
	assert_int_equal(sendmsg(fd, &msg, MSG_NOSIGNAL), (ssize_t)len);
}

/* ---- the good channel ---- */

static void
test_each_message(void **state)
{
	static const struct {
		uint16_t type;
		size_t len;
		bool down, fd;
	} steps[] = {
		{ IPC_HELLO, 2, false, false },
		{ IPC_SUBMIT, 32, false, false },
		{ IPC_ACCEPTED, 8, true, false },
		{ IPC_REJECTED, 100, true, false },
		{ IPC_BODY_OPEN, 0, false, false },
		{ IPC_BODY_FILE, 8, true, true },
		{ IPC_BODY_DROP, 8, false, false },
		{ IPC_STOP, 0, true, false },
	};
	int fd = make_file(77);
	size_t up = 0, down = 0;

	(void)state;
	open_pair(IPC_INJECT);
	for (size_t i = 0; i < COUNT(steps); i++) {
		const struct seen *s;

		send_frame(steps[i].down ? &a : &b, steps[i].type, i + 100,
			steps[i].len, steps[i].fd ? fd : -1);
		settle();
		s = steps[i].down ? &b.seen[down++] : &a.seen[up++];
		assert_int_equal(s->type, steps[i].type);
		assert_int_equal(s->id, i + 100);
		assert_int_equal(s->len, steps[i].len);
		assert_string_equal(s->from_fd, steps[i].fd ? "77" : "");
	}
	assert_int_equal(a.count, up);
	assert_int_equal(b.count, down);
	assert_int_equal(a.ended + b.ended, 0);
	(void)close(fd);
}

static void
test_job_with_and_without_fd(void **state)
{
	int fd = make_file(5);

	(void)state;
	open_pair(IPC_WORKER);
	say_hello();
	send_frame(&a, IPC_JOB, 1, 32, -1);
	send_frame(&a, IPC_JOB, 2, 40, fd);
	send_frame(&b, IPC_RESULT, 2, 5, -1);
	settle();
	assert_int_equal(b.count, 2);
	assert_string_equal(b.seen[0].from_fd, "");
	assert_string_equal(b.seen[1].from_fd, "5");
	assert_int_equal(a.count, 2);
	(void)close(fd);
}

static void
test_batch(void **state)
{
	(void)state;
	open_pair(IPC_INJECT);
	say_hello();
	for (uint64_t i = 0; i < 5000; i++) {
		send_frame(&b, IPC_SUBMIT, i, 32 + i * 37 % 3000, -1);
		send_frame(&a, IPC_ACCEPTED, i, 8, -1);
	}
	assert_true(ipc_backlog(b.ipc) > 1000000);
	ipc_set_flush_cb(a.ipc, on_flush, &a);
	settle();
	assert_int_equal(a.count, 5001);
	assert_int_equal(b.count, 5000);
	for (uint64_t i = 0; i < 5000; i++) {
		assert_int_equal(a.seen[i + 1].id, i);
		assert_int_equal(a.seen[i + 1].len, 32 + i * 37 % 3000);
		assert_int_equal(a.seen[i + 1].first, i & 0xff);
		assert_int_equal(b.seen[i].id, i);
	}
	assert_int_equal(ipc_backlog(a.ipc) + ipc_backlog(b.ipc), 0);
	assert_true(a.flushes > 0 && a.flushes < 1000);
	assert_int_equal(a.ended + b.ended, 0);
}

static void
test_largest(void **state)
{
	struct buf payload;

	(void)state;
	open_pair(IPC_INJECT);
	say_hello();
	send_frame(&b, IPC_SUBMIT, 1, IPC_PAYLOAD_MAX, -1);
	send_frame(&b, IPC_SUBMIT, 2, 33, -1);
	send_frame(&b, IPC_SUBMIT, 3, IPC_PAYLOAD_MAX, -1);
	settle();
	assert_int_equal(a.count, 4);
	assert_int_equal(a.seen[1].len, IPC_PAYLOAD_MAX);
	assert_int_equal(a.seen[2].len, 33);
	assert_int_equal(a.seen[3].id, 3);
	/* Beyond the table nothing is queued. */
	buf_init(&payload, IPC_PAYLOAD_MAX + 1);
	assert_non_null(buf_reserve(&payload, IPC_PAYLOAD_MAX + 1));
	payload.len = IPC_PAYLOAD_MAX + 1;
	assert_int_equal(ipc_send(b.ipc, IPC_SUBMIT, 4, &payload, -1),
		ST_LIMIT);
	payload.len = 31;
	assert_int_equal(ipc_send(b.ipc, IPC_SUBMIT, 4, &payload, -1),
		ST_LIMIT);
	assert_int_equal(ipc_send(b.ipc, IPC_SUBMIT, 4, NULL, -1), ST_LIMIT);
	assert_int_equal(ipc_backlog(b.ipc), 0);
	buf_clear(&payload);
}

static void
test_backlog_is_bounded(void **state)
{
	struct buf payload;
	size_t sent = 0;
	enum status st;

	(void)state;
	open_pair(IPC_INJECT);
	buf_init(&payload, IPC_PAYLOAD_MAX);
	assert_non_null(buf_reserve(&payload, IPC_PAYLOAD_MAX));
	memset(payload.mem, 0, IPC_PAYLOAD_MAX);
	payload.len = IPC_PAYLOAD_MAX;
	do {
		st = ipc_send(b.ipc, IPC_SUBMIT, 1, &payload, -1);
		sent++;
	} while (st == ST_OK && sent < 100);
	assert_int_equal(st, ST_LIMIT);
	assert_true(sent < 20);
	buf_clear(&payload);
}

/* Many descriptors between frames without: each stays with its own. */
static void
test_descriptors_in_order(void **state)
{
	(void)state;
	open_pair(IPC_INJECT);
	for (unsigned i = 0; i < 300; i++) {
		int fd = make_file(i);

		send_frame(&a, IPC_ACCEPTED, i, 8, -1);
		send_frame(&a, IPC_BODY_FILE, i, 8, fd);
		if (i % 3 == 0)
			send_frame(&a, IPC_REJECTED, i, 3000, -1);
		(void)close(fd);
		if (i % 50 == 49)
			settle();
	}
	settle();
	assert_int_equal(b.ended, 0);
	assert_int_equal(b.count, 700);
	for (size_t i = 0; i < b.count; i++) {
		char want[8] = "";

		if (b.seen[i].type == IPC_BODY_FILE)
			(void)snprintf(want, sizeof(want), "%u",
				(unsigned)b.seen[i].id);
		assert_string_equal(b.seen[i].from_fd, want);
	}
}

/* A frame split at every byte, with its descriptor. */
static void
test_split(void **state)
{
	uint8_t bytes[3][16 + 100];
	size_t len[3], total = 0;
	int fd = make_file(3), peer = open_raw(IPC_INJECT, IPC_PARENT);

	(void)state;
	len[0] = frame_bytes(bytes[0], 8, IPC_ACCEPTED, 0);
	len[1] = frame_bytes(bytes[1], 8, IPC_BODY_FILE, 1);
	len[2] = frame_bytes(bytes[2], 50, IPC_REJECTED, 0);
	for (int f = 0; f < 3; f++)
		for (size_t i = 0; i < len[f]; i++) {
			if (f == 1 && i == 0)
				send_raw(peer, bytes[f], 1, fd, 1);
			else
				assert_int_equal(write(peer, bytes[f] + i, 1),
					1);
			turn(2);
			total++;
			assert_int_equal(a.count, (size_t)f +
				(i + 1 == len[f]));
		}
	assert_true(total > 90);
	assert_string_equal(a.seen[1].from_fd, "3");
	assert_int_equal(a.ended, 0);
	(void)close(fd);
	(void)close(peer);
}

/* ---- violations ---- */

static const struct violation {
	const char *name;
	enum ipc_side self, peer;
	bool hello;
	uint32_t len;
	uint16_t type, flags;
	unsigned fds;
	const char *why;
} violations[] = {
	{ "no type", IPC_PARENT, IPC_INJECT, true, 0, IPC_NONE, 0, 0,
		"direction" },
	{ "unknown type", IPC_PARENT, IPC_INJECT, true, 0, IPC_TYPE_COUNT, 0,
		0, "direction" },
	{ "far type", IPC_PARENT, IPC_INJECT, true, 0, 0xffff, 0, 0,
		"direction" },
	{ "parent's message", IPC_PARENT, IPC_INJECT, true, 8, IPC_ACCEPTED,
		0, 0, "direction" },
	{ "worker's message", IPC_PARENT, IPC_INJECT, true, 5, IPC_RESULT, 0,
		0, "direction" },
	{ "inject's message", IPC_PARENT, IPC_WORKER, true, 32, IPC_SUBMIT, 0,
		0, "direction" },
	{ "job to inject", IPC_INJECT, IPC_PARENT, false, 32, IPC_JOB, 0, 0,
		"direction" },
	{ "too small", IPC_PARENT, IPC_INJECT, true, 31, IPC_SUBMIT, 0, 0,
		"size" },
	{ "too large", IPC_PARENT, IPC_INJECT, true, IPC_PAYLOAD_MAX + 1,
		IPC_SUBMIT, 0, 0, "size" },
	{ "huge", IPC_PARENT, IPC_INJECT, true, 0xffffffff, IPC_SUBMIT, 0, 0,
		"size" },
	{ "not empty", IPC_PARENT, IPC_INJECT, true, 1, IPC_BODY_OPEN, 0, 0,
		"size" },
	{ "before HELLO", IPC_PARENT, IPC_INJECT, false, 40, IPC_SUBMIT, 0, 0,
		"order" },
	{ "second HELLO", IPC_PARENT, IPC_INJECT, true, 2, IPC_HELLO, 0, 0,
		"order" },
	{ "descriptor unwanted", IPC_PARENT, IPC_INJECT, true, 40, IPC_SUBMIT,
		1, 1, "descriptor" },
	{ "descriptor missing", IPC_INJECT, IPC_PARENT, false, 8,
		IPC_BODY_FILE, 0, 0, "descriptor" },
	{ "descriptor promised", IPC_INJECT, IPC_PARENT, false, 8,
		IPC_BODY_FILE, 1, 0, "descriptor" },
	{ "descriptor smuggled", IPC_PARENT, IPC_WORKER, true, 5, IPC_RESULT,
		0, 1, "descriptor" },
	{ "two for one", IPC_INJECT, IPC_PARENT, false, 8, IPC_BODY_FILE, 1,
		2, "descriptor" },
	{ "many descriptors", IPC_INJECT, IPC_PARENT, false, 8, IPC_BODY_FILE,
		1, 12, "descriptor" },
};

static void
one_violation(const struct violation *v)
{
	uint8_t bytes[16 + 100];
	int fd = make_file(1), peer = open_raw(v->self, v->peer);
	size_t n = frame_bytes(bytes, 2, IPC_HELLO, 0);

	if (v->hello)
		assert_int_equal(write(peer, bytes, n), (ssize_t)n);
	n = frame_bytes(bytes, v->len, v->type, v->flags);
	if (v->fds > 0)
		send_raw(peer, bytes, n, fd, v->fds);
	else
		assert_int_equal(write(peer, bytes, n), (ssize_t)n);
	settle();
	if (a.ended != 1 || strstr(a.why, v->why) == NULL)
		fail_msg("%s: %zu \"%s\"", v->name, a.ended, a.why);
	/* It says no more, whatever comes, and takes no more. */
	(void)!write(peer, bytes, n);
	n = a.count;
	settle();
	assert_int_equal(a.ended, 1);
	assert_int_equal(a.count, n);
	(void)close(peer);
	settle();
	assert_int_equal(a.ended, 1);
	ipc_free(&a.ipc);
	(void)close(fd);
	memset(&a, 0, sizeof(a));
}

static void
test_violations(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT(violations); i++)
		one_violation(&violations[i]);
}

/* Any bytes at all. */
static void
test_noise(void **state)
{
	uint32_t seed = 42;

	(void)state;
	for (int run = 0; run < 200; run++) {
		int peer = open_raw(run % 2 ? IPC_PARENT : IPC_WORKER,
			run % 2 ? IPC_INJECT : IPC_PARENT);
		uint8_t bytes[200];

		for (size_t i = 0; i < sizeof(bytes); i++) {
			seed = seed * 1664525 + 1013904223;
			bytes[i] = (seed >> 12) % 3 ? 0 : (uint8_t)(seed >> 16);
		}
		assert_true(write(peer, bytes, sizeof(bytes)) > 0);
		(void)close(peer);
		settle();
		assert_int_equal(a.ended, 1);
		ipc_free(&a.ipc);
		memset(&a, 0, sizeof(a));
	}
}

/* ---- the end ---- */

/* All that was sent before the end is delivered before the end is told. */
static void
test_data_before_end(void **state)
{
	(void)state;
	open_pair(IPC_WORKER);
	say_hello();
	for (uint64_t i = 0; i < 2000; i++)
		send_frame(&b, IPC_RESULT, i, 100, -1);
	ipc_pause(a.ipc, true);
	while (ipc_backlog(b.ipc) > 0 && a.count == 0) {
		size_t left = ipc_backlog(b.ipc);

		turn(1);
		if (left == ipc_backlog(b.ipc))
			break;		/* the socket is full */
	}
	assert_int_equal(a.count, 0);
	ipc_free(&b.ipc);		/* what it could not send is lost */
	ipc_pause(a.ipc, false);
	settle();
	assert_true(a.count > 100);
	for (size_t i = 1; i < a.count; i++)
		assert_int_equal(a.seen[i].id, i - 1);
	assert_int_equal(a.ended, 1);
	assert_string_equal(a.why, IPC_WHY_EOF);
}

/* The same after our own writing has failed first. */
static void
test_data_after_failed_write(void **state)
{
	uint8_t bytes[16 + 100];
	int peer = open_raw(IPC_PARENT, IPC_WORKER);
	size_t n = frame_bytes(bytes, 2, IPC_HELLO, 0);

	(void)state;
	ipc_pause(a.ipc, true);
	assert_int_equal(write(peer, bytes, n), (ssize_t)n);
	n = frame_bytes(bytes, 40, IPC_RESULT, 0);
	for (int i = 0; i < 50; i++)
		assert_int_equal(write(peer, bytes, n), (ssize_t)n);
	(void)close(peer);
	send_frame(&a, IPC_JOB, 1, 40, -1);
	turn(5);
	assert_int_equal(a.ended, 0);
	assert_int_equal(ipc_send(a.ipc, IPC_STOP, 0, NULL, -1), ST_EOF);
	ipc_pause(a.ipc, false);
	settle();
	assert_int_equal(a.count, 51);
	assert_int_equal(a.ended, 1);
	assert_string_equal(a.why, IPC_WHY_EOF);
}

/* It died with our frames unread: still an end like another. */
static void
test_end_with_unread(void **state)
{
	int peer = open_raw(IPC_PARENT, IPC_WORKER);

	(void)state;
	send_frame(&a, IPC_STOP, 1, 0, -1);
	turn(3);
	assert_int_equal(ipc_backlog(a.ipc), 0);
	(void)close(peer);
	settle();
	assert_int_equal(a.ended, 1);
	assert_string_equal(a.why, IPC_WHY_EOF);
}

static void
test_end_within_frame(void **state)
{
	uint8_t bytes[16 + 100];
	size_t n = frame_bytes(bytes, 2, IPC_HELLO, 0);

	(void)state;
	for (size_t cut = 1; cut < n; cut++) {
		int peer = open_raw(IPC_PARENT, IPC_WORKER);

		assert_int_equal(write(peer, bytes, cut), (ssize_t)cut);
		turn(2);
		assert_int_equal(a.ended, 0);
		(void)close(peer);
		settle();
		assert_int_equal(a.count, 0);
		assert_int_equal(a.ended, 1);
		ipc_free(&a.ipc);
		memset(&a, 0, sizeof(a));
	}
}

/* The owner does not like a frame: the rest of the batch is not shown. */
static void
test_fail_by_owner(void **state)
{
	(void)state;
	open_pair(IPC_WORKER);
	say_hello();
	for (uint64_t i = 0; i < 10; i++)
		send_frame(&b, IPC_RESULT, i, 100, -1);
	a.fail_with = "not liked";
	settle();
	assert_int_equal(a.count, 1);
	assert_int_equal(a.ended, 1);
	assert_string_equal(a.why, "not liked");
	ipc_fail(a.ipc, "again");
	ipc_pause(a.ipc, false);
	assert_int_equal(ipc_send(a.ipc, IPC_STOP, 0, NULL, -1), ST_EOF);
	settle();
	assert_int_equal(a.ended, 1);
	assert_string_equal(a.why, "not liked");
}

static void
test_fail_before_loop(void **state)
{
	int peer = open_raw(IPC_PARENT, IPC_WORKER);

	(void)state;
	ipc_fail(a.ipc, "at once");
	assert_int_equal(a.ended, 0);	/* never within the call */
	settle();
	assert_int_equal(a.ended, 1);
	(void)close(peer);
}

static void
test_free_while_pending(void **state)
{
	int fd = make_file(1);

	(void)state;
	open_pair(IPC_INJECT);
	say_hello();
	for (uint64_t i = 0; i < 20; i++)
		send_frame(&a, IPC_BODY_FILE, i, 8, fd);
	ipc_fail(a.ipc, "x");
	ipc_free(&a.ipc);		/* with the end not yet told */
	settle();
	assert_int_equal(a.ended, 0);
	assert_int_equal(b.ended, 1);
	(void)close(fd);
}

/* While paused nothing is read, the sender's backlog stays. */
static void
test_pause(void **state)
{
	(void)state;
	open_pair(IPC_INJECT);
	say_hello();
	settle();
	assert_int_equal(a.count, 1);
	ipc_pause(a.ipc, true);
	for (uint64_t i = 0; i < 100; i++)
		send_frame(&b, IPC_SUBMIT, i, 100000, -1);
	settle();
	assert_int_equal(a.count, 1);
	assert_true(ipc_backlog(b.ipc) > 5000000);
	ipc_pause(a.ipc, false);
	settle();
	assert_int_equal(a.count, 101);
	assert_int_equal(ipc_backlog(b.ipc), 0);
}

/* Paused from within: at most one turn's worth still comes. */
static void
test_pause_from_within(void **state)
{
	size_t count;

	(void)state;
	open_pair(IPC_INJECT);
	say_hello();
	for (uint64_t i = 0; i < 100; i++)
		send_frame(&b, IPC_SUBMIT, i, 100000, -1);
	a.pause_next = true;
	settle();
	count = a.count;
	assert_true(count < 30);
	settle();
	assert_int_equal(a.count, count);
	a.pause_next = false;
	ipc_pause(a.ipc, false);
	settle();
	assert_int_equal(a.count, 101);
}

/* The channel answers by itself; the owner of the child sees nothing. */
static void
test_ping(void **state)
{
	(void)state;
	open_pair(IPC_WORKER);
	say_hello();
	settle();
	send_frame(&a, IPC_PING, 7, 0, -1);
	settle();
	assert_int_equal(b.count, 0);
	assert_int_equal(a.count, 2);
	assert_int_equal(a.seen[1].type, IPC_PONG);
	assert_int_equal(a.seen[1].id, 7);
}

/* A write that fails for another reason than the other side's end must not
 * leave a channel that takes nothing and does not end. */
static void
test_write_fails(void **state)
{
	int pipes[2], fd, other = open_raw(IPC_PARENT, IPC_WORKER);

	(void)state;
	fd = other - 1;		/* a's end of the pair */
	assert_int_equal(pipe(pipes), 0);
	assert_int_equal(dup2(pipes[1], fd), fd);	/* no socket */
	send_frame(&a, IPC_STOP, 0, 0, -1);
	settle();
	assert_int_equal(a.ended, 1);
	(void)close(pipes[0]);
	(void)close(pipes[1]);
	(void)close(other);
}

int
main(void)
{
#define T(test) cmocka_unit_test_setup_teardown(test, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(test_each_message), T(test_job_with_and_without_fd),
		T(test_batch), T(test_largest), T(test_backlog_is_bounded),
		T(test_descriptors_in_order), T(test_split),
		T(test_violations), T(test_noise), T(test_data_before_end),
		T(test_data_after_failed_write), T(test_end_with_unread),
		T(test_end_within_frame), T(test_fail_by_owner),
		T(test_fail_before_loop), T(test_free_while_pending),
		T(test_ping), T(test_write_fails),
		T(test_pause), T(test_pause_from_within),
	};

	return cmocka_run_group_tests_name("ipc", tests, NULL, NULL);
}
