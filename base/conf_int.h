/*
 * Private to conf*.c: the rows of the option tables and the
 * conversions of single values.
 */
#ifndef BASE_CONF_INT_H
#define BASE_CONF_INT_H

#include <confuse.h>

#include "base/conf.h"

enum conf_kind {
	ROW_TEXT = 0,	/* char *, any text without control characters */
	ROW_HOST,	/* char *, normalised domain */
	ROW_UINT,	/* unsigned within min..max */
	ROW_SIZE_T,	/* size_t within min..max */
	ROW_PORT,	/* uint16_t */
	ROW_OCTAL,	/* unsigned file mode */
	ROW_BOOL,
	ROW_MS,		/* int64_t milliseconds within min..max */
	ROW_S,		/* int64_t seconds within min..max */
	ROW_BYTES,	/* uint64_t within min..max */
	ROW_WORD,	/* enum: index in words */
	ROW_DATE,	/* int64_t: end of that day, Unix time */
	ROW_FILE,	/* char *, absolute path */
	ROW_ADDRESS,	/* char *, mail address */
	ROW_RATE,	/* struct conf_rate */
	ROW_RELAY	/* char *, "host", "host:port", "smtps://..." */
};

struct conf_row {
	const char *name;
	enum conf_kind kind;
	size_t offset;
	const char *fallback;
	int64_t min, max;
	const char *const *words;
};

enum conf_list_kind {
	LIST_ADDR = 0,
	LIST_NET,
	LIST_NAME,	/* domain, or ".domain" for what is below it */
	LIST_PRINT,	/* SHA-256 in hex, colons allowed */
	LIST_HOST,	/* name, ".domain", address or network */
	LIST_FILE	/* absolute path */
};

struct conf_list_row {
	const char *name;
	enum conf_list_kind kind;
	uint16_t default_port;
};

struct conf_section {
	const char *name;
	bool titled;
	const struct conf_row *rows;
	size_t row_count;
	const struct conf_list_row *lists;
	size_t list_count;
};

/* conf_table.c: the first is the file itself, without a name. */
extern const struct conf_section conf_sections[];
extern const size_t conf_section_count;

/* Makes spaces of the comments in a text. */
void conf_text_blank(char *text);

/* Digits only, within min..max. */
bool conf_integer(const char *value, int base, int64_t min, int64_t max,
	int64_t *out);
/* Converts and stores into `to` at the row's offset (to may be NULL: check
 * only).  On a fault `why` gets a phrase and nothing is stored. */
void conf_row_store(const struct conf_row *, const char *value, void *to,
	char why[CONF_ERR_MAX]);
void conf_list_check(const struct conf_list_row *, const char *value,
	char why[CONF_ERR_MAX]);
void conf_match_check(const char *title, char why[CONF_ERR_MAX]);
char *conf_match_copy(const char *title);

void conf_addrs_store(cfg_t *, const char *key, uint16_t default_port,
	struct conf_addr **out, size_t *count_out);
void conf_nets_store(cfg_t *, const char *key, struct conf_net **out,
	size_t *count_out);
/* Names normalised, prints as plain lower-case hex, files as they are. */
void conf_texts_store(cfg_t *, const char *key, enum conf_list_kind,
	char ***out, size_t *count_out);
void conf_host_list_store(cfg_t *, const char *key, struct conf_host_list *);
/* False when the network is malformed. */
bool conf_net_parse(const char *text, struct conf_net *out);
void conf_nets_default(struct conf_net **out, size_t *count_out);
/* conf_report.c: the defaults of tlsrpt and dkim that depend on others, and
 * what is wrong with them as a whole; NULL when nothing is. */
void conf_report_fill(struct conf *);
const char *conf_report_fault(const struct conf *);
void conf_report_free(struct conf *);
/* Splits "smtps://host:port" in relay_host and normalises the host; port 25,
 * or 465 for smtps (RFC 8314 7.3), when none is given. */
void conf_relay_port(struct conf_destination *);

#endif
