// What the server says now is put into the page.

import {address, first, parsed, say, words} from './page.js';

// Whether the reader is about to do something here.

const IN_USE = 'details[open]:not(.filters), dialog[open], input:checked';

export function isInUse() {
  const content = first('#async-content');
  const focus = document.activeElement;
  const selection = getSelection();
  return content.querySelector(IN_USE)
    || (focus && focus !== content && content.contains(focus))
    || (!selection.isCollapsed && content.contains(selection.anchorNode));
}

// Patching: what is there keeps place and identity.

function patch(old, fresh) {
  if (old.outerHTML === fresh.outerHTML) return;
  if ('rows' in old.dataset && 'rows' in fresh.dataset) {
    patchRows(old, fresh);
  } else if (!old.querySelector('form')) {
    old.replaceChildren(...fresh.childNodes);
    old.hidden = fresh.hidden;
  }
}

const rowsOf = table => new Map(
  [...table.querySelectorAll('[data-row]')].map(
    row => [row.dataset.row, row]));

// Times are compared by what they say exactly.
const exact = cell => cell.innerHTML.replace(
  /(<time datetime="[^"]*")[^>]*>[^<]*/g, '$1');

function patchRows(old, fresh) {
  const now = rowsOf(fresh);
  for (const [id, row] of rowsOf(old)) {
    const other = now.get(id);
    now.delete(id);
    row.classList.toggle('gone', !other);
    if (!other) continue;
    let changed = false;
    [...row.cells].forEach((cell, number) => {
      const wanted = other.cells[number];
      if (cell.querySelector('form') || exact(cell) === exact(wanted)) return;
      cell.replaceChildren(...wanted.childNodes);
      changed = true;
    });
    row.classList.toggle('changed', changed);
  }
  showNewer(now.size);
}

function showNewer(number) {
  let link = first('.newer');
  if (!number) {
    link?.remove();
    return;
  }
  if (!link) {
    link = document.createElement('a');
    link.className = 'newer';
    link.href = address();
    // In a place that was kept free: no row moves.
    (first('.newer-place') || first('.heading')).append(link);
  }
  link.textContent = say(words.newer, {number});
}

export function show(text) {
  for (const region of parsed(text).querySelectorAll('[data-region]')) {
    const old = first(`[data-region="${region.dataset.region}"]`);
    if (old) patch(old, region);
    else if ('rows' in region.dataset) showNewer(rowsOf(region).size);
  }
}
