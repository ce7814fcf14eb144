"""The application: notes, the function that counts words, and the views."""

import grok

from gocept.async_ import function


class Notes(grok.Application, grok.Container):
    """Holds notes, each under a number."""


class Note(grok.Model):
    """A text; `words` is None until they are counted."""

    words = None

    def __init__(self, text):
        super().__init__()
        self.text = text


@function(service='notes')
def count_words(note):
    """Called by a job, after the note is stored."""
    note.words = len(note.text.split())


class Add(grok.View):
    """Stores a note, and has its words counted."""

    grok.context(Notes)

    def update(self, text):
        note = self.context[str(len(self.context) + 1)] = Note(text)
        count_words(note)

    def render(self):
        return 'added'


class Index(grok.View):
    """Shows how many words each note has."""

    grok.context(Notes)

    def render(self):
        return '\n'.join(
            f'{name}: {"not yet" if note.words is None else note.words}'
            for name, note in self.context.items())
