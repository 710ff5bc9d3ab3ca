"""Ctrl-C that another thread receives: Python notes it, and a wait of the main thread goes on."""

import signal
import threading
from contextlib import contextmanager


@contextmanager
def interrupt_elsewhere(moment: threading.Event):
    """Once `moment` has come, the signal of Ctrl-C goes to a thread that is not the main one."""

    def receive():
        if moment.wait(30):
            signal.pthread_kill(threading.get_ident(), signal.SIGINT)

    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    thread = threading.Thread(target=receive)
    thread.start()
    try:
        yield
    finally:
        thread.join()
        signal.signal(signal.SIGINT, before)
