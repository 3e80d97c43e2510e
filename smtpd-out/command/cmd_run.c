/*
 * Starting the daemon: options, configuration, leaving root, and the entry of
 * each role.
 */
#include "config.h"

#include <errno.h>
#include <getopt.h>
#include <grp.h>
#include <pwd.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sysexits.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/conf.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/str.h"
#include "resolver/resolver.h"
#include "smtpd-out/command/cmd_run.h"
#include "smtpd-out/inject/inject.h"
#include "smtpd-out/mail/dkim.h"
#include "smtpd-out/parent/child.h"
#include "smtpd-out/parent/parent.h"
#include "smtpd-out/queue/sts_lists.h"
#include "smtpd-out/worker/worker.h"

/* ---- leaving root ---- */

/* A directory the service needs: made when missing, and then handed to its
 * user.  One that exists is left as it is, whoever owns it. */
static bool
own_directory(const char *dir, mode_t mode, const struct passwd *pw)
{
	if (mkdir(dir, mode) == 0) {
		if (chown(dir, pw->pw_uid, pw->pw_gid) == 0)
			return true;
	} else if (errno == EEXIST) {
		return true;
	}
	log_error("directory", "path", dir, "reason", strerror(errno), NULL);
	return false;
}

static bool
own_socket_directory(const char *url, const struct passwd *pw)
{
	char *dir, *slash;
	bool ok;

	if (strncmp(url, "unix:", 5) != 0)
		return true;
	dir = xstrdup(url + 5);
	slash = strrchr(dir, '/');
	if (slash == NULL || slash == dir) {
		free(dir);
		return true;
	}
	*slash = '\0';
	ok = own_directory(dir, 0755, pw);
	free(dir);
	return ok;
}

static bool
own_directories(const struct conf *conf, const struct passwd *pw)
{
	bool ok = own_directory(conf->spool + strlen("sqlite:"), 0700, pw) &&
		own_socket_directory(conf->control, pw);

	for (size_t i = 0; ok && i < conf->listen_count; i++)
		ok = own_socket_directory(conf->listens[i].addr.text, pw);
	return ok;
}

/* Started as root: become conf->user for good.  No part needs root. */
static int
leave_root(const struct conf *conf)
{
	const struct passwd *pw;

	if (geteuid() != 0)
		return EX_OK;
	pw = getpwnam(conf->user);
	if (pw == NULL) {
		log_error("user", "name", conf->user, "reason",
			"no such user; create it or set \"user\"", NULL);
		return EX_CONFIG;
	}
	if (!own_directories(conf, pw))
		return EX_CANTCREAT;
	if (pw->pw_uid == 0) {
		log_warn("user", "name", conf->user, "reason",
			"runs as root, which nothing here needs", NULL);
		return EX_OK;
	}
	if (initgroups(pw->pw_name, pw->pw_gid) != 0 ||
	    setgid(pw->pw_gid) != 0 || setuid(pw->pw_uid) != 0 ||
	    setuid(0) == 0) {
		log_error("user", "name", conf->user, "reason",
			"cannot leave root", NULL);
		return EX_NOPERM;
	}
	return EX_OK;
}

/* ---- smtpd-out run ---- */

void
cmd_run_usage(FILE *to)
{
	(void)fprintf(to,
		"usage: smtpd-out run [-c FILE] [--check-config]\n\n"
		"  -c, --config FILE   this configuration\n"
		"  -n, --check-config  say whether it is valid, and end\n\n"
		"smtpd-out(8) tells more.\n");
}

static int
usage(void)
{
	cmd_run_usage(stderr);
	return EX_USAGE;
}

static int
load(const char *path, char **text_out, struct conf **conf_out,
	struct dkim_key **key_out)
{
	char err[CONF_ERR_MAX];

	if (conf_read(path, text_out, err) == ST_OK &&
	    conf_parse(path, *text_out, conf_out, err) == ST_OK &&
	    resolver_check_conf(&(*conf_out)->resolver, err) == ST_OK &&
	    dkim_conf_open(*conf_out, key_out, err) == ST_OK)
		return EX_OK;
	conf_free(conf_out);
	(void)fprintf(stderr, "smtpd-out: %s\n", err);
	mem_free(text_out);
	return EX_CONFIG;
}

