/*
 * Configuration text: each key, each fault with its line, and hostile text.
 */
#include "config.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/conf.h"
#include "base/mem.h"

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

static struct conf *
parse(const char *text)
{
	char err[CONF_ERR_MAX];
	struct conf *conf = NULL;

	if (conf_parse("t.conf", text, &conf, err) != ST_OK)
		fail_msg("%s\n%s", err, text);
	assert_non_null(conf);
	return conf;
}

/* The error text; static. */
static const char *
fault(const char *text)
{
	static char err[CONF_ERR_MAX];
	struct conf *conf = (struct conf *)err;

	if (conf_parse("t.conf", text, &conf, err) == ST_OK)
		fail_msg("taken: %s", text);
	assert_null(conf);
	assert_true(err[0] != '\0');
	return err;
}

/* ---- defaults ---- */

static void
test_defaults(void **state)
{
	struct conf *c = parse("");
	char want[300];

	(void)state;
	assert_true(c->hostname[0] != '\0');
	(void)snprintf(want, sizeof(want), "postmaster@%s", c->hostname);
	assert_string_equal(c->postmaster, want);
	assert_string_equal(c->user, "smtpd-out");
	assert_int_equal(strncmp(c->spool, "sqlite:/", 8), 0);
	assert_int_equal(strncmp(c->control, "unix:/", 6), 0);
	assert_int_equal(c->smtp_port, 25);
	assert_true(c->ipv4 && c->ipv6 && c->sandbox && !c->require_tls);
	assert_int_equal(c->remember_tls, CONF_REMEMBER_WARN);
	assert_int_equal(c->log_level, LOG_LEVEL_INFO);
	assert_int_equal(c->resolver.server_count, 0);
	assert_int_equal(c->resolver.dnssec, CONF_DNSSEC_VALIDATE);
	assert_int_equal(c->resolver.min_ttl_s, 5);
	assert_int_equal(c->retry.first_ms, 300000);
	assert_int_equal(c->retry.expire_ms, 432000000);
	assert_int_equal(c->retry.factor_percent, 200);
	assert_int_equal(c->timeout.data_end_ms, 600000);
	assert_int_equal(c->limit.message_bytes, 50 << 20);
	assert_int_equal(c->limit.line_bytes, 998);
	assert_int_equal(c->destination_count, 0);
	assert_int_equal(c->local_addr_count, 0);
	assert_true(c->sts.enable && !c->sts.allow_private);
	assert_int_equal(c->sts.dns_failure, CONF_STS_DNS_DEFER);
	assert_int_equal(c->sts.fetch_ms, 60000);
	assert_int_equal(c->sts.fetch_port, 443);
	assert_int_equal(c->sts.retry_s, 300);
	assert_int_equal(c->sts.unused_s, 60 * 86400);
	assert_int_equal(c->sts.cache_domains, 10000);
	assert_int_equal(c->sts.list_count, 0);
	conf_free(&c);
	assert_null(c);
	conf_free(&c);
}

/* Without any listen: the socket and a loopback port, never the world. */
static void
test_default_listeners(void **state)
{
	struct conf *c = parse("");
	struct sockaddr_in away = { .sin_family = AF_INET };

	(void)state;
	assert_int_equal(c->listen_count, 2);
	assert_int_equal(c->listens[0].addr.addr.ss_family, AF_UNIX);
	assert_int_equal(c->listens[0].mode, 0666);
	assert_string_equal(c->listens[1].addr.text, "127.0.0.1:10025");
	away.sin_addr.s_addr = htonl(0xc0000201);
	assert_false(conf_net_match(c->listens[1].allow,
		c->listens[1].allow_count, (struct sockaddr *)&away));
	away.sin_addr.s_addr = htonl(0x7f000005);
	assert_true(conf_net_match(c->listens[1].allow,
		c->listens[1].allow_count, (struct sockaddr *)&away));
	conf_free(&c);
	c = parse("listen \"0.0.0.0:25\" { }");
	assert_int_equal(c->listen_count, 1);
	assert_int_equal(c->listens[0].allow_count, 2);	/* loopback alone */
	away.sin_addr.s_addr = htonl(0xc0000201);
	assert_false(conf_net_match(c->listens[0].allow,
		c->listens[0].allow_count, (struct sockaddr *)&away));
	conf_free(&c);
}

/* ---- every key ---- */

