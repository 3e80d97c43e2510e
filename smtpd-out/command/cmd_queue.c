/*
 * The operator's side of control.c: builds a request from the command line,
 * prints the answer for people, or as it came with --json.
 */
#include "config.h"

#include <errno.h>
#include <getopt.h>
#include <jansson.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sysexits.h>
#include <unistd.h>

#include "base/conf.h"
#include "base/mem.h"
#include "base/str.h"
#include "smtpd-out/command/answer.h"
#include "smtpd-out/command/cmd_limits.h"
#include "smtpd-out/command/cmd_policies.h"
#include "smtpd-out/command/cmd_queue.h"
#include "smtpd-out/command/control_client.h"

#define LINE_MAX_BYTES (1U << 20)

struct asked {
	const char *cmd;
	bool json;
	json_t *request;
	char *control;			/* "unix:PATH" */
};

/* How the answer lines of a command are printed. */
struct view {
	const char *cmd;
	bool wants_filter;		/* acts on nothing without one */
	bool takes_id;
	bool takes_demand;		/* as the last word */
	void (*line)(const json_t *);
	void (*end)(const json_t *);
	void (*amend)(json_t *);	/* before it is printed */
};

/* ---- for people ---- */

static void
line_list(const json_t *o)
{
	static char last[STR_ID_MAX];
	const char *id = get_text(o, "id");
	char arrived[32];

	if (strcmp(id, last) != 0) {
		get_time(o, "arrived", arrived);
		(void)printf("%s %s %8lld  from <%s>\n", id, arrived,
			get_int(o, "size"), get_text(o, "sender"));
		(void)str_copy(last, sizeof(last), id);
	}
	(void)printf("    %-8s <%s>", get_text(o, "state"),
		get_text(o, "rcpt"));
	if (get_text(o, "reason")[0] != '\0')
		(void)printf("  (%s)", get_text(o, "reason"));
	(void)printf("\n");
}

static void
end_list(const json_t *o)
{
	if (get_int(o, "rows") == 0)
		(void)printf("The queue is empty.\n");
}

static const char *
demand_of(const json_t *o)
{
	if (json_is_true(json_object_get(o, "require_tls")))
		return "require (REQUIRETLS)";
	return json_is_true(json_object_get(o, "tls_optional")) ?
		"none (TLS-Required: No)" : "default";
}

static void
line_show(const json_t *o)
{
	char arrived[32], next[32], expires[32];

	get_time(o, "arrived", arrived);
	get_time(o, "next", next);
	get_time(o, "expires", expires);
	(void)printf("id           %s\nfrom         <%s>\nto           <%s>\n"
		"destination  %s\nstate        %s\nsize         %lld\n"
		"demand       %s\n"
		"arrived      %s\nattempts     %lld\nnext         %s\n"
		"expires      %s\nlast result  %s\n", get_text(o, "id"),
		get_text(o, "sender"), get_text(o, "rcpt"),
		get_text(o, "destination"), get_text(o, "state"),
		get_int(o, "size"), demand_of(o), arrived,
		get_int(o, "attempts"), next, expires,
		get_text(o, "reason")[0] != '\0' ?
		get_text(o, "reason") : "not tried yet");
	if (get_int(o, "hold_until") > 0) {
		get_time(o, "hold_until", next);
		(void)printf("waits until  %s: its destination is down (%s)"
			"\n", next, get_text(o, "hold_reason"));
	}
	(void)printf("\n");
}

static void
end_show(const json_t *o)
{
	if (get_int(o, "rows") == 0)
		(void)fprintf(stderr, "smtpd-out: no such message\n");
}

static void
end_act(const json_t *o)
{
	long long count = get_int(o, "count");

	(void)printf("%lld deliver%s\n", count, count == 1 ? "y" : "ies");
}

static void
end_demand(const json_t *o)
{
	long long count = get_int(o, "count");

	(void)printf("%lld message%s\n", count, count == 1 ? "" : "s");
}

static void
line_tls(const json_t *o)
{
	char last[32];

	get_time(o, "last", last);
	(void)printf("%-40s %-10s %s\n", get_text(o, "host"),
		get_text(o, "tls"), last);
}

static void
end_tls_list(const json_t *o)
{
	if (get_int(o, "rows") == 0)
		(void)printf("No host is remembered.\n");
}

