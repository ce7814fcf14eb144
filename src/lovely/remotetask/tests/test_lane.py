"""Lanes, strands and segments."""

import unittest

from lovely.remotetask.interfaces import CANCELLED
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
            segment = lane.Segment(32, {QUEUED: 3, CANCELLED: 1}, 7)
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
