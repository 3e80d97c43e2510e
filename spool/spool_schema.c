/*
 * The tables, how an older database becomes a current one, and the checks
 * that a database is ours and whole enough to be trusted with mail.
 */
#include "config.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "spool/spool_int.h"

/* Up to this size the whole structure is checked at each start; a larger
 * database is probed at both ends of every tree. */
#define FULL_CHECK_PAGES 4096

/*
 * Ids of a message's deliveries lie in (message.id, message.last_id], so that
 * neither table needs an index for it.  Bodies and texts that grow are apart
 * from what a retry rewrites.
 */
static const char schema_1[] =
	"CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL)"
	" STRICT, WITHOUT ROWID;"
	"CREATE TABLE totals (id INTEGER PRIMARY KEY CHECK (id = 1),"
	" last_id INTEGER NOT NULL, messages INTEGER NOT NULL,"
	" deliveries INTEGER NOT NULL, recipients INTEGER NOT NULL,"
	" held INTEGER NOT NULL, bytes INTEGER NOT NULL) STRICT;"
	"INSERT INTO totals VALUES (1, 0, 0, 0, 0, 0, 0);"
	"CREATE TABLE message (id INTEGER PRIMARY KEY,"
	" last_id INTEGER NOT NULL, received_ms INTEGER NOT NULL,"
	" size_bytes INTEGER NOT NULL, flags INTEGER NOT NULL,"
	" ret INTEGER NOT NULL, body_file INTEGER NOT NULL,"
	" sender TEXT NOT NULL, envid TEXT, origin TEXT) STRICT;"
	"CREATE TABLE body (id INTEGER PRIMARY KEY, data BLOB NOT NULL)"
	" STRICT;"
	"CREATE TABLE delivery (id INTEGER PRIMARY KEY,"
	" message_id INTEGER NOT NULL, attempts INTEGER NOT NULL DEFAULT 0,"
	" received_ms INTEGER NOT NULL, next_ms INTEGER NOT NULL,"
	" expires_ms INTEGER NOT NULL, held INTEGER NOT NULL DEFAULT 0,"
	" delay_noticed INTEGER NOT NULL DEFAULT 0,"
	" destination TEXT NOT NULL, text TEXT) STRICT;"
	"CREATE INDEX delivery_due ON delivery (next_ms) WHERE held = 0;"
	"CREATE INDEX delivery_expires ON delivery (expires_ms);"
	"CREATE INDEX delivery_destination ON delivery (destination);"
	"CREATE TABLE recipient (delivery_id INTEGER NOT NULL,"
	" id INTEGER NOT NULL, notify INTEGER NOT NULL,"
	" address TEXT NOT NULL, orcpt TEXT, text TEXT,"
	" PRIMARY KEY (delivery_id, id)) STRICT, WITHOUT ROWID;";

/* The best TLS that hosts were seen with. */
static const char schema_2[] =
	"CREATE TABLE host_tls (host TEXT PRIMARY KEY,"
	" level INTEGER NOT NULL, last_s INTEGER NOT NULL)"
	" STRICT, WITHOUT ROWID;"
	"CREATE INDEX host_tls_last ON host_tls (last_s);";

/* MTA-STS: what is known of domains, and the last good policy lists.  It needs
 * no table of an earlier step. */
static const char schema_sts[] =
	"CREATE TABLE sts_policy (row INTEGER PRIMARY KEY,"
	" domain TEXT NOT NULL UNIQUE, policy_id TEXT NOT NULL,"
	" fetched_s INTEGER NOT NULL, expires_s INTEGER NOT NULL,"
	" used_s INTEGER NOT NULL, tried_s INTEGER NOT NULL,"
	" next_try_s INTEGER NOT NULL, failures INTEGER NOT NULL,"
	" failure INTEGER NOT NULL, error TEXT NOT NULL, text BLOB) STRICT;"
	"CREATE INDEX sts_policy_expires ON sts_policy (expires_s, domain);"
	"CREATE TABLE sts_list (row INTEGER PRIMARY KEY,"
	" path TEXT NOT NULL UNIQUE, text BLOB NOT NULL) STRICT;";

