/*
 * What a server answers: the header and body of one response as libcurl hands
 * them over, and what became of the exchange in our words.
 */
#include "config.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "base/str.h"
#include "policy/https_int.h"

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

/* ---- what comes ---- */

/* The value of the field when the line has that name; *len is its length,
 * white space at both ends cut off. */
static const char *
field(const char *line, size_t len, const char *name, size_t *len_out)
{
	size_t n = strlen(name);

	if (len <= n || strncasecmp(line, name, n) != 0 || line[n] != ':')
		return NULL;
	line += n + 1;
	len -= n + 1;
	for (; len > 0 && isspace((unsigned char)*line); len--)
		line++;
	while (len > 0 && isspace((unsigned char)line[len - 1]))
		len--;
	*len_out = len;
	return line;
}

/* "Text/Plain; charset=utf-8" -> "text/plain"; "" when it is no such thing. */
static void
take_type(struct https_transfer *t, const char *value, size_t len)
{
	size_t n = 0;

	t->media_type[0] = '\0';
	if (t->types++ > 0)
		return;
	while (n < len && value[n] != ';')
		n++;
	while (n > 0 && isspace((unsigned char)value[n - 1]))
		n--;
	if (n >= sizeof(t->media_type))
		return;
	for (size_t i = 0; i < n; i++) {
		unsigned char c = (unsigned char)value[i];

		if (c <= ' ' || c > '~') {
			t->media_type[0] = '\0';
			return;
		}
		t->media_type[i] = (char)tolower(c);
	}
	t->media_type[n] = '\0';
}

size_t
https_answer_header(char *line, size_t size, size_t count, void *arg)
{
	struct https_transfer *t = arg;
	size_t len = size * count, n;
	const char *value;

	t->header_bytes += len;
	if (t->header_bytes > HTTPS_HEADER_MAX) {
		t->header_over = true;
		return 0;
	}
	if (len > 5 && memcmp(line, "HTTP/", 5) == 0) {	/* after a 1xx */
		t->types = 0;
		t->media_type[0] = '\0';
		t->encoded = t->framed = t->header_whole = false;
	}
	if (len <= 2)
		t->header_whole = true;
	if (t->body.len > 0)		/* trailers (RFC 9110 6.5) */
		return len;
	value = field(line, len, "Content-Type", &n);
	if (value != NULL)
		take_type(t, value, n);
	value = field(line, len, "Content-Encoding", &n);
	if (value != NULL && (n != 8 || strncasecmp(value, "identity", n)))
		t->encoded = true;
	if (field(line, len, "Content-Length", &n) != NULL)
		t->framed = true;
	value = field(line, len, "Transfer-Encoding", &n);
	if (value != NULL)
		t->framed = true;
	if (value != NULL && (n != 7 || strncasecmp(value, "chunked", n)))
		t->encoded = true;
	return len;
}

size_t
https_answer_body(char *bytes, size_t size, size_t count, void *arg)
{
	struct https_transfer *t = arg;
	size_t len = size * count, room = buf_room(&t->body);

	if (buf_put(&t->body, bytes, len < room ? len : room) != ST_OK ||
	    len > room) {
		t->body_over = true;
		return 0;
	}
	return len;
}

/* ---- what it means ---- */

/* A header line above libcurl's own bound; before 8.6 it calls that so.  Where
 * memory is really out, others abort. */
#if LIBCURL_VERSION_NUM >= 0x080600
#define HEADER_LINE_TOO_LONG CURLE_TOO_LARGE
#else
#define HEADER_LINE_TOO_LONG CURLE_OUT_OF_MEMORY
#endif

/* clang-format off */
static const struct {
	CURLcode code;
	enum https_error error;
	const char *text;	/* NULL: libcurl's own words follow */
} meanings[] = {
	{ CURLE_OK, HTTPS_OK, "" },
	{ CURLE_UNSUPPORTED_PROTOCOL, HTTPS_PROTOCOL,
	    "what the server says is not HTTP/1.1" },
	{ CURLE_WEIRD_SERVER_REPLY, HTTPS_PROTOCOL,
	    "what the server says is not HTTP/1.1" },
	{ CURLE_GOT_NOTHING, HTTPS_PROTOCOL,
	    "the server closed the connection without an answer" },
	{ CURLE_PARTIAL_FILE, HTTPS_PROTOCOL, "the response was cut off" },
	{ CURLE_RECV_ERROR, HTTPS_PROTOCOL, "the connection broke off" },
	{ CURLE_SEND_ERROR, HTTPS_PROTOCOL, "the connection broke off" },
	{ CURLE_SSL_CONNECT_ERROR, HTTPS_TLS, NULL },
	{ CURLE_SSL_CIPHER, HTTPS_TLS, NULL },
	{ CURLE_PEER_FAILED_VERIFICATION, HTTPS_CERTIFICATE, NULL },
	{ CURLE_SSL_ISSUER_ERROR, HTTPS_CERTIFICATE, NULL },
	{ CURLE_COULDNT_CONNECT, HTTPS_CONNECT, NULL },
	{ CURLE_OPERATION_TIMEDOUT, HTTPS_TIMEOUT, NULL },
	{ CURLE_FILESIZE_EXCEEDED, HTTPS_TOO_LARGE, NULL },
	{ HEADER_LINE_TOO_LONG, HTTPS_TOO_LARGE,
	    "the response header has too long a line" },
	{ CURLE_COULDNT_RESOLVE_HOST, HTTPS_LOCAL, NULL },
	{ CURLE_URL_MALFORMAT, HTTPS_LOCAL, NULL },
	{ CURLE_SSL_CERTPROBLEM, HTTPS_LOCAL, NULL },
	{ CURLE_FAILED_INIT, HTTPS_LOCAL, NULL },
};
/* clang-format on */

