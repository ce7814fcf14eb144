"""A browser: Chromium, told what to do by the WebDriver protocol of the W3C.

https://www.w3.org/TR/webdriver2/ is the source.  Nothing but Debian's
packages chromium and chromium-driver is needed.
"""

import base64
import json
import os
import re
import shutil
import subprocess
import time
import urllib.error
import urllib.request


# Seconds until a wish that does not come true has failed.
PATIENCE = 15.0

ELEMENT = 'element-6066-11e4-a52e-4f735466cecf'

ARGUMENTS = ['--headless=new', '--no-sandbox', '--disable-dev-shm-usage',
             '--hide-scrollbars', '--force-color-profile=srgb',
             '--disable-extensions', '--no-first-run',
             '--disable-background-networking', '--no-proxy-server']

KEYS = {'tab': '\ue004', 'enter': '\ue007', 'escape': '\ue00c'}


class Missing(AssertionError):
    """What was looked for did not come."""


def is_installed():
    """Return whether there is a browser on this machine."""
    return bool(shutil.which('chromedriver') and shutil.which('chromium'))


class Browser:
    """One window."""

    def __init__(self, language='en', scripts=True, zone='UTC'):
        self._process = subprocess.Popen(
            [shutil.which('chromedriver'), '--port=0'],
            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
            # The folder tells who has started it; see `tests.leftovers`.
            env={**os.environ, 'TZ': zone, 'LANGUAGE': language})
        # No proxy reaches the loopback.
        self._opener = urllib.request.build_opener(
            urllib.request.ProxyHandler({}))
        for text in self._process.stdout:
            found = re.search(r'started successfully on port (\d+)', text)
            if found:
                break
        self._base = f'http://127.0.0.1:{found.group(1)}/session'
        preferences = {
            'intl.accept_languages': language,
            'profile.managed_default_content_settings.javascript':
                1 if scripts else 2}
        made = self._ask('POST', '', {'capabilities': {'alwaysMatch': {
            'browserName': 'chrome',
            'goog:loggingPrefs': {'browser': 'ALL'},
            'goog:chromeOptions': {
                'binary': shutil.which('chromium'),
                'args': [*ARGUMENTS, f'--lang={language}'],
                'prefs': preferences}}}})
        self._base += f'/{made["sessionId"]}'

    def _ask(self, method, path, body=None):
        request = urllib.request.Request(
            self._base + path, method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={'Content-Type': 'application/json'})
        try:
            with self._opener.open(request, timeout=60) as response:
                return json.load(response)['value']
        except urllib.error.HTTPError as error:
            with error:
                raise Missing(json.load(error)['value']['message'][
                    :2000]) from error

    def close(self):
        """End the browser."""
        try:
            self._ask('DELETE', '')
        finally:
            self._process.terminate()
            self._process.wait(10)
            self._process.stdout.close()

    def open(self, url):
        """Go to an address, and wait until it is loaded."""
        self._ask('POST', '/url', {'url': url})

    @property
    def url(self):
        """Where it is."""
        return self._ask('GET', '/url')

    @property
    def text(self):
        """The text that can be seen."""
        return self.run('return document.body.innerText')

    def run(self, script, *args):
        """Run JavaScript.  Return what it returns; a promise is awaited."""
        return self._ask('POST', '/execute/sync',
                         {'script': script, 'args': list(args)})

    def tell(self, command, **parameters):
        """Tell Chromium something by its own protocol."""
        return self._ask('POST', '/goog/cdp/execute',
                         {'cmd': command, 'params': parameters})

    def find(self, selector):
        """Return the first element of a CSS selector."""
        return self._ask('POST', '/element', {
            'using': 'css selector', 'value': selector})[ELEMENT]

    def click(self, selector):
        """Click on the first element of a CSS selector."""
        self._ask('POST', f'/element/{self.find(selector)}/click', {})

    def type(self, selector, text):
        """Type a text into a field."""
        self._ask('POST', f'/element/{self.find(selector)}/value',
                  {'text': text})

    def press(self, key):
        """Press a key, wherever the focus is."""
        value = KEYS.get(key, key)
        self._ask('POST', '/actions', {'actions': [{
            'type': 'key', 'id': 'keyboard', 'actions': [
                {'type': 'keyDown', 'value': value},
                {'type': 'keyUp', 'value': value}]}]})

    def point(self, selector):
        """Move the pointer to the middle of an element."""
        self._ask('POST', '/actions', {'actions': [{
            'type': 'pointer', 'id': 'mouse', 'actions': [{
                'type': 'pointerMove', 'x': 0, 'y': 0, 'duration': 0,
                'origin': {ELEMENT: self.find(selector)}}]}]})

    def accept(self):
        """Say yes to a question of the page."""
        self._ask('POST', '/alert/accept', {})

    def resize(self, width, height, scale=1):
        """Give the page so many pixels; also fewer than a window has."""
        self.tell('Emulation.setDeviceMetricsOverride', width=width,
                  height=height, deviceScaleFactor=scale, mobile=False)

    def prefer(self, scheme):
        """Prefer light or dark, as the reader's system does."""
        self.tell('Emulation.setEmulatedMedia', features=[
            {'name': 'prefers-color-scheme', 'value': scheme}])

    def picture(self):
        """Return a picture of what can be seen: PNG, bytes."""
        return base64.b64decode(self._ask('GET', '/screenshot'))

    def complaints(self):
        """Return what the browser has complained about since the last time.
        """
        return [entry['message'] for entry in self._ask(
            'POST', '/se/log', {'type': 'browser'})
            if entry['level'] in ('SEVERE', 'WARNING')]

    def login(self, url, name):
        """Send a name, and the same as a password, with each request."""
        token = base64.b64encode(f'{name}:{name}'.encode()).decode()
        self.tell('Network.enable')
        self.tell('Network.setExtraHTTPHeaders',
                  headers={'Authorization': f'Basic {token}'})

    def wait_for(self, wish, what='it'):
        """Wait until a call returns something true.  Return that."""
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            found = wish()
            if found:
                return found
            time.sleep(0.05)
        raise Missing(f'{what} did not come; the page says:\n{self.text}')
