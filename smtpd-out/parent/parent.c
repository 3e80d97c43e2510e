/*
 * The parent's life: start, signals, children, reload, stop.
 *
 * Children come in generations: a reload starts new ones with the new
 * configuration and lets the old finish what they have, so no process ever
 * works with two configurations.
 */
#include "config.h"

#include <errno.h>
#include <event2/event.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>
#include <unistd.h>

#include "base/log.h"
#include "base/mem.h"
#include "base/rlimits.h"
#include "base/sandbox.h"
#include "base/str.h"
#include "resolver/resolver.h"
#include "smtpd-out/ipc/turn.h"
#include "smtpd-out/mail/dkim.h"
#include "smtpd-out/parent/control.h"
#include "smtpd-out/parent/notify.h"
#include "smtpd-out/parent/parent.h"
#include "smtpd-out/parent/parent_int.h"

#define STOP_SECONDS 60

/* ---- signals ---- */

static void
on_sigchld(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	turn_mark("children");
	kids_reap(arg);
}

static void
on_stop_timeout(evutil_socket_t fd, short what, void *arg)
{
	struct parent *p = arg;

	(void)fd;
	(void)what;
	log_warn("stop-timeout", "children", "still running", NULL);
	(void)event_base_loopbreak(p->base);
}

static void
on_terminate(evutil_socket_t sig, short what, void *arg)
{
	struct parent *p = arg;
	struct timeval tv = { .tv_sec = STOP_SECONDS };

	(void)what;
	if (p->stopping)
		return;
	p->stopping = true;
	log_info("stopping", "signal", log_num(sig), NULL);
	notify_send("STOPPING=1");
	queue_stop(p->queue);
	kids_retire(p);
	(void)event_add(p->stop_ev, &tv);
	kids_check_stopped(p);
}

/* What a running parent cannot change is named; the rest takes effect. */
static void
warn_fixed(const struct conf *old, const struct conf *new)
{
	if (strcmp(old->spool, new->spool) != 0 ||
	    strcmp(old->control, new->control) != 0 ||
	    strcmp(old->user, new->user) != 0)
		log_warn("reload", "ignored", "spool, control and user change "
			"at a restart only", NULL);
}

static void
on_reload(evutil_socket_t sig, short what, void *arg)
{
	struct parent *p = arg;
	struct listeners listeners;
	char err[CONF_ERR_MAX], *text = NULL;
	struct conf *conf = NULL;
	struct dkim_key *key = NULL;

	(void)sig;
	(void)what;
	if (p->stopping)
		return;
	if (conf_read(p->conf_path, &text, err) != ST_OK ||
	    conf_parse(p->conf_path, text, &conf, err) != ST_OK ||
	    resolver_check_conf(&conf->resolver, err) != ST_OK ||
	    dkim_conf_reopen(p->conf, conf, p->key, &key, err) != ST_OK ||
	    listeners_open(conf, &p->listeners, &listeners, err) != ST_OK) {
		if (key != p->key)
			dkim_key_close(&key);
		log_error("reload", "reason", err, "kept",
			"the old configuration", NULL);
		conf_free(&conf);
		free(text);
		return;
	}
	warn_fixed(p->conf, conf);
	rlimits_apply(conf, true);
	kids_retire(p);
	listeners_close(&p->listeners);
	p->listeners = listeners;
	log_init("parent", conf->log_target, conf->log_level);
	queue_set_conf(p->queue, conf);
	queue_set_key(p->queue, key);
	if (key != p->key)
		dkim_key_close(&p->key);
	p->key = key;
	conf_free(&p->conf);
	free(p->conf_text);
	p->conf = conf;
	p->conf_text = text;
	kids_start(p);
	log_info("reloaded", "file", p->conf_path, NULL);
}

/* ---- life ---- */

