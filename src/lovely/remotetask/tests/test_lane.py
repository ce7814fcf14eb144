"""Lanes, strands and segments."""

import random
import unittest
from unittest import mock

from lovely.remotetask.interfaces import CANCELLED
from lovely.remotetask.interfaces import CRONJOB
from lovely.remotetask.interfaces import QUEUED
from lovely.remotetask.interfaces import STARTLATER
from lovely.remotetask.interfaces import STATUSES
from lovely.remotetask.job import Job
from lovely.remotetask.storage import lane
from lovely.remotetask.storage import numbering
from lovely.remotetask.storage.lane import SEGMENT_SIZE
from lovely.remotetask.storage.lane import Lane
from lovely.remotetask.storage.lane import Strand


NEW = lane.encode_change(None, QUEUED)


class ChangeTest(unittest.TestCase):

    def test_there_and_back(self):
        """Every change that is stored is read as it was."""
        stored = [status for status in STATUSES if status != 'processing']
        for old in (None, *stored):
            for new in stored:
                self.assertEqual((old, new), lane.decode_change(
                    lane.encode_change(old, new)))


class StrandTest(unittest.TestCase):

    def setUp(self):
        self.passed = 0
        self.strand = Strand()

    def append(self, count, change=NEW):
        for _ in range(count):
            self.strand.append(
                Job(self.strand.end, 'test.task', None), change)
            if self.strand.has_new_segment:
                self.strand.trim_some(self.passed)

    def test_a_new_segment(self):
        """The tail is never full: a full segment has a successor at once."""
        self.append(SEGMENT_SIZE - 1)
        self.assertEqual(1, len(self.strand.segments))
        self.append(1)
        self.assertEqual(2, len(self.strand.segments))
        self.assertTrue(self.strand.segments[0].full)
        self.assertEqual(SEGMENT_SIZE, self.strand.tail.start)
        self.assertEqual([], self.strand.tail.jobs)

    def test_states(self):
        """What is stored of a segment is short, and read as it was."""
        note = lane.Note(5, (('q', 1.0),))
        for entries in ([], [(NEW, None)], 3 * [(NEW, None)],
                        [(NEW, None), ('qx', note), (NEW, None)],
                        SEGMENT_SIZE * [('qx', note)]):
            segment = lane.Segment(32, {QUEUED: 3, CANCELLED: 1}, 7,
                                   {None: 0, QUEUED: 1})
            for change, found in entries:
                segment.append(None, change, found)
            copy = lane.Segment.__new__(lane.Segment)
            copy.__setstate__(segment.__getstate__())
            self.assertEqual(vars(segment), vars(copy))

    def test_each_entry_is_found(self):
        """An entry is found by its sequence, in whatever segment."""
        self.append(3 * SEGMENT_SIZE + 2)
        for sequence in range(self.strand.end):
            segment = self.strand.segment(sequence)
            self.assertEqual(sequence, segment.job(sequence).id)
        self.assertIsNone(self.strand.segment(self.strand.end).job(
            self.strand.end))

    def test_the_tail_is_left_alone(self):
        """Adders write it all the time: who looks for others loads it not."""
        self.append(3 * SEGMENT_SIZE + 2)
        end = self.strand.end
        with mock.patch.object(Strand, 'tail', mock.PropertyMock()) as tail:
            for sequence in range(end):
                self.strand.segment(sequence)
        tail.assert_not_called()

    def test_totals(self):
        """A segment knows what all entries before one add up to."""
        self.append(SEGMENT_SIZE + 2)
        self.append(1, lane.encode_change(None, STARTLATER))
        self.append(1, lane.encode_change(STARTLATER, QUEUED))
        end = self.strand.end
        self.assertEqual({QUEUED: SEGMENT_SIZE + 3, STARTLATER: 0},
                         self.strand.tail.totals(end))
        self.assertEqual({QUEUED: SEGMENT_SIZE + 2, STARTLATER: 1},
                         self.strand.tail.totals(end - 1))
        self.assertEqual({QUEUED: 5}, self.strand.segments[0].totals(5))

    def test_totals_over_segments(self):
        """Totals are carried from segment to segment."""
        self.append(5, lane.encode_change(None, STARTLATER))
        self.append(5, lane.encode_change(STARTLATER, CANCELLED))
        self.append(3 * SEGMENT_SIZE)
        self.assertEqual(
            {STARTLATER: 0, CANCELLED: 5, QUEUED: 3 * SEGMENT_SIZE},
            self.strand.tail.totals(self.strand.end))

    def test_gives(self):
        """Nothing is overlooked: no new job, no note, no notes in turn."""
        chosen = random.Random(5)
        waiting = (QUEUED, CRONJOB, STARTLATER, CANCELLED)
        for _ in range(600):
            if chosen.random() < 0.6:
                # Mostly the same: so there are long stretches.
                self.append(1, lane.encode_change(None, (
                    waiting[0] if chosen.random() < 0.9
                    else chosen.choice(waiting))))
            else:
                self.note(*((QUEUED, CANCELLED) if chosen.random() < 0.95
                            else chosen.choices(waiting, k=2)))
        self.check_gives(waiting)

    def test_gives_after_earlier_code(self):
        """Where notes were not counted, each of them is looked at."""
        for number in range(20):
            self.append(10)
            self.note(QUEUED, CANCELLED)
            if number in (9, 10, 15):
                # As it was stored by earlier code.
                vars(self.strand.tail).pop('taken', None)
            if number % 5 == 4:
                self.note(CRONJOB, CANCELLED)
                self.append(1, lane.encode_change(None, CRONJOB))
        self.check_gives((QUEUED, CRONJOB, STARTLATER))
        self.append(3 * SEGMENT_SIZE)
        end = self.strand.tail.start
        self.assertFalse(self.strand.gives(
            CRONJOB, end, end - 2 * SEGMENT_SIZE))

    def note(self, old, new):
        self.strand.append(None, lane.encode_change(old, new),
                           lane.Note(5, ()))

    def check_gives(self, statuses):
        """Check against all entries; quiet stretches have to be known, too.
        """
        entries = [entry for segment in self.strand.segments.values()
                   for entry in segment.entries()]
        quiet = 0
        for status in statuses:
            for begin in range(0, len(entries), SEGMENT_SIZE):
                for end in range(begin + 1, len(entries) + 1):
                    if not self.strand.gives(status, end, begin):
                        quiet += 1
                        self.assertNotIn(status, [
                            entry.new for entry in entries[begin:end]])
        self.assertLess(100, quiet)

    def empty(self, number):
        segment = self.strand.segments[number]
        for sequence in range(segment.start, segment.end):
            segment.remove(sequence)

    def test_trim(self):
        """Empty segments that were passed are dropped in time."""
        self.append(3 * SEGMENT_SIZE)
        self.empty(0)
        self.empty(1)
        self.passed = 2 * SEGMENT_SIZE
        self.append(SEGMENT_SIZE)
        self.assertEqual([2, 3, 4], list(self.strand.segments))

    def test_trim_what_was_not_passed(self):
        """Empty or not, what no processor has come to stays."""
        self.append(2 * SEGMENT_SIZE)
        self.empty(0)
        self.passed = SEGMENT_SIZE - 1
        self.append(SEGMENT_SIZE)
        self.assertEqual([0, 1, 2, 3], list(self.strand.segments))

    def test_trim_what_is_not_empty(self):
        """A segment with a job stays."""
        self.append(2 * SEGMENT_SIZE)
        self.empty(0)
        self.strand.segments[0].jobs[3] = Job(3, 'test.task', None)
        self.passed = 2 * SEGMENT_SIZE
        self.append(SEGMENT_SIZE)
        self.assertIn(0, self.strand.segments)

    def test_trim_again(self):
        """Those that stayed are looked at again, later."""
        self.append(8 * SEGMENT_SIZE)
        self.passed = 8 * SEGMENT_SIZE
        self.append(SEGMENT_SIZE)
        for number in range(8):
            self.empty(number)
        for _ in range(12):
            self.passed = self.strand.end
            self.append(SEGMENT_SIZE)
        self.assertFalse({*range(8)} & {*self.strand.segments})

    def test_a_segment_that_was_dropped(self):
        """An entry of it is looked for in vain."""
        self.test_trim()
        self.assertIsNone(self.strand.segment(3))


class LaneTest(unittest.TestCase):

    def test_next_id(self):
        """The id that is told is that of the entry which follows."""
        a_lane = Lane(3, start=100)
        for priority in (5, 9, 5):
            jobid = a_lane.next_id(priority)
            job = Job(jobid, 'test.task', None)
            a_lane.append(job, NEW, priority)
            sequence, number, found = numbering.split_id(jobid)
            self.assertEqual((3, priority), (number, found))
            self.assertIs(job, a_lane.strands[priority].segment(
                sequence).job(sequence))
        self.assertEqual({5, 9}, {*a_lane.strands})
