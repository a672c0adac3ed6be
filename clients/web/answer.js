// --- Asking: one question at a time, and always one about the latest drawing ----------------------

let asking = false, stale = false;

async function ask() {
  stale = true;
  if (asking) return;
  asking = true;
  $("answer").ariaBusy = "true";
  while (stale) {
    stale = false;
    const slow = setTimeout(() => $("answer").classList.add("waiting"), 300);
    if (strokes.length || picture) await answer(); else show(null);
    clearTimeout(slow);
    $("answer").classList.remove("waiting");
  }
  asking = false;
  $("answer").ariaBusy = "false";  // what is shown now is about what is drawn now
}

async function question() {  // where to ask, the body, and how to complete the answer
  if (!picture) {
    const drawn = groups(), images = drawn.map(image28), body = new Uint8Array(784 * drawn.length);
    images.forEach((image, n) => body.set(image, 784 * n));
    const half = PEN / 2, around = ([left, top, right, bottom]) => [left - half, top - half, right + half, bottom + half];
    const steps = ["strokes drawn in a box of 20x20 pixels", "centred by mass in 28x28"];
    return ["strokes", body, (digit, n) => ({ ...digit, box: around(extent(drawn[n])), image: images[n], steps })];
  }
  const onBoard = (digit) => {
    const [x, y, scale] = strokes.length ? [0, 0, 1] : fit();
    return { ...digit, box: digit.box.map((value, i) => value * scale + (i % 2 ? y : x)) };
  };
  if (!strokes.length && upload) return ["predict", upload, onBoard];
  const page = new OffscreenCanvas(WIDTH, HEIGHT), context = page.getContext("2d");
  context.fillStyle = "white";
  context.fillRect(0, 0, WIDTH, HEIGHT);
  compose(context);
  return ["predict", await page.convertToBlob(), onBoard];
}

async function answer() {
  try {
    const [path, body, complete] = await question(), started = performance.now();
    const response = await fetch(path + "?model=" + encodeURIComponent($("model").value), { method: "POST", body });
    const found = await response.json();
    if (!response.ok) throw new Error(found.error);
    found.digits = found.digits.map(complete);
    show(found, performance.now() - started);
    if ($("status").className === "down") models();
  } catch (error) {
    fail(error instanceof TypeError ? "the page's own server does not answer; is digit-client web still running?" : error.message);
  }
}

// --- The answer -----------------------------------------------------------------------------------

const rows = Array.from({ length: 10 }, (_, digit) => {
  const row = document.createElement("li");
  row.innerHTML = `<span>${digit}</span><div class="track"><div class="fill"></div></div><span class="share"></span>`;
  $("bars").append(row);
  return row;
});
// Rounded down: only what is certain is 100 %.
const percent = (share, digits = 1) => (Math.floor(100 * share * 10 ** digits) / 10 ** digits).toFixed(digits) + " %";
let spoken = "";
const say = (text) => { if (text !== spoken) $("spoken").textContent = spoken = text; };

const NEARLY = 0.999;
const sureness = (confidence) => (confidence > NEARLY ? "over 99.9 %" : percent(confidence)) + " sure";

function show(found, milliseconds = 0, otherwise = "Nothing drawn yet") {
  result = found;
  const digits = result?.digits ?? [];
  const rank = ({ confidence, doubt }) => confidence - (doubt ? 1 : 0);
  const least = digits.reduce((low, digit, n) => (rank(digit) < rank(digits[low]) ? n : low), 0);
  chosen = least;
  $("problem").textContent = "";
  $("number").textContent = result ? result.number : "?";
  $("number").className = result ? (digits.length > 2 ? "long" : "") : "none";
  const several = digits.length > 1, sure = !digits[least]?.doubt;
  const atLeast = digits[least]?.confidence > NEARLY ? "each " : "at least ";
  const which = several ? (sure ? atLeast : `digit ${least + 1}: `) : "";
  const summary = result ? which + (digits[least].doubt || sureness(digits[least].confidence)) : otherwise;
  $("confidence").textContent = summary;
  $("confidence").className = result && !sure ? "doubt" : "";
  $("timing").textContent = result
    ? `${milliseconds.toFixed(0)} ms round trip, of it ${(1000 * result.call_seconds).toFixed(1)} ms for the server, ${(1000 * result.compute_seconds).toFixed(1)} ms compute · ${result.model} version ${result.version}`
    : "";
  $("digits").replaceChildren(...digits.map(chip));
  choose(least);
  say(result ? `${result.number}, ${summary}` : otherwise);
}

