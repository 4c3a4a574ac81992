// Creates and finds elements. Text always becomes a text node or an attribute, so it can never act as markup.

const SVG = 'http://www.w3.org/2000/svg';

export const $ = (id) => document.getElementById(id);

export function el(tag, attributes, ...children) {
  return fill(document.createElement(tag), attributes, children);
}

export function svg(tag, attributes, ...children) {
  return fill(document.createElementNS(SVG, tag), attributes, children);
}

/**
 * Sets attributes and children of a node. Attributes that are null, undefined or false are left out; a function becomes
 * a listener of the event that its attribute names.
 */
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

/** Shows a text in an element, or hides the element if there is none. */
export function textOrHide(id, value) {
  $(id).textContent = value ?? '';
  $(id).hidden = !value;
}

/** Announces a sentence to screen readers, even if it is the same as before. */
export function announce(sentence) {
  const region = $('announcer');
  region.textContent = '';
  setTimeout(() => { region.textContent = sentence; }, 60);
}

/**
 * Shows a file name. It is untrusted text: a `bdi` element keeps its characters that change the direction of text from
 * reordering the page around it.
 */
export function fileName(node, name) {
  node.replaceChildren(el('bdi', {}, name));
}
