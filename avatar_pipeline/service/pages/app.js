// The page: a form for each kind of picture, one stage that shows the job under way or a finished one, and the jobs made before.

import { api, follow, isFinished, token } from "./api.js";
import { drawCartoon, showCartoon } from "./cartoon.js";
import { ago, byId, el, local, pictureOf, sentence, show, ticked } from "./dom.js";
import { picturesOf, showResult, tileOf, wordsOf } from "./result.js";

// What the embedded model knows: its card lists the words that it was taught.
const EXAMPLES = {
  "Young woman, smiling": "A 25 year old european woman with long brown hair, smiling, neutral gray studio background",
  "Long black hair": "An asian 25 year old woman with long black hair, neutral expression, beige studio background",
  "Man, blue wall": "A 30 year old european man with short brown hair, neutral expression, blue background",
  "Curly hair": "A 35 year old black woman with curly black hair, smiling, beige studio background",
};
const PAGE = 24;

// What each form asks for. A new kind of picture is one more entry. (A cartoon is no job: cartoon.js.)
const FORMS = {
  portrait: async () => {
    const [width, height] = byId("size").value.split("x").map(Number);
    const asked = { prompt: byId("prompt").value.trim(), style: byId("style").value, seed: seedOf(byId("seed")) };
    const face = await pictureOf(byId("face"));
    if (face) {
      const input = {
        image: face, prompt: asked.prompt, size: `${width}x${height}`, seed: asked.seed, n: Number(byId("count").value),
        id_weight: Number(byId("id-weight").value), num_inference_steps: state.preset.steps, guidance_scale: state.preset.guidance_scale,
      };
      if (byId("face-consent").checked) input.consent = true;
      return { task: "face-migration", input };
    }
    const input = { ...asked, width, height, n: Number(byId("count").value), views: ticked(byId("views")), expressions: ticked(byId("expressions")) };
    if (byId("actor").value) input.actor = byId("actor").value;
    return { task: "generate", input };
  },
  photograph: async () => {
    const animators = ticked(byId("animators"));
    if (!animators.length) throw new Error("Choose at least one animator.");
    const input = { photograph: await pictureOf(byId("photo"), 3072), animators: animators.join(",") };
    if (byId("photo-consent").checked) input.consent = true;
    return { task: "portrait", input };
  },
  "face-swap": async () => {
    const input = { source_face: await pictureOf(byId("source-face")), output_format: "jpg" };
    const target = await pictureOf(byId("target"));
    if (target) input.target = target;
    if (byId("swap-actor").value) input.actor = byId("swap-actor").value;
    if (byId("swap-consent").checked) input.consent = true;
    return { task: "faceswap", input };
  },
  "base-image": async () => {
    const [width, height] = byId("base-size").value.split("x").map(Number);
    return { task: "base-image", input: { actorName: byId("actor-name").value, description: byId("description").value.trim(), width, height, seed: seedOf(byId("base-seed")) } };
  },
};

const TABS = [...document.querySelectorAll("[role=tab]")].map((tab) => tab.getAttribute("aria-controls"));
const state = { following: null, shown: null, jobs: new Map(), retry: null, preset: {}, consent: true };
const seedOf = (field) => (field.value.trim() === "" ? -1 : Number(field.value));

// --- starting, following, showing a job ---

async function submit(name) {
  const button = document.querySelector(`#${name} .submit button`);
  button.disabled = true;
  state.shown = null;
  paintHistory();
  stage("progress");
  byId("progress-text").textContent = "Sending…";
  byId("progress-bar").removeAttribute("value");
  show(byId("cancel"), false);
  reveal();
  try {
    const order = await FORMS[name]();
    const job = await api.submit(order.task, order.input);
    await watch(job);
  } catch (error) {
    fail(error, () => submit(name));
  } finally {
    button.disabled = false;
  }
}

async function submitCartoon() {
  const button = document.querySelector("#cartoon .submit button");
  button.disabled = true;
  state.following?.abort();
  state.shown = null;
  paintHistory();
  try {
    const cartoon = await drawCartoon();
    if (state.shown) return; // something else was opened meanwhile
    stage("result");
    showCartoon(byId("result"), cartoon);
    say(`Done. Seed ${cartoon.seed}`);
    reveal();
  } catch (error) {
    fail(error, submitCartoon);
  } finally {
    button.disabled = false;
  }
}