/* The stage reached. */
static const char *
stage(const struct https_transfer *t)
{
	curl_off_t secure = 0, begun = 0;
	const char *peer = NULL;

	(void)curl_easy_getinfo(t->easy, CURLINFO_PRIMARY_IP, &peer);
	(void)curl_easy_getinfo(t->easy, CURLINFO_APPCONNECT_TIME_T, &secure);
	(void)curl_easy_getinfo(t->easy, CURLINFO_STARTTRANSFER_TIME_T,
		&begun);
	if (peer == NULL || *peer == '\0')
		return "no connection";
	if (secure == 0)
		return "no TLS handshake";
	return begun == 0 ? "no response" : "no end of the response";
}

/* OpenSSL's words without its numbers. */
static const char *
library_words(const struct https_transfer *t, CURLcode code)
{
	const char *text = t->error[0] != '\0' ? t->error :
		curl_easy_strerror(code);
	const char *last = strstr(text, "::");

	return last != NULL && strncmp(text, "error:", 6) == 0 ? last + 2 :
		text;
}

static void
explain_certificate(const struct https_transfer *t, struct https_result *res)
{
	const char *words = https_trust_words(t->seen.verify_result);

	if (words != NULL)
		(void)snprintf(res->reason, sizeof(res->reason),
			"the certificate %s", words);
	else
		(void)snprintf(res->reason, sizeof(res->reason),
			"the certificate cannot be verified: %s",
			library_words(t, CURLE_PEER_FAILED_VERIFICATION));
}

static void
explain(const struct https_transfer *t, CURLcode code,
	struct https_result *res)
{
	char *to = res->reason;
	long sys = 0;

	switch (res->error) {
	case HTTPS_CERTIFICATE:
		explain_certificate(t, res);
		break;
	case HTTPS_CONNECT:
		(void)curl_easy_getinfo(t->easy, CURLINFO_OS_ERRNO, &sys);
		(void)snprintf(to, HTTPS_REASON_MAX, "cannot connect: %s",
			sys != 0 ? strerror((int)sys) : "no address answers");
		break;
	case HTTPS_TIMEOUT:
		(void)snprintf(to, HTTPS_REASON_MAX, "timed out: %s",
			stage(t));
		break;
	case HTTPS_TOO_LARGE:
		(void)snprintf(to, HTTPS_REASON_MAX, "the %s is larger than "
			"%zu bytes", t->header_over ? "response header" :
			"response", t->header_over ? (size_t)HTTPS_HEADER_MAX :
			t->request->query.body_max);
		break;
	case HTTPS_TLS:
		(void)snprintf(to, HTTPS_REASON_MAX, "TLS handshake: %s",
			library_words(t, code));
		break;
	default:
		(void)str_copy(to, HTTPS_REASON_MAX, library_words(t, code));
	}
}

static unsigned
status_of(const struct https_transfer *t)
{
	long status = 0;

	(void)curl_easy_getinfo(t->easy, CURLINFO_RESPONSE_CODE, &status);
	return status > 0 && status < 1000 ? (unsigned)status : 0;
}

/* Up to the end of the connection, but not of TLS (RFC 9112 9.8). */
static bool
is_truncated(const struct https_transfer *t, unsigned status)
{
	return !t->framed && !t->seen.ended && status != 204 && status != 304;
}

/* Whoever asks for no more has the status, whatever became of the body. */
static bool
is_enough(const struct https_transfer *t, unsigned status)
{
	return t->request->query.cut_body && t->header_whole && status >= 200;
}

static enum https_error
judge(const struct https_transfer *t, CURLcode code, unsigned status,
	const char **text)
{
	*text = NULL;
	if (t->seen.verify_result != 0)
		return HTTPS_CERTIFICATE;
	if (t->header_over)
		return HTTPS_TOO_LARGE;
	if (is_enough(t, status))
		return HTTPS_OK;
	if (t->body_over)
		return HTTPS_TOO_LARGE;
	if (code == CURLE_OK && is_truncated(t, status))
		code = CURLE_RECV_ERROR;
	for (size_t i = 0; i < COUNT(meanings); i++) {
		if (meanings[i].code != code)
			continue;
		*text = meanings[i].text;
		return meanings[i].error;
	}
	return HTTPS_PROTOCOL;
}

static void
explain_status(struct https_result *res)
{
	if (res->status < 200 || res->status > 299)
		(void)snprintf(res->reason, sizeof(res->reason),
			"the server answered %u%s", res->status,
			res->status / 100 == 3 ?
			", a redirection, which is not followed" : "");
}

struct https_result *
https_answer_result(const struct https_transfer *t, CURLcode code)
{
	const char *text, *peer = NULL;
	unsigned status = status_of(t);
	enum https_error error = judge(t, code, status, &text);
	size_t len = error == HTTPS_OK ? t->body.len : 0;
	struct https_result *res = https_result_new(error, len);
	char raw[HTTPS_REASON_MAX];

	(void)curl_easy_getinfo(t->easy, CURLINFO_PRIMARY_IP, &peer);
	res->status = status;
	res->encoded = t->encoded;
	(void)str_copy(res->media_type, sizeof(res->media_type),
		t->media_type);
	(void)str_copy(res->peer, sizeof(res->peer), peer != NULL ? peer : "");
	if (len > 0)
		memcpy(res->body, buf_data(&t->body), len);
	if (error == HTTPS_OK)
		explain_status(res);
	else if (text != NULL)
		(void)str_copy(res->reason, sizeof(res->reason), text);
	else
		explain(t, code, res);
	(void)str_copy(raw, sizeof(raw), res->reason);
	str_sanitise(res->reason, sizeof(res->reason), raw, strlen(raw));
	return res;
}
