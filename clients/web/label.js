"use strict";
const $ = (id) => document.getElementById(id);
const AHEAD = 8;
let images = [], place = 0, labelled = 0, history = [], folder = "", busy = false;

async function read() {
  const found = await (await fetch("images")).json();
  folder = found.folder;
  images = found.images.filter((image) => !image.problem);
  const unreadable = found.images.filter((image) => image.problem);
  $("problem").textContent = unreadable.map(({ name, problem }) => `${name} is skipped: ${problem}`).join("; ");
  place = labelled = 0;
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

async function once(work) {  // one move at a time: keys may come faster than answers
  if (busy) return;
  busy = true;
  try {
    $("problem").textContent = "";
    await work();
  } catch (error) {
    $("problem").textContent = error instanceof TypeError ? "digit-client label does not answer; is it still running?" : error.message;
  }
  busy = false;
  show();
}

const give = (to) => once(async () => {
  const image = images[place];
  if (!image) return;
  place++;  // gone or labelled: the next one either way
  if (to) {
    try {
      await move(image.name, "unlabelled", to);
    } catch (error) {
      if (error instanceof TypeError) place--;
      throw error;
    }
  }
  history.push({ image, to });
});

const undo = () => once(async () => {
  const last = history.pop();
  if (!last) return;
  if (last.to) await move(last.image.name, last.to, "unlabelled");
  place = images.indexOf(last.image);
});

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
$("again").onclick = read;
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
