// A finished job, shown: its pictures, what the checks say, where they come from, and what to do next.

import { el, local, sentence } from "./dom.js";

const VERDICTS = {
  pass: "Ready for LivePortrait",
  warn: "Usable, with remarks",
  error: "Not fit for LivePortrait",
  not_assessed: "Not checked",
};
const TASKS = { portrait: "Photograph", generate: "Portrait", draw: "Portrait", "face-avatar": "Face avatar", "face-migration": "Portrait with a face", faceswap: "Face swap", face_swap: "Face swap", "base-image": "Base image", make_base_image: "Base image" };

const CONSENT = { field: "declared", header: "declared", "field and header": "declared", operator: "not declared" };

export const kindOf = (job) => TASKS[job.task] ?? job.task ?? "Picture";

/** The pictures of a job: [{src, video, ...what is told of each}]; none before it is completed. */
export const picturesOf = (job) => (job.made?.pictures ?? []).map((picture) => ({ ...picture, src: local(picture.image_url), video: /\.mp4(\?|$)/.test(picture.image_url) }));

/** What the job was asked for, in words. */
export const wordsOf = (job) => job.params?.prompt ?? job.params?.description ?? (job.params?.animators ? `A photograph for ${job.params.animators.join(", ")}` : "");

/** What tells a job from others at a glance: {title: the actor, or what was asked for; words: that, below an actor's name; about: the kind, how many, the seed}. */
export function tileOf(job) {
  const { actor, count, seed, format } = job.params ?? {};
  const words = wordsOf(job);
  const swap = kindOf(job) === "Face swap" && (format === "mp4" ? "A face into a video" : "A face into a picture");
  const about = [kindOf(job), count > 1 && `${count} pictures`, seed != null && `seed ${seed}`].filter(Boolean).join(" · ");
  return { title: actor || words || swap || kindOf(job), words: actor ? words || swap || "" : "", about };
}

/** Fill `place`. again(job, seed): ask for the same with that seed; null when it cannot be asked for again. Returns the first picture's verdict in words. */
export function showResult(place, job, again) {
  const pictures = picturesOf(job);
  const [large, side] = [el("div", { class: "large" }), el("div", { class: "told" })];
  const nameOf = (picture, index) => [picture.animator, picture.view, picture.expression].filter(Boolean).join(", ") || `Picture ${index + 1}`;
  const strip = pictures.map((picture, index) => el("button", { type: "button", onclick: () => choose(index) },
    el("img", { src: picture.src, alt: "" }), el("span", { text: nameOf(picture, index) })));
  const choose = (index) => {
    const picture = pictures[index];
    strip.forEach((button, at) => button.setAttribute("aria-pressed", String(at === index)));
    large.replaceChildren(picture.video
      ? el("video", { src: picture.src, controls: true, loop: true, "aria-label": altOf(job, nameOf(picture, index)) })
      : el("img", { src: picture.src, alt: altOf(job, nameOf(picture, index)), width: picture.width, height: picture.height }));
    side.replaceChildren(...told(job, picture, again));
  };
  const shown = el("div", {}, large, strip.length > 1 ? el("div", { class: "strip", role: "group", "aria-label": `${strip.length} pictures` }, ...strip) : null);
  place.replaceChildren(shown, side);
  if (!pictures.length) {
    const why = job.withheld?.message ?? "The job is done and has no picture.";
    place.replaceChildren(el("div", { class: "told" }, el("h3", { text: job.withheld ? "Withheld" : "No picture" }), el("p", { text: why })));
    return "";
  }
  choose(0);
  return VERDICTS[pictures[0].verdict] ?? "";
}

const altOf = (job, name) => (wordsOf(job) ? `${name}: ${wordsOf(job)}` : `${name}, ${kindOf(job)}`);