static const char everything[] =
	"# a comment\n"
	"hostname = \"Mail.Example.org.\"\n"
	"spool = \"sqlite:/var/spool/x\"\n"
	"control = \"unix:/run/x\"\n"
	"user = \"someone\"\n"
	"postmaster = \"p@example.org\"\n"
	"workers = 3\n"
	"smtp-port = 2525\n"
	"ipv4 = yes  ipv6 = no  sandbox = off  require-tls = true\n"
	"remember-tls = require\n"
	"log = syslog  log-level = debug\n"
	"local-addresses = {\"192.0.2.7\", \"2001:db8::7\"}\n"
	"resolver {\n"
	"  servers = {\"127.0.0.1:5353\", \"[::1]:54\", \"192.0.2.53\"}\n"
	"  trusted = {\"192.0.2.53\"}\n"
	"  dnssec = trust-ad  trust-anchor = \"/a\"  timeout = 1s\n"
	"  lookup-timeout = 10s  tries = 3  cache-entries = 7\n"
	"  min-ttl = 1s  max-ttl = 2h  clock-skew = 10m\n"
	"  nsec3-iterations = 10\n"
	"}\n"
	"retry { first = 1s max = 2s expire = 3s delay-notice = 0s\n"
	"  growth = 150 }\n"
	"timeout { connect = 1s banner = 2s command = 3s mail = 4s\n"
	"  rcpt = 5s data = 6s block = 7s data-end = 8s rset = 9s\n"
	"  quit = 10s tls = 11s idle = 0ms }\n"
	"limit { message-size = 2M recipients = 5 sessions = 6\n"
	"  sessions-per-client = 7 line = 1000 submit-idle = 8s\n"
	"  submit-time = 9s hops = 10 active = 11\n"
	"  destination-sessions = 12 session-recipients = 13\n"
	"  destination-rate = 5/s host-sessions = 6 host-rate = 7/1m\n"
	"  total-sessions = 8 total-rate = 9/1h\n"
	"  inline-body = 1K bounce-body = 2K free-space = 3K }\n"
	"tls { ca-file = \"/ca\" }\n"
	"mta-sts { enable = no fetch-timeout = 1s fetch-port = 2\n"
	"  allow-private-addresses = yes dns-failure = ignore\n"
	"  max-fetches = 3 retry = 4s max-retry = 5s refresh-check = 6s\n"
	"  unused = 7s cache-size = 8 lists = {\"/l 1\", \"/l2\"} }\n"
	"listen \"unix:/run/s\" { protocol = lmtp mode = 0600 }\n"
	"listen \"[::1]:26\" { allow = {\"10.0.0.0/8\", \"::1\"}\n"
	"  bare-newline = normalise }\n"
	"destination \"Partner.example\" { tls = encrypt }\n"
	"destination \".legacy.example\" { tls = none\n"
	"  relay = \"relay.example:2500\" }\n";

static void
check_sections(const struct conf *c)
{
	assert_int_equal(c->resolver.dnssec, CONF_DNSSEC_TRUST_AD);
	assert_string_equal(c->resolver.trust_anchor, "/a");
	assert_int_equal(c->resolver.timeout_ms, 1000);
	assert_int_equal(c->resolver.lookup_ms, 10000);
	assert_int_equal(c->resolver.tries, 3);
	assert_int_equal(c->resolver.cache_entries, 7);
	assert_int_equal(c->resolver.min_ttl_s, 1);
	assert_int_equal(c->resolver.max_ttl_s, 7200);
	assert_int_equal(c->resolver.skew_s, 600);
	assert_int_equal(c->resolver.nsec3_iterations, 10);
	assert_int_equal(c->resolver.server_count, 3);
	assert_int_equal(c->resolver.trusted_count, 1);
	assert_int_equal(ntohs(((const struct sockaddr_in *)
		&c->resolver.servers[2].addr)->sin_port), 53);
	assert_int_equal(ntohs(((const struct sockaddr_in6 *)
		&c->resolver.servers[1].addr)->sin6_port), 54);
	assert_int_equal(c->retry.first_ms, 1000);
	assert_int_equal(c->retry.max_ms, 2000);
	assert_int_equal(c->retry.expire_ms, 3000);
	assert_int_equal(c->retry.delay_notice_ms, 0);
	assert_int_equal(c->retry.factor_percent, 150);
}

static void
check_numbers(const struct conf *c)
{
	const int64_t *t = &c->timeout.connect_ms;

	for (int64_t i = 0; i < 11; i++)
		assert_int_equal(t[i], (i + 1) * 1000);
	assert_int_equal(c->timeout.idle_ms, 0);
	assert_int_equal(c->limit.message_bytes, 2 << 20);
	assert_int_equal(c->limit.recipients, 5);
	assert_int_equal(c->limit.sessions, 6);
	assert_int_equal(c->limit.sessions_per_client, 7);
	assert_int_equal(c->limit.line_bytes, 1000);
	assert_int_equal(c->limit.inject_command_ms, 8000);
	assert_int_equal(c->limit.inject_session_ms, 9000);
	assert_int_equal(c->limit.hops, 10);
	assert_int_equal(c->limit.active, 11);
	assert_int_equal(c->limit.destination_sessions, 12);
	assert_int_equal(c->limit.session_rcpts, 13);
	assert_int_equal(c->limit.destination_rate.count, 5);
	assert_int_equal(c->limit.destination_rate.per_ms, 1000);
	assert_int_equal(c->limit.host_sessions, 6);
	assert_int_equal(c->limit.host_rate.count, 7);
	assert_int_equal(c->limit.out_sessions, 8);
	assert_int_equal(c->limit.out_rate.per_ms, 3600000);
	assert_int_equal(c->limit.inline_bytes, 1024);
	assert_int_equal(c->limit.bounce_bytes, 2048);
	assert_int_equal(c->limit.free_bytes, 3072);
}

