// The drawing of the run's graph: drawn by the server, with the status of each node marked here.

const MIN_SCALE = 0.62; // smaller text cannot be read, so larger graphs are scrolled
const MARGIN = 10; // around the drawing, in units of the SVG
const MARKS = ["done", "running", "waiting", "failed", "mended", "left", "idle"];

/** The style of all drawings. It is adopted by the page, whose policy allows no inline styles. */
let style = null;
/** The SVG groups of the nodes in the shown drawing, by name. */
let groups = new Map();

/** Removes the drawing. */
export function clear(place) {
  place.replaceChildren();
  groups = new Map();
}

/** Shows a drawing. Returns whether it has nodes. */
export function draw(place, text) {
  clear(place);
  // The style is moved out of the SVG, where the page's policy would refuse it.
  let sheet = null;
  const bare = text.replace(/<style>([^<]*)<\/style>/, (_, rules) => { sheet = rules; return ""; });
  const svg = new DOMParser().parseFromString(bare, "image/svg+xml").documentElement;
  if (svg.nodeName !== "svg") return false;
  if (style === null && sheet !== null) {
    style = new CSSStyleSheet();
    style.replaceSync(sheet);
    document.adoptedStyleSheets.push(style);
  }
  place.replaceChildren(document.importNode(svg, true));
  fit(place);
  groups = new Map([...place.querySelectorAll("[data-node]")].map((group) => [group.dataset.node, group]));
  return groups.size > 0;
}

/** Scales a drawing to its place, and scrolls to the current node. */
export function fit(place) {
  const svg = place.querySelector("svg");
  if (!svg || place.clientWidth === 0) return;
  const box = svg.getBBox();
  const [width, height] = [box.width + 2 * MARGIN, box.height + 2 * MARGIN];
  svg.setAttribute("viewBox", `${box.x - MARGIN} ${box.y - MARGIN} ${width} ${height}`);
  const room = Math.min((place.clientWidth - 4) / width, (place.clientHeight - 4) / height);
  const scale = Math.min(Math.max(room, MIN_SCALE), place.closest("dialog") ? 1.6 : 1.1);
  svg.setAttribute("width", Math.round(width * scale));
  svg.setAttribute("height", Math.round(height * scale));
  reveal(place);
}

function reveal(place) {
  const here = place.querySelector(".is-waiting, .is-running, .is-failed");
  if (!here) return;
  const [at, around] = [here.getBoundingClientRect(), place.getBoundingClientRect()];
  if (at.top < around.top || at.bottom > around.bottom) place.scrollTop += at.top + at.height / 2 - around.top - around.height / 2;
  if (at.left < around.left || at.right > around.right) place.scrollLeft += at.left + at.width / 2 - around.left - around.width / 2;
}

/** Marks each node with the mark that `of` returns for its name. */
export function mark(of) {
  let changed = null;
  for (const [name, group] of groups) {
    const wanted = of(name);
    if (group.mark === wanted) continue;
    group.mark = wanted;
    changed = group;
    for (const one of MARKS) group.classList.toggle(`is-${one}`, one === wanted);
  }
  if (changed) reveal(changed.closest(".picture"));
}
