/*
 * The thin layer over SQLite: the table of statements, a query that keeps its
 * first fault, and the one place where the library's result codes become a
 * status and a sentence.
 */
#include "config.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "spool/spool_int.h"

#define DELIVERY "d.id, d.message_id, d.destination, d.attempts, " \
	"d.received_ms, d.next_ms, d.expires_ms, d.held, d.delay_noticed"
#define WALK "SELECT " DELIVERY ", r.id, m.size_bytes, m.flags, m.sender, " \
	"r.address, coalesce(r.text, d.text, '') FROM "

#define STS_COLUMNS "domain, policy_id, fetched_s, expires_s, used_s, " \
	"tried_s, next_try_s, failures, failure, error"

#define REPORT_COLUMNS "row, day_s, domain, part, state, due_s, until_s, " \
	"tries, asked_ms, note"

/* CROSS JOIN is SQLite's way to fix the order of the loops. */
static const char *const stmt_sql[STMT_COUNT] = {
	[STMT_BEGIN] = "BEGIN IMMEDIATE",
	[STMT_COMMIT] = "COMMIT",
	[STMT_ROLLBACK] = "ROLLBACK",
	[STMT_TOTALS_LOAD] = "SELECT last_id, messages, deliveries, "
		"recipients, held, bytes FROM totals WHERE id = 1",
	[STMT_TOTALS_SAVE] = "UPDATE totals SET last_id = ?, messages = ?, "
		"deliveries = ?, recipients = ?, held = ?, bytes = ? "
		"WHERE id = 1",
	[STMT_META_GET] = "SELECT value FROM meta WHERE key = ?",
	[STMT_META_SET] = "INSERT INTO meta (key, value) VALUES (?1, ?2) "
		"ON CONFLICT (key) DO UPDATE SET value = ?2",
	[STMT_FREELIST] = "PRAGMA freelist_count",
	[STMT_ADD_MESSAGE] = "INSERT INTO message (id, last_id, received_ms, "
		"size_bytes, flags, ret, body_file, sender, envid, origin) "
		"VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
	[STMT_ADD_BODY] = "INSERT INTO body (id, data) VALUES (?, ?)",
	[STMT_ADD_DELIVERY] = "INSERT INTO delivery (id, message_id, "
		"received_ms, next_ms, expires_ms, destination) "
		"VALUES (?, ?, ?, ?, ?, ?)",
	[STMT_ADD_RCPT] = "INSERT INTO recipient (delivery_id, id, notify, "
		"address, orcpt) VALUES (?, ?, ?, ?, ?)",
	[STMT_MESSAGE] = "SELECT received_ms, size_bytes, flags, ret, sender, "
		"envid, origin FROM message WHERE id = ?",
	[STMT_MESSAGE_FIRST] = "SELECT received_ms FROM message "
		"ORDER BY id LIMIT 1",
	[STMT_RCPTS_OF_DELIVERY] = "SELECT r.id, r.notify, r.address, "
		"r.orcpt, d.destination FROM delivery d CROSS JOIN "
		"recipient r ON r.delivery_id = d.id "
		"WHERE d.id = ?2 AND d.message_id = ?1 ORDER BY r.id",
	[STMT_RCPTS_OF_MESSAGE] = "SELECT r.id, r.notify, r.address, "
		"r.orcpt, d.destination FROM message m CROSS JOIN delivery d "
		"ON d.id > m.id AND d.id <= m.last_id CROSS JOIN "
		"recipient r ON r.delivery_id = d.id "
		"WHERE m.id = ?1 ORDER BY d.id, r.id",
	[STMT_BODY] = "SELECT data FROM body WHERE id = ?",
	[STMT_BODY_KIND] = "SELECT body_file, size_bytes FROM message "
		"WHERE id = ?",
	[STMT_DEST_GET] = "SELECT deliveries, held, wait_ms, new_ms, retry_ms "
		"FROM destination WHERE name = ?",
	[STMT_DEST_PUT] = "INSERT INTO destination (name, deliveries, held, "
		"wait_ms, new_ms, retry_ms) VALUES (?1, ?2, ?3, ?4, ?5, ?6) "
		"ON CONFLICT (name) DO UPDATE SET deliveries = ?2, held = ?3, "
		"wait_ms = ?4, new_ms = ?5, retry_ms = ?6",
	[STMT_DEST_DELETE] = "DELETE FROM destination WHERE name = ?",
	[STMT_DEST_AFTER] = "SELECT name, deliveries FROM destination "
		"WHERE name > ? ORDER BY name LIMIT 1",
	[STMT_MAIL_AFTER] = "SELECT destination FROM delivery "
		"INDEXED BY delivery_destination WHERE destination > ? "
		"ORDER BY destination LIMIT 1",
	[STMT_DEST_WAITING] = "SELECT name, wait_ms FROM destination "
		"INDEXED BY destination_wait WHERE wait_ms > 0 AND name > ?1 "
		"ORDER BY name LIMIT ?2",
	[STMT_DEST_RECOUNT] = "SELECT count(*), coalesce(sum(held), 0) FROM "
		"delivery INDEXED BY delivery_destination "
		"WHERE destination = ?",
	[STMT_DEST_ONE] = "SELECT name, deliveries, held, wait_ms, "
		"coalesce((SELECT received_ms FROM delivery d INDEXED BY "
		"delivery_destination WHERE d.destination = name "
		"ORDER BY d.id LIMIT 1), 0) FROM destination WHERE name = ?",
	[STMT_LANE_FIRST] = "SELECT next_ms FROM delivery "
		"INDEXED BY delivery_lane WHERE destination = ?1 AND "
		"retry = ?2 AND held = 0 ORDER BY next_ms LIMIT 1",
	/* Two steps each: a flush gives very many the same time, and an index
	 * search takes one range at a time. */
	[STMT_LANES_NEW_SAME] = "SELECT name, new_ms FROM destination "
		"INDEXED BY destination_new WHERE new_ms = ?1 AND name > ?2 "
		"ORDER BY name LIMIT ?3",
	[STMT_LANES_NEW_LATER] = "SELECT name, new_ms FROM destination "
		"INDEXED BY destination_new WHERE new_ms > ?1 AND "
		"new_ms <= ?2 ORDER BY new_ms, name LIMIT ?3",
	[STMT_LANES_RETRY_SAME] = "SELECT name, retry_ms FROM destination "
		"INDEXED BY destination_retry WHERE retry_ms = ?1 AND "
		"name > ?2 ORDER BY name LIMIT ?3",
	[STMT_LANES_RETRY_LATER] = "SELECT name, retry_ms FROM destination "
		"INDEXED BY destination_retry WHERE retry_ms > ?1 AND "
		"retry_ms <= ?2 ORDER BY retry_ms, name LIMIT ?3",
	[STMT_LANES_NEXT] = "SELECT min(coalesce((SELECT min(new_ms) FROM "
		"destination INDEXED BY destination_new WHERE new_ms > ?1), "
		"?2), coalesce((SELECT min(retry_ms) FROM destination "
		"INDEXED BY destination_retry WHERE retry_ms > ?1), ?2))",
	/* From the index alone: a row that is damaged stops none of the
	 * others. */
	[STMT_DUE_SAME] = "SELECT d.id, d.next_ms FROM delivery d "
		"INDEXED BY delivery_lane WHERE d.destination = ?1 AND "
		"d.retry = ?2 AND d.held = 0 AND "
		"d.next_ms = ?3 AND d.id > ?4 ORDER BY d.id LIMIT ?5",
	[STMT_DUE_LATER] = "SELECT d.id, d.next_ms FROM delivery d "
		"INDEXED BY delivery_lane WHERE d.destination = ?1 AND "
		"d.retry = ?2 AND d.held = 0 AND "
		"d.next_ms > ?3 AND d.next_ms <= ?4 "
		"ORDER BY d.next_ms, d.id LIMIT ?5",
	[STMT_DUE_COUNT] = "SELECT count(*) FROM (SELECT 1 FROM "
		"(SELECT name, 0 AS class FROM destination "
		"INDEXED BY destination_new WHERE new_ms <= ?1 UNION ALL "
		"SELECT name, 1 FROM destination INDEXED BY destination_retry "
		"WHERE retry_ms <= ?1) l CROSS JOIN delivery d "
		"INDEXED BY delivery_lane ON d.destination = l.name AND "
		"d.retry = l.class AND d.held = 0 AND "
		"d.next_ms <= ?1 LIMIT ?2)",
	[STMT_NEXT_DUE] = "SELECT coalesce((SELECT next_ms FROM delivery "
		"INDEXED BY delivery_lane WHERE destination = ?1 AND "
		"retry = ?2 AND held = 0 AND next_ms = ?3 "
		"AND id > ?4 LIMIT 1), (SELECT min(next_ms) FROM delivery "
		"INDEXED BY delivery_lane WHERE destination = ?1 AND "
		"retry = ?2 AND held = 0 AND next_ms > ?3), ?5)",
	[STMT_EXPIRED] = "SELECT " DELIVERY " FROM delivery d "
		"INDEXED BY delivery_expires WHERE d.expires_ms <= ?1 AND "
		"d.expires_ms >= ?2 AND (d.expires_ms > ?2 OR d.id > ?3) "
		"ORDER BY d.expires_ms, d.id LIMIT ?4",
	[STMT_DELIVERIES_AFTER] = "SELECT " DELIVERY " FROM delivery d "
		"INDEXED BY delivery_destination WHERE d.destination = ?1 "
		"AND d.id > ?2 ORDER BY d.id LIMIT ?3",
	[STMT_DELIVERY] = "SELECT message_id, held, destination FROM delivery "
		"WHERE id = ?",
	[STMT_DELIVERY_ROW] = "SELECT " DELIVERY " FROM delivery d "
		"WHERE d.id = ?",
	[STMT_DELIVERIES_OF] = "SELECT " DELIVERY " FROM message m CROSS JOIN "
		"delivery d ON d.id > m.id AND d.id <= m.last_id "
		"WHERE m.id = ?1 ORDER BY d.id LIMIT ?2",
	[STMT_RCPT_ANY] = "SELECT 1 FROM recipient WHERE delivery_id = ? "
		"LIMIT 1",
	[STMT_RCPT_SET_TEXT] = "UPDATE recipient SET text = ?3 "
		"WHERE delivery_id = ?1 AND id = ?2",
	[STMT_RCPT_DELETE] = "DELETE FROM recipient "
		"WHERE delivery_id = ?1 AND id = ?2",
	[STMT_RCPT_DELETE_ADDRESS] = "DELETE FROM recipient "
		"WHERE delivery_id = ?1 AND address = ?2",
	[STMT_RCPT_DELETE_ALL] = "DELETE FROM recipient WHERE delivery_id = ?",
	[STMT_DELIVERY_DELETE] = "DELETE FROM delivery WHERE id = ?",
	[STMT_DELIVERY_FIRST] = "SELECT id FROM delivery WHERE id > ?1 AND "
		"id <= ?2 AND message_id = ?1 ORDER BY id LIMIT 1",
	[STMT_MESSAGE_SIZE] = "SELECT size_bytes FROM message WHERE id = ?",
	[STMT_DELIVERY_ANY] = "SELECT m.size_bytes, m.body_file, EXISTS "
		"(SELECT 1 FROM delivery d WHERE d.id > m.id AND "
		"d.id <= m.last_id) FROM message m WHERE m.id = ?",
	[STMT_BODY_DELETE] = "DELETE FROM body WHERE id = ?",
	[STMT_MESSAGE_DELETE] = "DELETE FROM message WHERE id = ?",
	[STMT_RETRY] = "UPDATE delivery SET next_ms = ?2, "
		"attempts = attempts + ?3, retry = retry | ?3, "
		"delay_noticed = delay_noticed | ?4, "
		"text = coalesce(?5, text) WHERE id = ?1",
	[STMT_REWIND] = "UPDATE delivery SET next_ms = ?4 WHERE id IN "
		"(SELECT id FROM delivery INDEXED BY delivery_lane WHERE "
		"held = 0 AND destination = ?1 AND retry = ?2 AND "
		"next_ms > ?3 LIMIT ?5)",
	[STMT_FLUSH] = "UPDATE delivery SET next_ms = ?2 WHERE id = ?1",
	[STMT_SET_HELD] = "UPDATE delivery SET held = ?2 WHERE id = ?1",
	[STMT_SET_FLAGS] = "UPDATE message SET flags = (flags & ~?2) | ?3 "
		"WHERE id = ?1",
	[STMT_WALK_ALL] = WALK "message m CROSS JOIN delivery d "
		"ON d.id > m.id AND d.id <= m.last_id CROSS JOIN recipient r "
		"ON r.delivery_id = d.id WHERE m.id > ?1 AND d.id > ?2 "
		"ORDER BY m.id, d.id, r.id",
	[STMT_WALK_DESTINATION] = WALK "delivery d "
		"INDEXED BY delivery_destination CROSS JOIN message m "
		"ON m.id = d.message_id CROSS JOIN recipient r "
		"ON r.delivery_id = d.id WHERE d.destination = ?3 AND "
		"d.id > ?2 AND m.id > ?1 ORDER BY d.id, r.id",
	/* Those with many in the order of the index; of the others, which may
	 * be a million, the first few by name. */
	[STMT_TOP] = "SELECT name, deliveries, held, wait_ms FROM (SELECT * "
		"FROM (SELECT name, deliveries, held, wait_ms FROM "
		"destination INDEXED BY destination_many WHERE "
		"deliveries >= 10 ORDER BY deliveries DESC LIMIT ?1) "
		"UNION ALL SELECT * FROM (SELECT name, deliveries, held, "
		"wait_ms FROM destination ORDER BY name LIMIT 2000) "
		"WHERE deliveries < 10) ORDER BY deliveries DESC, name "
		"LIMIT ?1",
	[STMT_TOP_OLDEST] = "SELECT received_ms FROM delivery "
		"INDEXED BY delivery_destination WHERE destination = ? "
		"ORDER BY id LIMIT 1",
	[STMT_RULE_PUT] = "INSERT INTO destination_rule (host, name, paused, "
		"connections, recipients, rate, rate_ms) VALUES (?1, ?2, ?3, "
		"?4, ?5, ?6, ?7) ON CONFLICT (host, name) DO UPDATE SET "
		"paused = ?3, connections = ?4, recipients = ?5, rate = ?6, "
		"rate_ms = ?7",
	[STMT_RULE_DELETE] = "DELETE FROM destination_rule "
		"WHERE host = ? AND name = ?",
	[STMT_RULE_LIST] = "SELECT host, name, paused, connections, "
		"recipients, rate, rate_ms FROM destination_rule "
		"ORDER BY host, name LIMIT ?",
	[STMT_HOST_TLS_PUT] = "INSERT INTO host_tls (host, level, last_s) "
		"VALUES (?1, ?2, ?3) ON CONFLICT (host) DO UPDATE SET "
		"level = ?2, last_s = ?3",
	[STMT_HOST_TLS_GET] = "SELECT host, level, last_s FROM host_tls "
		"WHERE host = ?",
	[STMT_HOST_TLS_DELETE] = "DELETE FROM host_tls WHERE host = ?",
	[STMT_HOST_TLS_LIST] = "SELECT host, level, last_s FROM host_tls "
		"WHERE host > ? ORDER BY host LIMIT ?",
	[STMT_HOST_TLS_COUNT] = "SELECT count(*) FROM host_tls",
	[STMT_HOST_TLS_OLDEST] = "SELECT host, level, last_s FROM host_tls "
		"INDEXED BY host_tls_last ORDER BY last_s, host LIMIT ?",
	[STMT_STS_PUT] = "INSERT INTO sts_policy (" STS_COLUMNS ", text) "
		"VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11) "
		"ON CONFLICT (domain) DO UPDATE SET policy_id = ?2, "
		"fetched_s = ?3, expires_s = ?4, used_s = ?5, tried_s = ?6, "
		"next_try_s = ?7, failures = ?8, failure = ?9, error = ?10, "
		"text = ?11",
	[STMT_STS_GET] = "SELECT " STS_COLUMNS ", text FROM sts_policy "
		"WHERE domain = ?",
	[STMT_STS_DELETE] = "DELETE FROM sts_policy WHERE domain = ?",
	[STMT_STS_LIST] = "SELECT " STS_COLUMNS " FROM sts_policy "
		"WHERE domain > ? ORDER BY domain LIMIT ?",
	[STMT_STS_DUE] = "SELECT " STS_COLUMNS " FROM sts_policy "
		"INDEXED BY sts_policy_expires WHERE policy_id <> '' AND "
		"expires_s > ?1 AND (expires_s, domain) > (?3, ?4) AND "
		"(expires_s - ?1) * 2 < expires_s - fetched_s AND "
		"next_try_s <= ?1 AND used_s >= ?2 "
		"ORDER BY expires_s, domain LIMIT ?5",
	[STMT_STS_STALE] = "SELECT " STS_COLUMNS " FROM sts_policy "
		"INDEXED BY sts_policy_expires WHERE expires_s <= ?1 AND "
		"next_try_s <= ?2 LIMIT ?3",
	[STMT_STS_EXCESS] = "SELECT " STS_COLUMNS ", "
		"coalesce(length(text), 0) "
		"FROM sts_policy ORDER BY policy_id <> '' AND expires_s > ?1, "
		"coalesce(length(text), 0) <= ?2, "
		"used_s >= ?3 AND coalesce(row < (SELECT row FROM sts_policy "
		"WHERE policy_id <> '' AND expires_s > ?1 ORDER BY row "
		"LIMIT 1 OFFSET ?4), 1), used_s, domain LIMIT ?5",
	[STMT_STS_COUNT] = "SELECT count(*), "
		"coalesce(sum(length(text)), 0) FROM sts_policy",
	[STMT_STS_LIST_PUT] = "INSERT INTO sts_list (path, text) "
		"VALUES (?1, ?2) ON CONFLICT (path) DO UPDATE SET text = ?2",
	[STMT_STS_LIST_GET] = "SELECT text FROM sts_list WHERE path = ?",
	[STMT_STS_LIST_PATHS] = "SELECT path FROM sts_list",
	[STMT_STS_LIST_DELETE] = "DELETE FROM sts_list WHERE path = ?",
	[STMT_REPORT_PUT] = "INSERT INTO report_day (" REPORT_COLUMNS ", "
		"totals, size) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, "
		"?10, ?11, length(?11)) ON CONFLICT (row) DO UPDATE SET "
		"day_s = ?2, domain = ?3, part = ?4, state = ?5, due_s = ?6, "
		"until_s = ?7, tries = ?8, asked_ms = ?9, note = ?10, "
		"totals = ?11, size = length(?11)",
	[STMT_REPORT_MARK] = "UPDATE report_day SET day_s = ?2, domain = ?3, "
		"part = ?4, state = ?5, due_s = ?6, until_s = ?7, tries = ?8, "
		"asked_ms = ?9, note = ?10 WHERE row = ?1",
	[STMT_REPORT_GET] = "SELECT " REPORT_COLUMNS ", totals FROM "
		"report_day WHERE day_s = ? AND domain = ? AND part = ?",
	[STMT_REPORT_BY_ROW] = "SELECT " REPORT_COLUMNS ", totals FROM "
		"report_day WHERE row = ?",
	[STMT_REPORT_DUE] = "SELECT " REPORT_COLUMNS " FROM report_day "
		"INDEXED BY report_due WHERE state < 2 AND due_s <= ?1 "
		"ORDER BY due_s LIMIT ?2",
	[STMT_REPORT_NEXT_DUE] = "SELECT due_s FROM report_day "
		"INDEXED BY report_due WHERE state < 2 ORDER BY due_s LIMIT 1",
	[STMT_REPORT_LIST] = "SELECT " REPORT_COLUMNS ", totals FROM "
		"report_day WHERE (day_s, domain, part) > (?1, ?2, ?3) AND "
		"day_s >= ?4 AND day_s <= ?5 AND ?6 IS NULL AND ?7 = 0 "
		"ORDER BY day_s, domain, part LIMIT ?8",
	[STMT_REPORT_OF] = "SELECT " REPORT_COLUMNS ", totals FROM "
		"report_day INDEXED BY report_domain WHERE domain = ?6 AND "
		"(day_s, domain, part) > (?1, ?2, ?3) AND "
		"day_s >= ?4 AND day_s <= ?5 AND (?7 = 0 OR asked_ms = ?7) "
		"ORDER BY day_s, part LIMIT ?8",
	[STMT_REPORT_ASKED] = "SELECT " REPORT_COLUMNS ", totals FROM "
		"report_day INDEXED BY report_asked WHERE asked_ms = ?7 AND "
		"asked_ms > 0 AND (day_s, domain, part) > (?1, ?2, ?3) AND "
		"day_s >= ?4 AND day_s <= ?5 AND ?6 IS NULL "
		"ORDER BY day_s, domain, part LIMIT ?8",
	[STMT_REPORT_SIZES] = "SELECT count(*), coalesce(sum(size), 0) FROM "
		"report_day INDEXED BY report_size",
	[STMT_REPORT_COUNT] = "SELECT count(*) FROM report_day "
		"WHERE day_s = ? AND part = 0",
	[STMT_REPORT_BEFORE] = "SELECT coalesce(max(until_s), 0) FROM "
		"report_day WHERE day_s = ?1 AND domain = ?2 AND part > 0 AND "
		"(?3 = 0 OR part < ?3)",
	[STMT_REPORT_ASK_PAST] = "UPDATE report_day INDEXED BY report_due "
		"SET due_s = ?1 / 1000, tries = 0, asked_ms = ?1 "
		"WHERE state < 2 AND (day_s < ?2 OR part > 0) "
		"AND (?3 IS NULL OR domain = ?3) AND ?4 = ?4",
	[STMT_REPORT_ASK_TODAY] = "UPDATE report_day SET due_s = ?1 / 1000, "
		"asked_ms = ?1, until_s = max(?4, 1 + (SELECT "
		"coalesce(max(r.until_s), 0) FROM report_day r WHERE "
		"r.day_s = report_day.day_s AND r.domain = report_day.domain "
		"AND r.part > 0)), part = 1 + (SELECT max(r.part) "
		"FROM report_day r WHERE r.day_s = report_day.day_s AND "
		"r.domain = report_day.domain) WHERE day_s >= ?2 AND "
		"part = 0 AND state = 0 AND (?3 IS NULL OR domain = ?3)",
	[STMT_REPORT_ASK_RUA] = "UPDATE report_rua SET due_s = ?1 / 1000, "
		"tries = 0 "
		"WHERE state = 0 AND report IN (SELECT row FROM report_day "
		"INDEXED BY report_due WHERE state < 2 AND asked_ms = ?1) "
		"AND ?2 = ?2 AND ?3 IS ?3 AND ?4 = ?4",
	[STMT_REPORT_OLDEST] = "SELECT row, day_s, size FROM report_day "
		"INDEXED BY report_size ORDER BY day_s LIMIT 1",
	[STMT_REPORT_DELETE] = "DELETE FROM report_day WHERE row = ?",
	[STMT_RUA_PUT] = "INSERT INTO report_rua (report, rua, kind, state, "
		"due_s, tries, note) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7) "
		"ON CONFLICT (report, rua) DO UPDATE SET kind = ?3, "
		"state = ?4, due_s = ?5, tries = ?6, note = ?7",
	[STMT_RUA_LIST] = "SELECT report, rua, kind, state, due_s, tries, "
		"note FROM report_rua WHERE report = ? ORDER BY rua",
	[STMT_RUA_DELETE] = "DELETE FROM report_rua WHERE report = ?",
};

