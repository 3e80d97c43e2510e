/*
 * The command table: by first argument, or by the name the program was called
 * by (sendmail, mailq).
 */
#include "config.h"

#include <stdio.h>
#include <string.h>
#include <sysexits.h>

#include "smtpd-out/command/cmd_check.h"
#include "smtpd-out/command/cmd_lint.h"
#include "smtpd-out/command/cmd_queue.h"
#include "smtpd-out/command/cmd_report.h"
#include "smtpd-out/command/cmd_run.h"
#include "smtpd-out/command/cmd_submit.h"

static const struct {
	const char *name;
	int (*run)(int argc, char **argv);
	const char *help;		/* NULL: not for people */
} commands[] = {
	{ "run", cmd_run, "the daemon, in the foreground" },
	{ "submit", cmd_submit, "submit a message, as sendmail does" },
	{ "queue", cmd_queue, "look at the queue and change it" },
	{ "check", cmd_check, "explain what becomes of mail to a domain" },
	{ "lint", cmd_lint, "judge what is about to be published" },
	{ "report", cmd_report, "show reports on TLS" },
	{ "--role", cmd_role, NULL },
};

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

static int
usage(FILE *to, int status)
{
	(void)fprintf(to, "usage: smtpd-out COMMAND [ARGUMENT ...]\n\n");
	for (size_t i = 0; i < COUNT(commands); i++)
		if (commands[i].help != NULL)
			(void)fprintf(to, "  %-8s %s\n", commands[i].name,
				commands[i].help);
	(void)fprintf(to, "\nsmtpd-out(8) tells more.\n");
	return status;
}

int
main(int argc, char **argv)
{
	const char *slash = argc > 0 ? strrchr(argv[0], '/') : NULL;
	const char *self = argc < 1 ? "" : slash != NULL ? slash + 1 : argv[0];

	if (strcmp(self, "sendmail") == 0)
		return cmd_submit(argc, argv);
	if (strcmp(self, "mailq") == 0)
		return cmd_mailq(argc, argv);
	if (argc < 2)
		return usage(stderr, EX_USAGE);
	if (strcmp(argv[1], "--version") == 0) {
		(void)printf("%s\n", PACKAGE_STRING);
		return EX_OK;
	}
	if (strcmp(argv[1], "--help") == 0)
		return usage(stdout, EX_OK);
	for (size_t i = 0; i < COUNT(commands); i++)
		if (strcmp(argv[1], commands[i].name) == 0)
			return commands[i].run(argc - 1, argv + 1);
	(void)fprintf(stderr, "smtpd-out: unknown command \"%s\"\n", argv[1]);
	return usage(stderr, EX_USAGE);
}
