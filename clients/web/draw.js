"use strict";
const $ = (id) => document.getElementById(id);
const board = $("board"), ink = board.getContext("2d"), WIDTH = board.width, HEIGHT = board.height, PEN = HEIGHT * 0.055;
const ACCENT = "#4f46e5";

// --- The drawing: strokes are lists of points in board pixels; a picture replaces them --------------

let strokes = [], picture = null, upload = null, pen = null, result = null, chosen = 0;

function trace(context, stroke, width, colour = "#1c1e26") {
  context.lineWidth = width;
  context.lineCap = context.lineJoin = "round";
  context.strokeStyle = colour;
  context.beginPath();
  context.moveTo(...stroke[0]);
  if (stroke.length === 1) context.lineTo(stroke[0][0] + 0.1, stroke[0][1]);
  for (let i = 1; i < stroke.length - 1; i++) {
    const [x, y] = stroke[i], [nx, ny] = stroke[i + 1];
    context.quadraticCurveTo(x, y, (x + nx) / 2, (y + ny) / 2);  // through the middles: no corners
  }
  if (stroke.length > 1) context.lineTo(...stroke.at(-1));
  context.stroke();
}

function fit() {  // where the picture lies on the board
  const scale = Math.min(WIDTH / picture.width, HEIGHT / picture.height);
  return [(WIDTH - picture.width * scale) / 2, (HEIGHT - picture.height * scale) / 2, scale];
}

function compose(context) {
  if (picture) {
    const [x, y, scale] = fit();
    context.drawImage(picture, x, y, picture.width * scale, picture.height * scale);
  }
  for (const stroke of strokes) trace(context, stroke, PEN);
}

function paint() {
  ink.clearRect(0, 0, WIDTH, HEIGHT);
  compose(ink);
  if (pen) {
    ink.beginPath();
    ink.arc(...pen.at, PEN / 2, 0, 2 * Math.PI);
    ink.fillStyle = pen.down ? ACCENT + "cc" : ACCENT + "44";
    ink.fill();
  }
  (result?.digits ?? []).forEach(({ box: [left, top, right, bottom], digit }, n) => {
    if (result.digits.length === 1 && !upload) return;
    ink.globalAlpha = n === chosen ? 1 : 0.45;
    ink.strokeStyle = ink.fillStyle = ACCENT;
    ink.lineWidth = 2;
    ink.strokeRect(left, top, right - left, bottom - top);
    ink.font = "bold 18px system-ui, sans-serif";
    ink.fillText(digit, left + 2, top > 22 ? top - 5 : bottom + 18);
    ink.globalAlpha = 1;
  });
  $("invite").style.opacity = strokes.length || picture ? 0 : 1;
}

function change(newStrokes, newPicture = null) {
  strokes = newStrokes;
  picture = newPicture;
  if (!picture) upload = null;
  paint();
  ask();
}

const clear = () => { pen = null; change([]); };
const undo = () => change(picture && !strokes.length ? [] : strokes.slice(0, -1), strokes.length ? picture : null);

// --- From strokes to images as MNIST has them: 20x20 pixels, centred by mass in 28x28 -------------

const edge = (points, axis, pick) => pick(...points.map((point) => point[axis]));
const extent = (group) => {
  const points = group.flat();
  return [edge(points, 0, Math.min), edge(points, 1, Math.min), edge(points, 0, Math.max), edge(points, 1, Math.max)];
};

function groups() {  // strokes of one digit overlap from left to right
  const tallest = Math.max(...strokes.map((stroke) => { const [, top, , bottom] = extent([stroke]); return bottom - top; }));
  const least = Math.max(PEN, 0.15 * tallest);  // an upright 1 has no width
  const found = [];
  for (const stroke of strokes) {
    const group = [stroke];
    for (let i = found.length - 1; i >= 0; i--) if (overlap(found[i], group, least)) group.push(...found.splice(i, 1)[0]);
    found.push(group);
  }
  const size = (group) => { const [left, top, right, bottom] = extent(group); return Math.max(right - left, bottom - top); };
  const digits = found.filter((group) => size(group) > 0.12 * tallest || found.length === 1);
  return digits.sort((a, b) => extent(a)[0] + extent(a)[2] - extent(b)[0] - extent(b)[2]);
}

function overlap(one, other, least) {
  const [a, , b] = extent(one), [c, , d] = extent(other);
  const widen = (left, right) => { const more = Math.max(0, least - (right - left)) / 2; return [left - more, right + more]; };
  const [left, right] = widen(a, b), [start, end] = widen(c, d);
  return Math.min(right, end) - Math.max(left, start) > 0.4 * Math.min(right - left, end - start);
}

const field = new OffscreenCanvas(28, 28).getContext("2d", { willReadFrequently: true });

