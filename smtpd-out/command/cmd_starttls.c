/*
 * Arguments of check --starttls, and its output.
 */
#include "config.h"

#include <jansson.h>
#include <stdio.h>
#include <string.h>
#include <sysexits.h>

#include "base/mem.h"
#include "base/str.h"
#include "smtpd-out/command/cmd_starttls.h"
#include "smtpd-out/starttls/starttls_print.h"

static int
refuse(const char *what, const char *text)
{
	(void)fprintf(stderr, "smtpd-out: %s: %s\n", what, text);
	return EX_USAGE;
}

static int
refuse_protocol(const char *name)
{
	const struct starttls_row *row;

	(void)fprintf(stderr, "smtpd-out: not a protocol: %s (there are",
		name);
	for (size_t i = 0; (row = starttls_row_at(i)) != NULL; i++)
		(void)fprintf(stderr, " %s", row->name);
	(void)fprintf(stderr, ")\n");
	return EX_USAGE;
}

int
cmd_starttls_check(const struct starttls_args *args, const char *where)
{
	const struct starttls_row *row = starttls_row(args->protocol);
	struct starttls_place place;
	char name[STR_DOMAIN_MAX];

	if (row == NULL)
		return refuse_protocol(args->protocol);
	if (starttls_place_parse(where, &place) != ST_OK)
		return refuse("not HOST, HOST:PORT or unix:PATH", where);
	if (place.port == 0 && row->port == 0 && place.path[0] == '\0')
		return refuse("a port is needed", where);
	if (args->dane && (place.literal || place.path[0] != '\0'))
		return refuse("there are no TLSA records of an address",
			where);
	if (args->pkix != NULL && str_domain(args->pkix, name) != ST_OK)
		return refuse("not a name", args->pkix);
	return -1;
}

static void
print_json(const struct starttls_report *report)
{
	json_t *o = starttls_json(report);

	if (json_dumpf(o, stdout, JSON_COMPACT) == 0)
		(void)printf("\n");
	json_decref(o);
}

static void
print_text(const struct starttls_report *report,
	const struct check_style *style)
{
	struct buf out;

	buf_init(&out, CHECK_REPORT_MAX);
	starttls_text(report, style, &out);
	(void)fwrite(buf_data(&out), 1, out.len, stdout);
	buf_clear(&out);
}

int
cmd_starttls(const struct conf *conf, const struct starttls_args *args,
	const char *where, bool json, const struct check_style *style)
{
	char name[STR_DOMAIN_MAX] = "", err[CONF_ERR_MAX] = "";
	struct starttls_request rq = { .row = starttls_row(args->protocol),
		.text = where, .dane = args->dane };
	struct starttls_report report;
	int code = EX_CONFIG;

	if (args->pkix != NULL && str_domain(args->pkix, name) == ST_OK)
		rq.pkix = name;
	if (starttls_run(conf, &rq, &report, err) != ST_OK) {
		(void)fprintf(stderr, "smtpd-out: %s\n", err);
	} else {
		if (json)
			print_json(&report);
		else
			print_text(&report, style);
		code = starttls_exit_code(report.result);
	}
	starttls_report_clear(&report);
	return code;
}