const char *
spool_stmt_sql(enum spool_stmt which)
{
	return stmt_sql[which];
}

enum status
spool_fail(struct spool *s, enum status st, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	(void)vsnprintf(s->error, sizeof(s->error), fmt, ap);
	va_end(ap);
	s->was_full = st == ST_FULL;
	return st;
}

/* EFBIG: the file may not grow (ulimit -f), which is full for our purpose. */
static bool
errno_is_full(int error)
{
	return error == ENOSPC || error == EDQUOT || error == EFBIG;
}

enum status
spool_fail_errno(struct spool *s, const char *what, const char *name)
{
	int error = errno;

	return spool_fail(s, errno_is_full(error) ? ST_FULL : ST_SYS,
		"spool: cannot %s %s/%s: %s", what, s->dir, name,
		strerror(error));
}

static int
last_errno(sqlite3_file *file)
{
	int error = 0;

	if (file != NULL && file->pMethods != NULL)
		(void)file->pMethods->xFileControl(file,
			SQLITE_FCNTL_LAST_ERRNO, &error);
	return error;
}

/* SQLite tells only ENOSPC of a write as "full"; for the rest the error number
 * is at one of three places, depending on which call failed. */
static bool
io_is_full(struct spool *s)
{
	sqlite3_file *db = NULL, *wal = NULL;

	(void)sqlite3_file_control(s->db, "main", SQLITE_FCNTL_FILE_POINTER,
		&db);
	(void)sqlite3_file_control(s->db, "main",
		SQLITE_FCNTL_JOURNAL_POINTER, &wal);
	return errno_is_full(sqlite3_system_errno(s->db)) ||
		errno_is_full(last_errno(db)) ||
		errno_is_full(last_errno(wal));
}

