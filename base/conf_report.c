/*
 * The sections tlsrpt and dkim: what follows from other options, and what does
 * not fit together.
 *
 * Reports go to others in the operator's name, so they are sent when he has
 * said whom to ask about them (contact), or plainly wants them.
 */
#include "config.h"

#include <stdlib.h>
#include <string.h>

#include "base/conf_int.h"
#include "base/mem.h"
#include "base/str.h"

static void
fill(char **text, const char *value)
{
	if (*text == NULL)
		*text = xstrdup(value);
}

void
conf_report_fill(struct conf *conf)
{
	struct conf_tlsrpt *t = &conf->tlsrpt;

	t->send = t->send_mode == CONF_TLSRPT_YES ||
		(t->send_mode == CONF_TLSRPT_AUTO && t->contact != NULL);
	fill(&t->domain, conf->dkim.domain != NULL ? conf->dkim.domain :
		conf->hostname);
	fill(&t->organization, t->domain);
	fill(&t->contact, conf->postmaster);
	fill(&t->from, t->contact);
}

static bool
within(const char *domain, const char *parent)
{
	size_t n = strlen(domain), m = strlen(parent);

	return strcmp(domain, parent) == 0 || (n > m &&
		domain[n - m - 1] == '.' &&
		strcmp(domain + n - m, parent) == 0);
}

const char *
conf_report_fault(const struct conf *conf)
{
	const struct conf_dkim *d = &conf->dkim;
	bool any = d->domain != NULL || d->selector != NULL ||
		d->key_file != NULL;
	char domain[STR_DOMAIN_MAX];
	size_t local;
	bool utf8;

	if (any && (d->domain == NULL || d->selector == NULL ||
	    d->key_file == NULL))
		return "dkim: domain, selector and key-file belong together";
	if (!any && d->sign_notices)
		return "dkim: sign-notices without a key";
	if (!any || !conf->tlsrpt.send)
		return NULL;
	/* RFC 8460 3: a signature of another domain says nothing of it. */
	if (str_address(conf->tlsrpt.from, &local, domain, &utf8) != ST_OK ||
	    !within(domain, d->domain))
		return "tlsrpt: from (or contact) is not an address in the "
			"domain of dkim, so receivers would refuse reports";
	return NULL;
}

bool
conf_tlsrpt_excluded(const struct conf *conf, const char *domain)
{
	for (size_t i = 0; i < conf->tlsrpt.exclude_count; i++) {
		const char *name = conf->tlsrpt.exclude[i];

		if (name[0] == '.' ? strcmp(domain, name + 1) != 0 &&
		    within(domain, name + 1) : strcmp(domain, name) == 0)
			return true;
	}
	return false;
}

void
conf_report_free(struct conf *conf)
{
	for (size_t i = 0; i < conf->tlsrpt.exclude_count; i++)
		free(conf->tlsrpt.exclude[i]);
	free(conf->tlsrpt.exclude);
	free(conf->tlsrpt.domain);
	free(conf->tlsrpt.from);
	free(conf->tlsrpt.contact);
	free(conf->tlsrpt.organization);
	free(conf->dkim.key_file);
	free(conf->dkim.selector);
	free(conf->dkim.domain);
}
