"""What holds at any time of a service and of its model."""



from lovely.remotetask.interfaces import HELD
from lovely.remotetask.interfaces import STATUSES
from lovely.remotetask.interfaces import WAITING
from lovely.remotetask.storage import crew
from lovely.remotetask.storage import lookup
from lovely.remotetask.storage import numbering
from lovely.remotetask.storage.ledger import LISTED


class Checks:
    """Both are the same, and somebody will find each job."""

    def look(self):
        """Return the service as it was committed last."""
        self.reader.manager.begin()
        return self.reader.service

    def check_all(self):
        service = self.look()
        found = dict(service.jobs.items())
        self.read(found)
        self.check_jobs(found)
        self.check_effects(service)
        self.check_places(service.store, found)
        self.check_counts(service)
        self.check_listing(service)

    def read(self, found):
        """Let the model know what it does not compute."""
        for job in self.model.jobs.values():
            real = found[job.id]
            if job.unreadable:
                continue
            assert real.fence >= job.fence
            job.fence = real.fence
            # Jitter, and cron, which have tests of their own.
            job.due = real.due

    def check_jobs(self, found):
        assert set(found) == set(self.model.jobs)
        for job in self.model.jobs.values():
            real = found[job.id]
            assert real.status == job.visible, (
                job.id, real.status, job.visible)
            assert job.unreadable or (real.attempts, real.transients) == (
                job.attempts, job.transients), job.id

    def check_effects(self, service):
        counts = service.__parent__.counts
        for number, expected in self.model.effects.items():
            assert counts[number].value == expected, number

    def check_counts(self, service):
        counts = service.counts()
        # Some of these are counted as before, until processors meet them.
        unreadable = len(self.model.unreadable())
        for status, number in self.model.counts().items():
            spare = number - counts.get(status, 0)
            assert -unreadable <= spare <= unreadable * (status == HELD), (
                status, counts, self.model.counts())
        assert sum(counts.values()) == len(self.model.jobs)

    def check_listing(self, service):
        # In turns: all of them take longer than anything else.
        self.turn = (getattr(self, 'turn', 0) + 1) % (len(STATUSES) + 1)
        for status in ((None, *STATUSES)[self.turn],):
            found, after = [], None
            while True:
                page = service.find(status, after=after, limit=50)
                found += [job.id for job in page.jobs]
                after = page.after
                if after is None:
                    break
            expected = {job.id for job in self.model.jobs.values()
                        if status in (None, job.visible)}
            assert len(found) == len(set(found)), (status, found)
            doubtful = set() if status is None else self.model.unreadable()
            assert set(found) - doubtful == expected - doubtful, (
                status, found, expected)

    def check_places(self, store, jobs):
        """Each job is where somebody will find it."""
        # Those whose place is still to be looked at.
        unseen = self.ids_beyond_cursors(store)
        open = self.model.unsettled() | unseen
        for job in self.model.jobs.values():
            real = jobs[job.id]
            if job.unreadable:
                continue
            if job.worker is not None:
                found = any(claim.job == job.id and claim.fence == job.fence
                            for claim in crew.all_claims(store))
            elif job.status in WAITING:
                found = (real.due or 0.0, job.id) in store.schedule
            else:
                found = store.ledger.has(real)
            assert found or job.id in open, f'{job.id} is lost'
        for status in LISTED:
            for (_, jobid), _ in store.ledger.newest(status):
                job = self.model.jobs.get(jobid)
                assert (jobid in unseen or job.status == status
                        or job.unreadable), 'listed'

    def ids_beyond_cursors(self, store):
        found = set()
        for strand, key in lookup.strands(store):
            for sequence in range(
                    lookup.sequence_at_cursor(store, key), strand.end):
                entry = strand.segment(sequence).entry(sequence)
                found.add(numbering.place(sequence, key) if entry.note is None
                          else entry.note.job)
        return found