static enum status
status_of_rc(struct spool *s, int rc)
{
	switch (rc & 0xff) {
	case SQLITE_OK:
	case SQLITE_ROW:
	case SQLITE_DONE:
		return ST_OK;
	case SQLITE_FULL:
		return ST_FULL;
	case SQLITE_BUSY:
	case SQLITE_LOCKED:
		return ST_DENIED;
	case SQLITE_CORRUPT:
	case SQLITE_NOTADB:
	case SQLITE_CONSTRAINT:		/* an id twice, a NULL: not by us */
		return ST_CORRUPT;
	case SQLITE_IOERR:
		if (rc == SQLITE_IOERR_SHORT_READ ||
		    rc == SQLITE_IOERR_CORRUPTFS)
			return ST_CORRUPT;
		__attribute__((fallthrough));
	case SQLITE_CANTOPEN:
		return io_is_full(s) ? ST_FULL : ST_SYS;
	default:
		return ST_SYS;
	}
}

enum status
spool_fail_db(struct spool *s, int rc, const char *what)
{
	enum status st = status_of_rc(s, rc);

	/* What a failed fsync left in the page cache nobody knows; going on
	 * could acknowledge mail that is not there. */
	if (st == ST_SYS && (rc == SQLITE_IOERR_FSYNC ||
	    rc == SQLITE_IOERR_DIR_FSYNC))
		s->broken = true;
	return spool_fail(s, st, "spool: %s/%s: %s: %s%s (%d)", s->dir,
		SPOOL_DB_NAME, what, st == ST_CORRUPT ? "DAMAGED: " : "",
		sqlite3_errmsg(s->db), rc);
}