static void
check_sts(const struct conf *c)
{
	assert_false(c->sts.enable);
	assert_int_equal(c->sts.fetch_ms, 1000);
	assert_int_equal(c->sts.fetch_port, 2);
	assert_true(c->sts.allow_private);
	assert_int_equal(c->sts.dns_failure, CONF_STS_DNS_IGNORE);
	assert_int_equal(c->sts.max_fetches, 3);
	assert_int_equal(c->sts.retry_s, 4);
	assert_int_equal(c->sts.max_retry_s, 5);
	assert_int_equal(c->sts.refresh_ms, 6000);
	assert_int_equal(c->sts.unused_s, 7);
	assert_int_equal(c->sts.cache_domains, 8);
	assert_int_equal(c->sts.list_count, 2);
	assert_string_equal(c->sts.lists[0], "/l 1");
	assert_string_equal(c->sts.lists[1], "/l2");
}

static void
test_everything(void **state)
{
	struct conf *c = parse(everything);

	(void)state;
	assert_string_equal(c->hostname, "mail.example.org");
	assert_string_equal(c->spool, "sqlite:/var/spool/x");
	assert_string_equal(c->control, "unix:/run/x");
	assert_string_equal(c->user, "someone");
	assert_string_equal(c->postmaster, "p@example.org");
	assert_int_equal(c->workers, 3);
	assert_int_equal(c->smtp_port, 2525);
	assert_true(c->ipv4 && !c->ipv6 && !c->sandbox && c->require_tls);
	assert_int_equal(c->remember_tls, CONF_REMEMBER_REQUIRE);
	assert_int_equal(c->log_target, LOG_TO_SYSLOG);
	assert_int_equal(c->log_level, LOG_LEVEL_DEBUG);
	assert_int_equal(c->local_addr_count, 2);
	check_sections(c);
	check_numbers(c);
	check_sts(c);
	assert_string_equal(c->ca_file, "/ca");
	assert_int_equal(c->listen_count, 2);
	assert_int_equal(c->listens[0].protocol, CONF_LMTP);
	assert_int_equal(c->listens[0].mode, 0600);
	assert_int_equal(c->listens[1].allow_count, 2);
	assert_int_equal(c->listens[1].bare_newline, CONF_BARE_NORMALISE);
	assert_int_equal(c->destination_count, 2);
	assert_string_equal(c->destinations[0].match, "partner.example");
	assert_int_equal(c->destinations[0].rule.tls, CONF_TLS_ENCRYPT);
	assert_null(c->destinations[0].relay_host);
	assert_string_equal(c->destinations[1].relay_host, "relay.example");
	assert_int_equal(c->destinations[1].relay_port, 2500);
	conf_free(&c);
}

/* ---- faults ---- */

