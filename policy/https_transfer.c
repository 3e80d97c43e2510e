/*
 * One exchange in libcurl's terms: the options that bound it, the callbacks
 * that take the response, and what its result codes mean.
 *
 * The addresses are pinned in a DNS cache of the exchange's own, so libcurl
 * looks nothing up (Debian's would start a thread for that), and no pin
 * outlives it or meets another exchange.
 */
#include "config.h"

#include <ctype.h>
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/mem.h"
#include "base/str.h"
#include "policy/https_int.h"

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

struct https_transfer {
	struct https_request *request;
	CURL *easy;
	CURLSH *pins;			/* the DNS cache */
	struct curl_slist *resolve, *headers;
	bool added;
	struct buf body;
	size_t header_bytes;
	bool header_over, body_over;
	unsigned types;			/* Content-Type fields seen */
	char media_type[HTTPS_MEDIA_MAX];
	bool encoded;
	bool framed;			/* its length is in the header */
	struct https_seen seen;
	char error[CURL_ERROR_SIZE];
};

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

static size_t
on_header(char *line, size_t size, size_t count, void *arg)
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
		t->encoded = t->framed = false;
	}
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

static size_t
on_body(char *bytes, size_t size, size_t count, void *arg)
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

/* The second line of defence: whatever libcurl is up to, no other address than
 * the ones permitted. */
static curl_socket_t
on_open(void *arg, curlsocktype purpose, struct curl_sockaddr *address)
{
	const struct https_transfer *t = arg;
	const struct https_query *q = &t->request->query;
	const struct sockaddr *sa = &address->addr;

	if (purpose != CURLSOCKTYPE_IPCXN || address->socktype != SOCK_STREAM)
		return CURL_SOCKET_BAD;
	for (size_t i = 0; i < q->addr_count; i++) {
		struct sockaddr_storage want = q->addrs[i];

		if (want.ss_family != sa->sa_family ||
		    address->addrlen > sizeof(want))
			continue;
		if (memcmp(&want, sa, want.ss_family == AF_INET ?
		    offsetof(struct sockaddr_in, sin_zero) :
		    offsetof(struct sockaddr_in6, sin6_scope_id)) == 0)
			return socket(address->family, address->socktype |
				SOCK_CLOEXEC, address->protocol);
	}
	return CURL_SOCKET_BAD;
}

static CURLcode
on_ssl_ctx(CURL *easy, void *ctx, void *arg)
{
	struct https_transfer *t = arg;

	(void)easy;
	return https_trust_apply(t->request->https->trust, ctx,
		t->request->query.host, &t->seen) ? CURLE_OK :
		CURLE_SSL_CERTPROBLEM;
}

/* ---- options ---- */

/* clang-format off */
static const struct { CURLoption option; long value; } numbers[] = {
	{ CURLOPT_NOSIGNAL, 1 },
	{ CURLOPT_FOLLOWLOCATION, 0 },		/* RFC 8461 3.3 */
	{ CURLOPT_MAXREDIRS, 0 },
	{ CURLOPT_NETRC, CURL_NETRC_IGNORED },
	{ CURLOPT_HTTP09_ALLOWED, 0 },
	{ CURLOPT_HTTP_VERSION, CURL_HTTP_VERSION_1_1 },
	{ CURLOPT_PATH_AS_IS, 1 },
	{ CURLOPT_DISALLOW_USERNAME_IN_URL, 1 },
	{ CURLOPT_SSLVERSION, CURL_SSLVERSION_TLSv1_2 },
	{ CURLOPT_SSL_VERIFYPEER, 1 },
	{ CURLOPT_SSL_VERIFYHOST, 2 },
	{ CURLOPT_SSL_SESSIONID_CACHE, 0 },
	{ CURLOPT_FRESH_CONNECT, 1 },
	{ CURLOPT_FORBID_REUSE, 1 },
	{ CURLOPT_DNS_CACHE_TIMEOUT, 0 },
	{ CURLOPT_TCP_NODELAY, 1 },
};
static const struct { CURLoption option; const char *value; } texts[] = {
	{ CURLOPT_PROTOCOLS_STR, "https" },
	{ CURLOPT_REDIR_PROTOCOLS_STR, "https" },
	{ CURLOPT_PROXY, "" },			/* whatever the environment */
	{ CURLOPT_NOPROXY, "*" },
	{ CURLOPT_CAINFO, NULL },		/* see https_trust_apply() */
	{ CURLOPT_CAPATH, NULL },
	{ CURLOPT_ACCEPT_ENCODING, NULL },
	{ CURLOPT_USERAGENT, "smtpd-out" },
};
/* clang-format on */

