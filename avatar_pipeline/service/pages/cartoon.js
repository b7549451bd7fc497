// The Cartoon tab: what it asks for, and what it shows. No job: the answer is the picture, and those of this visit are kept in the page.

import { api } from "./api.js";
import { byId, el } from "./dom.js";

const KEPT = 12;
const RENDERERS = { gan: "Drawn by the generator", dicebear: "Same seed, drawn by DiceBear (baseline)" };
const drawnBy = ({ renderer }) => RENDERERS[renderer] ?? `Drawn by ${renderer ?? "the service"}`;
const drawn = []; // [{seed, size, transparent, pictures: [{src, renderer, model}]}], the newest first

/** Draw what the form asks for; returns the newest of `drawn`. */
export async function drawCartoon() {
  const asked = { size: byId("cartoon-size").value, transparent: byId("cartoon-transparent").checked };
  const seed = byId("cartoon-seed").value.trim();
  const first = await api.cartoon({ ...asked, ...(seed && { seed }) });
  const pictures = [first];
  if (byId("cartoon-compare").checked) pictures.push(await api.cartoon({ ...asked, seed: first.seed, renderer: "dicebear" }));
  drawn.unshift({ ...asked, seed: first.seed, pictures: pictures.map(({ blob, ...told }) => ({ ...told, src: URL.createObjectURL(blob) })) });
  for (const old of drawn.splice(KEPT)) old.pictures.forEach((picture) => URL.revokeObjectURL(picture.src));
  return drawn[0];
}

/** Fill `place` with one of `drawn`, and with the others to go back to. */
export function showCartoon(place, cartoon) {
  const { seed, size, transparent, pictures } = cartoon;
  const figures = el("div", { class: pictures.length > 1 ? "cartoons two" : "cartoons" }, ...pictures.map((picture) => el("figure", {},
    el("img", { src: picture.src, class: transparent ? "checker" : null, alt: `Cartoon of seed ${seed}. ${drawnBy(picture)}.` }),
    el("figcaption", { text: drawnBy(picture) }))));
  const earlier = drawn.map((one) => el("button", { type: "button", "aria-pressed": String(one === cartoon), "aria-label": `Seed ${one.seed}`, onclick: () => showCartoon(place, one) },
    el("img", { src: one.pictures[0].src, alt: "", class: one.transparent ? "checker" : null }), el("span", { text: one.seed })));
  const pixels = { small: 96, large: 128 }[size];
  const rows = [["Seed", seed], ["Size", `${pixels}\u00a0×\u00a0${pixels}`], ["Background", transparent ? "transparent" : "white"], ["Model", pictures[0].model]];
  place.replaceChildren(
    el("div", {}, figures, earlier.length > 1 ? el("div", { class: "strip", role: "group", "aria-label": "Cartoons of this visit" }, ...earlier) : null),
    el("div", { class: "told" },
      el("p", { class: "said", text: "Nobody real: a seed stands for a head with its hair, an expression, colours, and sometimes a beard, glasses or a mask." }),
      el("dl", { class: "facts" }, ...rows.flatMap(([name, value]) => [el("dt", { text: name }), el("dd", { text: value, class: name === "Seed" ? "mono" : null })])),
      el("div", { class: "actions" },
        ...pictures.map((picture) => el("a", { class: "button", href: picture.src, download: picture.renderer === "gan" ? `cartoon-${seed}.png` : `cartoon-${seed}-dicebear.png` },
          picture.renderer === "gan" ? "Download" : "Download DiceBear's")),
        el("button", { type: "button", id: "keep-seed", onclick: () => { byId("cartoon-seed").value = seed; byId("cartoon-seed").focus(); } }, "Keep this seed"))));
}