static const struct fault_case {
	const char *text;
	const char *where;	/* "t.conf:LINE:" or less */
	const char *says;	/* the key, or what is wrong */
} fault_cases[] = {
	{ "\nhostname = \"a b\"", "t.conf:2:", "hostname" },
	{ "# one\n// two\n/* three\n */ x = y # z", "t.conf:4:", "x" },
	{ "ca-file = \"#\\\"/*\"\n#\ntls { min = a#b }", "t.conf:", "" },
	{ "#\nretry {\n # a\n\n first = x\n}", "t.conf:5:", "first" },
	{ "hostname = \"\"", "t.conf:1:", "hostname" },
	{ "spool = \"\"", "t.conf:1:", "spool" },
	{ "spool = \"sqlite:relative\"", "t.conf:", "spool" },
	{ "spool = \"mysql:/x\"", "t.conf:", "spool" },
	{ "control = \"127.0.0.1:1\"", "t.conf:", "control" },
	{ "user = \"a\\nb\"", "t.conf:", "user" },
	{ "\n\n\nworkers = 65", "t.conf:4:", "workers" },
	{ "workers = -1", "t.conf:1:", "workers" },
	{ "listen \"127.0.0.1:1\" { certificate = \"/c\" }", "t.conf:",
	    "certificate" },
	{ "listen \"127.0.0.1:1\" { key = \"/k\" }", "t.conf:",
	    "certificate" },
	{ "listen \"127.0.0.1:1\" { certificate = \"c\" key = \"/k\" }",
	    "t.conf:1:", "certificate" },
	{ "workers = 1x", "t.conf:1:", "workers" },
	{ "workers = 99999999999999999999", "t.conf:1:", "workers" },
	{ "smtp-port = 0", "t.conf:1:", "smtp-port" },
	{ "smtp-port = 65536", "t.conf:1:", "smtp-port" },
	{ "ipv4 = maybe", "t.conf:1:", "ipv4" },
	{ "ipv6 = YES", "t.conf:1:", "ipv6" },
	{ "sandbox = 1", "t.conf:1:", "sandbox" },
	{ "require-tls = \"\"", "t.conf:1:", "require-tls" },
	{ "ipv4 = no\nipv6 = no", "t.conf:", "ipv4 and ipv6" },
	{ "tls { min-version = 1.0 }", "t.conf:", "min-version" },
	{ "tls { min-version = 1.1 }", "t.conf:", "min-version" },
	{ "destination \"a.example\" { min-version = 1.3 }", "t.conf:",
		"without a tls level" },
	{ "host \"mx.example\" { sni = \"s.example\" }", "t.conf:",
		"without a tls level" },
	{ "destination \"a.example\" { match-names = {\"b.example\"} }",
		"t.conf:", "without a tls level" },
	{ "destination \"a.example\" { tls = auto  ca-file = \"/ca\" }",
		"t.conf:", "without a tls level" },
	{ "destination \"a.example\" { relay = \"smtps://r.example\"\n"
		"certificate = \"/c\" key = \"/k\" }", "t.conf:",
		"without a tls level" },
	{ "log = file", "t.conf:1:", "stderr syslog" },
	{ "log-level = loud", "t.conf:1:", "log-level" },
	{ "local-addresses = {\"x\"}", "t.conf:1:", "local-addresses" },
	{ "resolver {\n servers = {\"::1\",\n\"1.2.3\"}\n}", "t.conf:3:",
		"servers" },
	{ "resolver {\n trusted = {\"1.2.3.4:x\"}\n}", "t.conf:2:",
		"trusted" },
	{ "resolver {\n dnssec = yes\n}", "t.conf:2:", "dnssec" },
	{ "resolver {\n timeout = 1\n}", "t.conf:2:", "timeout" },
	{ "resolver {\n timeout = 1ms\n}", "t.conf:2:", "timeout" },
	{ "resolver {\n lookup-timeout = 1h\n}", "t.conf:2:",
		"lookup-timeout" },
	{ "resolver {\n tries = 0\n}", "t.conf:2:", "tries" },
	{ "resolver {\n cache-entries = x\n}", "t.conf:2:", "cache-entries" },
	{ "resolver {\n min-ttl = 2d\n}", "t.conf:2:", "min-ttl" },
	{ "resolver {\n max-ttl = 0s\n}", "t.conf:2:", "max-ttl" },
	{ "resolver {\n clock-skew = -1s\n}", "t.conf:2:", "clock-skew" },
	{ "resolver {\n nsec3-iterations = 151\n}", "t.conf:2:",
		"nsec3-iterations" },
	{ "resolver {\n trust-anchor = \"\"\n}", "t.conf:2:",
		"trust-anchor" },
	{ "retry {\n\n first = 0s }", "t.conf:3:", "first" },
	{ "retry {\n max = x }", "t.conf:2:", "max" },
	{ "retry {\n expire = 9999w }", "t.conf:2:", "expire" },
	{ "retry {\n delay-notice = \"\" }", "t.conf:2:", "delay-notice" },
	{ "retry {\n growth = 99 }", "t.conf:2:", "growth" },
	{ "retry { first = 2h }", "t.conf:", "max is shorter" },
	{ "timeout {\n connect = 0s }", "t.conf:2:", "connect" },
	{ "timeout {\n data-end = 2h }", "t.conf:2:", "data-end" },
	{ "limit {\n message-size = 1K1 }", "t.conf:2:", "message-size" },
	{ "limit {\n message-size = 99999999999999999999 }", "t.conf:2:",
		"message-size" },
	{ "limit {\n recipients = 0 }", "t.conf:2:", "recipients" },
	{ "limit {\n recipients = 10001 }", "t.conf:2:", "recipients" },
	{ "limit {\n inline-body = 5M }", "t.conf:2:", "inline-body" },
	{ "mta-sts {\n fetch-timeout = 1ms }", "t.conf:2:", "fetch-timeout" },
	{ "mta-sts {\n fetch-port = 0 }", "t.conf:2:", "fetch-port" },
	{ "mta-sts {\n dns-failure = bounce }", "t.conf:2:", "defer ignore" },
	{ "mta-sts {\n max-fetches = 0 }", "t.conf:2:", "max-fetches" },
	{ "mta-sts {\n cache-size = 0 }", "t.conf:2:", "cache-size" },
	{ "mta-sts {\n lists = {\"/a\",\n\"b\"} }", "t.conf:3:", "lists" },
	{ "mta-sts {\n lists = {\"/a\"}\n lists = {\"/b\"} }", "t.conf:3:",
		"given twice" },
	{ "mta-sts { max-retry = 1s }", "t.conf:", "max-retry is shorter" },
	{ "mta-sts { }\nmta-sts { }", "t.conf:2:", "given twice" },
	{ "limit {\n line = 499 }", "t.conf:2:", "line" },
	{ "listen \"127.0.0.1:x\" {\n}", "t.conf:", "listen" },
	{ "listen \"unix:relative\" { }", "t.conf:1:", "unix:relative" },
	{ "listen {\n}", "t.conf:", "" },
	{ "listen \"unix:/s\" {\n mode = 0778 }", "t.conf:2:", "mode" },
	{ "listen \"unix:/s\" {\n mode = 01000 }", "t.conf:2:", "mode" },
	{ "listen \"unix:/s\" {\n protocol = uucp }", "t.conf:2:",
		"protocol" },
	{ "listen \"unix:/s\" {\n bare-newline = no }", "t.conf:2:",
		"bare-newline" },
	{ "listen \"unix:/s\" {\n allow = {\"10.0.0.0/33\"} }", "t.conf:2:",
		"allow" },
	{ "listen \"unix:/s\" {\n allow = {\"10.0.0.0/\"} }", "t.conf:2:",
		"allow" },
	{ "listen \"unix:/s\" {\n allow = {\"::/129\"} }", "t.conf:2:",
		"allow" },
	{ "listen \"unix:/s\" {\n allow = {\"host\"} }", "t.conf:2:",
		"allow" },
	{ "destination \"a b\" { }", "t.conf:1:", "destination" },
	{ "destination \"\" { }", "t.conf:1:", "destination" },
	{ "destination \".\" { }", "t.conf:1:", "destination" },
	{ "destination \"a\" {\n tls = maybe }", "t.conf:2:", "tls" },
	{ "destination \"a\" {\n relay = \"b:0\" }", "t.conf:2:", "relay" },
	/* no such key, no such section */
	{ "\nno-such = 1", "t.conf:2:", "no-such" },
	{ "resolver {\n no-such = 1 }", "t.conf:2:", "no-such" },
	{ "no-such {\n}", "t.conf:1:", "no-such" },
	{ "destination \"a\" {\n port = 1 }", "t.conf:2:", "port" },
	{ "include(\"/etc/passwd\")", "t.conf:1:", "include" },
	/* syntax */
	{ "hostname", "t.conf:", "" },
	{ "hostname =", "t.conf:", "" },
	{ "hostname = \"a", "t.conf:", "" },
	{ "hostname = {\"a\"}", "t.conf:", "" },
	{ "resolver {", "t.conf:", "" },
	{ "resolver { servers = {\"::1\"", "t.conf:", "" },
	{ "}", "t.conf:", "" },
	{ "= 1", "t.conf:", "" },
	{ "resolver = 1", "t.conf:", "" },
	{ "hostname = a\n/* never ends", "t.conf:", "" },
	{ "destination \"a\" { rate = 5 }", "t.conf:1:", "rate" },
	{ "destination \"a\" {\n rate = 5/2d }", "t.conf:2:", "rate" },
	{ "host \"a\" { max-connections = 0 }", "t.conf:1:",
		"max-connections" },
	{ "host \"a\" { max-recipients = 1 }", "t.conf:1:",
		"max-recipients" },
	/* twice */
	{ "hostname = a\nhostname = b", "t.conf:2:", "hostname" },
	{ "retry { first = 1s }\nretry { max = 2h }", "t.conf:2:", "retry" },
	{ "retry {\n first = 1s\n first = 2s }", "t.conf:3:", "first" },
	{ "destination \"a\" {}\ndestination \"a\" {}", "t.conf:2:", "a" },
	{ "destination \"a\" {}\ndestination \"A.\" {}", "t.conf:", "\"a\"" },
	{ "listen \"unix:/s\" {}\nlisten \"unix:/s\" {}", "t.conf:2:",
		"/s" },
	{ "resolver {\nservers = {\"::1\"}\nservers = {\"::2\"}\n}",
		"t.conf:3:", "servers" },
	{ "resolver {\nservers = {\"::1\", \"::2\"}\n"
		"servers = {\"::3\", \"::4\"}\n}", "t.conf:3:", "servers" },
};