function told(job, picture, again) {
  const verdict = picture.verdict ?? null;
  const checks = (picture.checks ?? []).filter((check) => check.verdict !== "pass");
  const warnings = [...new Set(job.made.warnings ?? [])];
  const seed = picture.seed ?? undefined;
  const words = wordsOf(job);
  return [
    words ? el("p", { class: "said", text: words }) : null,
    verdict && el("p", {}, el("span", { class: `verdict ${verdict}`, text: VERDICTS[verdict] ?? verdict })),
    verdict === "pass" && !warnings.length ? el("p", { class: "help", text: "Every check that could be made passed." }) : null,
    checks.length || warnings.length
      ? el("ul", { class: "checks" },
          ...checks.map((check) => el("li", { class: check.verdict }, el("b", { text: inWords(check.name) }), el("span", { text: check.hint ?? "" }))),
          ...warnings.map((text) => el("li", { class: "warn" }, el("span", { text: sentence(text) }))))
      : null,
    job.result?.checks_url ? el("figure", {}, el("a", { href: local(job.result.checks_url) }, el("img", { src: local(job.result.checks_url), alt: "What each check found, drawn onto the portrait" })), el("figcaption", { class: "help", text: "What each check found" })) : null,
    facts(job, picture, seed),
    el("div", { class: "actions" },
      el("a", { class: "button", href: picture.src, download: fileName(job, picture) }, "Download"),
      seed !== undefined && again ? el("button", { type: "button", onclick: () => again(job, seed) }, "Again with this seed") : null),
  ].filter(Boolean);
}

function facts(job, picture, seed) {
  const drawn = picture.drawn_width && picture.drawn_width !== picture.width ? `, drawn at ${by(picture.drawn_width, picture.drawn_height)}` : "";
  const seconds = job.started && job.finished ? (new Date(job.finished) - new Date(job.started)) / 1000 : null;
  const rows = [
    ["Seed", seed],
    ["Size", picture.width && `${by(picture.width, picture.height)}${drawn}`],
    ["Faces found", picture.faces],
    ["Score", picture.score != null && `${picture.score} of 100`],
    ["Continued", picture.invented_border ? `${Math.round(picture.invented_border * 100)} % of it lay outside of the photograph` : null],
    ["Likeness", picture.distance != null && `distance ${Number(picture.distance).toFixed(2)} (smaller is more alike)`],
    ["Identity", swapped(job.made.identity)],
    ["Preset", job.made.preset],
    ["Actor", job.made.actor],
    ["Made from", madeFrom(job.made.made_from)],
    ["Consent", CONSENT[job.consent] ?? null],
    ["Took", seconds !== null && `${seconds.toFixed(1)} s`],
    ["Job", job.id],
  ];
  return el("dl", { class: "facts" }, ...rows.filter(([, value]) => value != null && value !== false && value !== "")
    .flatMap(([name, value]) => [el("dt", { text: name }), value instanceof Node ? el("dd", {}, value) : el("dd", { text: value, class: name === "Job" || name === "Seed" ? "mono" : null })]));
}

const by = (width, height) => `${width}\u00a0×\u00a0${height}`;

const swapped = (identity) => identity?.to_source != null && identity.to_target != null
  && `${identity.closer_to_source ? "closer to the given face" : "closer to the target's face"}: distance ${identity.to_source.toFixed(2)} to the first, ${identity.to_target.toFixed(2)} to the second`;

function madeFrom(parts) {
  const entries = Object.entries(parts ?? {});
  return entries.length ? el("span", { title: entries.map(([what, digest]) => `${what}: ${digest}`).join("\n") }, entries.map(([what, digest]) => `${inWords(what).toLowerCase()} ${String(digest).slice(0, 10)}`).join(", ")) : null;
}

/** mouth_closed -> Mouth closed */
const inWords = (name) => sentence(name).replaceAll("_", " ");

function fileName(job, picture) {
  const found = /\.(png|jpg|webp|mp4)(\?|$)/.exec(picture.src)?.[1] ?? "png";
  return `${kindOf(job).toLowerCase().replaceAll(" ", "-")}-${job.id.slice(0, 8)}.${found}`;
}