/* TLSRPT: the totals of days, and where reports go. */
static const char schema_report[] =
	"CREATE TABLE report_day (row INTEGER PRIMARY KEY,"
	" day_s INTEGER NOT NULL, domain TEXT NOT NULL,"
	" part INTEGER NOT NULL, state INTEGER NOT NULL,"
	" due_s INTEGER NOT NULL, until_s INTEGER NOT NULL,"
	" tries INTEGER NOT NULL, asked_ms INTEGER NOT NULL,"
	" note TEXT NOT NULL, size INTEGER NOT NULL, totals BLOB NOT NULL,"
	" UNIQUE (day_s, domain, part)) STRICT;"
	"CREATE INDEX report_due ON report_day (due_s) WHERE state < 2;"
	"CREATE INDEX report_size ON report_day (day_s, size);"
	"CREATE INDEX report_domain ON report_day (domain, day_s, part);"
	"CREATE INDEX report_asked ON report_day (asked_ms)"
	" WHERE asked_ms > 0;"
	"CREATE TABLE report_rua (report INTEGER NOT NULL,"
	" rua TEXT NOT NULL, kind INTEGER NOT NULL, state INTEGER NOT NULL,"
	" due_s INTEGER NOT NULL, tries INTEGER NOT NULL,"
	" note TEXT NOT NULL, PRIMARY KEY (report, rua))"
	" STRICT, WITHOUT ROWID;";

/* Work by destination: counts, when each is due, what the operator set.
 * retry, which is attempts > 0, tells new mail from mail that is tried again;
 * to an expression SQLite makes no index that answers alone. */
static const char schema_queue[] =
	"CREATE TABLE destination (name TEXT PRIMARY KEY,"
	" deliveries INTEGER NOT NULL, held INTEGER NOT NULL,"
	" wait_ms INTEGER NOT NULL DEFAULT 0, new_ms INTEGER,"
	" retry_ms INTEGER) STRICT, WITHOUT ROWID;"
	"INSERT INTO destination (name, deliveries, held, new_ms, retry_ms)"
	" SELECT destination, count(*), sum(held),"
	" min(CASE WHEN held = 0 AND attempts = 0 THEN next_ms END),"
	" min(CASE WHEN held = 0 AND attempts > 0 THEN next_ms END)"
	" FROM delivery INDEXED BY delivery_destination GROUP BY destination;"
	"CREATE INDEX destination_new ON destination (new_ms)"
	" WHERE new_ms IS NOT NULL;"
	"CREATE INDEX destination_retry ON destination (retry_ms)"
	" WHERE retry_ms IS NOT NULL;"
	"CREATE INDEX destination_wait ON destination (name)"
	" WHERE wait_ms > 0;"
	"CREATE INDEX destination_many ON destination (deliveries)"
	" WHERE deliveries >= 10;"
	"DROP INDEX delivery_due;"
	"ALTER TABLE delivery ADD COLUMN retry INTEGER NOT NULL DEFAULT 0;"
	"UPDATE delivery SET retry = 1 WHERE attempts > 0;"
	"CREATE INDEX delivery_lane ON delivery"
	" (held, destination, retry, next_ms) WHERE held = 0;"
	"CREATE TABLE destination_rule (host INTEGER NOT NULL,"
	" name TEXT NOT NULL, paused INTEGER NOT NULL,"
	" connections INTEGER NOT NULL, recipients INTEGER NOT NULL,"
	" rate INTEGER NOT NULL, rate_ms INTEGER NOT NULL,"
	" PRIMARY KEY (host, name)) STRICT, WITHOUT ROWID;";

/* Never change a step that was released: add one. */
static const struct spool_migration migrations[] = {
	{ schema_1 },
	{ schema_2 },
	{ schema_sts },
	{ schema_report },
	{ schema_queue },
};
#define SCHEMA_VERSION ((int)(sizeof(migrations) / sizeof(migrations[0])))

const struct spool_migration *
spool_migrations(int *count_out)
{
	*count_out = SCHEMA_VERSION;
	return migrations;
}

