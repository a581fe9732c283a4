"""A wall clock that a test moves while a process runs: a library for `LD_PRELOAD` that adds what a file says.

Only what people call the time moves, as when a clock is set; clocks that count up go on. Files get their times from the
kernel, and so from a clock that nobody has moved: to the process they are another machine's.
"""

import shutil
import struct
import subprocess
from pathlib import Path

import pytest

_SOURCE = r"""
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static long none;
static volatile long *seconds = &none;

__attribute__((constructor)) static void open_offset(void) {
    const char *path = getenv("MOVED_CLOCK");
    int file = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    if (file < 0) return;
    void *there = mmap(0, sizeof(long), PROT_READ, MAP_SHARED, file, 0);
    if (there != MAP_FAILED) seconds = there;
    close(file);
}

int clock_gettime(clockid_t clock, struct timespec *now) {
    int failed = syscall(SYS_clock_gettime, clock, now);
    if (!failed && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE)) now->tv_sec += *seconds;
    return failed;
}

int gettimeofday(struct timeval *restrict now, void *restrict zone) {
    struct timespec exact;
    clock_gettime(CLOCK_REALTIME, &exact);
    now->tv_sec = exact.tv_sec;
    now->tv_usec = exact.tv_nsec / 1000;
    return 0;
}

time_t time(time_t *kept) {
    struct timespec exact;
    clock_gettime(CLOCK_REALTIME, &exact);
    if (kept) *kept = exact.tv_sec;
    return exact.tv_sec;
}
"""


class MovedClock:
    """The clock of all processes that are started with `environment`."""

    def __init__(self, folder: Path) -> None:
        compiler = shutil.which("cc")
        if compiler is None:
            pytest.skip("a clock that can be moved takes a C compiler")
        source, library, self._offset = folder / "clock.c", folder / "clock.so", folder / "clock.seconds"
        source.write_text(_SOURCE)
        self.move(0)
        subprocess.run([compiler, "-O1", "-shared", "-fPIC", "-o", library, source], check=True)
        self.environment = {"LD_PRELOAD": str(library), "MOVED_CLOCK": str(self._offset)}

    def move(self, seconds: int) -> None:
        """Set it to so many seconds after the right time."""
        with self._offset.open("r+b" if self._offset.exists() else "wb") as file:
            file.write(struct.pack("l", seconds))
