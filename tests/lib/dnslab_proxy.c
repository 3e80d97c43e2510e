/*
 * A resolver that tampers: passes questions on to a real one and spoils the
 * answers, in another way on each of its addresses.
 *
 *	dnslab_proxy UPSTREAM FILE	(lines "MODE ADDRESS"; port 53)
 *
 * Upstream is asked over TCP, so that nothing arrives truncated.
 */
#include "config.h"

#include <arpa/inet.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <ldns/ldns.h>

#define SIDES_MAX 16
#define UDP_MAX 1232

enum mode { STRIP_RRSIG, STRIP_DENIAL, EMPTY_DS, STRIP_ALL, ALTER, ALTER_KEY,
	NO_OPT, MODES };

static const char *const mode_names[MODES] = { "strip-rrsig", "strip-denial",
	"empty-ds", "strip-all", "alter", "alter-key", "no-opt" };

struct side {
	enum mode mode;
	int udp, tcp;
};

static struct sockaddr_in upstream;
static int upstream_fd = -1;	/* of this process */

static void
die(const char *what)
{
	perror(what);
	exit(1);
}

/* ---- spoiling -------------------------------------------------------- */

static bool
is_dropped(enum mode m, ldns_rr_type t)
{
	bool denial = t == LDNS_RR_TYPE_NSEC || t == LDNS_RR_TYPE_NSEC3;

	switch (m) {
	case STRIP_RRSIG:
		return t == LDNS_RR_TYPE_RRSIG;
	case STRIP_DENIAL:
		return denial;
	case EMPTY_DS:
		return t == LDNS_RR_TYPE_DS;
	case STRIP_ALL:
		return denial || t == LDNS_RR_TYPE_RRSIG ||
			t == LDNS_RR_TYPE_DS || t == LDNS_RR_TYPE_DNSKEY;
	default:
		return false;
	}
}

/* Changes the last octet of the data that the mode is after. */
static void
rr_alter(enum mode m, ldns_rr *rr)
{
	ldns_rr_type t = ldns_rr_get_type(rr);
	size_t last = ldns_rr_rd_count(rr) - 1;
	ldns_rdf *rdf;

	if (m == ALTER ? t != LDNS_RR_TYPE_A && t != LDNS_RR_TYPE_TLSA &&
	    t != LDNS_RR_TYPE_TXT : m != ALTER_KEY ||
	    t != LDNS_RR_TYPE_DNSKEY)
		return;
	rdf = ldns_rr_rdf(rr, last);
	if (ldns_rdf_size(rdf) > 0)
		ldns_rdf_data(rdf)[ldns_rdf_size(rdf) - 1] ^= 1;
}

static ldns_rr_list *
spoil_list(enum mode m, ldns_rr_list *from)
{
	ldns_rr_list *to = ldns_rr_list_new();

	for (size_t i = 0; i < ldns_rr_list_rr_count(from); i++) {
		ldns_rr *rr = ldns_rr_list_rr(from, i);

		if (is_dropped(m, ldns_rr_get_type(rr)))
			continue;
		rr = ldns_rr_clone(rr);
		rr_alter(m, rr);
		ldns_rr_list_push_rr(to, rr);
	}
	return to;
}

static size_t
spoil(enum mode m, const uint8_t *in, size_t len, uint8_t **out)
{
	ldns_pkt *p;
	size_t n = 0;
	ldns_rr_list *an, *ns;

	if (ldns_wire2pkt(&p, in, len) != LDNS_STATUS_OK)
		return 0;
	an = spoil_list(m, ldns_pkt_answer(p));
	ns = spoil_list(m, ldns_pkt_authority(p));
	ldns_pkt_set_answer(p, an);
	ldns_pkt_set_authority(p, ns);
	ldns_pkt_set_ancount(p, (uint16_t)ldns_rr_list_rr_count(an));
	ldns_pkt_set_nscount(p, (uint16_t)ldns_rr_list_rr_count(ns));
	/* What is true there must not mend the rest. */
	ldns_pkt_set_additional(p, ldns_rr_list_new());
	ldns_pkt_set_arcount(p, 0);
	if (m == NO_OPT) {
		ldns_pkt_set_edns_udp_size(p, 0);
		ldns_pkt_set_edns_do(p, false);
	}
	if (ldns_pkt2wire(out, p, &n) != LDNS_STATUS_OK)
		n = 0;
	ldns_pkt_free(p);
	return n;
}

/* ---- carrying -------------------------------------------------------- */

static bool
read_all(int fd, uint8_t *to, size_t len)
{
	while (len > 0) {
		ssize_t n = read(fd, to, len);

		if (n <= 0)
			return false;
		to += n;
		len -= (size_t)n;
	}
	return true;
}

static size_t
read_framed(int fd, uint8_t *to)
{
	uint8_t head[2];
	size_t len;

	if (!read_all(fd, head, 2))
		return 0;
	len = (size_t)(head[0] << 8 | head[1]);
	return read_all(fd, to, len) ? len : 0;
}

