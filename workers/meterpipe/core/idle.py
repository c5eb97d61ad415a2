"""When no meter of a partition speaks, time still passes: the idle advance of the watermark."""

REPLAY_MS = 86_400_000
"""A partition whose event time is further behind the clock than this is replaying history: wall time says nothing."""


def idle_watermark(watermark: int, idle_ms: int, now_ms: int, grace_ms: int) -> int:
    """The watermark of a partition that has had no reading for `idle_ms`, `watermark` being that at its last reading.

    It moves by the time elapsed, never past `now - grace`: what a live meter could still send in time stays in time.
    To be asked only for a partition that is read to its end.
    """
    if now_ms - watermark > REPLAY_MS + grace_ms:
        return watermark
    return max(watermark, min(watermark + idle_ms, now_ms - grace_ms))
