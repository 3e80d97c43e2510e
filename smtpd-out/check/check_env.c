/*
 * A worker's parts, put together for `check`.  In the parent's place stands
 * the daemon's control socket, where there is one; nothing is kept.
 */
#include "config.h"

#include <event2/event.h>
#include <grp.h>
#include <pwd.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/mem.h"
#include "base/sandbox.h"
#include "policy/https.h"
#include "smtpd-out/check/check_env.h"
#include "smtpd-out/client/tls.h"
#include "smtpd-out/ipc/limits.h"
#include "smtpd-out/queue/sts_lists.h"
#include "smtpd-out/worker/host_memory.h"
#include "smtpd-out/worker/sts_table.h"

/* ---- the parent's part for the MTA-STS table ---- */

struct asked {
	STAILQ_ENTRY(asked) link;
	uint64_t request;
	struct msg_sts answer;
};

struct check_sts_port {
	struct check_env *env;
	struct sts_lists *lists;	/* read when no daemon answers */
	STAILQ_HEAD(, asked) waiting;
	struct event *answer_ev;
};

/* A daemon may have an older list in use than the file has. */
static void
use_lists(struct check_sts_port *p, struct msg_sts *answer)
{
	if (p->lists == NULL)
		p->lists = sts_lists_new(&p->env->conf->sts, NULL,
			clock_wall_s());
	sts_lists_answer(p->lists, clock_wall_s(), answer);
}

/* Never within the question. */
static void
on_answer(evutil_socket_t fd, short what, void *arg)
{
	struct check_sts_port *p = arg;
	struct asked *a;

	(void)fd;
	(void)what;
	while ((a = STAILQ_FIRST(&p->waiting)) != NULL) {
		STAILQ_REMOVE_HEAD(&p->waiting, link);
		if (!check_daemon_policy(p->env->daemon, &a->answer))
			use_lists(p, &a->answer);
		sts_table_take(p->env->session.sts, a->request, &a->answer);
		msg_sts_clear(&a->answer);
		free(a);
	}
}

static void
on_get(uint64_t request, const char *domain, void *arg)
{
	struct check_sts_port *p = arg;
	struct asked *a = xcalloc(1, sizeof(*a));

	a->request = request;
	a->answer.what = MSG_STS_ANSWER;
	(void)str_copy(a->answer.domain, sizeof(a->answer.domain), domain);
	STAILQ_INSERT_TAIL(&p->waiting, a, link);
	event_active(p->answer_ev, EV_TIMEOUT, 0);
}

static void
on_save(uint64_t id, const struct msg_sts *msg, void *arg)
{
	(void)id;
	(void)msg;
	(void)arg;
}

static void
open_sts(struct check_env *env)
{
	const struct conf *conf = env->conf;
	struct check_sts_port *p = xcalloc(1, sizeof(*p));
	const struct sts_table_port port = { .get = on_get, .save = on_save,
		.arg = p };

	env->sts_port = p;
	p->env = env;
	STAILQ_INIT(&p->waiting);
	p->answer_ev = event_new(env->base, -1, 0, on_answer, p);
	env->fetch.resolver = env->resolver;
	env->fetch.https = sts_fetch_https(env->base, conf);
	env->session.sts = sts_table_new(env->base, conf, &env->fetch, &port);
}

static void
close_sts(struct check_env *env)
{
	struct check_sts_port *p = env->sts_port;
	struct asked *a;

	if (p == NULL)
		return;
	sts_table_free(&env->session.sts);
	https_free(&env->fetch.https);
	while ((a = STAILQ_FIRST(&p->waiting)) != NULL) {
		STAILQ_REMOVE_HEAD(&p->waiting, link);
		msg_sts_clear(&a->answer);
		free(a);
	}
	sts_lists_free(&p->lists);
	event_free(p->answer_ev);
	mem_free(&env->sts_port);
}

/* ---- the rest ---- */

static void
on_memory_save(const struct msg_policy *msg, void *arg)
{
	(void)msg;
	(void)arg;
}

