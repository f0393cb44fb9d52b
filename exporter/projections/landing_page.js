'use strict';

const byId = (id) => document.getElementById(id);
document.documentElement.classList.add('scripted');

// Says for a while how copying went.
let timer;
function say(message, button) {
  const status = document.querySelector('[role=status]');
  document.querySelector('.done')?.classList.remove('done');
  clearTimeout(timer);
  timer = setTimeout(() => {
    status.textContent = '';
    button.classList.remove('done');
  }, 3000);
  status.textContent = message;
  button.classList.add('done');
}

// The clipboard is there for https and for this very machine only. Elsewhere the
// text is shown and selected, so that at worst the person presses the keys.
async function copy(text, button) {
  const selector = byId('selector');
  let done = true;
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    selector.textContent = text;
    selector.closest('details').open = true;
    getSelection().selectAllChildren(selector);
    done = document.execCommand('copy');
  }
  say(done ? 'Copied' : 'Selected: copy it with Ctrl+C', button);
}

const selector = byId('selector');
if (selector) {
  const all = selector.textContent;
  byId('copy-all').onclick = (event) => copy(all, event.target);
  for (const button of document.querySelectorAll('td button')) {
    const [key, value] = button.closest('tr').querySelector('.label').textContent.split('=');
    button.onclick = () => copy(`nodeSelector:\n  ${key}: "${value}"\n`, button);
  }
}

const unfold = byId('unfold');
if (unfold) {
  unfold.onclick = () => {
    const open = unfold.textContent === 'Unfold all';
    for (const details of document.querySelectorAll('.tree details details')) details.open = open;
    unfold.textContent = open ? 'Fold all' : 'Unfold all';
  };
}