static const struct view views[] = {
	{ "list", false, false, false, line_list, end_list, NULL },
	{ "show", true, true, false, line_show, end_show, NULL },
	{ "cat", true, true, false, NULL, NULL, NULL },
	{ "flush", false, true, false, NULL, end_act, NULL },
	{ "hold", true, true, false, NULL, end_act, NULL },
	{ "release", true, true, false, NULL, end_act, NULL },
	{ "remove", true, true, false, NULL, end_act, NULL },
	{ "demand", true, true, true, NULL, end_demand, NULL },
	{ "stats", false, false, false, NULL, limits_stats, NULL },
	{ "pause", false, false, false, NULL, limits_rule, NULL },
	{ "resume", false, false, false, NULL, limits_rule, NULL },
	{ "limit", false, false, false, NULL, limits_rule, NULL },
	{ "limits", false, false, false, NULL, limits_list, NULL },
	{ "tls-list", false, false, false, line_tls, end_tls_list, NULL },
	{ "tls-forget", false, false, false, NULL, NULL, NULL },
	{ "policies-list", false, false, false, policies_line,
	    policies_list_end, policies_amend_row },
	{ "policies-show", false, false, false, NULL, policies_show,
	    policies_amend },
	{ "policies-refresh", false, false, false, NULL, policies_show,
	    policies_amend },
	{ "policies-forget", false, false, false, NULL, NULL, NULL },
};

/* ---- the socket ---- */

static void
copy_rest(FILE *from)
{
	char block[65536];
	size_t n;

	while ((n = fread(block, 1, sizeof(block), from)) > 0)
		(void)fwrite(block, 1, n, stdout);
}

static void
print_json(const struct view *view, const json_t *o, const char *line)
{
	char *text = view->amend != NULL ? json_dumps(o, JSON_COMPACT) : NULL;

	if (text != NULL)
		(void)printf("%s\n", text);
	else
		(void)fputs(line, stdout);
	free(text);
}

/* One answer line; false when it was the last. */
static bool
handle_line(const struct asked *a, const struct view *view, const char *line,
	FILE *from, int *status)
{
	json_t *o = json_loads(line, 0, NULL);
	const char *error = get_text(o, "error");
	bool end = o == NULL || json_is_true(json_object_get(o, "end"));

	if (o != NULL && view->amend != NULL)
		view->amend(o);
	if (o == NULL || error[0] != '\0') {
		(void)fprintf(stderr, "smtpd-out: %s\n", o == NULL ?
			"cannot understand the daemon" : error);
		*status = o == NULL ? EX_PROTOCOL :
			strcmp(error, "permission denied") == 0 ? EX_NOPERM :
			EX_UNAVAILABLE;
	} else if (json_is_true(json_object_get(o, "body"))) {
		copy_rest(from);
		end = true;
	} else if (a->json) {
		/* The closing line is for the protocol, unless it is all. */
		if (!end || view->line == NULL)
			print_json(view, o, line);
	} else if (end ? view->end != NULL : view->line != NULL) {
		(end ? view->end : view->line)(o);
	}
	if (end && strcmp(view->cmd, "show") == 0 && *status == EX_OK &&
	    get_int(o, "rows") == 0)
		*status = EX_UNAVAILABLE;
	json_decref(o);
	return !end;
}

static int
ask(const struct asked *a, const struct view *view)
{
	char *text, *line = NULL;
	size_t size = 0;
	int fd = control_client_open(a->control), status = EX_OK;
	FILE *from;
	bool more = true;

	if (fd < 0) {
		(void)fprintf(stderr, "smtpd-out: %s: %s (is the daemon "
			"running?)\n", a->control, strerror(errno));
		return EX_TEMPFAIL;
	}
	text = json_dumps(a->request, JSON_COMPACT);
	(void)dprintf(fd, "%s\n", text);
	free(text);
	from = fdopen(fd, "r");
	while (more && from != NULL && getline(&line, &size, from) > 0)
		more = handle_line(a, view, line, from, &status);
	if (more) {
		(void)fprintf(stderr, "smtpd-out: the daemon broke off\n");
		status = EX_TEMPFAIL;
	}
	free(line);
	if (from != NULL)
		(void)fclose(from);
	return status;
}

/* ---- the command line ---- */

#define USAGE "usage: smtpd-out queue [-c FILE] [--json] COMMAND [SELECTION]\n"

