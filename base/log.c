/*
 * Structured log lines to stderr or syslog.  The only module that writes
 * there; no secrets and no message bodies are ever passed to it.
 */
#include "config.h"

#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <syslog.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/str.h"

#define NUM_SLOTS 16
#define ONCE_SLOTS 64
#define ONCE_MS 60000

static struct {
	char role[32];
	enum log_target target;
	enum log_level level;
	int pid;
} logger = { .role = "smtpd-out", .level = LOG_LEVEL_INFO };

static const struct {
	const char *name;
	int priority;
} levels[] = {
	[LOG_LEVEL_ERROR] = { "error", LOG_ERR },
	[LOG_LEVEL_WARN] = { "warn", LOG_WARNING },
	[LOG_LEVEL_INFO] = { "info", LOG_INFO },
	[LOG_LEVEL_DEBUG] = { "debug", LOG_DEBUG },
};

void
log_init(const char *role, enum log_target target, enum log_level level)
{
	(void)str_copy(logger.role, sizeof(logger.role), role);
	logger.target = target;
	logger.level = level;
	logger.pid = (int)getpid();
	if (target == LOG_TO_SYSLOG)
		openlog("smtpd-out", LOG_PID | LOG_NDELAY, LOG_MAIL);
}

bool
log_enabled(enum log_level level)
{
	return level <= logger.level;
}

const char *
log_num(long long n)
{
	static char slots[NUM_SLOTS][24];
	static unsigned next;
	char *slot = slots[next++ % NUM_SLOTS];

	(void)snprintf(slot, sizeof(slots[0]), "%lld", n);
	return slot;
}

struct line {
	char text[LOG_LINE_MAX];
	size_t len;
};

static void
line_add(struct line *l, const char *text, size_t len)
{
	size_t room = sizeof(l->text) - 1 - l->len;

	if (len > room)
		len = room;
	memcpy(l->text + l->len, text, len);
	l->len += len;
	l->text[l->len] = '\0';
}

/* A cut line must not end within a character. */
static void
line_trim(struct line *l)
{
	size_t at = l->len;

	while (at > 0 && l->len - at < 3 && (l->text[at - 1] & 0xc0) == 0x80)
		at--;
	if (at > 0 && !str_is_utf8(l->text + at - 1, l->len - at + 1))
		l->len = at - 1;
	l->text[l->len] = '\0';
}

static void
line_add_value(struct line *l, const char *value)
{
	char clean[LOG_LINE_MAX];

	if (value == NULL)
		value = "-";
	str_sanitise(clean, sizeof(clean), value, strlen(value));
	if (clean[0] != '\0' && strpbrk(clean, " \"=\\") == NULL) {
		line_add(l, clean, strlen(clean));
		return;
	}
	line_add(l, "\"", 1);
	for (const char *p = clean; *p != '\0'; p++) {
		if (*p == '"' || *p == '\\')
			line_add(l, "\\", 1);
		line_add(l, p, 1);
	}
	line_add(l, "\"", 1);
}

static void
line_add_prefix(struct line *l, enum log_level level)
{
	char stamp[96];
	int64_t now_ms = clock_wall_ms();
	time_t now = (time_t)(now_ms / 1000);
	struct tm tm;
	size_t n;

	if (logger.target == LOG_TO_SYSLOG) {
		line_add(l, logger.role, strlen(logger.role));
		line_add(l, ": ", 2);
		return;
	}
	(void)gmtime_r(&now, &tm);
	n = strftime(stamp, sizeof(stamp), "%Y-%m-%dT%H:%M:%S", &tm);
	n += (size_t)snprintf(stamp + n, sizeof(stamp) - n, ".%03dZ %s[%d] %s ",
		(int)(now_ms % 1000), logger.role, logger.pid,
		levels[level].name);
	line_add(l, stamp, n < sizeof(stamp) ? n : sizeof(stamp) - 1);
}

void
log_event(enum log_level level, const char *event, ...)
{
	struct line l = { .len = 0 };
	const char *key;
	va_list ap;

	if (!log_enabled(level))
		return;
	line_add_prefix(&l, level);
	line_add(&l, event, strlen(event));
	va_start(ap, event);
	while ((key = va_arg(ap, const char *)) != NULL) {
		line_add(&l, " ", 1);
		line_add(&l, key, strlen(key));
		line_add(&l, "=", 1);
		line_add_value(&l, va_arg(ap, const char *));
	}
	va_end(ap);
	line_trim(&l);
	if (logger.target == LOG_TO_SYSLOG) {
		syslog(levels[level].priority, "%s", l.text);
		return;
	}
	/* One write, so that lines of several processes do not mix. */
	l.text[l.len++] = '\n';
	(void)!write(STDERR_FILENO, l.text, l.len);
}

bool
log_once(const char *key)
{
	static struct {
		uint64_t hash;
		int64_t until_ms;
	} slots[ONCE_SLOTS];
	uint64_t hash = 1469598103934665603ULL;
	int64_t now_ms = clock_mono_ms();
	size_t slot;

	for (; *key != '\0'; key++)
		hash = (hash ^ (unsigned char)*key) * 1099511628211ULL;
	slot = hash % ONCE_SLOTS;
	if (slots[slot].hash == hash && now_ms < slots[slot].until_ms)
		return false;
	slots[slot].hash = hash;
	slots[slot].until_ms = now_ms + ONCE_MS;
	return true;
}
