"""The page that says who one can be in the demo."""

from zope.errorview.browser import UnauthorizedView

from gocept.async_.demo.run import LOGINS


PAGE = '''<!DOCTYPE html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>Log in - gocept.async demo</title>
<main>
<h1>Log in to see the demo</h1>
<p>Names and passwords: {logins}. Alice and Bob start computations and look
at the jobs; the manager also acts on them.</p>
<p><a href="{url}">Go to the demo</a></p>
</main>
</html>
'''


class Refused(UnauthorizedView):
    """Asks for a password, as before, and tells which ones there are."""

    def render(self):
        response = self.request.response
        response.setHeader('Content-Type', 'text/html;charset=utf-8')
        return PAGE.format(
            logins=', '.join(f'<b>{each}</b>' for each in LOGINS),
            url=self.request.getApplicationURL() + '/')