static void
on_host(const struct msg_policy_host *host, void *arg)
{
	struct check_env *env = arg;
	struct msg_policy_host copy = *host;
	const struct msg_policy msg = { .hosts = &copy, .count = 1 };

	host_memory_take(env->session.memory, &msg);
}

static void
on_probe(enum resolver_state state, const char *sentence, void *arg)
{
	struct check_env *env = arg;

	env->resolver_state = state;
	(void)str_copy(env->resolver_text, sizeof(env->resolver_text),
		sentence);
	(void)event_base_loopbreak(env->base);
}

static bool
open_parts(struct check_env *env, char err[CONF_ERR_MAX])
{
	const struct conf *conf = env->conf;
	char tls_err[TLS_ERROR_MAX] = "";

	if (resolver_new(env->base, &conf->resolver, &env->resolver, err) !=
	    ST_OK)
		return false;
	env->local = route_local_new(conf);
	env->session.base = env->base;
	env->session.conf = conf;
	env->session.tls = tls_client_new(conf, tls_err);
	if (env->session.tls == NULL) {
		(void)str_copy(err, CONF_ERR_MAX, tls_err);
		return false;
	}
	env->session.limits = limits_new(conf);
	env->daemon = check_daemon_new(conf->control);
	/* Only where it may change what becomes of mail. */
	if (conf->remember_tls == CONF_REMEMBER_REQUIRE) {
		env->session.memory = host_memory_new(conf->remember_tls,
			on_memory_save, env);
		check_daemon_hosts(env->daemon, on_host, env);
	}
	if (conf->sts.enable)
		open_sts(env);
	return true;
}

/* Nothing here needs root; nor is it an error to have no other user, or not to
 * be free to become it. */
static void
leave_root(const struct conf *conf)
{
	const struct passwd *pw = geteuid() == 0 ? getpwnam(conf->user) : NULL;

	if (pw == NULL || pw->pw_uid == 0 || initgroups(pw->pw_name,
	    pw->pw_gid) != 0 || setgid(pw->pw_gid) != 0)
		return;
	(void)!setuid(pw->pw_uid);
}

/* Now or once root has been left. */
static bool
is_service(const struct conf *conf)
{
	const struct passwd *pw = getpwnam(conf->user);

	return pw == NULL || geteuid() == 0 || geteuid() == pw->pw_uid;
}

bool
check_confine(const struct conf *conf, char err[CONF_ERR_MAX])
{
	leave_root(conf);
	if (!conf->sandbox || !sandbox_supported() ||
	    sandbox_enter(SANDBOX_WORKER) == ST_OK)
		return true;
	(void)str_copy(err, CONF_ERR_MAX, "the kernel refuses the system call "
		"filter (see \"sandbox\")");
	return false;
}

struct check_env *
check_env_new(const struct conf *conf, const struct check_options *options,
	char err[CONF_ERR_MAX])
{
	struct check_env *env = xcalloc(1, sizeof(*env));

	env->conf = conf;
	env->options = *options;
	env->as_service = is_service(conf);
	if (env->options.host_ms == 0)
		env->options.host_ms = CHECK_HOST_MS;
	env->base = event_base_new();
	if (env->base == NULL || !open_parts(env, err) ||
	    !check_confine(conf, err)) {
		check_env_free(&env);
		return NULL;
	}
	resolver_probe(env->resolver, on_probe, env);
	(void)event_base_dispatch(env->base);
	return env;
}

void
check_env_free(struct check_env **ep)
{
	struct check_env *env = *ep;

	if (env == NULL)
		return;
	close_sts(env);
	check_daemon_free(&env->daemon);
	host_memory_free(&env->session.memory);
	limits_free(&env->session.limits);
	tls_client_free(&env->session.tls);
	route_local_free(&env->local);
	resolver_free(&env->resolver);
	if (env->base != NULL)
		event_base_free(env->base);
	mem_free(ep);
}
