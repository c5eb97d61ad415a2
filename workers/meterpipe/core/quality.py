"""Quality of a reading: the eight flags of the DLMS AMR profile status, and which of two readings is the better one."""

from enum import IntFlag

import numpy as np
import numpy.typing as npt


class Quality(IntFlag):
    """Bits of a reading's `quality`; 0 is a good reading. DLMS leaves two bits free: ESTIMATED, RECOVERED_VALUE."""

    CRITICAL_ERROR = 1 << 0  # the meter found itself broken
    CLOCK_INVALID = 1 << 1  # the timestamp cannot be trusted
    DATA_NOT_VALID = 1 << 2  # the interval is incomplete or the value unusable
    DAYLIGHT_SAVING = 1 << 3  # the meter's clock showed summer time; says nothing about the value
    ESTIMATED = 1 << 4  # computed, not measured
    CLOCK_ADJUSTED = 1 << 5  # the clock was set by more than its tolerance within the interval
    RECOVERED_VALUE = 1 << 6  # read from the meter's memory after an outage
    POWER_DOWN = 1 << 7  # the supply failed within the interval; the value counts what flowed


_LEVELS: tuple[tuple[Quality, int], ...] = (
    (Quality.CRITICAL_ERROR, 6),
    (Quality.DATA_NOT_VALID, 5),
    (Quality.CLOCK_INVALID, 4),
    (Quality.ESTIMATED, 3),
    (Quality.RECOVERED_VALUE, 2),
    (Quality.CLOCK_ADJUSTED, 1),
)


def rank_of(quality: int) -> int:
    """0 (best) to 6 (worst): the level of the worst flag. DAYLIGHT_SAVING and POWER_DOWN make no reading worse."""
    return next((level for flag, level in _LEVELS if quality & flag), 0)


RANKS: npt.NDArray[np.uint8] = np.array([rank_of(quality) for quality in range(256)], np.uint8)
"""`RANKS[quality]` is `rank_of(quality)`, for whole columns."""
RANKS.setflags(write=False)
