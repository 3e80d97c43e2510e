/*
 * report list, show and send: the daemon is asked.
 */
#ifndef SMTPD_OUT_CMD_REPORT_OWN_H
#define SMTPD_OUT_CMD_REPORT_OWN_H

int cmd_report_list(int argc, char **argv);
int cmd_report_show(int argc, char **argv);
int cmd_report_send(int argc, char **argv);

#endif
