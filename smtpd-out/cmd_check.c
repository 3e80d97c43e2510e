/*
 * The check command's arguments.
 */
#include "config.h"

#include <getopt.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>

#include "base/conf.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/str.h"
#include "resolver/resolver.h"
#include "smtpd-out/check_dns.h"
#include "smtpd-out/cmd_check.h"

struct check_args {
	const char *conf_path;		/* NULL: the default one, if any */
	bool dns, json;
};

static int
usage(void)
{
	(void)fprintf(stderr, "usage: smtpd-out check --dns NAME TYPE "
		"[-c FILE] [--json]\n");
	return EX_USAGE;
}

/* Without a configuration the defaults do. */
static struct conf *
conf_load(const char *path)
{
	const char *from = path == NULL ? CONF_DEFAULT_FILE : path;
	char err[CONF_ERR_MAX] = "";
	char *text = NULL;
	struct conf *conf = NULL;
	enum status st = conf_read(from, &text, err);

	if (st != ST_OK && path == NULL) {
		from = "defaults";
		text = xstrdup("");
		st = ST_OK;
	}
	if (st == ST_OK)
		st = conf_parse(from, text, &conf, err);
	if (st != ST_OK)
		(void)fprintf(stderr, "smtpd-out: %s\n", err);
	mem_free(&text);
	return conf;
}

static int
run_dns(const struct check_args *args, const char *name_text,
	const char *type_text)
{
	char name[STR_DOMAIN_MAX];
	struct conf *conf;
	uint16_t type;
	int code;

	if (strcmp(name_text, ".") == 0)
		name[0] = '\0';
	else if (str_domain(name_text, name) != ST_OK) {
		(void)fprintf(stderr, "smtpd-out: not a domain name: %s\n",
			name_text);
		return EX_DATAERR;
	}
	if (dns_type_parse(type_text, &type) != ST_OK) {
		(void)fprintf(stderr, "smtpd-out: not a record type: %s\n",
			type_text);
		return EX_DATAERR;
	}
	conf = conf_load(args->conf_path);
	if (conf == NULL)
		return EX_CONFIG;
	code = check_dns(&conf->resolver, name, type, args->json);
	conf_free(&conf);
	return code;
}

int
cmd_check(int argc, char **argv)
{
	static const struct option options[] = {
		{ "dns", no_argument, NULL, 'd' },
		{ "json", no_argument, NULL, 'j' },
		{ NULL, 0, NULL, 0 }
	};
	struct check_args args = { NULL, false, false };
	int opt;

	log_init("check", LOG_TO_STDERR, LOG_LEVEL_ERROR);
	while ((opt = getopt_long(argc, argv, "c:", options, NULL)) != -1) {
		switch (opt) {
		case 'c':
			args.conf_path = optarg;
			break;
		case 'd':
			args.dns = true;
			break;
		case 'j':
			args.json = true;
			break;
		default:
			return usage();
		}
	}
	if (!args.dns || argc - optind != 2)
		return usage();
	return run_dns(&args, argv[optind], argv[optind + 1]);
}
