// Building and finding elements. Text only ever becomes text nodes and attributes, so nothing in it can act as markup.

const SVG = 'http://www.w3.org/2000/svg';

export const $ = (id) => document.getElementById(id);

export function el(tag, attributes, ...children) {
  return fill(document.createElement(tag), attributes, children);
}

export function svg(tag, attributes, ...children) {
  return fill(document.createElementNS(SVG, tag), attributes, children);
}

/** Attributes that are null, undefined or false are left out; functions become listeners of the event they are named by. */
function fill(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes ?? {})) {
    if (value === null || value === undefined || value === false) continue;
    if (typeof value === 'function') node.addEventListener(name, value);
    else node.setAttribute(name, value === true ? '' : String(value));
  }
  node.append(...children.filter((child) => child !== null && child !== undefined));
  return node;
}

export function text(id, value) {
  $(id).textContent = value;
}

/** Shows a text in an element, which is hidden where there is none. */
export function textOrHide(id, value) {
  $(id).textContent = value ?? '';
  $(id).hidden = !value;
}

/** Says something to people who listen to the page; a repeated sentence is said again. */
export function announce(sentence) {
  const region = $('announcer');
  region.textContent = '';
  setTimeout(() => { region.textContent = sentence; }, 60);
}

/** File names come from strangers: the letters that turn the direction of writing must not reorder the page around them. */
export function fileName(node, name) {
  node.replaceChildren(el('bdi', {}, name));
}
