import unittest

from slots.interval import Slot, parse_time


class IntervalTest(unittest.TestCase):
    def test_a_slot_reads_what_it_prints(self):
        for text in ("00:00-24:00", "09:05-09:06", "12:30-23:59"):
            self.assertEqual(str(Slot.parse(text)), text)

    def test_a_slot_knows_its_length(self):
        self.assertEqual(Slot.parse("09:00-10:30").minutes, 90)

    def test_what_is_no_time_of_day_is_refused(self):
        for text in ("", "9", "09:60", "24:01", "nine:00", "09:5", "-1:00"):
            with self.assertRaises(ValueError, msg=text):
                parse_time(text)

    def test_a_slot_must_end_after_it_starts(self):
        for text in ("10:00-10:00", "10:00-09:00", "10:00"):
            with self.assertRaises(ValueError, msg=text):
                Slot.parse(text)


if __name__ == "__main__":
    unittest.main()
