/*
 * lint of mail addresses.  The verdict is that of the parser; why it says no
 * is found out here.
 */
#include "config.h"

#include <arpa/inet.h>
#include <string.h>

#include "base/str.h"
#include "smtpd-out/lint/lint.h"

#define LOCAL_MAX 64
#define PATH_MAX_LEN 254	/* 256 with its angle brackets */

static bool
has_control(const char *text)
{
	for (; *text != '\0'; text++)
		if ((unsigned char)*text < 32 || *text == 127)
			return true;
	return false;
}

/* The last "@", perhaps within quotes; for the wording alone. */
static void
explain(struct lint *l, const char *text)
{
	size_t len = strlen(text);
	const char *at = strrchr(text, '@');
	char domain[STR_DOMAIN_MAX];

	if (len == 0)
		lint_error(l, "empty (RFC 5321 4.1.2)");
	else if (!str_is_utf8(text, len))
		lint_error(l, "not UTF-8 (RFC 6531 3.3)");
	else if (has_control(text))
		lint_error(l, "there is a control character (RFC 5321 4.1.2)");
	else if (text[0] == '<')
		lint_error(l, "angle brackets are part of the command, not of "
			"the address (RFC 5321 4.1.2)");
	else if (at == NULL)
		lint_error(l, "there is no \"@\" (RFC 5321 4.1.2)");
	else if (at == text)
		lint_error(l, "the local part is empty (RFC 5321 4.1.2)");
	else if (at - text > LOCAL_MAX)
		lint_error(l, "the local part has more than %d octets (RFC "
			"5321 4.5.3.1.1)", LOCAL_MAX);
	else if (at[1] == '[')
		lint_error(l, "the address literal is malformed (RFC 5321 "
			"4.1.3)");
	else if (strlen(at + 1) > 255)
		lint_error(l, "the domain has more than 255 octets (RFC 5321 "
			"4.5.3.1.2)");
	else if (str_domain(at + 1, domain) != ST_OK)
		lint_error(l, "\"%.200s\" is not a domain name (RFC 5321 "
			"4.1.2, RFC 5890 2.3.2)", at + 1);
	else
		lint_error(l, "the local part has characters that must be "
			"quoted, or dots at its ends or in a row (RFC 5321 "
			"4.1.2)");
}

/* As delivery reads it: the domain is in lower case. */
static void
check_literal(struct lint *l, const char *domain)
{
	char inner[STR_DOMAIN_MAX];
	bool tagged = strncmp(domain, "[ipv6:", 6) == 0;
	uint8_t bytes[16];
	size_t len;

	(void)str_copy(inner, sizeof(inner), domain + (tagged ? 6 : 1));
	len = strlen(inner);
	inner[len > 0 ? len - 1 : 0] = '\0';
	if (inet_pton(tagged ? AF_INET6 : AF_INET, inner, bytes) == 1) {
		lint_warn(l, "an address literal: no MX, no DANE and no "
			"MTA-STS apply to it (RFC 5321 4.1.3)");
		return;
	}
	if (!tagged && inet_pton(AF_INET6, inner, bytes) == 1)
		lint_error(l, "an IPv6 address is written [IPv6:...] (RFC "
			"5321 4.1.3)");
	else
		lint_error(l, "the address literal is malformed (RFC 5321 "
			"4.1.3)");
}

static void
check_domain(struct lint *l, const char *domain)
{
	if (strchr(domain, '.') == NULL)
		lint_warn(l, "the domain is a single label; domains are given "
			"in full (RFC 5321 2.3.5)");
	if (strchr(domain, '_') != NULL)
		lint_warn(l, "the domain has an underscore, which mail "
			"domains have not (RFC 5321 4.1.2)");
	if (domain[0] == '-' || strstr(domain, "-.") != NULL ||
	    strstr(domain, ".-") != NULL || domain[strlen(domain) - 1] == '-')
		lint_warn(l, "a label of the domain begins or ends with a "
			"hyphen (RFC 5321 4.1.2)");
}

/* Quotes that could be left out make another spelling of one mailbox. */
static bool
quoted_in_vain(const char *text, size_t local)
{
	char plain[LOCAL_MAX + 4];
	char domain[STR_DOMAIN_MAX];
	size_t len;
	bool utf8;

	if (text[0] != '"' || local < 3 || local > LOCAL_MAX ||
	    memchr(text, '\\', local) != NULL)
		return false;
	memcpy(plain, text + 1, local - 2);
	memcpy(plain + local - 2, "@a", 3);
	return str_address(plain, &len, domain, &utf8) == ST_OK &&
		len == local - 2;
}

void
lint_address(struct lint *l, const char *text)
{
	char domain[STR_DOMAIN_MAX], local_part[LOCAL_MAX + 1];
	size_t local;
	bool utf8;

	if (str_address(text, &local, domain, &utf8) != ST_OK) {
		explain(l, text);
		return;
	}
	memcpy(local_part, text, local);
	local_part[local] = '\0';
	lint_set(l, "local", local_part);
	lint_set(l, "domain", domain);
	(void)json_object_set_new(l->values, "smtputf8", json_boolean(utf8));
	(void)json_object_set_new(l->values, "quoted",
		json_boolean(text[0] == '"'));
	if (domain[0] == '[')
		check_literal(l, domain);
	else
		check_domain(l, domain);
	if (strlen(text) > PATH_MAX_LEN)
		lint_warn(l, "longer than %d octets, which many servers "
			"refuse (RFC 5321 4.5.3.1.3)", PATH_MAX_LEN);
	if (!str_is_ascii(local_part))
		lint_warn(l, "every server on the way needs SMTPUTF8 (RFC "
			"6531 3.2)");
	else if (utf8)
		lint_warn(l, "the domain is not in A-labels, as servers "
			"without SMTPUTF8 need it (RFC 6531 3.2)");
	if (quoted_in_vain(text, local))
		lint_warn(l, "the quotes are not needed and better left out "
			"(RFC 5321 4.1.2)");
}
