/*
 * Finding the daemon, asking it, reading the answer line by line.
 */
#include "config.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sysexits.h>
#include <unistd.h>

#include "base/conf.h"
#include "base/mem.h"
#include "smtpd-out/command/control_client.h"

int
control_client_open(const char *control)
{
	struct conf_addr addr;
	int fd;

	if (conf_addr_parse(control, 0, &addr) != ST_OK)
		return -1;
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd >= 0 && connect(fd, (struct sockaddr *)&addr.addr,
	    addr.addr_len) != 0) {
		(void)close(fd);
		fd = -1;
	}
	free(addr.text);
	return fd;
}

char *
control_client_find(const char *conf_path)
{
	char err[CONF_ERR_MAX], *text = NULL, *control = NULL;
	struct conf *conf = NULL;

	if (conf_read(conf_path, &text, err) == ST_OK &&
	    conf_parse(conf_path, text, &conf, err) == ST_OK)
		control = xstrdup(conf->control);
	else if (strcmp(conf_path, CONF_DEFAULT_FILE) == 0)
		control = xstrdup("unix:" RUNSTATEDIR "/smtpd-out/control");
	else
		(void)fprintf(stderr, "smtpd-out: %s\n", err);
	conf_free(&conf);
	free(text);
	return control;
}

static int
status_of(const json_t *o)
{
	const char *error = json_string_value(json_object_get(o, "error"));

	if (o != NULL && error == NULL)
		return EX_OK;
	(void)fprintf(stderr, "smtpd-out: %s\n", o == NULL ?
		"cannot understand the daemon" : error);
	if (o == NULL)
		return EX_PROTOCOL;
	return strcmp(error, "permission denied") == 0 ? EX_NOPERM :
		EX_UNAVAILABLE;
}

/* True when it was the last one. */
static bool
take_line(const char *text, control_client_cb *line, void *arg,
	json_t **end_out, int *status)
{
	json_t *o = json_loads(text, 0, NULL);
	bool end = o == NULL || json_is_true(json_object_get(o, "end"));

	*status = status_of(o);
	if (!end && *status == EX_OK && line != NULL)
		line(o, arg);
	if (end && end_out != NULL)
		*end_out = json_incref(o);
	json_decref(o);
	return end;
}

int
control_client_ask(const char *control, const json_t *request,
	control_client_cb *line, void *arg, json_t **end_out)
{
	char *text = json_dumps(request, JSON_COMPACT), *got = NULL;
	int fd = control_client_open(control), status = EX_OK;
	size_t size = 0;
	bool end = false;
	FILE *from;

	if (fd < 0) {
		(void)fprintf(stderr, "smtpd-out: %s: %s (is the daemon "
			"running?)\n", control, strerror(errno));
		free(text);
		return EX_TEMPFAIL;
	}
	(void)dprintf(fd, "%s\n", text);
	free(text);
	from = fdopen(fd, "r");
	while (!end && from != NULL && getline(&got, &size, from) > 0)
		end = take_line(got, line, arg, end_out, &status);
	if (!end) {
		(void)fprintf(stderr, "smtpd-out: the daemon broke off\n");
		status = EX_TEMPFAIL;
	}
	free(got);
	if (from != NULL)
		(void)fclose(from);
	return status;
}