static void
test_faults(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT(fault_cases); i++) {
		const struct fault_case *c = &fault_cases[i];
		const char *err = fault(c->text);

		if (strncmp(err, c->where, strlen(c->where)) != 0 ||
		    strstr(err, c->says) == NULL)
			fail_msg("%s\ngave: %s", c->text, err);
	}
}

/* Each key of `everything` given a value that suits none of them. */
static void
test_every_key_refuses(void **state)
{
	static const char *const keys[] = { "hostname", "workers", "smtp-port",
		"ipv4", "ipv6", "sandbox", "require-tls", "remember-tls",
		"log", "log-level",
		"dnssec", "timeout", "lookup-timeout", "tries",
		"cache-entries", "min-ttl", "max-ttl", "clock-skew",
		"nsec3-iterations", "first", "max", "expire", "delay-notice",
		"growth", "connect", "banner", "command", "mail", "rcpt",
		"data", "block", "data-end", "rset", "quit", "tls", "idle",
		"message-size", "recipients", "sessions",
		"sessions-per-client", "line", "submit-idle", "submit-time",
		"hops", "active", "destination-sessions",
		"session-recipients", "inline-body", "bounce-body",
		"free-space", "protocol", "mode", "bare-newline", "relay" };

	(void)state;
	for (size_t i = 0; i < COUNT(keys); i++) {
		char *text = xstrdup(everything), want[100], *at, *value, *all;

		(void)snprintf(want, sizeof(want), "%s = ", keys[i]);
		for (at = strstr(text, want); at != NULL && at > text &&
		    at[-1] != ' ' && at[-1] != '\n';
		    at = strstr(at + 1, want))
			;
		assert_non_null(at);
		*at = '\0';
		value = at + strlen(want);
		value += *value == '"' ? strcspn(value + 1, "\"") + 2 :
			strcspn(value, " \n");
		all = xasprintf("%s%s\"? !\" %s", text, want, value);
		if (strstr(fault(all), keys[i]) == NULL)
			fail_msg("%s: %s", keys[i], fault(all));
		free(all);
		free(text);
	}
}

