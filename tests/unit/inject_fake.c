/*
 * The fake queue of the session tests and of the fuzzer.
 */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/mem.h"
#include "tests/unit/inject_fake.h"

static uint64_t
port_request(void *arg, struct inject_session *session)
{
	struct fake *f = arg;

	(void)session;
	return ++f->last_request;
}

static void
port_forget(void *arg, uint64_t request)
{
	struct fake *f = arg;

	if (request == f->last_request)
		f->submit_due = f->file_due = f->disk_due = false;
	f->forgets++;
}

static void
keep_body(struct fake *f, const struct msg_submit *msg)
{
	f->body_len = (size_t)msg->env->size_bytes;
	f->body = xmalloc(f->body_len + 1);
	if (msg->body != NULL)
		memcpy(f->body, msg->body, f->body_len);
	else if (pread(f->file_fd, f->body, f->body_len, 0) !=
	    (ssize_t)f->body_len)
		abort();
	f->body[f->body_len] = '\0';
}

static enum status
port_submit(void *arg, uint64_t request, const struct msg_submit *msg)
{
	struct fake *f = arg;
	struct buf wire;
	struct reader r;

	if (f->answer == FAKE_BROKEN)
		return ST_LIMIT;
	if (request != f->last_request ||
	    (msg->body != NULL && msg->body_len != msg->env->size_bytes) ||
	    (msg->body == NULL && msg->file_token != f->last_token))
		abort();
	/* What is acknowledged has been on the disk before. */
	if (msg->body == NULL && (!f->durable ||
	    f->disk_bytes != msg->env->size_bytes))
		abort();
	envelope_free(&f->env);
	mem_free(&f->body);
	buf_init(&wire, IPC_PAYLOAD_MAX);
	if (envelope_encode(msg->env, &wire) != ST_OK)
		abort();
	reader_init(&r, buf_data(&wire), wire.len);
	f->env = envelope_decode(&r);
	if (f->env == NULL)	/* the queue could not read it */
		abort();
	buf_clear(&wire);
	keep_body(f, msg);
	f->submits++;
	f->submit_due = f->answer != FAKE_SILENT;
	return ST_OK;
}

static enum status
port_body_open(void *arg, uint64_t request)
{
	struct fake *f = arg;

	(void)request;
	f->opens++;
	if (f->file_answer == FAKE_BROKEN)
		return ST_LIMIT;
	f->file_due = f->file_answer != FAKE_SILENT;
	return ST_OK;
}

static void
port_body_drop(void *arg, uint64_t request, uint64_t token)
{
	struct fake *f = arg;

	(void)request;
	f->drops++;
	f->dropped_token = token;
}

static bool
port_write_out(void *arg, uint64_t request, const struct inject_write *what)
{
	struct fake *f = arg;

	if (request != f->last_request || f->disk_due || f->durable ||
	    what->from != f->disk_bytes)
		abort();
	errno = EMFILE;
	if (f->disk_answer == FAKE_BROKEN)
		return false;
	f->writes++;
	f->disk_bytes += what->len;
	f->disk_due = true;
	f->syncing = what->sync;
	return true;
}

static const struct inject_port port = {
	port_request, port_forget, port_submit, port_body_open,
	port_body_drop, port_write_out,
};

void
fake_init(struct fake *f, enum conf_protocol protocol)
{
	static char hostname[] = "mx.example";

	memset(f, 0, sizeof(*f));
	f->conf.hostname = hostname;
	f->conf.limit.message_bytes = 100000;
	f->conf.limit.recipients = 5;
	f->conf.limit.line_bytes = 998;
	f->conf.limit.inject_command_ms = 60000;
	f->conf.limit.inject_session_ms = 600000;
	f->conf.limit.hops = 5;
	f->conf.limit.inline_bytes = 20000;
	f->listen.protocol = protocol;
	f->pool.max_bytes = 1 << 20;
	f->file_fd = -1;
}

void
fake_session(struct fake *f)
{
	const struct inject_session_args args = {
		.conf = &f->conf,
		.listen = &f->listen,
		.pool = &f->pool,
		.port = &port,
		.port_arg = f,
		.id = 31,
		.origin = "uid 1000",
		.starttls = f->starttls,
	};

	inject_session_free(&f->session);
	f->session = inject_session_new(&args);
}

void
fake_clear(struct fake *f)
{
	inject_session_free(&f->session);
	envelope_free(&f->env);
	mem_free(&f->body);
	if (f->file_fd >= 0)
		(void)close(f->file_fd);
	f->file_fd = -1;
}

static const struct msg_rejected no_space = {
	452, "4.3.1", "no \"space\"\r\n250 smuggled\001"
};

static void
give_file(struct fake *f)
{
	if (f->file_fd >= 0)
		(void)close(f->file_fd);
	f->file_fd = memfd_create("body", MFD_CLOEXEC);
	if (f->file_fd < 0)
		abort();
	f->disk_due = f->durable = false;
	f->disk_bytes = 0;
	inject_session_file(f->session, fcntl(f->file_fd, F_DUPFD_CLOEXEC, 3),
		++f->last_token);
}

void
fake_disk(struct fake *f, int error)
{
	f->disk_due = false;
	f->durable = f->syncing && error == 0;
	inject_session_written(f->session, error);
}

bool
fake_answer(struct fake *f)
{
	if (f->disk_due && f->disk_answer != FAKE_SILENT) {
		fake_disk(f, f->disk_answer == FAKE_REJECT ? f->disk_error :
			0);
		return true;
	}
	if (f->file_due) {
		f->file_due = false;
		if (f->file_answer == FAKE_REJECT)
			inject_session_rejected(f->session, &no_space);
		else
			give_file(f);
		return true;
	}
	if (f->submit_due) {
		f->submit_due = false;
		if (f->answer == FAKE_REJECT)
			inject_session_rejected(f->session, &no_space);
		else
			inject_session_accepted(f->session, f->submits);
		return true;
	}
	return false;
}

size_t
fake_feed(struct fake *f, const char *text, size_t len, size_t step)
{
	size_t used = 0, seen = 0;

	while (used < len) {
		size_t n;

		if (seen < len)
			seen = step == 0 || len - seen < step ? len :
				seen + step;
		n = inject_session_input(f->session,
			(const uint8_t *)text + used, seen - used);
		used += n;
		if (!fake_answer(f) && n == 0 && seen == len)
			break;
	}
	while (fake_answer(f))
		;
	return used;
}
