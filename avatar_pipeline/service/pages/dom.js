// Small helpers for the page's elements. Text from the service is only ever set as text, never as HTML.

export const byId = (id) => document.getElementById(id);

/** An element: properties (class, text, data-*, aria-* and others) and children; null children are left out. */
export function el(tag, properties = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (value === undefined || value === null || value === false) continue;
    if (name === "class") made.className = value;
    else if (name === "text") made.textContent = value;
    else if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else made.setAttribute(name, value === true ? "" : value);
  }
  made.append(...children.filter((child) => child !== null && child !== undefined));
  return made;
}

export const show = (element, visible = true) => { element.hidden = !visible; };

export const sentence = (text) => text.charAt(0).toUpperCase() + text.slice(1);

/** The chosen values of a group of checkboxes. */
export const ticked = (group) => [...group.querySelectorAll("input:checked")].map((box) => box.value);

/** A chosen picture as a data: URL, at most `longest` pixels on its longer side. Drawn again, so that its metadata stays on this device; HEIC and AVIF, which a browser may not read, go as they are. */
export async function pictureOf(input, longest = 1536) {
  const file = input.files[0];
  if (!file) return null;
  let bitmap;
  try {
    bitmap = await createImageBitmap(file, { imageOrientation: "from-image" });
  } catch {
    if (/\.(hei[cf]|hif|avif)$/i.test(file.name)) return addressOf(file);
    throw new Error(`${file.name} cannot be read as a picture. Choose a JPG, PNG, WebP, HEIC or AVIF file.`);
  }
  const scale = Math.min(1, longest / Math.max(bitmap.width, bitmap.height));
  const canvas = el("canvas");
  canvas.width = Math.round(bitmap.width * scale);
  canvas.height = Math.round(bitmap.height * scale);
  canvas.getContext("2d").drawImage(bitmap, 0, 0, canvas.width, canvas.height);
  return canvas.toDataURL("image/jpeg", 0.95);
}

const addressOf = (file) => new Promise((resolve, reject) => {
  const reader = new FileReader();
  reader.addEventListener("load", () => resolve(reader.result.replace(/^data:[^;]*;/, "data:image/heic;")));
  reader.addEventListener("error", () => reject(new Error(`${file.name} cannot be read.`)));
  reader.readAsDataURL(file);
});

/** Addresses of pictures as paths on this host: the page's policy admits no other, and a proxy may have another name. */
export function local(address) {
  if (address.startsWith("data:") || address.startsWith("blob:")) return address;
  const url = new URL(address, location.href);
  return url.pathname + url.search;
}

/** Seconds or a date, said shortly. */
export function ago(date) {
  const seconds = Math.max(0, (Date.now() - new Date(date)) / 1000);
  if (seconds < 60) return "just now";
  if (seconds < 3600) return `${Math.round(seconds / 60)} min ago`;
  const time = { hour: "2-digit", minute: "2-digit" };
  if (seconds < 86400) return new Date(date).toLocaleTimeString([], time);
  return new Date(date).toLocaleString([], { day: "numeric", month: "short", ...time });
}
