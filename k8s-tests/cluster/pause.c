/* First process of every pod: holds the pod's namespaces, collects ended processes, ends when told to. */
#include <signal.h>
#include <stddef.h>
#include <sys/wait.h>

int main(void) {
  sigset_t awaited;
  int number;
  sigemptyset(&awaited);
  sigaddset(&awaited, SIGINT);
  sigaddset(&awaited, SIGTERM);
  sigaddset(&awaited, SIGCHLD);
  sigprocmask(SIG_BLOCK, &awaited, NULL);
  while (sigwait(&awaited, &number) == 0 && number == SIGCHLD)
    while (waitpid(-1, NULL, WNOHANG) > 0) {
    }
  return 0;
}