static bool
open_spool(struct parent *p)
{
	const struct spool_options options = {
		.inline_bytes = p->conf->limit.inline_bytes,
	};
	char err[CONF_ERR_MAX] = "";

	if (spool_open(p->conf->spool, &options, &p->spool, err,
	    sizeof(err)) == ST_OK)
		return true;
	log_error("spool", "reason", err, NULL);
	p->status = EX_IOERR;
	return false;
}

static bool
open_sockets(struct parent *p)
{
	char err[CONF_ERR_MAX] = "";

	if (listeners_open(p->conf, NULL, &p->listeners, err) == ST_OK &&
	    control_new(p->base, p->conf, p->spool, p->queue, &p->control,
	    err) == ST_OK)
		return true;
	log_error("listen", "reason", err, NULL);
	p->status = EX_OSERR;
	return false;
}

void
parent_hold_reload(bool hold)
{
	sigset_t set;

	(void)sigemptyset(&set);
	(void)sigaddset(&set, SIGHUP);
	(void)sigprocmask(hold ? SIG_BLOCK : SIG_UNBLOCK, &set, NULL);
}

static void
add_signals(struct parent *p)
{
	static const struct {
		int sig;
		event_callback_fn cb;
	} rows[] = {
		{ SIGCHLD, on_sigchld }, { SIGTERM, on_terminate },
		{ SIGINT, on_terminate }, { SIGHUP, on_reload },
	};

	(void)signal(SIGPIPE, SIG_IGN);
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		p->signals[i] = evsignal_new(p->base, rows[i].sig, rows[i].cb,
			p);
		(void)event_add(p->signals[i], NULL);
	}
	parent_hold_reload(false);
	p->stop_ev = event_new(p->base, -1, 0, on_stop_timeout, p);
}

static void
log_turn(void)
{
	struct turn_worst worst;

	turn_worst(&worst);
	log_info("loop", "worst_ms", log_num(worst.us / 1000), "in",
		worst.what, "above_100_ms", log_num((long long)worst.slow),
		"worst_cpu_ms", log_num(worst.cpu_us / 1000), NULL);
}

static void
run(struct parent *p)
{
	if (p->conf->sandbox && sandbox_supported() &&
	    sandbox_enter(SANDBOX_PARENT) != ST_OK) {
		log_error("sandbox", "reason", "refused by the kernel", NULL);
		p->status = EX_OSERR;
		return;
	}
	if (!sandbox_supported())
		log_warn("sandbox", "state", "off: built with sanitizers",
			NULL);
	log_init("parent", p->conf->log_target, p->conf->log_level);
	kids_start(p);
	turn_run(p->base);
	log_turn();
	if (!queue_flush(p->queue)) {
		log_error("stop", "reason", "results could not be stored; "
			"mail may be sent twice", NULL);
		p->status = EX_IOERR;
	}
}

static void
close_all(struct parent *p)
{
	kids_clear(p);
	control_free(&p->control);
	queue_free(&p->queue);
	spool_close(&p->spool);
	listeners_close(&p->listeners);
	for (size_t i = 0; i < 5; i++)
		if (p->signals[i] != NULL)
			event_free(p->signals[i]);
	if (p->stop_ev != NULL)
		event_free(p->stop_ev);
	event_base_free(p->base);
	dkim_key_close(&p->key);
	conf_free(&p->conf);
	free(p->conf_text);
}

int
parent_main(const char *conf_path, char *conf_text, struct conf *conf,
	struct dkim_key *key)
{
	struct parent *p = xcalloc(1, sizeof(*p));
	struct queue_port port;
	int status;

	p->conf_path = conf_path;
	p->conf_text = conf_text;
	p->conf = conf;
	p->key = key;
	p->base = event_base_new();
	kids_init(p);
	port_init(p, &port);
	rlimits_apply(p->conf, true);
	if (open_spool(p)) {
		add_signals(p);
		p->queue = queue_new(p->base, conf, p->spool, &port);
		queue_set_key(p->queue, key);
		if (open_sockets(p))
			run(p);
	}
	close_all(p);
	status = p->status;
	free(p);
	log_info("stopped", "status", log_num(status), NULL);
	return status;
}