async function watch(job) {
  state.following?.abort();
  const following = (state.following = new AbortController());
  state.shown = job.id;
  stage("progress");
  progress(job);
  try {
    if (!isFinished(job)) await follow(job.id, (now) => { if (state.shown === job.id) progress(now); remember(now); }, following.signal);
    const done = await api.job(job.id);
    remember(done);
    if (state.shown === job.id) present(done);
  } catch (error) {
    if (error.name !== "AbortError") fail(error, () => watch(job));
  }
}

function progress(job) {
  show(byId("cancel"), !isFinished(job));
  const share = Math.round((job.share ?? 0) * 100);
  const before = job.position ?? 0;
  const text = job.state === "queued"
    ? before > 1 ? `Waiting: ${before - 1} ${before === 2 ? "request is" : "requests are"} before yours` : "Waiting: yours is next"
    : share ? `${sentence(job.doing || "drawing")}, ${share} %` : "Getting ready";
  byId("progress-text").textContent = text;
  byId("progress-words").textContent = wordsOf(job);
  byId("preview-none").textContent = job.state === "queued" ? "Waiting" : "Drawing…";
  if (job.state === "running" && share) byId("progress-bar").value = job.share;
  else byId("progress-bar").removeAttribute("value");
  if (job.preview_url) {
    byId("preview").src = local(job.preview_url);
    show(byId("preview"));
    show(byId("preview-none"), false);
  }
  if (job.state === "queued" || share % 25 === 0) say(text); // a reader hears quarters, not every step
}

function present(job) {
  state.shown = job.id;
  if (job.state === "completed") {
    stage("result");
    const verdict = showResult(byId("result"), job, job.task === "generate" ? again : null);
    say(`Done. ${verdict}`);
    byId("stage-title").focus({ preventScroll: true });
    reveal();
  } else if (job.state === "cancelled") {
    stage("error");
    explain("Cancelled", "The job was stopped before it was done. Nothing was kept.");
  } else {
    stage("error");
    explain("No picture was made", job.error?.message ?? "The job failed.", job.error?.code);
  }
  paintHistory();
}

function again({ params }, seed) {
  byId("prompt").value = params.prompt;
  byId("seed").value = seed;
  byId("actor").value = params.actor ?? "";
  if (params.style) byId("style").value = params.style;
  byId("count").value = params.count ?? 1;
  const size = `${params.width}x${params.height}`;
  if (![...byId("size").options].some((option) => option.value === size)) byId("size").append(el("option", { value: size }, size.replace("x", " × ")));
  byId("size").value = size;
  for (const name of ["views", "expressions"]) {
    for (const box of byId(name).querySelectorAll("input")) box.checked = (params[name] ?? []).includes(box.value);
    byId(name).dispatchEvent(new Event("change"));
  }
  byId("face").value = "";
  byId("face").dispatchEvent(new Event("change"));
  choose("portrait");
  submit("portrait");
}

// --- what went wrong ---

function fail(error, retry) {
  if (error.status === 401) {
    state.retry = retry;
    byId("token-text").textContent = token.get() ? `${error.message}` : "Paste the one you were given. It stays in this tab and is forgotten when the tab is closed.";
    show(byId("token-form"));
    byId("token").focus();
    stage("empty");
    return;
  }
  stage("error");
  const wait = error.retryAfter ? ` Try again in ${error.retryAfter} s.` : "";
  explain(error.status === 0 ? "No connection" : "The service refused this", error.message + wait, error.code, retry);
}

function explain(title, message, code, retry) {
  const parts = [el("h3", { text: title }), el("p", { text: message })];
  if (code) parts.push(el("p", { class: "help mono", text: code }));
  if (retry) parts.push(el("div", { class: "row" }, el("button", { type: "button", onclick: retry }, "Try again")));
  byId("error").replaceChildren(...parts);
}

// --- the page around it ---

function stage(part) {
  for (const name of ["empty", "error", "progress", "result"]) show(byId(name), name === part);
  if (part !== "progress") return;
  show(byId("preview"), false);
  byId("preview").removeAttribute("src");
  for (const name of ["progress-words", "preview-none"]) byId(name).textContent = "";
  show(byId("preview-none"));
}

/** On a phone the stage lies below the form: bring its top into sight, unless it is. */
function reveal() {
  const { top } = byId("stage").getBoundingClientRect();
  if (top < 0 || top > innerHeight / 2) byId("stage").scrollIntoView();
}

const say = (text) => { if (byId("spoken").textContent !== text) byId("spoken").textContent = text; };

function remember(job) {
  state.jobs.set(job.id, { ...state.jobs.get(job.id), ...job });
  paintHistory();
}

