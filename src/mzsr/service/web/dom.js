// Three words that every part of the page needs.

export const byId = (id) => document.getElementById(id);

/** Make an element with properties and children; text is never taken for HTML. */
export function element(kind, properties, ...children) {
  const made = Object.assign(document.createElement(kind), properties);
  made.append(...children);
  return made;
}

export const bytes = (count) => (count < 1e6 ? `${Math.ceil(count / 1e3)} kB` : `${(count / 1e6).toFixed(1).replace(".0", "")} MB`);