void
cmd_queue_usage(FILE *to)
{
	(void)fprintf(to, USAGE "\n"
		"  list                   what is queued\n"
		"  show ID                everything about a message\n"
		"  cat ID                 the message itself\n"
		"  flush [SELECTION]      try now\n"
		"  hold SELECTION         do not try until released\n"
		"  release SELECTION\n"
		"  remove SELECTION       delete, without a bounce\n"
		"  demand SELECTION require|none|default\n"
		"                         what TLS the message needs\n"
		"  stats                  totals and the largest "
		"destinations\n"
		"  pause DESTINATION      hand out no mail for it; .domain "
		"for those below\n"
		"  resume DESTINATION\n"
		"  limit [host] NAME connections=N recipients=N rate=N/TIME\n"
		"  limits                 what is paused and limited\n"
		"  tls [list]             what is remembered of hosts\n"
		"  tls forget HOST\n"
		"  policies [list]        MTA-STS policies that are known\n"
		"  policies show|refresh|forget DOMAIN\n\n"
		"SELECTION: ID | --destination DOMAIN | --sender ADDRESS |\n"
		"  --rcpt ADDRESS | --older TIME | --held | --all\n\n"
		"smtpd-out-queue(1) tells more.\n");
}

/* Of all that could be said only what it takes to go on: why has been told. */
static int
usage(int argc)
{
	if (argc < 2)
		cmd_queue_usage(stderr);
	else
		(void)fprintf(stderr, USAGE "       smtpd-out queue --help "
			"tells the commands\n");
	return EX_USAGE;
}

/* Always false: the command line makes no sense. */
static bool
complain(const char *word, const char *what)
{
	if (word == NULL)
		(void)fprintf(stderr, "smtpd-out: %s\n", what);
	else
		(void)fprintf(stderr, "smtpd-out: \"%s\" %s\n", word, what);
	return false;
}

struct options {
	const char *conf_path;
	bool json, all, filtered;
};

static bool
set_domain(json_t *request, const char *text)
{
	char domain[STR_DOMAIN_MAX], with_dot[STR_DOMAIN_MAX + 1];
	bool below = text[0] == '.';

	if (text[0] == '[')
		return json_object_set_new(request, "destination",
			json_string(text)) == 0;
	if (str_domain(text + below, domain) != ST_OK)
		return false;
	(void)snprintf(with_dot, sizeof(with_dot), "%s%s", below ? "." : "",
		domain);
	return json_object_set_new(request, "destination",
		json_string(with_dot)) == 0;
}

static bool
set_option(int opt, struct options *o, json_t *request)
{
	int64_t ms;

	o->filtered = o->filtered || strchr("dsrohH", opt) != NULL;
	switch (opt) {
	case 'c':
		o->conf_path = optarg;
		return true;
	case 'j':
		o->json = true;
		return true;
	case 'a':
		o->all = true;
		return true;
	case 'd':
		return set_domain(request, optarg) || complain(optarg,
			"is neither a domain nor \".domain\"");
	case 's':
		return json_object_set_new(request, "sender", json_string(
			strcmp(optarg, "<>") == 0 ? "" : optarg)) == 0;
	case 'r':
		return json_object_set_new(request, "rcpt",
			json_string(optarg)) == 0;
	case 'o':
		if (str_duration_ms(optarg, &ms) != ST_OK)
			return complain(optarg, "is no time, such as \"4h\"");
		return json_object_set_new(request, "older",
			json_integer(ms)) == 0;
	case 'H':
		return json_object_set_new(request, "held", json_true()) == 0;
	default:
		return false;
	}
}

static bool
parse_options(int argc, char **argv, struct options *o, json_t *request)
{
	static const struct option options[] = {
		{ "config", required_argument, NULL, 'c' },
		{ "json", no_argument, NULL, 'j' },
		{ "all", no_argument, NULL, 'a' },
		{ "destination", required_argument, NULL, 'd' },
		{ "sender", required_argument, NULL, 's' },
		{ "rcpt", required_argument, NULL, 'r' },
		{ "older", required_argument, NULL, 'o' },
		{ "held", no_argument, NULL, 'H' },
		{ NULL, 0, NULL, 0 },
	};
	int opt;

	while ((opt = getopt_long(argc, argv, "c:", options, NULL)) != -1)
		if (!set_option(opt, o, request))
			return false;
	return true;
}

static const struct view *
find_view(const char *cmd)
{
	for (size_t i = 0; i < sizeof(views) / sizeof(views[0]); i++)
		if (strcmp(views[i].cmd, cmd) == 0)
			return &views[i];
	return NULL;
}