function paintHistory() {
  const jobs = [...state.jobs.values()].sort((one, other) => new Date(other.created) - new Date(one.created));
  show(byId("history-none"), !jobs.length);
  const there = byId("history").children;
  jobs.forEach((job, index) => {
    const card = entry(job);
    if (!there[index]) byId("history").append(card);
    else if (there[index].dataset.key !== card.dataset.key) there[index].replaceWith(card);
  });
}

function entry(job) {
  const current = job.id === state.shown;
  const [picture] = picturesOf(job);
  const { title, words, about } = tileOf(job);
  const at = job.finished ?? job.created;
  const missing = { queued: "Waiting", running: `${Math.round((job.share ?? 0) * 100)} %`, failed: "Failed", cancelled: "Cancelled", completed: job.withheld ? "Withheld" : "Done" }[job.state] ?? sentence(job.state);
  const thumb = picture && !picture.video ? el("img", { class: "thumb", src: picture.src, alt: "", loading: "lazy" }) : el("span", { class: "thumb", text: missing });
  const what = el("span", { class: "what" }, el("b", { text: title }), words ? el("span", { class: "words", text: words }) : null,
    el("span", { text: about }), el("time", { datetime: at, text: ago(at) }));
  const said = [title, words, about, missing, ago(at)].filter(Boolean);
  return el("li", { "data-key": `${job.id} ${said.join(" ")} ${picture?.src.slice(0, 80) ?? ""} ${current}` },
    el("button", { type: "button", "aria-current": current ? "true" : null, title: [title, words].filter(Boolean).join(": "), "aria-label": said.join(", "), onclick: () => open(job.id) }, thumb, what));
}

async function open(id) {
  try {
    const job = await api.job(id);
    remember(job);
    if (isFinished(job)) {
      state.following?.abort();
      present(job);
    } else watch(job);
  } catch (error) {
    fail(error, () => open(id));
  }
}

async function loadHistory(before) {
  const answer = await api.jobs(PAGE, before);
  const jobs = answer.jobs ?? answer;
  jobs.forEach((job) => state.jobs.set(job.id, job));
  show(byId("older"), jobs.length === PAGE);
  paintHistory();
  return jobs;
}

function choose(name, focus = false) {
  for (const tab of document.querySelectorAll("[role=tab]")) {
    const chosen = tab.getAttribute("aria-controls") === name;
    tab.setAttribute("aria-selected", String(chosen));
    tab.tabIndex = chosen ? 0 : -1;
    show(byId(tab.getAttribute("aria-controls")), chosen);
    if (chosen && focus) tab.focus();
  }
  history.replaceState(null, "", name === "portrait" ? location.pathname : `#${name}`);
}

function fillChoices(schema) {
  const fields = schema.components.schemas.Generate.properties;
  const values = (field) => { const s = fields[field] ?? {}; const of = (x) => x?.enum ?? x?.items?.enum ?? x?.anyOf?.map(of).find(Boolean); return of(s) ?? []; };
  byId("style").replaceChildren(...(values("style").length ? values("style") : ["photorealistic"]).map((value) => el("option", { value }, sentence(value.replaceAll("-", " ")))));
  const most = fields.n?.maximum ?? 1;
  byId("count").replaceChildren(...Array.from({ length: most }, (_, index) => el("option", {}, String(index + 1))));
  for (const name of ["views", "expressions"]) {
    byId(name).replaceChildren(byId(name).firstElementChild, ...values(name).map((value) => el("label", {}, el("input", { type: "checkbox", value }), sentence(value))));
    show(byId(name), values(name).length > 0);
  }
}

async function fillActors() {
  const { actors, animators, preset, upload_consent: policy, ...sampling } = await api.actors();
  byId("animators").replaceChildren(byId("animators").firstElementChild, ...animators.map(({ name, title, wants }, index) =>
    el("label", { title: wants }, el("input", { type: "checkbox", value: name, checked: index === 0 }), title)));
  state.preset = sampling;
  state.consent = policy === "declared";
  askForConsent();
  byId("about").textContent = preset === "embedded" ? "drawing with the embedded model" : `drawing with ${preset}`;
  for (const select of [byId("actor"), byId("swap-actor")]) {
    select.replaceChildren(select.options[0], ...actors.map((actor) => el("option", { value: actor.name }, actor.has_lora ? `${actor.name} (LoRA)` : actor.name)));
  }
  byId("actor").addEventListener("change", () => {
    const actor = actors.find((one) => one.name === byId("actor").value);
    byId("actor-help").textContent = actor ? `${actor.description}. ${actor.has_lora ? "Drawn with its LoRA." : "It has no LoRA: drawn from this description."}` : "";
    show(byId("actor-help"), Boolean(actor));
  });
}

