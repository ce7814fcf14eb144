// The pages work without this.  It shows them again and again, moves nothing
// under the pointer, and never touches what is in use.

import {all, answered, ask, first, parsed, root, words} from './page.js';
import {isInUse} from './patch.js';
import './times.js';
import './live.js';
import './bulk.js';

// What is of no use without a script is seen from now on.
root.classList.add('scripted');

// On a small screen it may be beside what is seen.
for (const found of all('nav [aria-current]')) {
  found.scrollIntoView({block: 'nearest', inline: 'center'});
}

// Light or dark.

const theme = first('.theme');
const dark = matchMedia('(prefers-color-scheme: dark)');
const isDark = () => (document.documentElement.dataset.theme
  || (dark.matches ? 'dark' : 'light')) === 'dark';

function showTheme() { theme.setAttribute('aria-pressed', isDark()); }

theme.addEventListener('click', () => {
  const chosen = isDark() ? 'light' : 'dark';
  document.documentElement.dataset.theme = chosen;
  document.cookie = `async-theme=${chosen};path=/;max-age=31536000;`
    + 'samesite=lax';
  showTheme();
});
dark.addEventListener('change', showTheme);
showTheme();

// Copying, and asking before what cannot be undone.

root.addEventListener('click', async event => {
  const button = event.target;
  if (!button.matches('.copy')) return;
  const text = button.parentNode.querySelector('pre');
  try {
    await navigator.clipboard.writeText(text.textContent);
    button.textContent = words.copied;
  } catch {
    // Without HTTPS there is no clipboard, and a browser may refuse it.
    getSelection().selectAllChildren(text);
    button.textContent = words.selected;
  }
});

root.addEventListener('submit', event => {
  const question = event.submitter?.dataset.confirm;
  if (question && !confirm(question)) event.preventDefault();
});

// Check all rows.

first('input.all')?.addEventListener('change', event => {
  for (const box of all('tbody [name="job"]')) {
    box.checked = event.target.checked;
  }
});

// A list that has found nothing looks on by itself, for a while.

async function lookOn(place, left = 24) {
  if (!place || !left) return;
  const {href} = place.querySelector('a');
  const response = await ask(`${href}&fragment=1`).catch(() => null);
  if (!response?.ok || !answered(response)) return;
  const other = parsed(await response.text()).querySelector('.onward');
  if (other) {
    place.replaceChildren(...other.childNodes);
    lookOn(place, left - 1);
  } else if (!isInUse()) {
    location.replace(href);
  }
}

lookOn(first('.onward'));

// A page that the browser had put aside shows what was so then.
addEventListener('pageshow', event => {
  if (event.persisted) location.reload();
});
