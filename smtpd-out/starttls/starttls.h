/*
 * From the greeting of a service to TLS and a little beyond, politely: what
 * mail servers, XMPP, NNTP and PostgreSQL want to hear is one table of steps
 * (starttls_table.c), and a small engine walks a row of it.
 *
 * The engine is pure: bytes in, bytes out, and what it wants next.  Whatever
 * the peer says is bounded, and printable in the facts.  Time, sockets and
 * TLS are those of starttls_run.c.
 */
#ifndef SMTPD_OUT_STARTTLS_H
#define SMTPD_OUT_STARTTLS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"

#define STARTTLS_TEXT_MAX 256
#define STARTTLS_WORDS_MAX 64		/* of a list that are kept */
#define STARTTLS_ANSWER_MAX 32768	/* octets of one answer */
#define STARTTLS_STEPS_MAX 6
#define STARTTLS_NOTES_MAX 4

enum starttls_stage {
	STARTTLS_CONNECT = 0,
	STARTTLS_GREETING,
	STARTTLS_LIST,		/* what the server can do, in clear text */
	STARTTLS_COMMAND,	/* "shall we?" */
	STARTTLS_HANDSHAKE,
	STARTTLS_LIST_TLS,	/* what it can do under TLS */
	STARTTLS_END		/* the polite end */
};

/* Where an answer ends. */
enum starttls_frame {
	STARTTLS_FRAME_NONE = 0,	/* end of the steps */
	STARTTLS_FRAME_REPLY,	/* RFC 5321 4.2: "250-" lines, "250 " */
	STARTTLS_FRAME_LINE,
	STARTTLS_FRAME_TAGGED,	/* RFC 3501 2.2.2: at the line with our tag */
	STARTTLS_FRAME_DOTTED,	/* a good one at a lone dot, others at once */
	STARTTLS_FRAME_XML,	/* at a tag that is waited for */
	STARTTLS_FRAME_OCTET
};

/* good, bad: what the deciding line begins with (an element of XML: what it
 * is); several are parted by '|'.  Anything else is not the protocol. */
struct starttls_step {
	enum starttls_stage stage;
	enum starttls_frame frame;
	const char *send;	/* NULL: nothing; %h: our name, %d: theirs */
	size_t send_octets;	/* not 0: send is so long, and taken as it is */
	const char *good, *bad;
};

struct starttls_row {
	const char *name;
	uint16_t port;
	const char *srv;	/* "_service._tcp" of RFC 2782; or NULL */
	const char *offer;	/* the word for it in a list; NULL: no list */
	bool smtp;		/* RFC 7672 rules over TLSA */
	struct starttls_step steps[STARTTLS_STEPS_MAX];
};

/* NULL when there is none of that name. */
const struct starttls_row *starttls_row(const char *name);
/* By number, for those that want all; NULL at the end. */
const struct starttls_row *starttls_row_at(size_t);

enum starttls_result {
	STARTTLS_OPEN = 0,	/* not ended yet */
	STARTTLS_OK,
	STARTTLS_UNREACHABLE,	/* no address, or none that answers */
	STARTTLS_TIMEOUT,
	STARTTLS_CLOSED,	/* by the peer, without a word */
	STARTTLS_TURNED_AWAY,	/* the greeting says so */
	STARTTLS_GARBAGE,	/* not this protocol */
	STARTTLS_ABSENT,	/* not offered */
	STARTTLS_REFUSED,	/* offered, and refused */
	STARTTLS_STRIPPED,	/* not offered, and yet the server has it */
	STARTTLS_INJECTED,	/* bytes between go-ahead and handshake */
	STARTTLS_FAILED,	/* the handshake */
	STARTTLS_UNVERIFIED,	/* TLS, but not the peer that was wanted */
	STARTTLS_NO_TLSA,	/* wanted, and there are none that count */
	STARTTLS_DNS		/* no answer to rely on */
};

const char *starttls_result_name(enum starttls_result);
const char *starttls_stage_name(enum starttls_stage);
int starttls_exit_code(enum starttls_result);	/* of sysexits.h */

struct starttls_list {
	bool asked;		/* and answered */
	bool refused;		/* the server does not know the question */
	char *words[STARTTLS_WORDS_MAX];
	size_t count, total;
};

struct starttls_facts {
	enum starttls_result result;
	enum starttls_stage stage;	/* as far as it came */
	char text[STARTTLS_TEXT_MAX];	/* a sentence, unless OK */
	char greeting[STARTTLS_TEXT_MAX];
	char answer[STARTTLS_TEXT_MAX];	/* to the command */
	bool offered;
	bool tls;			/* the handshake was done */
	struct starttls_list before, after;
	char notes[STARTTLS_NOTES_MAX][STARTTLS_TEXT_MAX];
	size_t note_count;
};

enum starttls_want {
	STARTTLS_WANT_INPUT = 0,
	STARTTLS_WANT_TLS,	/* now, unless something waits to be read */
	STARTTLS_WANT_CLOSE	/* it is over: the facts tell */
};

struct starttls;

/* hostname: ours; domain: the service's.  The row is borrowed. */
struct starttls *starttls_new(const struct starttls_row *,
	const char *hostname, const char *domain);
void starttls_free(struct starttls **);

/* Connected, or a handshake done; what is to be sent is put into out. */
enum starttls_want starttls_begin(struct starttls *, struct buf *out);
enum starttls_want starttls_secured(struct starttls *, struct buf *out);
enum starttls_want starttls_input(struct starttls *, const void *, size_t,
	struct buf *out);
/* A result from outside, and the same as the end.  The first result stands:
 * after the essential has been seen nothing that happens changes it. */
void starttls_settle(struct starttls *, enum starttls_result,
	const char *text);
void starttls_end(struct starttls *, enum starttls_result, const char *text);

const struct starttls_facts *starttls_facts(const struct starttls *);

/* Lists (starttls_list.c).  Adds the words of an answer. */
void starttls_list_take(struct starttls_list *, enum starttls_frame,
	const char *text, size_t len);
void starttls_list_clear(struct starttls_list *);
bool starttls_list_has(const struct starttls_list *, const char *word);

#endif