function draw28(group, shift = [0, 0]) {
  const [left, top, right, bottom] = extent(group), width = 2.7;
  const scale = Math.min((20 - width) / Math.max(right - left, bottom - top, 1), 1);
  field.fillStyle = "black";
  field.fillRect(0, 0, 28, 28);
  const move = ([x, y]) => [(x - (left + right) / 2) * scale + 14 + shift[0], (y - (top + bottom) / 2) * scale + 14 + shift[1]];
  for (const stroke of group) trace(field, stroke.map(move), width, "white");
  const data = field.getImageData(0, 0, 28, 28).data;
  return Uint8Array.from({ length: 784 }, (_, i) => data[4 * i]);
}

function image28(group) {
  const first = draw28(group), mass = first.reduce((sum, value) => sum + value, 0);
  const middle = (axis) => first.reduce((sum, value, i) => sum + value * (axis ? Math.floor(i / 28) : i % 28), 0) / mass;
  return draw28(group, [13.5 - middle(0), 13.5 - middle(1)].map((value) => Math.max(-4, Math.min(4, Math.round(value)))));
}

// --- Mouse, pen and finger ------------------------------------------------------------------------

const drawing = new Map();  // pointer id -> its stroke: two fingers draw two strokes

function place(event) {
  const box = board.getBoundingClientRect();
  return [(event.clientX - box.left) * WIDTH / box.width, (event.clientY - box.top) * HEIGHT / box.height];
}
board.addEventListener("pointerdown", (event) => {
  if (event.button !== 0) return;
  board.setPointerCapture(event.pointerId);
  pen = null;
  const stroke = [place(event)];
  drawing.set(event.pointerId, stroke);
  change([...strokes, stroke], picture);
});
board.addEventListener("pointermove", (event) => {
  const stroke = drawing.get(event.pointerId);
  if (!stroke) return;
  const moves = event.getCoalescedEvents?.() ?? [];
  for (const move of moves.length ? moves : [event]) stroke.push(place(move));
  paint();
  ask();
});
for (const end of ["pointerup", "pointercancel"]) {
  board.addEventListener(end, (event) => { if (drawing.delete(event.pointerId)) ask(); });
}

// --- Keyboard -------------------------------------------------------------------------------------

const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

board.addEventListener("keydown", (event) => {
  if (event.key in ARROWS) {
    pen ??= { at: [WIDTH / 2, HEIGHT / 4], down: false };
    const step = HEIGHT / (event.shiftKey ? 60 : 20);
    pen.at = pen.at.map((value, axis) => Math.min([WIDTH, HEIGHT][axis], Math.max(0, value + step * ARROWS[event.key][axis])));
    if (pen.down) strokes.at(-1).push([...pen.at]);
    paint();
    if (pen.down) ask();
  } else if (event.key === " ") {
    pen ??= { at: [WIDTH / 2, HEIGHT / 4], down: false };
    pen.down = !pen.down;
    say(pen.down ? "pen down" : "pen up");
    if (pen.down) change([...strokes, [[...pen.at]]], picture); else paint();
  } else {
    return;
  }
  event.preventDefault();
});
board.addEventListener("blur", () => { if (pen) { pen = null; paint(); } });
document.addEventListener("keydown", (event) => {
  if (event.target.closest("select, input")) return;
  if (event.key === "Escape") clear();
  else if (event.key === "z" && (event.ctrlKey || event.metaKey)) undo();
  else if (/^[0-9]$/.test(event.key) && !event.ctrlKey && !event.altKey && !event.metaKey) example(Number(event.key));
  else return;
  event.preventDefault();
});
$("clear").addEventListener("click", clear);
$("undo").addEventListener("click", undo);

// --- Pictures: opened, pasted, dropped ------------------------------------------------------------

async function open(file) {
  try {
    const bitmap = await createImageBitmap(file);
    upload = file;  // the file itself is sent: it has more pixels than the board shows
    change([], bitmap);
  } catch {
    fail(`${file.name || "the clipboard's file"} is not a picture that this browser can show`);
  }
}
$("upload").addEventListener("click", () => $("file").click());
$("file").addEventListener("change", () => { if ($("file").files[0]) open($("file").files[0]); $("file").value = ""; });
document.addEventListener("paste", (event) => { if (event.clipboardData.files[0]) open(event.clipboardData.files[0]); });
document.addEventListener("dragover", (event) => { event.preventDefault(); document.body.classList.add("dragging"); });
document.addEventListener("dragleave", () => document.body.classList.remove("dragging"));
document.addEventListener("drop", (event) => {
  event.preventDefault();
  document.body.classList.remove("dragging");
  if (event.dataTransfer.files[0]) open(event.dataTransfer.files[0]);
});