function chip(digit, n) {
  const button = document.createElement("button"), canvas = document.createElement("canvas");
  canvas.width = canvas.height = 28;
  const context = canvas.getContext("2d"), image = context.createImageData(28, 28);
  digit.image.forEach((value, i) => image.data.set([value, value, value, 255], 4 * i));
  context.putImageData(image, 0, 0);
  button.type = "button";
  button.className = digit.doubt ? "doubt" : "";
  button.append(canvas, `${digit.digit} · ${percent(digit.confidence, 0)}`);
  button.addEventListener("click", () => choose(n));
  return button;
}

function choose(n) {
  chosen = n;
  const digit = result?.digits[n];
  [...$("digits").children].forEach((button, i) => button.setAttribute("aria-pressed", i === n));
  rows.forEach((row, value) => {
    const share = digit ? digit.probabilities[value] : 0;
    row.classList.toggle("best", value === digit?.digit);
    row.querySelector(".fill").style.width = `${100 * share}%`;
    row.querySelector(".share").textContent = digit ? percent(share) : "";
  });
  $("steps").replaceChildren(...(digit?.steps ?? ["nothing yet"]).map((step) => {
    const item = document.createElement("li");
    item.textContent = step;
    return item;
  }));
  paint();
}

function fail(message) {
  show(null, 0, "No answer");
  $("problem").textContent = message;
  models();  // is the server still there?
}

// --- Examples: strokes on a 100 x 100 field -------------------------------------------------------

const arc = (x, y, rx, ry, from, to, n = 24) => Array.from({ length: n + 1 }, (_, i) => {
  const angle = (from + (to - from) * i / n) * Math.PI / 180;
  return [x + rx * Math.cos(angle), y + ry * Math.sin(angle)];
});
const line = (...points) => points.slice(1).flatMap(([x, y], i) => Array.from({ length: 9 }, (_, k) =>
  [points[i][0] + (x - points[i][0]) * k / 8, points[i][1] + (y - points[i][1]) * k / 8]));
const EXAMPLES = [
  [arc(50, 50, 24, 33, -60, 305)],
  [line([42, 28], [55, 17], [50, 84])],
  [[...arc(49, 36, 20, 19, -170, 20), ...line([68, 43], [28, 81]), ...line([28, 81], [74, 79])]],
  [[...arc(47, 33, 19, 16, -160, 80), ...arc(47, 65, 23, 18, -85, 150)]],
  [line([40, 18], [27, 54], [73, 52]), line([61, 32], [58, 84])],
  [[...line([68, 18], [38, 20], [34, 46]), ...arc(48, 62, 21, 20, -125, 140)]],
  [[...line([62, 15], [42, 36], [32, 60]), ...arc(50, 64, 18, 19, 180, -180)]],
  [line([27, 22], [72, 20], [46, 84])],
  [[...arc(50, 34, 17, 16, -40, -270), ...arc(50, 67, 20, 18, -90, 270), ...arc(50, 34, 17, 16, 90, -40)]],
  [[...arc(48, 36, 18, 18, -10, -370), ...line([66, 33], [63, 60], [55, 84])]],
];

function example(digit) {
  const side = HEIGHT / 100, left = (WIDTH - HEIGHT) / 2;
  change(EXAMPLES[digit].map((stroke) => stroke.map(([x, y]) => [left + x * side, y * side])));
  board.focus({ preventScroll: true });
}
EXAMPLES.forEach((sample, digit) => {
  const button = document.createElement("button"), canvas = document.createElement("canvas");
  button.type = "button";
  button.setAttribute("aria-label", `Example of a ${digit}`);
  canvas.width = canvas.height = 100;
  for (const stroke of sample) trace(canvas.getContext("2d"), stroke, 8);
  button.append(canvas);
  button.addEventListener("click", () => example(digit));
  $("gallery").append(button);
});

// --- The server behind the page -------------------------------------------------------------------

let retry = 0;

async function models() {
  clearTimeout(retry);
  try {
    const response = await fetch("models"), found = await response.json();
    if (!response.ok) throw new Error(found.error);
    const back = $("status").className === "down";
    $("status").textContent = `${found.server} is ready`;
    $("status").className = "ready";
    const wanted = $("model").value;
    const usual = new Option(found.default ? `${found.default} (default)` : "default", "");
    const others = found.models.filter((name) => name !== found.default);
    $("model").replaceChildren(usual, ...others.map((name) => new Option(name, name)));
    $("model").value = others.includes(wanted) ? wanted : "";
    if (back && !result) ask();
  } catch (error) {
    $("status").textContent = "the server does not answer";
    $("status").title = error.message;
    $("status").className = "down";
    retry = setTimeout(models, 2000);
  }
}
$("model").addEventListener("change", ask);
document.addEventListener("visibilitychange", () => { if (!document.hidden) models(); });
models();
paint();
