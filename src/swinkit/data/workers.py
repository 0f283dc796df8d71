"""How a loading process takes signals: it leaves them to the process it loads for."""

import os
import signal
import threading


def leave_signals_to_parent(worker: int) -> None:
    """Make a loading process outlive the signals by which a person or a scheduler asks the job to stop.

    Ctrl-C, `timeout` and SLURM signal every process of a job, and training needs its loading processes to
    finish the step and save. Only a SIGTERM from the parent, by which Python ends its children, ends this
    one; one whose parent is gone ends by itself. Threads that are already there keep their own mask, so a
    process that was not forked, and has some, still ends at anybody's SIGTERM.

    Args:
        worker: number of the process, unused: the signature is that of `worker_init_fn`.
    """
    for name in ("SIGINT", "SIGUSR1"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_IGN)
    if hasattr(signal, "sigwaitinfo"):
        # A handler is not told who sent the signal; whoever waits for it is. Blocked, it stays pending.
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
        threading.Thread(target=_end_with_parent, args=(os.getppid(),), daemon=True).start()


def _end_with_parent(parent: int) -> None:
    while signal.sigwaitinfo({signal.SIGTERM}).si_pid != parent:
        pass
    os._exit(0)
