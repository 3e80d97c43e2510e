/*
 * What a client says in AUTH.  Everything secret that passes through here is
 * on the stack, and wiped.
 */
#include "config.h"

#include <string.h>
#include <strings.h>

#include "smtpd-out/client/smtp_auth.h"

#define MESSAGE_MAX (2 * AUTH_TEXT_MAX + 2)	/* NUL user NUL password */
#define BASE64_MAX ((MESSAGE_MAX + 2) / 3 * 4 + 1)
/* RFC 5321 4.5.3.1.4; a longer command waits for a 334 (RFC 4954 section 4). */
#define COMMAND_MAX 512

static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
	"abcdefghijklmnopqrstuvwxyz0123456789+/";

/* RFC 4648 section 4. */
static void
encode(const char *from, size_t len, char out[BASE64_MAX])
{
	const uint8_t *p = (const uint8_t *)from;
	size_t n = 0;

	for (size_t i = 0; i < len; i += 3) {
		uint32_t bits = (uint32_t)p[i] << 16;

		if (i + 1 < len)
			bits |= (uint32_t)p[i + 1] << 8;
		if (i + 2 < len)
			bits |= p[i + 2];
		out[n++] = alphabet[bits >> 18];
		out[n++] = alphabet[bits >> 12 & 63];
		out[n++] = i + 1 < len ? alphabet[bits >> 6 & 63] : '=';
		out[n++] = i + 2 < len ? alphabet[bits & 63] : '=';
	}
	out[n] = '\0';
}

/* As far as it is base64 and fits. */
static void
decode(const char *text, size_t len, char *out, size_t out_bytes)
{
	uint32_t bits = 0;
	unsigned have = 0;
	size_t n = 0;

	for (size_t i = 0; i < len && n + 1 < out_bytes; i++) {
		const char *at = text[i] == '\0' ? NULL :
			strchr(alphabet, text[i]);

		if (at == NULL)
			break;
		bits = bits << 6 | (uint32_t)(at - alphabet);
		have += 6;
		if (have < 8)
			continue;
		have -= 8;
		out[n++] = (char)(bits >> have & 255);
	}
	out[n] = '\0';
}

static void
encode_plain(const struct auth_secret *s, char out[BASE64_MAX])
{
	size_t user = strlen(s->user), password = strlen(s->password);
	char message[MESSAGE_MAX];

	message[0] = '\0';
	memcpy(message + 1, s->user, user);
	message[user + 1] = '\0';
	memcpy(message + user + 2, s->password, password);
	encode(message, user + password + 2, out);
	explicit_bzero(message, sizeof(message));
}

/* One put, so that no copy is left behind by growing. */
static enum status
say(struct buf *out, const char *command, const char *base64)
{
	char line[BASE64_MAX + 16];
	size_t n = strlen(command), m = strlen(base64);
	enum status st;

	memcpy(line, command, n);
	memcpy(line + n, base64, m);
	memcpy(line + n + m, "\r\n", 2);
	st = buf_put(out, line, n + m + 2);
	explicit_bzero(line, sizeof(line));
	return st;
}

enum status
smtp_auth_begin(struct smtp_auth *a, unsigned mechs, struct buf *out)
{
	static const char plain[] = "AUTH PLAIN ";
	char base64[BASE64_MAX];
	enum status st;

	if (!(mechs & SMTP_AUTH_PLAIN)) {
		a->step = SMTP_AUTH_USER;
		return say(out, "AUTH LOGIN", "");
	}
	encode_plain(&a->secret, base64);
	if (strlen(plain) + strlen(base64) + 2 <= COMMAND_MAX) {
		a->step = SMTP_AUTH_END;
		st = say(out, plain, base64);
	} else {
		a->step = SMTP_AUTH_MESSAGE;
		st = say(out, "AUTH PLAIN", "");
	}
	explicit_bzero(base64, sizeof(base64));
	return st;
}

/* LOGIN has no standard; all servers ask for "Username:" or "User Name", and
 * "Password:".  Whoever asks otherwise is not told. */
static bool
asks_for(const struct smtp_reply *r, const char *word)
{
	char challenge[32];
	size_t pos = 0, len;
	const char *line = smtp_reply_line(r, &pos, &len);

	if (line == NULL)
		return false;
	decode(line, len, challenge, sizeof(challenge));
	return strncasecmp(challenge, word, strlen(word)) == 0;
}

enum status
smtp_auth_answer(struct smtp_auth *a, const struct smtp_reply *r,
	struct buf *out)
{
	char base64[BASE64_MAX] = "";
	enum smtp_auth_step next = SMTP_AUTH_END;
	enum status st = ST_PARSE;

	if (r->code != 334)
		return ST_PARSE;
	if (a->step == SMTP_AUTH_MESSAGE) {
		encode_plain(&a->secret, base64);
	} else if (a->step == SMTP_AUTH_USER && asks_for(r, "user")) {
		encode(a->secret.user, strlen(a->secret.user), base64);
		next = SMTP_AUTH_PASSWORD;
	} else if (a->step == SMTP_AUTH_PASSWORD && asks_for(r, "pass")) {
		encode(a->secret.password, strlen(a->secret.password), base64);
	}
	if (base64[0] != '\0') {
		a->step = next;
		st = say(out, "", base64);
	}
	explicit_bzero(base64, sizeof(base64));
	return st;
}

static void
blot_out(struct smtp_reply *r, const char *word)
{
	size_t len = strlen(word);
	uint8_t *text = r->text.mem + r->text.start;

	for (size_t i = 0; len > 0 && i + len <= r->text.len; i++)
		if (memcmp(text + i, word, len) == 0)
			memset(text + i, '*', len);
}

void
smtp_auth_scrub(const struct smtp_auth *a, struct smtp_reply *r)
{
	char base64[BASE64_MAX];

	if (r->text.mem == NULL)
		return;
	blot_out(r, a->secret.password);
	encode_plain(&a->secret, base64);
	blot_out(r, base64);
	encode(a->secret.password, strlen(a->secret.password), base64);
	blot_out(r, base64);
	explicit_bzero(base64, sizeof(base64));
}
