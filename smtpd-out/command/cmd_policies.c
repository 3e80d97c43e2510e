/*
 * `queue policies` (cmd_policies.h).  The daemon hands on the texts of policies
 * as they were fetched; they are read here, in the operator's process.
 */
#include "config.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/str.h"
#include "policy/sts.h"
#include "smtpd-out/command/answer.h"
#include "smtpd-out/command/cmd_policies.h"

/* ---- the command line ---- */

const char *
policies_words(int argc, char **argv, json_t *request)
{
	static const char *const words[][2] = {
		{ "show", "policies-show" }, { "refresh", "policies-refresh" },
		{ "forget", "policies-forget" },
	};
	char domain[STR_DOMAIN_MAX];

	if (argc == 0 || (argc == 1 && strcmp(argv[0], "list") == 0))
		return "policies-list";
	for (size_t i = 0; argc == 2 && i < 3; i++) {
		if (strcmp(argv[0], words[i][0]) != 0)
			continue;
		if (str_domain(argv[1], domain) != ST_OK) {
			(void)fprintf(stderr, "smtpd-out: \"%s\" is not a "
				"domain\n", argv[1]);
			return NULL;
		}
		(void)json_object_set_new(request, "domain",
			json_string(domain));
		return words[i][1];
	}
	return NULL;
}

/* ---- what a text says ---- */

static void
set(json_t *o, const char *key, json_t *value)
{
	(void)json_object_set_new(o, key, value);
}

/* On the socket "error" ends an answer that failed; what is printed has the
 * last failure of a domain there. */
static void
rename_error(json_t *o)
{
	json_t *error = json_object_get(o, "last_error");

	if (error == NULL)
		return;
	(void)json_object_set(o, "error", error);
	(void)json_object_del(o, "last_error");
}

void
policies_amend(json_t *o)
{
	const json_t *text = json_object_get(o, "text");
	struct sts_policy *policy;
	char err[STS_ERR_MAX];
	json_t *mx;

	rename_error(o);
	if (!json_is_string(text))
		return;
	if (sts_policy_parse((const uint8_t *)json_string_value(text),
	    json_string_length(text), &policy, err) != ST_OK) {
		set(o, "invalid", json_string(err));
		return;
	}
	mx = json_array();
	for (size_t i = 0; i < policy->mx_count; i++)
		(void)json_array_append_new(mx, json_string(policy->mx[i]));
	set(o, "mode", json_string(sts_mode_name(policy->mode)));
	set(o, "max_age", json_integer((json_int_t)policy->max_age_s));
	set(o, "mx", mx);
	sts_policy_free(&policy);
}

void
policies_amend_row(json_t *o)
{
	policies_amend(o);
	(void)json_object_del(o, "text");
}

/* ---- for people ---- */

static const char *
mode_of(const json_t *o)
{
	if (get_text(o, "mode")[0] != '\0')
		return get_text(o, "mode");
	return get_text(o, "id")[0] != '\0' ? "invalid" : "no policy";
}

void
policies_line(const json_t *o)
{
	char expires[32];

	get_time(o, "expires", expires);
	(void)printf("%-36s %-10s expires %s", get_text(o, "domain"),
		mode_of(o), expires);
	if (get_int(o, "failures") > 0)
		(void)printf("  (%lld failed: %s)", get_int(o, "failures"),
			get_text(o, "error"));
	(void)printf("\n");
}

void
policies_list_end(const json_t *o)
{
	if (get_int(o, "rows") == 0)
		(void)printf("No policy is known.\n");
}

static void
print_mx(const char *name, const json_t *mx)
{
	for (size_t i = 0; i < json_array_size(mx); i++)
		(void)printf("%-12s %s\n", i == 0 ? name : "",
			json_string_value(json_array_get(mx, i)));
}

static void
print_time(const json_t *o, const char *key, const char *name)
{
	char text[32];

	if (get_int(o, key) == 0)
		return;
	get_time(o, key, text);
	(void)printf("%-12s %s\n", name, text);
}

/* Line by line: what a remote host wrote is not for a terminal as it is. */
static void
print_text(const json_t *o)
{
	const char *at = get_text(o, "text");
	char line[1024];

	while (*at != '\0') {
		size_t len = strcspn(at, "\n");
		size_t shown = len > 0 && at[len - 1] == '\r' ? len - 1 : len;

		str_sanitise(line, sizeof(line), at, shown);
		(void)printf("    %s\n", line);
		at += len + (at[len] == '\n');
	}
}

static void
print_list(const json_t *list)
{
	char expires[32];

	get_time(list, "expires", expires);
	(void)printf("\nlist         %s\nmode         %s\n",
		get_text(list, "file"), get_text(list, "mode"));
	print_mx("mx", json_object_get(list, "mx"));
	(void)printf("expires      %s\n", expires);
}

void
policies_show(const json_t *o)
{
	const json_t *lists = json_object_get(o, "lists");

	(void)printf("domain       %s\nmode         %s\n",
		get_text(o, "domain"), mode_of(o));
	if (get_text(o, "id")[0] != '\0')
		(void)printf("id           %s\nmax_age      %lld\n",
			get_text(o, "id"), get_int(o, "max_age"));
	print_mx("mx", json_object_get(o, "mx"));
	print_time(o, "fetched", "fetched");
	print_time(o, "expires", "expires");
	print_time(o, "used", "last mail");
	if (get_int(o, "failures") > 0) {
		(void)printf("failed       %lld times: %s\n",
			get_int(o, "failures"), get_text(o, "error"));
		print_time(o, "tried", "last try");
		print_time(o, "next_try", "next try");
	}
	if (get_text(o, "text")[0] != '\0') {
		(void)printf("\n");
		print_text(o);
	}
	for (size_t i = 0; i < json_array_size(lists); i++)
		print_list(json_array_get(lists, i));
}