enum status
spool_exec(struct spool *s, const char *sql)
{
	int rc = sqlite3_exec(s->db, sql, NULL, NULL, NULL);

	return rc == SQLITE_OK ? ST_OK : spool_fail_db(s, rc, sql);
}

void
spool_finalize(struct spool *s)
{
	for (size_t i = 0; i < STMT_COUNT; i++) {
		(void)sqlite3_finalize(s->stmts[i]);
		s->stmts[i] = NULL;
	}
}

static void
query_fault(struct query *q, int rc)
{
	char what[48];

	(void)snprintf(what, sizeof(what), "%.47s", stmt_sql[q->which]);
	q->st = spool_fail_db(q->s, rc, what);
}

void
query_start(struct query *q, struct spool *s, enum spool_stmt which)
{
	int rc;

	*q = (struct query){ .s = s, .which = which };
	if (s->stmts[which] == NULL) {
		rc = sqlite3_prepare_v3(s->db, stmt_sql[which], -1,
			SQLITE_PREPARE_PERSISTENT, &s->stmts[which], NULL);
		if (rc != SQLITE_OK)
			query_fault(q, rc);
	}
	q->stmt = s->stmts[which];
}

void
query_limit(struct query *q, size_t max_rows)
{
	query_int(q, max_rows > INT32_MAX ? INT32_MAX : (int64_t)max_rows);
}