// Whoever runs the service may answer for it; else it must be ticked wherever a face is sent.
function askForConsent() {
  byId("face-consent").required = state.consent && byId("face").files.length > 0;
  byId("swap-consent").required = state.consent;
  byId("photo-consent").required = state.consent;
  for (const help of document.querySelectorAll(".consent-help")) {
    help.textContent = state.consent ? "Without it this service takes no face." : "If it is not ticked, whoever runs this service answers for it.";
  }
}

async function load() {
  const [schema] = await Promise.all([api.schema(), fillActors()]);
  fillChoices(schema);
  const jobs = await loadHistory();
  const unfinished = jobs.find((job) => !isFinished(job));
  if (unfinished) watch(unfinished);
}

function start() {
  for (const [label, prompt] of Object.entries(EXAMPLES)) {
    byId("examples").append(el("button", { type: "button", onclick: () => { byId("prompt").value = prompt; byId("prompt").focus(); } }, label));
  }
  for (const name of Object.keys(FORMS)) {
    byId(name).addEventListener("submit", (event) => { event.preventDefault(); submit(name); });
  }
  byId("cartoon").addEventListener("submit", (event) => { event.preventDefault(); submitCartoon(); });
  for (const name of TABS) byId(`tab-${name}`).addEventListener("click", () => choose(name));
  document.querySelector("[role=tablist]").addEventListener("keydown", (event) => {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    const at = TABS.findIndex((name) => byId(`tab-${name}`) === event.target);
    if (step && at >= 0) choose(TABS.at((at + step) % TABS.length), true);
  });
  for (const [input, preview] of [["face", "face-preview"], ["photo", "photo-preview"], ["source-face", "source-face-preview"], ["target", "target-preview"]]) {
    byId(input).addEventListener("change", () => {
      const file = byId(input).files[0];
      if (byId(preview).src) URL.revokeObjectURL(byId(preview).src);
      if (file) byId(preview).src = URL.createObjectURL(file);
      show(byId(preview), Boolean(file));
      if (input === "face") byId("face-name").textContent = file ? file.name : "";
      byId({ face: "face-consent", photo: "photo-consent" }[input] ?? "swap-consent").checked = false; // it was said of another picture
      askForConsent();
    });
  }
  for (const name of ["views", "expressions"]) {
    byId(name).addEventListener("change", () => {
      const chosen = [...ticked(byId("views")), ...ticked(byId("expressions"))];
      byId("views-count").textContent = chosen.join(", ");
    });
  }
  byId("face-consent").addEventListener("invalid", () => { byId("more-face").open = true; }); // or nobody sees what is missing
  const drop = byId("photo-drop");
  for (const kind of ["dragenter", "dragover"]) drop.addEventListener(kind, (event) => { event.preventDefault(); drop.classList.add("over"); });
  for (const kind of ["dragleave", "drop"]) drop.addEventListener(kind, () => drop.classList.remove("over"));
  drop.addEventListener("drop", (event) => {
    event.preventDefault();
    if (!event.dataTransfer.files.length) return;
    byId("photo").files = event.dataTransfer.files;
    byId("photo").dispatchEvent(new Event("change"));
  });
  byId("dice").addEventListener("click", () => { byId("seed").value = crypto.getRandomValues(new Uint32Array(1))[0]; });
  byId("id-weight").addEventListener("input", () => { byId("id-weight-value").textContent = Number(byId("id-weight").value).toFixed(1); });
  byId("cancel").addEventListener("click", () => api.cancel(state.shown).catch((error) => fail(error)));
  byId("older").addEventListener("click", () => {
    const oldest = [...state.jobs.values()].reduce((one, other) => (new Date(one.created) < new Date(other.created) ? one : other));
    loadHistory(oldest.id).catch((error) => fail(error));
  });
  byId("prompt").addEventListener("keydown", (event) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) byId("portrait").requestSubmit();
  });
  byId("token-form").addEventListener("submit", (event) => {
    event.preventDefault();
    token.set(byId("token").value);
    byId("token").value = "";
    show(byId("token-form"), false);
    state.retry?.();
  });
  const byAddress = () => choose(TABS.includes(location.hash.slice(1)) ? location.hash.slice(1) : "portrait");
  window.addEventListener("hashchange", byAddress);
  byAddress();
  const attempt = () => load().catch((error) => fail(error, attempt));
  attempt();
}

start();
