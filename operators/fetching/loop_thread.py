"""An event loop in a thread of its own: asynchronous clients behind operators that are plain calls."""

import asyncio
import threading
from collections.abc import Coroutine
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

T = TypeVar("T")


class LoopThread:
    """The loop and its thread. `threads` becomes the loop's default executor, for calls that block."""

    def __init__(self, name: str, threads: ThreadPoolExecutor) -> None:
        self._loop = asyncio.new_event_loop()
        self._loop.set_default_executor(threads)
        self._thread = threading.Thread(target=self._loop.run_forever, name=name, daemon=True)
        self._thread.start()

    def call(self, work: Coroutine[Any, Any, T]) -> "Future[T]":
        """Start `work` on the loop, from any thread."""
        return asyncio.run_coroutine_threadsafe(work, self._loop)

    def shut(self, last: Coroutine[Any, Any, None]) -> None:
        """Run `last`, then end the loop and its threads, and wait for that, unless called on the loop's own thread."""
        # Nobody asks any more what becomes of what is still at work: asyncio would print a traceback for each.
        self._loop.call_soon_threadsafe(self._loop.set_exception_handler, lambda loop, context: None)
        closing = self.call(last)
        closing.add_done_callback(lambda _: self._loop.call_soon_threadsafe(self._loop.stop))
        if threading.current_thread() is self._thread:
            return  # collected by the garbage collector there, which cannot wait for itself
        self._thread.join()
        self._loop.run_until_complete(self._loop.shutdown_default_executor())
        self._loop.close()


async def cancel_all_but_current() -> None:
    """Cancel every other task of the running loop and wait until they are gone."""
    others = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)
