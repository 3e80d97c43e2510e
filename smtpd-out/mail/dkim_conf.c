/*
 * The configured key: opened at the start, and again at a reload.
 */
#include "config.h"

#include <stdio.h>
#include <string.h>

#include "base/conf.h"
#include "base/log.h"
#include "smtpd-out/mail/dkim.h"

enum status
dkim_conf_open(const struct conf *conf, struct dkim_key **out,
	char err[DKIM_ERR_MAX])
{
	const struct dkim_identity id = { .domain = conf->dkim.domain,
		.selector = conf->dkim.selector,
		.key_file = conf->dkim.key_file, .user = conf->user };
	char why[DKIM_ERR_MAX];
	enum status st;

	*out = NULL;
	err[0] = '\0';
	if (id.key_file == NULL)
		return ST_OK;
	st = dkim_key_open(&id, out, why);
	if (st != ST_OK)
		(void)snprintf(err, DKIM_ERR_MAX, "dkim: key-file: %.480s",
			why);
	return st;
}

static bool
same_key(const struct conf_dkim *a, const struct conf_dkim *b)
{
	return a->key_file != NULL && b->key_file != NULL &&
		strcmp(a->key_file, b->key_file) == 0 &&
		strcmp(a->domain, b->domain) == 0 &&
		strcmp(a->selector, b->selector) == 0;
}

enum status
dkim_conf_reopen(const struct conf *old, const struct conf *new,
	struct dkim_key *had, struct dkim_key **out, char err[DKIM_ERR_MAX])
{
	enum status st = dkim_conf_open(new, out, err);

	if (st != ST_SYS || had == NULL || !same_key(&old->dkim, &new->dkim))
		return st;
	log_warn("reload", "reason", err, "kept", "the key that was read at "
		"the start", NULL);
	*out = had;
	return ST_OK;
}
