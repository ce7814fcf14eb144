"""Tokens that tell our own forms from those of other web sites."""

import hmac
import secrets

import persistent


class FormTokens(persistent.Persistent):
    """Makes and checks one token for each principal.

    A browser sends the password with every request, whoever made the form;
    but only our pages show the token.  It is kept nowhere: it is made from
    the principal's id and a secret that outlives a restart.
    """

    def __init__(self):
        self._secret = secrets.token_bytes(32)

    def make(self, principal_id):
        """Return the token (str) for the forms of a principal."""
        return hmac.new(
            self._secret, principal_id.encode(), 'sha256').hexdigest()

    def accepts(self, principal_id, token):
        """Return whether a token, of any type, is the principal's."""
        expected = self.make(principal_id)
        return hmac.compare_digest(expected.encode(), str(token).encode())