/* Both ends of every tree: from each root down to two leaves. */
static const char probe_sql[] =
	"SELECT (SELECT max(id) FROM message), (SELECT min(id) FROM message),"
	" (SELECT min(id) FROM body), (SELECT max(id) FROM body),"
	" (SELECT min(id) FROM delivery), (SELECT max(id) FROM delivery),"
	" (SELECT min(delivery_id) FROM recipient),"
	" (SELECT max(delivery_id) FROM recipient),"
	" (SELECT destination FROM delivery INDEXED BY delivery_lane"
	"  WHERE held = 0 ORDER BY destination LIMIT 1),"
	" (SELECT destination FROM delivery INDEXED BY delivery_lane"
	"  WHERE held = 0 ORDER BY destination DESC LIMIT 1),"
	" (SELECT min(expires_ms) FROM delivery INDEXED BY delivery_expires),"
	" (SELECT max(expires_ms) FROM delivery INDEXED BY delivery_expires),"
	" (SELECT min(destination) FROM delivery"
	"  INDEXED BY delivery_destination),"
	" (SELECT max(destination) FROM delivery"
	"  INDEXED BY delivery_destination),"
	" (SELECT count(*) FROM meta), (SELECT max(last_id) FROM"
	"  (SELECT last_id FROM message ORDER BY id DESC LIMIT 1)),"
	" (SELECT min(host) FROM host_tls), (SELECT max(host) FROM host_tls),"
	" (SELECT min(last_s) FROM host_tls INDEXED BY host_tls_last),"
	" (SELECT max(last_s) FROM host_tls INDEXED BY host_tls_last),"
	" (SELECT min(domain) FROM sts_policy),"
	" (SELECT max(domain) FROM sts_policy),"
	" (SELECT min(expires_s) FROM sts_policy"
	"  INDEXED BY sts_policy_expires),"
	" (SELECT max(expires_s) FROM sts_policy"
	"  INDEXED BY sts_policy_expires),"
	" (SELECT min(row) FROM sts_policy),"
	" (SELECT max(row) FROM sts_policy),"
	" (SELECT min(path) FROM sts_list),"
	" (SELECT min(row) FROM report_day),"
	" (SELECT max(row) FROM report_day),"
	" (SELECT min(due_s) FROM report_day INDEXED BY report_due"
	"  WHERE state < 2),"
	" (SELECT min(day_s) FROM report_day INDEXED BY report_size),"
	" (SELECT min(report) FROM report_rua),"
	" (SELECT max(report) FROM report_rua),"
	" (SELECT min(name) FROM destination),"
	" (SELECT max(name) FROM destination),"
	" (SELECT min(new_ms) FROM destination INDEXED BY destination_new"
	"  WHERE new_ms IS NOT NULL),"
	" (SELECT max(new_ms) FROM destination INDEXED BY destination_new"
	"  WHERE new_ms IS NOT NULL),"
	" (SELECT min(retry_ms) FROM destination"
	"  INDEXED BY destination_retry WHERE retry_ms IS NOT NULL),"
	" (SELECT max(retry_ms) FROM destination"
	"  INDEXED BY destination_retry WHERE retry_ms IS NOT NULL),"
	" (SELECT max(deliveries) FROM destination"
	"  INDEXED BY destination_many WHERE deliveries >= 10),"
	" (SELECT min(name) FROM destination INDEXED BY destination_wait"
	"  WHERE wait_ms > 0),"
	" (SELECT count(*) FROM destination_rule)";
#define PROBE_LAST_ID 15

/* First column of the first row; `text` NULL: as a number. */
static enum status
ask(struct spool *s, const char *sql, int column, int64_t *number_out,
	char text[64])
{
	sqlite3_stmt *stmt = NULL;
	int rc = sqlite3_prepare_v2(s->db, sql, -1, &stmt, NULL);
	char what[48];

	if (rc == SQLITE_OK)
		rc = sqlite3_step(stmt);
	if (rc == SQLITE_ROW) {
		const unsigned char *t = sqlite3_column_text(stmt, column);

		*number_out = sqlite3_column_int64(stmt, column);
		if (text != NULL)
			(void)snprintf(text, 64, "%s",
				t == NULL ? "" : (const char *)t);
	}
	(void)sqlite3_finalize(stmt);
	/* The library's sentence must have room. */
	(void)snprintf(what, sizeof(what), "%.47s", sql);
	return rc == SQLITE_ROW ? ST_OK : spool_fail_db(s, rc, what);
}

static enum status
ask_number(struct spool *s, const char *sql, int64_t *number_out)
{
	return ask(s, sql, 0, number_out, NULL);
}

static enum status
run_steps(struct spool *s, const struct spool_migration *steps, int from,
	int count)
{
	char sql[96];

	for (int i = from; i < count; i++) {
		enum status st = spool_exec(s, steps[i].sql);

		if (st != ST_OK)
			return st;
		spool_step(s, "migrate");
	}
	(void)snprintf(sql, sizeof(sql), "PRAGMA application_id = %d; "
		"PRAGMA user_version = %d", SPOOL_APPLICATION_ID, count);
	return spool_exec(s, sql);
}

