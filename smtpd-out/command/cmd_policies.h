/*
 * `queue policies`: what it prints, and its words.
 */
#ifndef SMTPD_OUT_CMD_POLICIES_H
#define SMTPD_OUT_CMD_POLICIES_H

#include <jansson.h>
#include <stdbool.h>

/* [list], show DOMAIN, refresh DOMAIN, forget DOMAIN: fills the request and
 * returns the name of the command; NULL when the words are something else. */
const char *policies_words(int argc, char **argv, json_t *request);

/* Before an answer is printed: adds what the text of a policy says (mode,
 * max_age, mx, or why it is invalid), and the last failure is "error". */
void policies_amend(json_t *);
void policies_amend_row(json_t *);		/* and takes the text away */

/* For people: a row of the list, its end, and one domain. */
void policies_line(const json_t *);
void policies_list_end(const json_t *);
void policies_show(const json_t *);

#endif
