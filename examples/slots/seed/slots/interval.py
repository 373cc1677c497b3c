"""A span of time within one day, counted in minutes since midnight."""

from dataclasses import dataclass

MINUTES_PER_DAY = 24 * 60


def parse_time(text):
    """Reads `HH:MM`. `24:00` is the end of the day."""
    hours, colon, minutes = text.strip().partition(":")
    if not (colon and hours.isdecimal() and minutes.isdecimal() and len(minutes) == 2):
        raise ValueError(f"not a time: {text!r}")
    total = int(hours) * 60 + int(minutes)
    if int(minutes) > 59 or total > MINUTES_PER_DAY:
        raise ValueError(f"no such time of day: {text!r}")
    return total


def format_time(minutes):
    return f"{minutes // 60:02}:{minutes % 60:02}"


@dataclass(frozen=True, order=True)
class Slot:
    """From `start` up to, not including, `end`."""

    start: int
    end: int

    def __post_init__(self):
        if not 0 <= self.start < self.end <= MINUTES_PER_DAY:
            raise ValueError(f"a slot ends after it starts, within one day: {self}")

    def __str__(self):
        return f"{format_time(self.start)}-{format_time(self.end)}"

    @classmethod
    def parse(cls, text):
        """Reads `HH:MM-HH:MM`."""
        start, dash, end = text.partition("-")
        if not dash:
            raise ValueError(f"not a slot: {text!r}")
        return cls(parse_time(start), parse_time(end))

    @property
    def minutes(self):
        return self.end - self.start
