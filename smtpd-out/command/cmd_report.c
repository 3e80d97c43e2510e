/*
 * The report command: a table of subcommands, and those that need no daemon.
 */
#include "config.h"

#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/conf.h"
#include "base/log.h"
#include "base/str.h"
#include "smtpd-out/command/cmd_report.h"
#include "smtpd-out/command/cmd_report_own.h"
#include "smtpd-out/command/control_client.h"
#include "smtpd-out/command/report_own.h"
#include "smtpd-out/report/report_html.h"
#include "smtpd-out/report/report_print.h"

#define OUT_MAX (256U << 20)

static int run_read(int argc, char **argv);
static int run_html(int argc, char **argv);

static const struct {
	const char *name;
	int (*run)(int argc, char **argv);
	const char *usage;
} commands[] = {
	{ "list", cmd_report_list, "list [-c FILE] [--json] [--day D] "
	    "[--domain D]" },
	{ "show", cmd_report_show, "show [-c FILE] [--json] [--day D] DOMAIN" },
	{ "send", cmd_report_send, "send [-c FILE] [--json] [--domain D] "
	    "[--now]" },
	{ "read", run_read, "read [--json] FILE|DIRECTORY ..." },
	{ "html", run_html, "html [-c FILE] [-o FILE] [FILE|DIRECTORY ...]" },
};

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

void
cmd_report_usage(FILE *to)
{
	for (size_t i = 0; i < COUNT(commands); i++)
		(void)fprintf(to, "%s smtpd-out report %s\n",
			i == 0 ? "usage:" : "      ", commands[i].usage);
	(void)fprintf(to, "\nsmtpd-out-report(1) tells more.\n");
}

static int
usage(void)
{
	cmd_report_usage(stderr);
	return EX_USAGE;
}

/* Names of files are printed as they are only where they do no harm. */
static void
say_faults(const struct report_set *set)
{
	char source[1024];

	for (size_t i = 0; i < set->fault_count; i++) {
		const struct report_fault *f = &set->faults[i];

		str_sanitise(source, sizeof(source), f->source,
			strlen(f->source));
		(void)fprintf(stderr, "smtpd-out: %s: %s\n", source, f->why);
	}
}

static int
put_out(FILE *to, const char *name, const struct sink *out)
{
	bool ok = fwrite(buf_data(&out->buf), 1, out->buf.len, to) ==
		out->buf.len && fflush(to) == 0;

	if (ok && !out->full)
		return EX_OK;
	(void)fprintf(stderr, "smtpd-out: %s: %s\n", name, out->full ?
		"more than can be written" : strerror(errno));
	return EX_IOERR;
}

static int
run_read(int argc, char **argv)
{
	static const struct option options[] = {
		{ "json", no_argument, NULL, 'j' },
		{ NULL, 0, NULL, 0 }
	};
	struct report_summary summary = { 0 };
	struct report_set set = { 0 };
	bool json = false;
	struct sink out;
	int opt, status;

	while ((opt = getopt_long(argc, argv, "", options, NULL)) != -1) {
		if (opt != 'j')
			return usage();
		json = true;
	}
	if (optind >= argc)
		return usage();
	for (int i = optind; i < argc; i++)
		report_set_add(&set, argv[i]);
	for (size_t i = 0; i < set.count; i++)
		report_summary_add(&summary, &set.items[i].report,
			report_sender(&set.items[i]));
	report_summary_end(&summary);
	sink_init(&out, OUT_MAX);
	if (json)
		report_print_json(&summary, &set, &out);
	else
		report_print_text(&summary, set.duplicates, &out);
	say_faults(&set);
	status = put_out(stdout, "standard output", &out);
	if (status == EX_OK && set.fault_count > 0)
		status = EX_DATAERR;
	sink_clear(&out);
	report_summary_clear(&summary);
	report_set_clear(&set);
	return status;
}

/* The page is written whole or not at all, for it may be served meanwhile. */
static int
write_page(const char *path, const struct sink *out)
{
	char temporary[4096];
	FILE *to;
	int status;

	if (path == NULL || strcmp(path, "-") == 0)
		return put_out(stdout, "standard output", out);
	if (snprintf(temporary, sizeof(temporary), "%s.new", path) >=
	    (int)sizeof(temporary)) {
		(void)fprintf(stderr, "smtpd-out: the path is too long\n");
		return EX_CANTCREAT;
	}
	to = fopen(temporary, "we");
	if (to == NULL) {
		(void)fprintf(stderr, "smtpd-out: %s: %s\n", temporary,
			strerror(errno));
		return EX_CANTCREAT;
	}
	status = put_out(to, temporary, out);
	if ((fclose(to) != 0 || status != EX_OK ||
	    rename(temporary, path) != 0) && status == EX_OK) {
		(void)fprintf(stderr, "smtpd-out: %s: %s\n", path,
			strerror(errno));
		status = EX_CANTCREAT;
	}
	if (status != EX_OK)
		(void)remove(temporary);
	return status;
}

/* Own totals, when the daemon is there to tell them: the page is made of what
 * there is. */
static struct tlsrpt_report *
own_totals(const char *conf_path, size_t *count_out, int *status_out)
{
	char *control = control_client_find(conf_path != NULL ? conf_path :
		CONF_DEFAULT_FILE);
	const struct report_own_query query = { .control = control };
	struct report_own_set own = { 0 };
	struct tlsrpt_report *days;
	int fd = -1, status = EX_CONFIG;

	/* Without a daemon nobody misses it, unless it was named. */
	if (control != NULL && conf_path == NULL)
		fd = control_client_open(control);
	if (control != NULL && (conf_path != NULL || fd >= 0))
		status = report_own_get(&query, &own);
	if (fd >= 0)
		(void)close(fd);
	*status_out = conf_path != NULL ? status : EX_OK;
	days = report_own_days(&own, count_out);
	report_own_clear(&own);
	free(control);
	return days;
}

static int
run_html(int argc, char **argv)
{
	const char *conf_path = NULL;
	struct tlsrpt_report *own;
	struct report_set set = { 0 };
	struct report_page page = { .now_s = clock_wall_s() };
	const char *path = NULL;
	struct sink out;
	int opt, status;

	while ((opt = getopt(argc, argv, "c:o:")) != -1) {
		if (opt == 'c')
			conf_path = optarg;
		else if (opt == 'o')
			path = optarg;
		else
			return usage();
	}
	own = own_totals(conf_path, &page.own_count, &status);
	page.own = own;
	/* Nor is a page replaced by half of one. */
	if (status != EX_OK) {
		free(own);
		return status;
	}
	for (int i = optind; i < argc; i++)
		report_set_add(&set, argv[i]);
	page.received = set.items;
	page.received_count = set.count;
	sink_init(&out, OUT_MAX);
	report_html(&page, &out);
	say_faults(&set);
	status = write_page(path, &out);
	if (status == EX_OK && set.fault_count > 0)
		status = EX_DATAERR;
	sink_clear(&out);
	for (size_t i = 0; i < page.own_count; i++)
		tlsrpt_report_clear(&own[i]);
	free(own);
	report_set_clear(&set);
	return status;
}

int
cmd_report(int argc, char **argv)
{
	log_init("report", LOG_TO_STDERR, LOG_LEVEL_ERROR);
	for (size_t i = 0; argc >= 2 && i < COUNT(commands); i++)
		if (strcmp(argv[1], commands[i].name) == 0)
			return commands[i].run(argc - 1, argv + 1);
	if (argc >= 2)
		(void)fprintf(stderr, "smtpd-out: unknown report command "
			"\"%s\"\n", argv[1]);
	return usage();
}
