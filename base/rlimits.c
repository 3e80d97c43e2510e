/*
 * Descriptors and ports against what the configuration asks for.  A worker has
 * a connection for each delivery in work at most, and a descriptor for each
 * large body; inject one for each session and two for its large body.
 */
#include "config.h"

#include <stdio.h>
#include <sys/resource.h>

#include "base/log.h"
#include "base/rlimits.h"

#define OWN_FDS 200		/* logs, channels, listeners, resolver, files */
#define LEAST 16
#define PORTS_FILE "/proc/sys/net/ipv4/ip_local_port_range"

static unsigned
bound(unsigned wanted, uint64_t most)
{
	if (most < LEAST)
		most = LEAST;
	return wanted < most ? wanted : (unsigned)most;
}

void
rlimits_bounds(const struct conf *conf, uint64_t descriptors, uint64_t ports,
	struct rlimits_bounds *out)
{
	uint64_t fds = descriptors > OWN_FDS ? descriptors - OWN_FDS : 0;

	out->active = bound(conf->limit.active, fds);
	out->active = bound(out->active, ports);
	out->sessions = bound(conf->limit.sessions, fds / 3);
}

uint64_t
rlimits_raise(void)
{
	struct rlimit r;

	if (getrlimit(RLIMIT_NOFILE, &r) != 0)
		return UINT64_MAX;
	if (r.rlim_cur < r.rlim_max) {
		rlim_t soft = r.rlim_cur;

		r.rlim_cur = r.rlim_max;
		if (setrlimit(RLIMIT_NOFILE, &r) != 0)
			r.rlim_cur = soft;
	}
	return r.rlim_cur;
}

static uint64_t
local_ports(void)
{
	FILE *f = fopen(PORTS_FILE, "re");
	unsigned low = 0, high = 0;
	bool ok;

	if (f == NULL)
		return UINT64_MAX;
	ok = fscanf(f, "%u %u", &low, &high) == 2 && high >= low;
	(void)fclose(f);
	return ok ? high - low + 1 : UINT64_MAX;
}

void
rlimits_apply(struct conf *conf, bool say)
{
	uint64_t fds = rlimits_raise(), ports = local_ports();
	struct rlimits_bounds b;

	rlimits_bounds(conf, fds, ports, &b);
	if (say && b.active < conf->limit.active)
		log_warn("system-limits", "limit", "active", "configured",
			log_num(conf->limit.active), "used",
			log_num(b.active), "descriptors",
			log_num((long long)fds), "local_ports", ports ==
			UINT64_MAX ? NULL : log_num((long long)ports), NULL);
	if (say && b.sessions < conf->limit.sessions)
		log_warn("system-limits", "limit", "sessions", "configured",
			log_num(conf->limit.sessions), "used",
			log_num(b.sessions), "descriptors",
			log_num((long long)fds), NULL);
	conf->limit.active = b.active;
	conf->limit.sessions = b.sessions;
}
