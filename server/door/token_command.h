#ifndef SERVER_DOOR_TOKEN_COMMAND_H
#define SERVER_DOOR_TOKEN_COMMAND_H

/* `tidalite token NAME SCOPES`, argv without the command. Exit status. */
int token_command(int argc, char **argv);

#endif
