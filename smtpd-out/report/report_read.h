/*
 * Reports that others have sent: files of JSON, gzip or mail, told apart by
 * what is in them, read into memory.  For people at a command line: no daemon,
 * nothing is written.
 */
#ifndef SMTPD_OUT_REPORT_READ_H
#define SMTPD_OUT_REPORT_READ_H

#include "policy/tlsrpt_doc.h"

struct table;

#define REPORT_FILE_MAX (30U << 20)	/* bytes of a file */
/* Of one set: files and folders; what stays in memory; and what is read, once
 * more as it is when unpacked.  What is beyond is left out, with a fault. */
#define REPORT_FILES_MAX 20000
#define REPORT_KEPT_MAX (160U << 20)
#define REPORT_WORK_MAX (1U << 30)
#define REPORT_FOLDER_DEPTH 4		/* a Maildir has 2 */

struct report_received {
	struct tlsrpt_report report;	/* domain is "" when nobody knows */
	size_t document_bytes;		/* unpacked; also of one that is bad */
	char *source;			/* path of the file */
	char *submitter;		/* from the mail, or NULL */
};

struct report_fault {
	char *source, *why;
};

struct report_set {
	struct report_received *items;
	size_t count;
	struct report_fault *faults;	/* files that are no report */
	size_t fault_count;
	size_t duplicates;		/* read twice, kept once */
	size_t files;			/* looked at, with the folders */
	uint64_t kept, work;		/* bytes */
	bool full;			/* no more is taken */
	struct table *known;		/* what tells reports apart */
};

/* What file bytes hold.  On a fault err is a phrase. */
enum status report_read_bytes(const void *, size_t,
	struct report_received *out, char err[TLSRPT_ERR_MAX]) MUST_CHECK;
/* Adds a file, or all files below a folder but hidden ones, without the texts
 * of policies. */
void report_set_add(struct report_set *, const char *path);
void report_set_clear(struct report_set *);
void report_received_clear(struct report_received *);
/* Who sent it, in words; never NULL. */
const char *report_sender(const struct report_received *);

#endif