static bool
write_framed(int fd, const uint8_t *from, size_t len)
{
	uint8_t all[65537];

	all[0] = (uint8_t)(len >> 8);
	all[1] = (uint8_t)len;
	memcpy(all + 2, from, len);
	return send(fd, all, len + 2, MSG_NOSIGNAL) == (ssize_t)(len + 2);
}

/* One connection upstream, made again when it is gone. */
static size_t
ask_upstream(const uint8_t *query, size_t len, uint8_t *reply)
{
	size_t n;

	for (int tries = 0; tries < 2; tries++) {
		if (upstream_fd < 0) {
			upstream_fd = socket(AF_INET, SOCK_STREAM, 0);
			if (connect(upstream_fd, (void *)&upstream,
			    sizeof(upstream)) != 0)
				die("connect");
		}
		if (write_framed(upstream_fd, query, len) &&
		    (n = read_framed(upstream_fd, reply)) > 0)
			return n;
		close(upstream_fd);
		upstream_fd = -1;
	}
	return 0;
}

static size_t
answer(enum mode m, const uint8_t *query, size_t len, uint8_t **out)
{
	static uint8_t reply[65536];
	size_t n = ask_upstream(query, len, reply);

	return n == 0 ? 0 : spoil(m, reply, n, out);
}

static void
serve_udp(const struct side *s)
{
	struct sockaddr_in from;
	socklen_t from_len = sizeof(from);
	uint8_t query[4096], *out = NULL;
	ssize_t len = recvfrom(s->udp, query, sizeof(query), 0, (void *)&from,
		&from_len);
	size_t n;

	if (len < 12)
		return;
	n = answer(s->mode, query, (size_t)len, &out);
	if (n > UDP_MAX) {	/* the header alone, with TC */
		n = (size_t)len;
		memcpy(out, query, n);
		out[2] = 0x83;
		out[3] = 0x80;
	}
	if (n > 0)
		sendto(s->udp, out, n, 0, (void *)&from, from_len);
	free(out);
}

static void
serve_tcp(const struct side *s)
{
	int fd = accept(s->tcp, NULL, NULL);
	static uint8_t query[65536];
	size_t len;

	if (fork() != 0) {
		close(fd);
		return;
	}
	upstream_fd = -1;	/* that one stays the parent's */
	while ((len = read_framed(fd, query)) > 0) {
		uint8_t *out = NULL;
		size_t n = answer(s->mode, query, len, &out);

		if (n == 0 || !write_framed(fd, out, n))
			break;
		free(out);
	}
	_exit(0);
}

static void
side_open(struct side *s, const char *address)
{
	struct sockaddr_in sin = { .sin_family = AF_INET,
		.sin_port = htons(53) };
	int one = 1;

	inet_pton(AF_INET, address, &sin.sin_addr);
	s->udp = socket(AF_INET, SOCK_DGRAM, 0);
	s->tcp = socket(AF_INET, SOCK_STREAM, 0);
	setsockopt(s->tcp, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	if (bind(s->udp, (void *)&sin, sizeof(sin)) != 0 ||
	    bind(s->tcp, (void *)&sin, sizeof(sin)) != 0 ||
	    listen(s->tcp, 50) != 0)
		die(address);
}

static size_t
sides_open(const char *path, struct side *sides)
{
	FILE *f = fopen(path, "r");
	char mode[32], address[64];
	size_t count = 0;

	if (f == NULL)
		die(path);
	while (count < SIDES_MAX &&
	    fscanf(f, "%31s %63s", mode, address) == 2) {
		struct side *s = &sides[count++];

		for (s->mode = 0; strcmp(mode_names[s->mode], mode) != 0;)
			if (++s->mode == MODES)
				die(mode);
		side_open(s, address);
	}
	fclose(f);
	return count;
}

int
main(int argc, char **argv)
{
	struct side sides[SIDES_MAX];
	struct pollfd fds[2 * SIDES_MAX];
	size_t count;

	if (argc != 3)
		return 64;
	signal(SIGCHLD, SIG_IGN);
	upstream.sin_family = AF_INET;
	upstream.sin_port = htons(53);
	inet_pton(AF_INET, argv[1], &upstream.sin_addr);
	count = sides_open(argv[2], sides);
	for (size_t i = 0; i < count; i++) {
		fds[2 * i] = (struct pollfd){ sides[i].udp, POLLIN, 0 };
		fds[2 * i + 1] = (struct pollfd){ sides[i].tcp, POLLIN, 0 };
	}
	while (poll(fds, 2 * count, -1) > 0) {
		for (size_t i = 0; i < count; i++) {
			if (fds[2 * i].revents != 0)
				serve_udp(&sides[i]);
			if (fds[2 * i + 1].revents != 0)
				serve_tcp(&sides[i]);
		}
	}
	return 1;
}
