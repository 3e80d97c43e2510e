/*
 * Signing by libopendkim.  Nothing is verified here, and no file or DNS record
 * is looked at once the key is open.
 */
#include "config.h"

#include <ctype.h>
#include <opendkim/dkim.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/mem.h"
#include "base/secret_file.h"
#include "base/str.h"
#include "smtpd-out/mail/dkim.h"

#define KEY_MAX 16384		/* bytes of a PEM file */
#define ED25519_BYTES 64

struct dkim_key {
	DKIM_LIB *lib;
	char *domain, *selector;
	char pem[KEY_MAX];
	dkim_alg_t algorithm;
};

/* What is signed when it is there; what report readers and people look at is
 * all of it (RFC 6376 5.4.1). */
static const char *signed_fields[] = { "from", "to", "cc", "reply-to",
	"subject", "date", "message-id", "in-reply-to", "references",
	"mime-version", "content-type", "content-transfer-encoding",
	"auto-submitted", "tls-required", "tls-report-domain",
	"tls-report-submitter", NULL };
/* And what nobody may add (RFC 6376 8.15). */
static const char *oversigned_fields[] = { "from", "to", "subject",
	"date", "content-type", "tls-report-domain", "tls-report-submitter",
	NULL };

static DKIM_LIB *
open_library(void)
{
	DKIM_LIB *lib = dkim_init(NULL, NULL);

	if (lib == NULL)
		return NULL;
	if (dkim_options(lib, DKIM_OP_SETOPT, DKIM_OPTS_SIGNHDRS,
	    signed_fields, sizeof(char **)) == DKIM_STAT_OK &&
	    dkim_options(lib, DKIM_OP_SETOPT, DKIM_OPTS_OVERSIGNHDRS,
	    oversigned_fields, sizeof(char **)) == DKIM_STAT_OK)
		return lib;
	dkim_close(lib);
	return NULL;
}

static enum status
fault(DKIM *dkim, DKIM_STAT stat, char err[DKIM_ERR_MAX])
{
	const char *text = dkim == NULL ? NULL : dkim_geterror(dkim);
	char clean[DKIM_ERR_MAX / 2];

	if (text == NULL || text[0] == '\0')
		text = dkim_getresultstr(stat);
	str_sanitise(clean, sizeof(clean), text, strlen(text));
	(void)snprintf(err, DKIM_ERR_MAX, "cannot sign: %s", clean);
	return stat == DKIM_STAT_SYNTAX ? ST_PARSE : ST_SYS;
}

/* Length of the header field at text: its line and those that continue it. */
static size_t
field_len(const char *text, size_t left)
{
	size_t n = 0;

	do {
		const char *end = memchr(text + n, '\n', left - n);

		if (end == NULL)
			return left;
		n = (size_t)(end - text) + 1;
	} while (n < left && (text[n] == ' ' || text[n] == '\t'));
	return n;
}

/* The library reads what it is given, but does not say so in its types. */
union bytes {
	const char *in;
	u_char *out;
};

/* "Name: ..."; the library aborts on less. */
static bool
is_field(const char *text, size_t len)
{
	const char *colon = memchr(text, ':', len);

	return colon != NULL && colon > text && text[0] > ' ';
}

static DKIM_STAT
feed(DKIM *dkim, const char *text, size_t len)
{
	DKIM_STAT stat = DKIM_STAT_OK;
	size_t at = 0;

	while (at < len && text[at] != '\r' && stat == DKIM_STAT_OK) {
		size_t n = field_len(text + at, len - at), end = n;

		while (end > 0 && (text[at + end - 1] == '\n' ||
		    text[at + end - 1] == '\r'))
			end--;
		if (!is_field(text + at, end))
			return DKIM_STAT_SYNTAX;
		stat = dkim_header(dkim, (union bytes){ .in = text + at }.out,
			end);
		at += n;
	}
	if (stat == DKIM_STAT_OK)
		stat = dkim_eoh(dkim);
	at += at + 2 <= len ? 2 : 0;	/* the empty line */
	if (stat == DKIM_STAT_OK && at < len)
		stat = dkim_body(dkim, (union bytes){ .in = text + at }.out,
			len - at);
	return stat == DKIM_STAT_OK ? dkim_eom(dkim, NULL) : stat;
}

