// A finished job, shown: its pictures, what the checks say, where they come from, and what to do next.

import { el, local } from "./dom.js";

const VERDICTS = {
  pass: "Ready for LivePortrait",
  warn: "Usable, with remarks",
  error: "Not fit for LivePortrait",
  not_assessed: "Not checked",
};
const TASKS = { generate: "Portrait", draw: "Portrait", "face-avatar": "Face avatar", "face-migration": "Portrait with a face", faceswap: "Face swap", face_swap: "Face swap", "base-image": "Base image", make_base_image: "Base image" };

export const kindOf = (job) => TASKS[job.task] ?? job.task;

/** The pictures of a job whatever its dialect's answer looks like: [{src, video, ...what is told of each}]. */
export function picturesOf(job) {
  const answer = job.result ?? {};
  const data = (base64) => ({ src: base64.startsWith("data:") ? base64 : `data:image/png;base64,${base64}` });
  if (Array.isArray(answer.images) && answer.images.length) return answer.images.map((image) => ({ ...image, src: local(image.image_url ?? image.url) }));
  if (answer.video_url) return [{ ...answer, src: local(answer.video_url), video: true }];
  if (answer.image_url) return [{ ...answer, src: local(answer.image_url) }];
  if (Array.isArray(answer.output)) return answer.output.map((address) => ({ src: local(address) }));
  if (answer.output?.job_results) return answer.output.job_results.images.map(data);
  if (Array.isArray(answer.data)) return answer.data.map((item) => (item.url ? { src: local(item.url) } : data(item.b64_json)));
  return [];
}

/** Fill `place`. asked: what the form held, when this tab knows it. again(seed): draw with that seed. Returns the first picture's verdict in words. */
export function showResult(place, job, asked, again) {
  const pictures = picturesOf(job);
  const side = el("div", { class: "told" });
  const buttons = [];
  const choose = (index) => {
    buttons.forEach((button, at) => button.setAttribute("aria-pressed", String(at === index)));
    side.replaceChildren(...told(job, pictures[index], asked, again));
  };
  const figures = pictures.map((picture, index) => {
    const name = [picture.view, picture.expression].filter(Boolean).join(", ") || (pictures.length > 1 ? `Picture ${index + 1}` : "The picture");
    const shown = picture.video
      ? el("video", { src: picture.src, controls: true, loop: true })
      : el("img", { src: picture.src, alt: altOf(job, asked, name), width: picture.width, height: picture.height });
    if (pictures.length === 1) return el("figure", {}, shown);
    buttons.push(el("button", { type: "button", class: "pick", onclick: () => choose(index) }, shown));
    return el("figure", {}, buttons.at(-1), el("figcaption", { text: name }));
  });
  place.replaceChildren(el("div", { class: "result" }, el("div", { class: pictures.length > 1 ? "pictures many" : "pictures" }, ...figures), side));
  if (pictures.length) choose(0);
  else side.append(el("p", { text: "The job is done and has no picture." }));
  return pictures.length ? VERDICTS[pictures[0].verdict] ?? "" : "";
}

const altOf = (job, asked, name) => (asked?.prompt ? `${name}: ${asked.prompt}` : `${name}, ${kindOf(job)}`);

function told(job, picture, asked, again) {
  const answer = job.result;
  const verdict = picture.verdict ?? null;
  const checks = (picture.checks ?? []).filter((check) => check.verdict !== "pass");
  const warnings = [...(answer.warnings ?? []), ...(job.warnings ?? [])];
  const seed = picture.seed ?? answer.seed;
  const words = asked?.prompt ?? asked?.description;
  return [
    words ? el("p", { class: "said", text: words }) : null,
    verdict && el("p", {}, el("span", { class: `verdict ${verdict}`, text: VERDICTS[verdict] ?? verdict })),
    verdict === "pass" && !warnings.length ? el("p", { class: "help", text: "Every check that could be made passed." }) : null,
    checks.length || warnings.length
      ? el("ul", { class: "checks" },
          ...warnings.map((text) => el("li", { class: "warn" }, el("span", { text }))),
          ...checks.map((check) => el("li", { class: check.verdict }, el("b", { text: inWords(check.name) }), el("span", { text: check.hint ?? "" }))))
      : null,
    facts(job, picture, seed),
    el("div", { class: "actions" },
      el("a", { class: "button", href: picture.src, download: fileName(job, picture) }, "Download"),
      seed !== undefined && asked && again ? el("button", { type: "button", onclick: () => again(seed) }, "Again with this seed") : null),
  ].filter(Boolean);
}

function facts(job, picture, seed) {
  const answer = job.result;
  const drawn = picture.drawn_width && picture.drawn_width !== picture.width ? `, drawn at ${picture.drawn_width} × ${picture.drawn_height}` : "";
  const seconds = job.started && job.finished ? (new Date(job.finished) - new Date(job.started)) / 1000 : null;
  const rows = [
    ["Seed", seed],
    ["Size", picture.width && `${picture.width} × ${picture.height}${drawn}`],
    ["Faces found", picture.faces],
    ["Likeness", picture.distance !== undefined && picture.distance !== null && `distance ${Number(picture.distance).toFixed(2)} (smaller is more alike)`],
    ["Preset", answer.preset ?? job.preset],
    ["Actor", answer.actor ?? job.actor],
    ["Made from", madeFrom(answer.made_from ?? job.made_from)],
    ["Saved as", answer.localPath],
    ["Took", seconds !== null && `${seconds.toFixed(1)} s`],
    ["Job", job.id],
  ];
  return el("dl", { class: "facts" }, ...rows.filter(([, value]) => value !== undefined && value !== null && value !== false && value !== "")
    .flatMap(([name, value]) => [el("dt", { text: name }), value instanceof Node ? el("dd", {}, value) : el("dd", { text: value, class: name === "Job" || name === "Seed" ? "mono" : null })]));
}

function madeFrom(parts) {
  const entries = Object.entries(parts ?? {});
  return entries.length ? el("span", { title: entries.map(([what, digest]) => `${what}: ${digest}`).join("\n") }, entries.map(([what, digest]) => `${inWords(what).toLowerCase()} ${String(digest).slice(0, 10)}`).join(", ")) : null;
}

/** face_too_small -> Face too small */
const inWords = (name) => (name[0].toUpperCase() + name.slice(1)).replaceAll("_", " ");

function fileName(job, picture) {
  const found = /\.(png|jpg|webp|mp4)(\?|$)/.exec(picture.src)?.[1] ?? "png";
  return `${kindOf(job).toLowerCase().replaceAll(" ", "-")}-${job.id.slice(0, 8)}.${found}`;
}
