// The picture of the run's graph: drawn by the server, and marked here with what each node does.

const LEAST = 0.62; // of its own size: what is smaller cannot be read, so a large graph is scrolled
const MARGIN = 10; // around the drawing, in its own units
const MARKS = ["done", "running", "waiting", "failed", "mended", "left", "idle"];

/** The style of the pictures, which is the same in each; the page's policy lets no element bring it. */
let style = null;
/** The groups of the nodes in the picture that is shown, by name. */
let groups = new Map();

/** Takes the picture away. */
export function clear(place) {
  place.replaceChildren();
  groups = new Map();
}

/** Puts a picture into a place, and says whether there are nodes in it. */
export function draw(place, text) {
  clear(place);
  // The style is taken out of the text: in the picture, the page's policy would refuse it.
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

/** Makes a picture as large as fits its place, and brings the node that something happens at into view. */
export function fit(place) {
  const svg = place.querySelector("svg");
  if (!svg || place.clientWidth === 0) return;
  const box = svg.getBBox();
  const [width, height] = [box.width + 2 * MARGIN, box.height + 2 * MARGIN];
  svg.setAttribute("viewBox", `${box.x - MARGIN} ${box.y - MARGIN} ${width} ${height}`);
  const room = Math.min((place.clientWidth - 4) / width, (place.clientHeight - 4) / height);
  const scale = Math.min(Math.max(room, LEAST), place.closest("dialog") ? 1.6 : 1.1);
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

/** Marks each node as `of` says. */
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
