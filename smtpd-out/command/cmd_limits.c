/*
 * The operator's words about destinations, and the counts.
 */
#include "config.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/conf.h"
#include "base/str.h"
#include "smtpd-out/command/answer.h"
#include "smtpd-out/command/cmd_limits.h"

/* ---- words ---- */

static bool
take_name(const char *text, json_t *request)
{
	char domain[STR_DOMAIN_MAX], name[STR_DOMAIN_MAX + 1];
	bool below = text[0] == '.';

	if (text[0] == '[')
		return json_object_set_new(request, "destination",
			json_string(text)) == 0;
	if (str_domain(text + below, domain) != ST_OK) {
		(void)fprintf(stderr, "smtpd-out: \"%s\" is neither a domain "
			"nor \".domain\"\n", text);
		return false;
	}
	(void)snprintf(name, sizeof(name), "%s%s", below ? "." : "", domain);
	return json_object_set_new(request, "destination",
		json_string(name)) == 0;
}

static bool
take_value(const char *word, json_t *request)
{
	static const char *const numbers[] = { "connections", "recipients" };
	const char *value = strchr(word, '=');
	size_t len = value == NULL ? 0 : (size_t)(value - word);
	struct conf_rate rate;
	char *end;
	long n;

	if (value == NULL || value[1] == '\0')
		return false;
	value++;
	if (len == 4 && strncmp(word, "rate", len) == 0)
		return conf_rate_parse(value, &rate) == ST_OK &&
			json_object_set_new(request, "rate",
			json_string(value)) == 0;
	for (size_t i = 0; i < 2; i++)
		if (strlen(numbers[i]) == len &&
		    strncmp(word, numbers[i], len) == 0) {
			n = strtol(value, &end, 10);
			return *end == '\0' && n >= 0 && n <= 100000 &&
				json_object_set_new(request, numbers[i],
				json_integer(n)) == 0;
		}
	return false;
}

bool
limits_words(const char *cmd, int argc, char **argv, json_t *request)
{
	if (strcmp(cmd, "limits") == 0)
		return argc == 0;
	if (strcmp(cmd, "limit") == 0 && argc > 1 &&
	    strcmp(argv[0], "host") == 0) {
		(void)json_object_set_new(request, "host", json_true());
		argc--;
		argv++;
	}
	if (argc < 1 || !take_name(argv[0], request))
		return false;
	if (strcmp(cmd, "limit") != 0)
		return argc == 1;
	for (int i = 1; i < argc; i++)
		if (!take_value(argv[i], request)) {
			(void)fprintf(stderr, "smtpd-out: \"%s\" is not "
				"connections=N, recipients=N or "
				"rate=N/TIME\n", argv[i]);
			return false;
		}
	return argc > 1;
}

/* ---- for people ---- */

static void
print_number(const char *name, long long n)
{
	if (n > 0)
		(void)printf("  %s %lld", name, n);
}

static void
print_bounds(const json_t *o)
{
	print_number("connections", get_int(o, "connections"));
	print_number("recipients", get_int(o, "recipients"));
	if (get_text(o, "rate")[0] != '\0')
		(void)printf("  rate %s", get_text(o, "rate"));
}

void
limits_rule(const json_t *o)
{
	bool host = json_is_true(json_object_get(o, "host_rule"));

	(void)printf("%s%s", host ? "host " : "",
		get_text(o, host ? "host" : "destination"));
	if (json_is_true(json_object_get(o, "paused")))
		(void)printf("  paused");
	print_bounds(o);
	if (!json_is_true(json_object_get(o, "paused")) &&
	    get_int(o, "connections") <= 0 && get_int(o, "recipients") <= 0 &&
	    get_text(o, "rate")[0] == '\0')
		(void)printf("  neither paused nor limited beyond the "
			"configuration");
	(void)printf("\n");
}

void
limits_list(const json_t *o)
{
	const json_t *list = json_object_get(o, "limits");

	for (size_t i = 0; i < json_array_size(list); i++)
		limits_rule(json_array_get(list, i));
	if (json_array_size(list) == 0)
		(void)printf("Nothing is paused or limited beyond the "
			"configuration.\n");
}

static void
print_destination(const json_t *o)
{
	char until[32];

	(void)printf("%-40s %8lld %6lld", get_text(o, "destination"),
		get_int(o, "deliveries"), get_int(o, "active"));
	print_number("held", get_int(o, "held"));
	if (json_is_true(json_object_get(o, "paused")))
		(void)printf("  paused");
	if (get_int(o, "hold_until") > 0) {
		get_time(o, "hold_until", until);
		(void)printf("  waits until %s (%s)", until,
			get_text(o, "reason"));
	}
	(void)printf("\n");
}

void
limits_stats(const json_t *o)
{
	static const char *const keys[] = { "messages", "recipients",
		"deliveries", "due", "active", "held", "bytes", "accepted",
		"rejected", "sent", "deferred", "bounced", "commits",
		"holds" };
	const json_t *list = json_object_get(o, "destinations");
	const json_t *paused = json_object_get(o, "paused");
	char oldest[32];

	for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++)
		(void)printf("%-12s %12lld\n", keys[i], get_int(o, keys[i]));
	if (get_int(o, "oldest") > 0) {
		get_time(o, "oldest", oldest);
		(void)printf("%-12s %s\n", "oldest", oldest);
	}
	(void)printf("%-12s %9.1f ms (%s), %lld above 100 ms\n",
		"worst turn", (double)get_int(o, "worst_turn_us") / 1000,
		get_text(o, "worst_turn_in"), get_int(o, "slow_turns"));
	(void)printf("%-12s %9.1f ms (%s), %lld above 100 ms\n",
		"  processor", (double)get_int(o, "worst_turn_cpu_us") / 1000,
		get_text(o, "worst_turn_cpu_in"),
		get_int(o, "slow_turns_cpu"));
	for (size_t i = 0; i < json_array_size(paused); i++)
		(void)printf("%-12s %s\n", "paused", get_text(
			json_array_get(paused, i), "destination"));
	if (json_array_size(list) > 0)
		(void)printf("\n%-40s %8s %6s\n", "destination", "queued",
			"active");
	for (size_t i = 0; i < json_array_size(list); i++)
		print_destination(json_array_get(list, i));
}