static void
raise_limits(void)
{
	struct rlimit r;

	if (getrlimit(RLIMIT_NOFILE, &r) == 0 && r.rlim_cur < r.rlim_max) {
		r.rlim_cur = r.rlim_max;
		(void)setrlimit(RLIMIT_NOFILE, &r);
	}
}

/* What only a check refuses: the daemon goes on with the last good list. */
static int
check_files(const struct conf *conf)
{
	char err[CONF_ERR_MAX];

	if (sts_lists_check(&conf->sts, clock_wall_s(), err) == ST_OK)
		return EX_OK;
	(void)fprintf(stderr, "smtpd-out: mta-sts: %s\n", err);
	return EX_CONFIG;
}

int
cmd_run(int argc, char **argv)
{
	static const struct option options[] = {
		{ "config", required_argument, NULL, 'c' },
		{ "check-config", no_argument, NULL, 'n' },
		{ NULL, 0, NULL, 0 },
	};
	const char *path = CONF_DEFAULT_FILE;
	bool check_only = false;
	struct conf *conf = NULL;
	char *text = NULL;
	struct dkim_key *key = NULL;
	int opt, status;

	while ((opt = getopt_long(argc, argv, "c:n", options, NULL)) != -1) {
		if (opt == 'c')
			path = optarg;
		else if (opt == 'n')
			check_only = true;
		else
			return usage();
	}
	if (optind < argc)
		return usage();
	parent_hold_reload(true);
	/* The key while we are root, if we are: its file may be root's. */
	status = load(path, &text, &conf, &key);
	if (status != EX_OK)
		return status;
	if (check_only) {
		status = check_files(conf);
		if (status == EX_OK)
			(void)printf("%s: configuration is valid\n", path);
		dkim_key_close(&key);
		conf_free(&conf);
		free(text);
		return status;
	}
	/* What keeps us from starting is said where it is seen, also when the
	 * log is syslog. */
	log_init("parent", LOG_TO_STDERR, conf->log_level);
	status = leave_root(conf);
	if (status != EX_OK) {
		dkim_key_close(&key);
		conf_free(&conf);
		free(text);
		return status;
	}
	raise_limits();
	return parent_main(path, text, conf, key);
}

/* ---- roles ---- */

static char *
inherited_conf(void)
{
	char *text = xmalloc(CONF_FILE_MAX + 1);
	size_t used = 0;
	ssize_t n;

	while (used < CONF_FILE_MAX && (n = pread(CHILD_FD_CONF, text + used,
	    CONF_FILE_MAX - used, (off_t)used)) > 0)
		used += (size_t)n;
	text[used] = '\0';
	(void)close(CHILD_FD_CONF);
	return text;
}

int
cmd_role(int argc, char **argv)
{
	int listen_fds[64], count;
	char err[CONF_ERR_MAX], *text;
	struct conf *conf = NULL;
	bool inject;
	int status;

	if (argc != 5)
		return EX_USAGE;
	inject = strcmp(argv[1], "inject") == 0;
	count = (int)strtol(argv[3], NULL, 10);
	text = inherited_conf();
	if (count < 0 || count > 64 ||
	    conf_parse(argv[4], text, &conf, err) != ST_OK)
		return EX_CONFIG;
	free(text);
	/* The parent's word ends a child, not a signal to the whole group; when
	 * the parent is gone, so is the channel, and that ends it too.  One
	 * that hangs would go on holding the listeners: the kernel ends it. */
	(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
	(void)signal(SIGTERM, SIG_IGN);
	(void)signal(SIGINT, SIG_IGN);
	(void)signal(SIGHUP, SIG_IGN);
	(void)signal(SIGPIPE, SIG_IGN);
	log_init(inject ? "inject" : "worker", conf->log_target,
		conf->log_level);
	for (int i = 0; i < count; i++)
		listen_fds[i] = CHILD_FD_LISTEN + i;
	if (inject)
		status = inject_main(conf, CHILD_FD_IPC, listen_fds,
			(size_t)count);
	else
		status = worker_main(conf, CHILD_FD_IPC,
			(unsigned)strtoul(argv[2], NULL, 10));
	conf_free(&conf);
	return status;
}