void
query_int(struct query *q, int64_t value)
{
	int rc;

	if (q->st != ST_OK)
		return;
	rc = sqlite3_bind_int64(q->stmt, ++q->bound, value);
	if (rc != SQLITE_OK)
		query_fault(q, rc);
}

/* Ids have 63 bits: what is above is nobody's id and matches nothing. */
void
query_id(struct query *q, uint64_t id)
{
	query_int(q, id > INT64_MAX ? INT64_MAX : (int64_t)id);
}

void
query_null(struct query *q)
{
	if (q->st == ST_OK)
		q->bound++;	/* what is not bound is NULL */
}

void
query_text(struct query *q, const char *text)
{
	int rc;

	if (q->st != ST_OK)
		return;
	rc = sqlite3_bind_text(q->stmt, ++q->bound, text, -1, SQLITE_STATIC);
	if (rc != SQLITE_OK)
		query_fault(q, rc);
}

void
query_blob(struct query *q, const void *data, size_t len)
{
	int rc;

	if (q->st != ST_OK)
		return;
	rc = sqlite3_bind_blob64(q->stmt, ++q->bound, len == 0 ? "" : data,
		len, SQLITE_STATIC);
	if (rc != SQLITE_OK)
		query_fault(q, rc);
}

bool
query_step(struct query *q)
{
	int rc;

	if (q->st != ST_OK)
		return false;
	rc = sqlite3_step(q->stmt);
	if (rc == SQLITE_ROW)
		return true;
	if (rc != SQLITE_DONE)
		query_fault(q, rc);
	return false;
}