/* All steps that are missing, or none of them. */
static enum status
run_migration(struct spool *s, const struct spool_migration *steps, int from,
	int count)
{
	enum status st = spool_exec(s, "BEGIN IMMEDIATE");

	if (st == ST_OK)
		st = run_steps(s, steps, from, count);
	if (st == ST_OK)
		st = spool_exec(s, "COMMIT");
	if (st != ST_OK && sqlite3_get_autocommit(s->db) == 0)
		(void)sqlite3_exec(s->db, "ROLLBACK", NULL, NULL, NULL);
	return st;
}

enum status
spool_migrate(struct spool *s, const struct spool_migration *steps, int count)
{
	int64_t application = 0, version = 0, objects = 0;
	enum status st;

	st = ask_number(s, "PRAGMA application_id", &application);
	if (st == ST_OK)
		st = ask_number(s, "PRAGMA user_version", &version);
	if (st == ST_OK)
		st = ask_number(s, "SELECT count(*) FROM sqlite_schema",
			&objects);
	if (st != ST_OK)
		return st;
	if (application != SPOOL_APPLICATION_ID &&
	    (application != 0 || version != 0 || objects != 0))
		return spool_fail(s, ST_DENIED, "spool: %s/%s is a database "
			"of another program; it is left as it is", s->dir,
			SPOOL_DB_NAME);
	if (version > count)
		return spool_fail(s, ST_DENIED, "spool: %s/%s has schema "
			"version %lld, this program knows versions up to %d: "
			"a newer smtpd-out made it, use that one", s->dir,
			SPOOL_DB_NAME, (long long)version, count);
	/* Without its log a young database is an empty one. */
	if (version < 0 || (version == 0 && (objects != 0 ||
	    spool_has_marker(s))))
		return spool_fail(s, ST_CORRUPT, "spool: %s/%s: DAMAGED: "
			"schema version %lld with %lld objects", s->dir,
			SPOOL_DB_NAME, (long long)version,
			(long long)objects);
	if (version == count)
		return ST_OK;
	return run_migration(s, steps, (int)version, count);
}

static enum status
check_structure(struct spool *s)
{
	int64_t pages = 0, ignored = 0;
	char verdict[64] = "";
	enum status st = ask_number(s, "PRAGMA page_count", &pages);

	if (st != ST_OK || pages > FULL_CHECK_PAGES)
		return st;
	st = ask(s, "PRAGMA quick_check(1)", 0, &ignored, verdict);
	if (st != ST_OK || strcmp(verdict, "ok") == 0)
		return st;
	return spool_fail(s, ST_CORRUPT, "spool: %s/%s: DAMAGED: %s", s->dir,
		SPOOL_DB_NAME, verdict);
}

/* An id above the high-water mark would be given twice. */
static enum status
check_ends(struct spool *s)
{
	int64_t last_id = 0;
	enum status st = ask(s, probe_sql, PROBE_LAST_ID, &last_id, NULL);

	if (st == ST_OK && last_id > s->totals.last_id)
		st = spool_fail(s, ST_CORRUPT, "spool: %s/%s: DAMAGED: id "
			"%lld is above the recorded %lld", s->dir,
			SPOOL_DB_NAME, (long long)last_id,
			(long long)s->totals.last_id);
	return st;
}

enum status
spool_totals_load(struct spool *s)
{
	struct query q;

	query_start(&q, s, STMT_TOTALS_LOAD);
	if (query_step(&q)) {
		s->totals = (struct spool_totals){
			.last_id = (int64_t)query_col_id(&q, 0),
			.messages = (int64_t)query_col_id(&q, 1),
			.deliveries = (int64_t)query_col_id(&q, 2),
			.recipients = (int64_t)query_col_id(&q, 3),
			.held = (int64_t)query_col_id(&q, 4),
			.bytes = (int64_t)query_col_id(&q, 5),
		};
	} else if (q.st == ST_OK) {
		q.st = spool_fail(s, ST_CORRUPT, "spool: %s/%s: DAMAGED: the "
			"row of totals is missing", s->dir, SPOOL_DB_NAME);
	}
	s->totals_dirty = false;
	return query_end(&q);
}

enum status
spool_schema_open(struct spool *s)
{
	enum status st = spool_migrate(s, migrations, SCHEMA_VERSION);

	if (st == ST_OK)
		st = check_structure(s);
	if (st == ST_OK)
		st = spool_totals_load(s);
	if (st == ST_OK)
		st = check_ends(s);
	/* The version says current, so a missing table is damage. */
	if (st == ST_SYS && !s->broken && (sqlite3_errcode(s->db) & 0xff) ==
	    SQLITE_ERROR)
		st = ST_CORRUPT;
	return st;
}
