"use strict";
const table = document.getElementById("pictures");
const pictures = [...table.tBodies];

function open(picture, wanted) {
  const button = picture.querySelector(".file button");
  const show = wanted ?? button.getAttribute("aria-expanded") !== "true";
  button.setAttribute("aria-expanded", String(show));
  picture.rows[1].hidden = !show;
}

for (const picture of pictures) {
  open(picture, pictures.length === 1);
  picture.rows[0].addEventListener("click", () => {
    if (!String(getSelection())) open(picture);
  });
}

for (const button of document.querySelectorAll("[data-sort]")) {
  button.addEventListener("click", () => {
    const key = button.dataset.sort, head = button.closest("th");
    // First click: files from the first on, but the worst verdict, the lowest score and the most findings to the top.
    const worstFirst = key === "rank" || key === "findings" ? "descending" : "ascending";
    const before = head.getAttribute("aria-sort");
    const now = before ? (before === "ascending" ? "descending" : "ascending") : worstFirst;
    for (const other of table.tHead.querySelectorAll("th")) other.removeAttribute("aria-sort");
    head.setAttribute("aria-sort", now);
    const sign = now === "ascending" ? 1 : -1;
    const value = (picture) => Number(picture.dataset[key]);
    table.append(...pictures.sort((a, b) => sign * (value(a) - value(b)) || a.dataset.place - b.dataset.place));
  });
}

for (const button of document.querySelectorAll("[data-verdict]")) {
  button.addEventListener("click", () => {
    for (const other of document.querySelectorAll("[data-verdict]")) other.setAttribute("aria-pressed", String(other === button));
    for (const picture of pictures) picture.hidden = button.dataset.verdict !== "all" && picture.dataset.is !== button.dataset.verdict;
  });
}
