import mmap
import os

from benchmarks.process_tree import STEP_BYTES, PeakMemory


def test_pss_is_read_where_memory_is_higher_than_ever_and_is_the_peak_after_it_is_gone():
    peak, me = PeakMemory(), os.getpid()
    assert peak.look({me}, me)
    before = peak.bytes
    assert not peak.look({me}, me)
    with mmap.mmap(-1, 4 * STEP_BYTES) as memory:
        memory.write(bytes(4 * STEP_BYTES))
        assert peak.look({me}, me)
    highest = peak.bytes
    assert highest - before > 3 * STEP_BYTES
    assert not peak.look({me}, me)
    assert peak.bytes == peak.driver_bytes == highest
