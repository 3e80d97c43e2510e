/*
 * One exchange in libcurl's terms: the options that bound it.
 *
 * The addresses are pinned in a DNS cache of the exchange's own, so libcurl
 * looks nothing up (Debian's would start a thread for that), and no pin
 * outlives it or meets another exchange.
 */
#include "config.h"

#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/mem.h"
#include "base/str.h"
#include "policy/https_int.h"

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

/* ---- connecting ---- */

/* The second line of defence: whatever libcurl is up to, no other address than
 * the ones permitted. */
static curl_socket_t
on_open(void *arg, curlsocktype purpose, struct curl_sockaddr *address)
{
	const struct https_transfer *t = arg;
	const struct https_query *q = &t->request->query;
	const struct sockaddr *sa = &address->addr;

	if (purpose != CURLSOCKTYPE_IPCXN || address->socktype !=
	    SOCK_STREAM || (!t->request->https->settings.allow_private &&
	    https_address_kind(sa) != NULL))
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
		curl_easy_setopt(e, CURLOPT_HEADERFUNCTION,
		https_answer_header) == CURLE_OK &&
		curl_easy_setopt(e, CURLOPT_HEADERDATA, t) == CURLE_OK &&
		curl_easy_setopt(e, CURLOPT_WRITEFUNCTION, https_answer_body) ==
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
