/*
 * Names and small conclusions for the printing of `check`.
 */
#include "config.h"

#include "base/mem.h"
#include "smtpd-out/check/check_words.h"

const char *
check_rule_tls(enum conf_tls tls)
{
	static const char *const names[] = {
		[CONF_TLS_AUTO] = "auto",
		[CONF_TLS_NONE] = "none",
		[CONF_TLS_MAY] = "may",
		[CONF_TLS_ENCRYPT] = "encrypt",
		[CONF_TLS_DANE_ONLY] = "dane-only",
		[CONF_TLS_PKIX] = "pkix",
		[CONF_TLS_FINGERPRINT] = "fingerprint",
	};

	return (size_t)tls < sizeof(names) / sizeof(names[0]) ? names[tls] :
		"unknown";
}

const char *
check_daemon_state_name(enum check_daemon_state state)
{
	static const char *const names[] = {
		[CHECK_DAEMON_NONE] = "none",
		[CHECK_DAEMON_ASKED] = "asked",
		[CHECK_DAEMON_DENIED] = "denied",
		[CHECK_DAEMON_FAILED] = "failed",
	};

	return (size_t)state < sizeof(names) / sizeof(names[0]) ?
		names[state] : "unknown";
}

const char *
check_host_dnssec(const struct check_host *h)
{
	bool mx_decides = h->addr_count == 0 || h->address_security ==
		DNS_SEC_SECURE || h->mx_security > DNS_SEC_INSECURE;

	return dns_security_name(mx_decides ? h->mx_security :
		h->address_security);
}

const struct outcome *
check_host_why(const struct check_host *h)
{
	const struct check_session *s = check_last_try(h);

	if (h->demand == NULL)
		return &h->skipped;
	return s == NULL || s->up ? NULL : &s->why;
}

enum tls_failure
check_host_failure(const struct check_host *h)
{
	if (h->demand == NULL)
		return h->skipped.tls_failure;
	return h->try_count == 0 || h->tries[0].up ? TLS_FAILURE_NONE :
		h->tries[0].why.tls_failure;
}

char *
check_hex(const uint8_t *data, size_t len)
{
	static const char digits[] = "0123456789abcdef";
	char *out = xmalloc(2 * len + 1);

	for (size_t i = 0; i < len; i++) {
		out[2 * i] = digits[data[i] >> 4];
		out[2 * i + 1] = digits[data[i] & 15];
	}
	out[2 * len] = '\0';
	return out;
}