/* tls [list], tls forget HOST. */
static bool
parse_tls_words(int argc, char **argv, struct asked *a,
	const struct view **view_out)
{
	bool list = argc == 0 || (argc == 1 && strcmp(argv[0], "list") == 0);
	char host[STR_DOMAIN_MAX];

	if (!list && (argc != 2 || strcmp(argv[0], "forget") != 0))
		return false;
	a->cmd = list ? "tls-list" : "tls-forget";
	*view_out = find_view(a->cmd);
	(void)json_object_set_new(a->request, "cmd", json_string(a->cmd));
	if (!list)
		(void)json_object_set_new(a->request, "host", json_string(
			str_domain(argv[1], host) == ST_OK ? host : argv[1]));
	return true;
}

static bool
parse_policies_words(int argc, char **argv, struct asked *a,
	const struct view **view_out)
{
	a->cmd = policies_words(argc, argv, a->request);
	if (a->cmd == NULL)
		return false;
	*view_out = find_view(a->cmd);
	return json_object_set_new(a->request, "cmd", json_string(a->cmd)) ==
		0;
}

static bool
parse_limits_words(int argc, char **argv, struct asked *a,
	const struct view **view_out)
{
	a->cmd = argv[0];
	*view_out = find_view(a->cmd);
	return limits_words(a->cmd, argc - 1, argv + 1, a->request) &&
		json_object_set_new(a->request, "cmd", json_string(a->cmd)) ==
		0;
}

static bool
is_limits_word(const char *word)
{
	return strcmp(word, "pause") == 0 || strcmp(word, "resume") == 0 ||
		strcmp(word, "limit") == 0 || strcmp(word, "limits") == 0;
}

static bool
take_demand(int *argc, char **argv, struct asked *a)
{
	static const char *const words[] = { "require", "none", "default" };
	const char *word = argv[*argc - 1];

	for (size_t i = 0; *argc > 1 && i < 3; i++)
		if (strcmp(words[i], word) == 0) {
			(*argc)--;
			return json_object_set_new(a->request, "demand",
				json_string(word)) == 0;
		}
	return complain(NULL, "which demand: require, none or default?");
}

/* Positional arguments: COMMAND [ID] [DEMAND]. */
static bool
parse_words(int argc, char **argv, struct options *o, struct asked *a,
	const struct view **view_out)
{
	uint64_t id;

	if (argc > 0 && strcmp(argv[0], "tls") == 0)
		return parse_tls_words(argc - 1, argv + 1, a, view_out);
	if (argc > 0 && strcmp(argv[0], "policies") == 0)
		return parse_policies_words(argc - 1, argv + 1, a, view_out);
	if (argc > 0 && is_limits_word(argv[0]))
		return parse_limits_words(argc, argv, a, view_out);
	*view_out = argc > 0 ? find_view(argv[0]) : NULL;
	if (*view_out != NULL && (*view_out)->takes_demand &&
	    !take_demand(&argc, argv, a))
		return false;
	if (*view_out == NULL)
		return argc > 0 && complain(argv[0], "is no command");
	if (argc > 2)
		return complain(argv[2], "is one word too many");
	if (argc == 2 && (!(*view_out)->takes_id ||
	    str_id_parse(argv[1], &id) != ST_OK))
		return complain(argv[1], "is no queue id");
	if (argc == 2) {
		o->filtered = true;
		(void)json_object_set_new(a->request, "id",
			json_string(argv[1]));
	}
	a->cmd = strcmp(argv[0], "show") == 0 ? "list" : argv[0];
	(void)json_object_set_new(a->request, "cmd", json_string(a->cmd));
	return !(*view_out)->wants_filter || o->filtered || o->all ||
		complain(NULL, "which messages?  A SELECTION is missing");
}

int
cmd_queue(int argc, char **argv)
{
	struct options o = { .conf_path = CONF_DEFAULT_FILE };
	struct asked a = { .request = json_object() };
	const struct view *view = NULL;
	int status = EX_CONFIG;

	if (!parse_options(argc, argv, &o, a.request) || !parse_words(
	    argc - optind, argv + optind, &o, &a, &view)) {
		json_decref(a.request);
		return usage(argc);
	}
	a.json = o.json;
	a.control = control_client_find(o.conf_path);
	if (a.control != NULL)
		status = ask(&a, view);
	free(a.control);
	json_decref(a.request);
	return status;
}

int
cmd_mailq(int argc, char **argv)
{
	char list[] = "list", self[] = "mailq";
	char **args = xcalloc((size_t)argc + 2, sizeof(char *));
	int status;

	args[0] = argc > 0 ? argv[0] : self;
	for (int i = 1; i < argc; i++)
		args[i] = argv[i];
	args[argc > 0 ? argc : 1] = list;
	status = cmd_queue((argc > 0 ? argc : 1) + 1, args);
	free(args);
	return status;
}