static bool
set_fixed(CURL *easy)
{
	bool ok = true;

	for (size_t i = 0; i < COUNT(numbers); i++)
		ok = ok && curl_easy_setopt(easy, numbers[i].option,
			numbers[i].value) == CURLE_OK;
	for (size_t i = 0; i < COUNT(texts); i++)
		ok = ok && curl_easy_setopt(easy, texts[i].option,
			texts[i].value) == CURLE_OK;
	return ok;
}

static bool
set_callbacks(struct https_transfer *t)
{
	CURL *e = t->easy;

	return curl_easy_setopt(e, CURLOPT_PRIVATE, (void *)t->request) ==
		CURLE_OK &&
		curl_easy_setopt(e, CURLOPT_ERRORBUFFER, t->error) ==
		CURLE_OK &&
		curl_easy_setopt(e, CURLOPT_HEADERFUNCTION, on_header) ==
		CURLE_OK &&
		curl_easy_setopt(e, CURLOPT_HEADERDATA, t) == CURLE_OK &&
		curl_easy_setopt(e, CURLOPT_WRITEFUNCTION, on_body) ==
		CURLE_OK &&
		curl_easy_setopt(e, CURLOPT_WRITEDATA, t) == CURLE_OK &&
		curl_easy_setopt(e, CURLOPT_OPENSOCKETFUNCTION, on_open) ==
		CURLE_OK &&
		curl_easy_setopt(e, CURLOPT_OPENSOCKETDATA, t) == CURLE_OK &&
		curl_easy_setopt(e, CURLOPT_SSL_CTX_FUNCTION, on_ssl_ctx) ==
		CURLE_OK &&
		curl_easy_setopt(e, CURLOPT_SSL_CTX_DATA, t) == CURLE_OK;
}

/* "HOST:PORT:ADDRESS,ADDRESS" into the exchange's own cache. */
static bool
set_pins(struct https_transfer *t)
{
	const struct https_query *q = &t->request->query;
	char text[STR_DOMAIN_MAX + 16 + HTTPS_ADDRS_MAX *
		(HTTPS_PEER_MAX + 3)], name[HTTPS_PEER_MAX];
	size_t len = (size_t)snprintf(text, sizeof(text), "%s:%u:", q->host,
		q->port);

	for (size_t i = 0; i < q->addr_count; i++) {
		const struct sockaddr_storage *ss = &q->addrs[i];
		bool v6 = ss->ss_family == AF_INET6;

		if (getnameinfo((const struct sockaddr *)ss, v6 ?
		    sizeof(struct sockaddr_in6) : sizeof(struct sockaddr_in),
		    name, sizeof(name), NULL, 0, NI_NUMERICHOST) != 0)
			return false;
		len += (size_t)snprintf(text + len, sizeof(text) - len,
			v6 ? "%s[%s]" : "%s%s", i > 0 ? "," : "", name);
	}
	t->resolve = curl_slist_append(NULL, text);
	t->pins = curl_share_init();
	return t->resolve != NULL && t->pins != NULL &&
		curl_share_setopt(t->pins, CURLSHOPT_SHARE,
		CURL_LOCK_DATA_DNS) == CURLSHE_OK &&
		curl_easy_setopt(t->easy, CURLOPT_SHARE, t->pins) ==
		CURLE_OK &&
		curl_easy_setopt(t->easy, CURLOPT_RESOLVE, t->resolve) ==
		CURLE_OK;
}

static bool
set_limits(struct https_transfer *t)
{
	const struct https_request *r = t->request;
	int64_t left_ms = r->deadline_ms - clock_mono_ms();
	int64_t connect_ms = r->https->settings.connect_timeout_ms;

	if (left_ms < 1)
		left_ms = 1;
	if (connect_ms > left_ms || connect_ms <= 0)
		connect_ms = left_ms;
	if (!r->query.cut_body && curl_easy_setopt(t->easy,
	    CURLOPT_MAXFILESIZE_LARGE, (curl_off_t)r->query.body_max) !=
	    CURLE_OK)
		return false;
	return curl_easy_setopt(t->easy, CURLOPT_TIMEOUT_MS, (long)left_ms) ==
		CURLE_OK &&
		curl_easy_setopt(t->easy, CURLOPT_CONNECTTIMEOUT_MS,
		(long)connect_ms) == CURLE_OK;
}