/* A list may be added to. */
static void
test_append(void **state)
{
	struct conf *c = parse("local-addresses = {\"::1\"}\n"
		"local-addresses += {\"::2\"}\n"
		"local-addresses += {\"::3\", \"::4\"}\n");

	(void)state;
	assert_int_equal(c->local_addr_count, 4);
	conf_free(&c);
	c = parse("resolver { servers = {} }");
	assert_int_equal(c->resolver.server_count, 0);
	conf_free(&c);
}

/* ---- hostile text ---- */

static void
test_hostile(void **state)
{
	size_t size = 900000;
	char *text = xmalloc(size + 1);
	struct conf *conf;
	char err[CONF_ERR_MAX];

	(void)state;
	memset(text, 'a', size);
	text[size] = '\0';
	(void)fault(text);
	memset(text, '{', size);
	(void)fault(text);
	memset(text, '"', size);
	(void)fault(text);
	memset(text, '\n', size);
	assert_int_equal(conf_parse("t", text, &conf, err), ST_OK);
	conf_free(&conf);
	memset(text, '\\', size);
	(void)fault(text);
	memset(text, 0xff, size);
	(void)fault(text);
	memset(text, 'a', size);
	memcpy(text, "hostname = \"", 12);
	memcpy(text + size - 1, "\"", 1);
	assert_true(strlen(fault(text)) < CONF_ERR_MAX);
	free(text);
}

/* Every prefix of a good file: taken or refused, never a crash. */
static void
test_every_prefix(void **state)
{
	char *text = xstrdup(everything);

	(void)state;
	for (size_t n = strlen(text); n > 0; n--) {
		char err[CONF_ERR_MAX];
		struct conf *conf = NULL;
		enum status st;

		text[n - 1] = '\0';
		st = conf_parse("t.conf", text, &conf, err);
		assert_int_equal(st == ST_OK, conf != NULL);
		assert_int_equal(st != ST_OK, err[0] != '\0');
		conf_free(&conf);
	}
	free(text);
}

/* A fault leaves nothing behind for the next parse. */
static void
test_again(void **state)
{
	struct conf *c;

	(void)state;
	for (int i = 0; i < 3; i++) {
		(void)fault("hostname = \"unterminated");
		(void)fault("destination \"x\" { tls = ");
		(void)fault("/* comment");
		c = parse("hostname = \"a.example\"");
		assert_string_equal(c->hostname, "a.example");
		conf_free(&c);
	}
}

/* ---- questions ---- */

static void
test_destination_match(void **state)
{
	struct conf *c = parse(
		"destination \".example\" { tls = may }\n"
		"destination \".a.example\" { tls = none }\n"
		"destination \"b.a.example\" { tls = encrypt }\n"
		"destination \"m\xc3\xbcnchen.test\" { tls = none }\n");
	static const struct {
		const char *domain;
		int rule;
	} cases[] = {
		{ "example", -1 }, { "x.example", 0 }, { "a.example", 0 },
		{ "b.a.example", 2 }, { "c.b.a.example", 1 },
		{ "x.a.example", 1 }, { "xa.example", 0 },
		{ "notexample", -1 }, { "example.org", -1 }, { "", -1 },
		{ "[192.0.2.1]", -1 }, { "xn--mnchen-3ya.test", 3 },
	};

	(void)state;
	for (size_t i = 0; i < COUNT(cases); i++)
		assert_ptr_equal(conf_destination(c, cases[i].domain),
			cases[i].rule < 0 ? NULL :
			&c->destinations[cases[i].rule]);
	conf_free(&c);
}

static const struct net_case {
	const char *net, *addr;
	bool match;
} net_cases[] = {
	{ "10.0.0.0/8", "10.255.0.1", true },
	{ "10.0.0.0/8", "11.0.0.1", false },
	{ "10.0.0.7/8", "10.1.1.1", true },	/* host bits do not matter */
	{ "192.0.2.0/25", "192.0.2.127", true },
	{ "192.0.2.0/25", "192.0.2.128", false },
	{ "192.0.2.1", "192.0.2.1", true },
	{ "192.0.2.1", "192.0.2.2", false },
	{ "192.0.2.1/32", "192.0.2.0", false },
	{ "0.0.0.0/0", "203.0.113.9", true },
	{ "0.0.0.0/0", "::1", false },
	{ "0.0.0.0/0", "::ffff:203.0.113.9", true },
	{ "10.0.0.0/8", "::ffff:10.1.2.3", true },
	{ "10.0.0.0/8", "::ffff:11.1.2.3", false },
	{ "::/0", "2001:db8::1", true },
	{ "::/0", "192.0.2.1", false },
	{ "2001:db8::/33", "2001:db8:7fff::", true },
	{ "2001:db8::/33", "2001:db8:8000::", false },
	{ "::1", "::1", true },
	{ "::1/128", "::2", false },
	{ "::ffff:10.0.0.0/104", "10.1.2.3", true },
	{ "::ffff:10.0.0.0/104", "::ffff:10.1.2.3", true },
	{ "::ffff:10.0.0.0/104", "11.1.2.3", false },
	{ "::ffff:0:0/95", "10.1.2.3", false },
};