enum status
query_end(struct query *q)
{
	if (q->stmt != NULL) {
		(void)sqlite3_reset(q->stmt);
		(void)sqlite3_clear_bindings(q->stmt);
	}
	return q->st;
}

enum status
query_run(struct query *q)
{
	while (query_step(q))
		;
	return query_end(q);
}

void
query_damaged(struct query *q, int column)
{
	if (q->st == ST_OK)
		q->st = spool_fail(q->s, ST_CORRUPT,
			"spool: %s/%s: DAMAGED: unexpected value in column "
			"%d of: %.60s", q->s->dir, SPOOL_DB_NAME, column,
			stmt_sql[q->which]);
}

int64_t
query_col(struct query *q, int column)
{
	if (sqlite3_column_type(q->stmt, column) != SQLITE_INTEGER)
		query_damaged(q, column);
	return sqlite3_column_int64(q->stmt, column);
}

uint64_t
query_col_id(struct query *q, int column)
{
	int64_t value = query_col(q, column);

	if (value < 0) {
		query_damaged(q, column);
		return 0;
	}
	return (uint64_t)value;
}

const char *
query_col_text_null(struct query *q, int column)
{
	const char *text;

	if (sqlite3_column_type(q->stmt, column) == SQLITE_NULL)
		return NULL;
	text = (const char *)sqlite3_column_text(q->stmt, column);
	if (text == NULL || strlen(text) > ENVELOPE_STR_MAX) {
		query_damaged(q, column);
		return "";
	}
	return text;
}

const char *
query_col_text(struct query *q, int column)
{
	const char *text = query_col_text_null(q, column);

	if (text != NULL)
		return text;
	query_damaged(q, column);
	return "";
}

char *
query_col_blob(struct query *q, int column, size_t max, size_t *len_out)
{
	int type = sqlite3_column_type(q->stmt, column);
	const void *data;
	char *copy;
	int len;

	*len_out = 0;
	if (type == SQLITE_NULL)
		return NULL;
	data = sqlite3_column_blob(q->stmt, column);
	len = sqlite3_column_bytes(q->stmt, column);
	if (type != SQLITE_BLOB || len < 0 || (size_t)len > max ||
	    (data == NULL && len > 0)) {
		query_damaged(q, column);
		return NULL;
	}
	*len_out = (size_t)len;
	copy = xmalloc(*len_out + 1);
	if (len > 0)
		memcpy(copy, data, *len_out);
	copy[*len_out] = '\0';
	return copy;
}