static bool
add_header(struct https_transfer *t, const char *line)
{
	struct curl_slist *more = curl_slist_append(t->headers, line);

	if (more != NULL)
		t->headers = more;
	return more != NULL;
}

/* "Expect: 100-continue" would cost a second with most servers. */
static bool
set_post(struct https_transfer *t)
{
	const struct https_query *q = &t->request->query;
	char line[256];

	(void)snprintf(line, sizeof(line), "Content-Type: %s",
		q->content_type);
	return add_header(t, line) && add_header(t, "Expect:") &&
		curl_easy_setopt(t->easy, CURLOPT_HTTPHEADER, t->headers) ==
		CURLE_OK &&
		curl_easy_setopt(t->easy, CURLOPT_POST, 1L) == CURLE_OK &&
		curl_easy_setopt(t->easy, CURLOPT_POSTFIELDSIZE_LARGE,
		(curl_off_t)q->body_len) == CURLE_OK &&
		curl_easy_setopt(t->easy, CURLOPT_POSTFIELDS, q->body) ==
		CURLE_OK;
}

static bool
set_url(struct https_transfer *t)
{
	const struct https_query *q = &t->request->query;
	char *url = xasprintf("https://%s:%u%s", q->host, q->port, q->path);
	CURLcode rc = curl_easy_setopt(t->easy, CURLOPT_URL, url);

	mem_free(&url);
	return rc == CURLE_OK;
}

struct https_transfer *
https_transfer_new(struct https_request *r)
{
	struct https_transfer *t = xcalloc(1, sizeof(*t));

	t->request = r;
	buf_init(&t->body, r->query.body_max);
	t->easy = curl_easy_init();
	if (t->easy != NULL && set_fixed(t->easy) && set_callbacks(t) &&
	    set_pins(t) && set_limits(t) && set_url(t) &&
	    (r->query.method != HTTPS_POST || set_post(t)))
		t->added = curl_multi_add_handle(r->https->multi, t->easy) ==
			CURLM_OK;
	if (!t->added)
		https_transfer_free(&t);
	return t;
}

void
https_transfer_free(struct https_transfer **transfer)
{
	struct https_transfer *t = *transfer;

	if (t == NULL)
		return;
	if (t->added)
		(void)curl_multi_remove_handle(t->request->https->multi,
			t->easy);
	curl_easy_cleanup(t->easy);
	(void)curl_share_cleanup(t->pins);
	curl_slist_free_all(t->headers);
	curl_slist_free_all(t->resolve);
	buf_clear(&t->body);
	mem_free(transfer);
}

/* ---- what came of it ---- */

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

const char *
https_transfer_stage(const struct https_transfer *t)
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
			https_transfer_stage(t));
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

/* Up to the end of the connection, but not of TLS (RFC 9112 9.8). */
static bool
is_truncated(const struct https_transfer *t)
{
	long status = 0;

	(void)curl_easy_getinfo(t->easy, CURLINFO_RESPONSE_CODE, &status);
	return !t->framed && !t->seen.ended && status != 204 && status != 304;
}

static enum https_error
judge(const struct https_transfer *t, CURLcode code, const char **text)
{
	*text = NULL;
	if (t->seen.verify_result != 0)
		return HTTPS_CERTIFICATE;
	if (t->header_over)
		return HTTPS_TOO_LARGE;
	if (t->body_over)
		return t->request->query.cut_body ? HTTPS_OK :
			HTTPS_TOO_LARGE;
	if (code == CURLE_OK && is_truncated(t))
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
https_transfer_result(struct https_transfer *t, CURLcode code)
{
	const char *text, *peer = NULL;
	enum https_error error = judge(t, code, &text);
	size_t len = error == HTTPS_OK ? t->body.len : 0;
	struct https_result *res = https_result_new(error, len);
	char raw[HTTPS_REASON_MAX];
	long status = 0;

	(void)curl_easy_getinfo(t->easy, CURLINFO_RESPONSE_CODE, &status);
	(void)curl_easy_getinfo(t->easy, CURLINFO_PRIMARY_IP, &peer);
	res->status = status > 0 && status < 1000 ? (unsigned)status : 0;
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