static void
test_net_match(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT(net_cases); i++) {
		const struct net_case *n = &net_cases[i];
		char *text = xasprintf("listen \"[::]:25\" { "
			"allow = {\"203.0.113.1\", \"%s\"} }", n->net);
		struct conf *c = parse(text);
		struct conf_addr a;

		assert_int_equal(conf_addr_parse(n->addr, 1, &a), ST_OK);
		if (conf_net_match(c->listens[0].allow,
		    c->listens[0].allow_count, (struct sockaddr *)&a.addr) !=
		    n->match)
			fail_msg("%s in %s", n->addr, n->net);
		free(a.text);
		conf_free(&c);
		free(text);
	}
}

static void
test_net_match_unix(void **state)
{
	struct sockaddr_un un = { .sun_family = AF_UNIX };
	struct conf *c = parse("listen \"[::]:25\" { "
		"allow = {\"0.0.0.0/0\", \"::/0\"} }");

	(void)state;
	assert_false(conf_net_match(c->listens[0].allow, 2,
		(struct sockaddr *)&un));
	assert_false(conf_net_match(NULL, 0, (struct sockaddr *)&un));
	conf_free(&c);
}

static const struct relay_case {
	const char *text, *host;	/* NULL: refused */
	uint16_t port;
	bool tls;
} relay_cases[] = {
	{ "smtps://Relay.example", "relay.example", 465, true },
	{ "smtps://relay.example:25", "relay.example", 25, true },
	{ "smtps://[2001:db8::1]", "[2001:db8::1]", 465, true },
	{ "smtps://[192.0.2.1]:4650", "[192.0.2.1]", 4650, true },
	{ "smtps://m\xc3\xbcnchen.example", "xn--mnchen-3ya.example", 465,
	    true },
	{ "relay.example", "relay.example", 25, false },
	{ "relay.example:587", "relay.example", 587, false },
	{ "Relay.Example.:587", "relay.example", 587, false },
	{ "m\xc3\xbcnchen.example", "xn--mnchen-3ya.example", 25, false },
	{ "[192.0.2.1]", "[192.0.2.1]", 25, false },
	{ "[192.0.2.1]:2525", "[192.0.2.1]", 2525, false },
	{ "[2001:DB8::1]", "[2001:DB8::1]", 25, false },
	{ "[2001:db8::1]:2525", "[2001:db8::1]", 2525, false },
	{ "", NULL, 0, false }, { ":25", NULL, 0, false },
	{ "a:", NULL, 0, false }, { "a:0", NULL, 0, false },
	{ "a:65536", NULL, 0, false }, { "a:25:25", NULL, 0, false },
	{ "a b", NULL, 0, false }, { "[]", NULL, 0, false },
	{ "[", NULL, 0, false }, { "[a]", NULL, 0, false },
	{ "[192.0.2.1", NULL, 0, false }, { "[192.0.2.1]x", NULL, 0, false },
	{ "[192.0.2.1]x:25", NULL, 0, false }, { "[::1]]", NULL, 0, false },
	{ "2001:db8::1", NULL, 0, false }, { "[::1]:", NULL, 0, false },
	{ "smtps://", NULL, 0, false }, { "smtps://:465", NULL, 0, false },
	{ "smtps:a", NULL, 0, false }, { "smtps://a:0", NULL, 0, false },
	{ "smtps://smtps://a", NULL, 0, false },
	{ "smtps://a/", NULL, 0, false }, { "smtp://a", NULL, 0, false },
	{ "SMTPS://a", NULL, 0, false }, { "smtps://a@b", NULL, 0, false },
};

static void
test_relay(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT(relay_cases); i++) {
		const struct relay_case *r = &relay_cases[i];
		char *text = xasprintf("destination \"a\" { relay = \"%s\" }",
			r->text);
		struct conf *c;

		if (r->host == NULL) {
			assert_non_null(strstr(fault(text), "relay"));
		} else {
			c = parse(text);
			assert_string_equal(c->destinations[0].relay_host,
				r->host);
			assert_int_equal(c->destinations[0].relay_port,
				r->port);
			assert_int_equal(c->destinations[0].relay_tls, r->tls);
			conf_free(&c);
		}
		free(text);
	}
}

#define PATH107 "/3456789012345678901234567890123456789012345678901234567" \
	"890123456789012345678901234567890123456789012345678"

