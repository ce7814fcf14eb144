"""The messages of the pages, and their translations.

``python -m lovely.remotetask.tests.catalogs`` brings the catalogues up to
date: it adds the messages that are missing, empty, drops those that nobody
says any more, and compiles them.
"""

import ast
from pathlib import Path

from pythongettext.msgfmt import Msgfmt
from zope.tal.htmltalparser import HTMLTALParser
from zope.tal.talgettext import POEngine
from zope.tal.talgettext import POTALInterpreter

import lovely.remotetask


DOMAIN = 'lovely.remotetask'
PACKAGE = Path(lovely.remotetask.__file__).parent
LOCALES = PACKAGE / 'browser' / 'locales'
SOURCES = [PACKAGE / 'browser', PACKAGE.parent.parent / 'gocept' / 'async_'
           / 'pages']
LANGUAGES = 'en', 'de'

HEADER = '''msgid ""
msgstr ""
"Project-Id-Version: gocept.async\\n"
"Language: {language}\\n"
"MIME-Version: 1.0\\n"
"Content-Type: text/plain; charset=utf-8\\n"
"Content-Transfer-Encoding: 8bit\\n"
'''


def messages():
    """Return what the pages say: a dict, message id to English text."""
    found = {}
    for folder in SOURCES:
        for path in sorted(folder.rglob('*.py')):
            found.update(_of_module(path))
        for path in sorted(folder.rglob('*.pt')):
            found.update(_of_template(path))
    return dict(sorted(found.items()))


def _of_module(path):
    """Yield the arguments of ``_(...)``: id and text."""
    for node in ast.walk(ast.parse(path.read_text('utf-8'))):
        if (isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
                and node.func.id == '_'):
            msgid, *default = [each.value for each in node.args]
            yield msgid, default[0] if default else msgid


def _of_template(path):
    """Yield the texts that a template has translated."""
    engine = POEngine()
    engine.file = str(path)
    parser = HTMLTALParser()
    parser.parseFile(str(path))
    program, macros = parser.getCode()
    POTALInterpreter(program, macros, engine, _Nowhere(), metal=False)()
    for msgid in engine.catalog.get(DOMAIN, ()):
        yield str(msgid), str(getattr(msgid, 'default', None) or msgid)


class _Nowhere:

    def write(self, text):
        """Forget it."""


def path_of(language, extension='po'):
    """Return where the catalogue of a language is."""
    return LOCALES / language / 'LC_MESSAGES' / f'{DOMAIN}.{extension}'


def read(language):
    """Return the translations of a language: a dict."""
    path = path_of(language)
    if not path.exists():
        return {}
    found, key, values = {}, None, {}
    for line in path.read_text('utf-8').splitlines():
        if line.startswith(('msgid ', 'msgstr ')):
            key, _, text = line.partition(' ')
            if key == 'msgid':
                values = {}
            values[key] = ast.literal_eval(text)
            if key == 'msgstr':
                found[values['msgid']] = values['msgstr']
        elif line.startswith('"'):
            values[key] += ast.literal_eval(line)
            if key == 'msgstr':
                found[values['msgid']] = values['msgstr']
    found.pop('', None)
    return found


def write(language, found):
    """Write the translations of a language."""
    path = path_of(language)
    path.parent.mkdir(parents=True, exist_ok=True)
    parts = [HEADER.format(language=language)]
    parts += [f'msgid {_quoted(msgid)}\nmsgstr {_quoted(text)}\n'
              for msgid, text in found.items()]
    path.write_text('\n'.join(parts), 'utf-8')


def _quoted(text):
    escaped = text.replace('\\', '\\\\').replace('"', '\\"').replace(
        '\n', '\\n')
    return f'"{escaped}"'


def compiled(language):
    """Return the compiled catalogue of a language: bytes."""
    return Msgfmt(path_of(language).read_bytes().splitlines(
        keepends=True), DOMAIN).get()


def main():
    """Bring all catalogues up to date."""
    said = messages()
    for language in LANGUAGES:
        old = read(language)
        write(language, {
            msgid: text if language == 'en' else old.get(msgid, '')
            for msgid, text in said.items()})
        path_of(language, 'mo').write_bytes(compiled(language))
    missing = [msgid for msgid, text in read('de').items() if not text]
    print(f'{len(said)} messages; without a German text: {len(missing)}')
    for msgid in missing:
        print(f'  {msgid!r}')


if __name__ == '__main__':
    main()
