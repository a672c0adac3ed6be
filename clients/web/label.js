"use strict";
const $ = (id) => document.getElementById(id);
const AHEAD = 8;
let images = [], place = 0, history = [], folder = "", moves = Promise.resolve();

async function read() {
  const found = await (await fetch("images")).json();
  folder = found.folder;
  images = found.images.filter((image) => !image.problem);
  const unreadable = found.images.filter((image) => image.problem);
  $("problem").textContent = unreadable.map(({ name, problem }) => `${name} is skipped: ${problem}`).join("; ");
  place = 0;
  history = [];
  show();
}

function show() {
  const image = images[place], left = images.length - place;
  $("work").hidden = !image;
  $("done").hidden = Boolean(image);
  $("progress").textContent = images.length ? `${place} of ${images.length}, ${left} left` : "no images wait for a label";
  $("bar").max = Math.max(images.length, 1);
  $("bar").value = images.length ? place : 1;
  $("command").textContent = `digit-trainer train --data mnist --extra ${folder}`;
  for (const button of document.querySelectorAll(".undo")) button.disabled = !history.length;
  if (!image) return;
  const known = Number.isInteger(image.digit);
  $("image").src = "images/" + image.name;
  $("number").textContent = known ? image.digit : "?";
  $("confidence").textContent = known ? `${Math.floor(image.confidence * 100)} % sure` : "no answer is known";
  $("facts").textContent = known ? `${image.model}/${image.version}, ${new Date(image.time).toLocaleString()}` : "";
  $("accept").hidden = !known;
  $("accept").textContent = `It is a ${image.digit}`;
  $("next").replaceChildren(...images.slice(place + 1, place + 1 + AHEAD).map(({ name }) => {
    const picture = new Image();
    picture.src = "images/" + name;
    return picture;
  }));
}

async function move(name, from, to) {
  const response = await fetch("move", { method: "POST", body: JSON.stringify({ name, from, to }) });
  if (!response.ok) throw new Error((await response.json()).error);
}

function later(work, undone) {  // keys come faster than answers: one move after another, behind the image on show
  moves = moves.then(work).catch((error) => {
    const silent = error instanceof TypeError;
    $("problem").textContent = silent ? "digit-client label does not answer; is it still running?" : error.message;
    undone(silent);
    show();
  });
}

function give(to) {
  const image = images[place];
  if (!image) return;
  const entry = { image, to };
  $("problem").textContent = "";
  history.push(entry);
  place++;
  show();
  if (!to) return;
  later(() => move(image.name, "unlabelled", to), (silent) => {
    history = history.filter((other) => other !== entry);
    if (silent) place = Math.min(place, images.indexOf(image));  // gone otherwise: somebody else labelled it
  });
}

function undo() {
  const last = history.pop();
  if (!last) return;
  $("problem").textContent = "";
  const before = place;
  place = images.indexOf(last.image);
  show();
  if (!last.to) return;
  later(() => move(last.image.name, last.to, "unlabelled"), (silent) => {
    place = before;
    if (silent) history.push(last);
  });
}

for (let digit = 9; digit >= 0; digit--) {
  const button = document.createElement("button");
  button.type = "button";
  button.textContent = digit;
  button.onclick = () => give(String(digit));
  $("accept").after(button);
}
const accept = () => { if (!$("accept").hidden) give(String(images[place].digit)); };
$("accept").onclick = accept;
$("none").onclick = () => give("none");
$("skip").onclick = () => give("");
$("again").onclick = () => later(read, () => {});
for (const button of document.querySelectorAll(".undo")) button.onclick = undo;

addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.repeat) return;
  const key = event.key.toLowerCase();
  if (/^[0-9]$/.test(key)) give(key);
  else if (key === "enter") accept();
  else if (key === "n") give("none");
  else if (key === "s" || key === "arrowright") give("");
  else if (key === "z" || key === "backspace") undo();
  else return;
  event.preventDefault();
});

read();
