/*
 * One line per event: a fixed event word, then key=value pairs; values are
 * quoted when they hold a space, quote, '=' or nothing.  Goes to stderr (with
 * the process role in front) or syslog.
 *
 *	log_info("delivery", "id", idtext, "to", rcpt, NULL);
 *
 * Values are C strings (NULL is printed as "-") and are sanitised again here;
 * a line is cut at LOG_LINE_MAX.  Numbers: log_num() formats into a small
 * rotating set of static buffers, good within one log call (16 at most).
 */
#ifndef BASE_LOG_H
#define BASE_LOG_H

#include <stdbool.h>

#define LOG_LINE_MAX 2048

enum log_level {
	LOG_LEVEL_ERROR = 0,	/* the operator must act */
	LOG_LEVEL_WARN,		/* degraded, goes on */
	LOG_LEVEL_INFO,		/* one line per recipient attempt, life cycle */
	LOG_LEVEL_DEBUG		/* transitions and dialogue */
};

enum log_target { LOG_TO_STDERR = 0, LOG_TO_SYSLOG };

void log_init(const char *role, enum log_target, enum log_level);
bool log_enabled(enum log_level);

void log_event(enum log_level, const char *event, ...)
	__attribute__((sentinel));
#define log_error(...) log_event(LOG_LEVEL_ERROR, __VA_ARGS__)
#define log_warn(...) log_event(LOG_LEVEL_WARN, __VA_ARGS__)
#define log_info(...) log_event(LOG_LEVEL_INFO, __VA_ARGS__)
#define log_debug(...) do { \
	if (log_enabled(LOG_LEVEL_DEBUG)) \
		log_event(LOG_LEVEL_DEBUG, __VA_ARGS__); \
} while (0)

const char *log_num(long long);

/* True at most once a minute for each key: guards repeated warnings.  The
 * table is small and fixed; a forgotten key may warn again early. */
bool log_once(const char *key);

#endif