static const struct addr_case {
	const char *text;
	int family;		/* 0: refused */
	int port;
} addr_cases[] = {
	{ "192.0.2.1", AF_INET, 99 },
	{ "192.0.2.1:25", AF_INET, 25 },
	{ "[2001:db8::1]:25", AF_INET6, 25 },
	{ "[2001:db8::1]", AF_INET6, 99 },
	{ "2001:db8::1", AF_INET6, 99 },
	{ "::", AF_INET6, 99 },
	{ "unix:/run/x", AF_UNIX, 0 },
	{ "unix:" PATH107, AF_UNIX, 0 },
	{ "unix:" PATH107 "8", 0, 0 },
	{ "unix:", 0, 0 }, { "unix:run", 0, 0 }, { "unix:@abstract", 0, 0 },
	{ "", 0, 0 }, { ":25", 0, 0 }, { "host:25", 0, 0 },
	{ "192.0.2.1:", 0, 0 }, { "192.0.2.1:0", 0, 0 },
	{ "192.0.2.1:65536", 0, 0 }, { "192.0.2.1:25x", 0, 0 },
	{ "192.0.2.1:+25", 0, 0 }, { "192.0.2.1 ", 0, 0 },
	{ "192.0.2", 0, 0 }, { "192.0.2.256", 0, 0 }, { "[]:25", 0, 0 },
	{ "[::1", 0, 0 }, { "[", 0, 0 }, { "]", 0, 0 }, { "[::1]x", 0, 0 },
	{ "[::1]25", 0, 0 }, { "[::1]:", 0, 0 }, { "::1]:25", 0, 0 },
	{ "[[::1]]:25", 0, 0 }, { "[::1]:25:25", 0, 0 },
	{ "[192.0.2.1", 0, 0 },
};

static void
test_addr(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT(addr_cases); i++) {
		const struct addr_case *c = &addr_cases[i];
		struct conf_addr a;
		enum status st = conf_addr_parse(c->text, 99, &a);

		if ((st == ST_OK) != (c->family != 0))
			fail_msg("\"%s\": %s", c->text, status_name(st));
		if (st != ST_OK)
			continue;
		assert_int_equal(a.addr.ss_family, c->family);
		assert_string_equal(a.text, c->text);
		if (c->family == AF_INET)
			assert_int_equal(ntohs(((struct sockaddr_in *)
				&a.addr)->sin_port), c->port);
		else if (c->family == AF_INET6)
			assert_int_equal(ntohs(((struct sockaddr_in6 *)
				&a.addr)->sin6_port), c->port);
		free(a.text);
	}
}

/* ---- reading ---- */

static enum status
read_file(const char *bytes, size_t len, char **text, char *err)
{
	char path[] = "/tmp/test-conf-XXXXXX";
	int fd = mkstemp(path);
	enum status st;

	assert_true(fd >= 0);
	for (size_t done = 0; done < len;) {
		ssize_t n = write(fd, bytes + done, len - done);

		assert_true(n > 0);
		done += (size_t)n;
	}
	(void)close(fd);
	st = conf_read(path, text, err);
	(void)unlink(path);
	return st;
}

static void
test_read(void **state)
{
	char *big = xcalloc(CONF_FILE_MAX + 2, 1), *text = NULL;
	char err[CONF_ERR_MAX] = "";

	(void)state;
	assert_int_equal(read_file("a\nb", 3, &text, err), ST_OK);
	assert_string_equal(text, "a\nb");
	mem_free(&text);
	assert_int_equal(read_file("", 0, &text, err), ST_OK);
	assert_string_equal(text, "");
	mem_free(&text);
	assert_int_equal(read_file("a\0b", 3, &text, err), ST_LIMIT);
	assert_null(text);
	memset(big, '#', CONF_FILE_MAX + 1);
	assert_int_equal(read_file(big, CONF_FILE_MAX, &text, err), ST_OK);
	mem_free(&text);
	err[0] = '\0';
	assert_int_equal(read_file(big, CONF_FILE_MAX + 1, &text, err),
		ST_LIMIT);
	assert_true(err[0] != '\0');
	assert_int_equal(conf_read("/nonexistent/x", &text, err), ST_NOENT);
	assert_non_null(strstr(err, "/nonexistent/x"));
	assert_int_equal(conf_read("/", &text, err), ST_SYS);
	assert_null(text);
	free(big);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_defaults),
		cmocka_unit_test(test_default_listeners),
		cmocka_unit_test(test_everything),
		cmocka_unit_test(test_faults),
		cmocka_unit_test(test_every_key_refuses),
		cmocka_unit_test(test_append),
		cmocka_unit_test(test_hostile),
		cmocka_unit_test(test_every_prefix),
		cmocka_unit_test(test_again),
		cmocka_unit_test(test_destination_match),
		cmocka_unit_test(test_net_match),
		cmocka_unit_test(test_net_match_unix),
		cmocka_unit_test(test_relay),
		cmocka_unit_test(test_addr),
		cmocka_unit_test(test_read),
	};

	return cmocka_run_group_tests_name("conf", tests, NULL, NULL);
}