/* The field with its name and CRLF, to be freed; NULL with err. */
static char *
make_field(const struct dkim_key *key, const char *text, size_t len,
	char err[DKIM_ERR_MAX])
{
	uint64_t now = (uint64_t)clock_wall_s();
	DKIM_STAT stat = DKIM_STAT_OK;
	u_char *value = NULL;
	size_t value_len = 0;
	char *field = NULL;
	DKIM *dkim;

	(void)dkim_options(key->lib, DKIM_OP_SETOPT, DKIM_OPTS_FIXEDTIME, &now,
		sizeof(now));
	dkim = dkim_sign(key->lib, (const u_char *)"message", NULL,
		(union bytes){ .in = key->pem }.out,
		(const u_char *)key->selector, (const u_char *)key->domain,
		DKIM_CANON_RELAXED, DKIM_CANON_RELAXED, key->algorithm, -1,
		&stat);
	if (dkim != NULL)
		stat = feed(dkim, text, len);
	if (dkim != NULL && stat == DKIM_STAT_OK)
		stat = dkim_getsighdr_d(dkim, strlen(DKIM_SIGNHEADER ": "),
			&value, &value_len);
	if (dkim == NULL || stat != DKIM_STAT_OK)
		(void)fault(dkim, stat, err);
	else
		field = xasprintf(DKIM_SIGNHEADER ": %.*s\r\n",
			(int)value_len, (const char *)value);
	if (dkim != NULL)
		(void)dkim_free(dkim);
	return field;
}

enum status
dkim_sign_message(const struct dkim_key *key, struct buf *message,
	char err[DKIM_ERR_MAX])
{
	char *field = make_field(key, (const char *)buf_data(message),
		message->len, err);
	size_t len = field == NULL ? 0 : strlen(field);
	struct buf whole;
	enum status st;

	if (field == NULL)
		return ST_SYS;
	buf_init(&whole, message->max_bytes);
	st = buf_put(&whole, field, len);
	if (st == ST_OK)
		st = buf_put(&whole, buf_data(message), message->len);
	free(field);
	if (st != ST_OK) {
		(void)snprintf(err, DKIM_ERR_MAX, "the signature does not "
			"fit into the message");
		buf_clear(&whole);
		return st;
	}
	buf_clear(message);
	*message = whole;
	return ST_OK;
}

/* Octets of the signature in a field, from the digits of its last tag. */
static size_t
signature_bytes(const char *field)
{
	const char *b = strstr(field, "\tb=");
	size_t digits = 0;

	for (b = b == NULL ? "" : b + 3; *b != '\0'; b++)
		digits += isalnum((unsigned char)*b) || *b == '+' ||
			*b == '/';
	return digits * 3 / 4;
}

/* The first algorithm for which the key is one.  To the library any key that
 * signs will do for Ed25519; that it is one shows in the signature (RFC 8032
 * 5.1.6: 64 octets). */
static bool
find_algorithm(struct dkim_key *key, char err[DKIM_ERR_MAX])
{
	static const dkim_alg_t algorithms[] = { DKIM_SIGN_RSASHA256,
		DKIM_SIGN_ED25519SHA256 };
	static const char trial[] = "From: <trial@localhost>\r\n\r\ntrial\r\n";
	bool ed25519 = dkim_libfeature(key->lib, DKIM_FEATURE_ED25519);

	for (size_t i = 0; i < (ed25519 ? 2U : 1U); i++) {
		char *field;
		bool fits;

		key->algorithm = algorithms[i];
		field = make_field(key, trial, strlen(trial), err);
		fits = field != NULL && (i == 0 ||
			signature_bytes(field) == ED25519_BYTES);
		free(field);
		if (fits)
			return true;
	}
	if (!ed25519)
		(void)snprintf(err, DKIM_ERR_MAX, "is not a private key of "
			"RSA in PEM (this libopendkim signs with no other)");
	else
		(void)snprintf(err, DKIM_ERR_MAX, "is not a private key of "
			"RSA (1024 bits or more) or Ed25519 in PEM");
	return false;
}

enum status
dkim_key_open(const struct dkim_identity *id, struct dkim_key **out,
	char err[DKIM_ERR_MAX])
{
	struct dkim_key *key = xcalloc(1, sizeof(*key));
	char why[DKIM_ERR_MAX];
	enum status st;
	size_t len;

	err[0] = '\0';
	key->domain = xstrdup(id->domain);
	key->selector = xstrdup(id->selector);
	st = secret_file_read(&(struct secret_file){ id->key_file, id->user },
		key->pem, sizeof(key->pem), &len, err);
	if (st == ST_OK) {
		key->lib = open_library();
		st = key->lib != NULL ? ST_OK : ST_SYS;
		if (st != ST_OK)
			(void)snprintf(err, DKIM_ERR_MAX,
				"libopendkim does not start");
	}
	if (st == ST_OK && !find_algorithm(key, why)) {
		st = ST_PARSE;
		(void)snprintf(err, DKIM_ERR_MAX, "%.200s %.280s",
			id->key_file, why);
	}
	if (st != ST_OK)
		dkim_key_close(&key);
	*out = key;
	return st;
}

void
dkim_key_close(struct dkim_key **keyp)
{
	struct dkim_key *key = *keyp;

	if (key == NULL)
		return;
	if (key->lib != NULL)
		dkim_close(key->lib);
	free(key->selector);
	free(key->domain);
	explicit_bzero(key->pem, sizeof(key->pem));
	mem_free(keyp);
}

const char *
dkim_key_algorithm(const struct dkim_key *key)
{
	return key->algorithm == DKIM_SIGN_RSASHA256 ? "rsa-sha256" :
		"ed25519-sha256";
}
