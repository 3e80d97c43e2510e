/*
 * A demand: what one connection to one host must achieve before mail may
 * travel on it, and who said so.  Plain data, owned by whoever holds it;
 * nothing that comes later weakens it.
 */
#ifndef POLICY_DEMAND_H
#define POLICY_DEMAND_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum demand_level {		/* later ones are not weaker */
	DEMAND_NONE = 0,	/* do not use TLS */
	DEMAND_MAY,		/* use TLS when offered, any certificate; fall
				 * back to clear text (RFC 7435) */
	DEMAND_ENCRYPT,		/* TLS or nothing, certificate not verified */
	DEMAND_FINGERPRINT,	/* TLS, certificate or key is a known one */
	DEMAND_PKIX,		/* TLS, certificate by a known CA for a name */
	DEMAND_DANE		/* TLS, certificate matches TLSA (RFC 7672) */
};

enum demand_why {		/* the rule that decided; why= in the log */
	WHY_DEFAULT = 0,	/* nobody demanded anything */
	WHY_LOCAL,		/* a destination or host rule */
	WHY_OVERRIDE,		/* a rule that may weaken, and did */
	WHY_REQUIRE_TLS,	/* require-tls = yes */
	WHY_HOSTS_REQUIRE,	/* hosts-require-tls */
	WHY_HOSTS_AVOID,	/* hosts-avoid-tls */
	WHY_REMEMBERED,		/* it had TLS before: remember-tls */
	WHY_DANE,		/* TLSA records of the host */
	WHY_DANE_UNUSABLE,	/* TLSA records, none usable: encrypt */
	WHY_STS,		/* the domain's MTA-STS policy (RFC 8461) */
	WHY_REQUIRETLS,		/* the message: REQUIRETLS (RFC 8689) */
	WHY_TLS_OPTIONAL	/* the message: "TLS-Required: No" */
};

const char *demand_level_name(enum demand_level);
const char *demand_why_name(enum demand_why);

#define DEMAND_TLSA_MAX 32	/* records of a host that are looked at */
#define DEMAND_NAMES_MAX 16	/* reference identifiers */
#define DEMAND_PRINTS_MAX 16

struct demand_tlsa {		/* a usable record (RFC 6698 2.1) */
	uint8_t usage, selector, matching;
	uint8_t *data;
	size_t len;
};

/* What an MTA-STS policy says of a host where it does not decide: in testing
 * mode, or beside DANE.  It is watched and reported, and never in the way. */
enum demand_watch {
	DEMAND_WATCH_NONE = 0,
	DEMAND_WATCH_HOST,	/* a certificate by a known CA for the host */
	DEMAND_WATCH_UNLISTED	/* the policy does not name the host */
};

struct demand {
	enum demand_level level;
	enum demand_why why;
	/* DANE: SNI and first reference name (RFC 7672 2.2.3, 3.2.2). */
	char *tlsa_base;
	struct demand_tlsa *tlsa;
	size_t tlsa_count;
	char **names;		/* reference identifiers; ".d" for below d */
	size_t name_count;
	char **prints;		/* lower-case hex SHA-256 */
	size_t print_count;
	char *sni;		/* NULL: tlsa_base or the host's name */
	char *ca_file;		/* NULL: the configured one */
	char *ciphers;		/* OpenSSL cipher list, NULL: default */
	char *cert_file, *key_file;	/* client certificate, or NULL */
	int min_version;	/* 0x0301.., 0: default of the level */
	char *auth_file;	/* AUTH with this, or NULL */
	bool tls_first;		/* TLS before the greeting (RFC 8314 3.3) */
	enum demand_watch watch;
	char *watch_name;	/* with DEMAND_WATCH_HOST: who it must be */
};

/* An empty demand of that level. */
struct demand *demand_new(enum demand_level, enum demand_why);
struct demand *demand_copy(const struct demand *);
void demand_free(struct demand **);
void demand_add_name(struct demand *, const char *name);
void demand_add_tlsa(struct demand *, uint8_t usage, uint8_t selector,
	uint8_t matching, const uint8_t *data, size_t len);
void demand_add_print(struct demand *, const char *hex);

/* True when clear text must never carry the message. */
bool demand_forbids_clear(const struct demand *);
/* True when a certificate is verified. */
bool demand_verifies(const struct demand *);
/* True when a connection made under `had` may carry a message that needs
 * `need`: the same rule and the same identity in every field. */
bool demand_same(const struct demand *had, const struct demand *need);

/* What a handshake under a demand has shown. */
struct demand_proof {
	bool tls;
	bool by_key;		/* DANE by a record of usage 3: whatever the
				 * names (RFC 7672 3.1.1) */
	uint32_t names;		/* bits: those of the demand's names that the
				 * verified certificate is for */
};

/*
 * True when a connection that was made under `had`, with that proof, may carry
 * a message that needs `need` of the same host and port: what is needed was
 * verified, and nothing else would have been done in another way.  A proof by
 * one kind of verification is none by another, and rules of the operator are
 * never mixed.  Whoever only needs TLS, or not even that, may travel on what
 * was verified; the other way round never.
 */
bool demand_covers(const struct demand *had, const struct demand_proof *,
	const struct demand *need);

#endif
