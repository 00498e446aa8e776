"use strict";
// Settings are what the server takes; every control writes one of them and asks for a new closed loop.
let setup, settings, busy = false, again = false;
const at = (id) => document.getElementById(id);

function make(tag, attributes = {}, text = "") {
  const svg = ["svg", "rect", "path", "line", "text", "title"].includes(tag);
  const e = svg ? document.createElementNS("http://www.w3.org/2000/svg", tag) : document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) e.setAttribute(name, value);
  e.textContent = text;
  return e;
}
const short = (x) => x === null ? "none" : String(Number(x.toPrecision(4)));

// One row: a label, an input, its value; `read` and `write` are the setting.
function row(label, id, input, shown, read, write) {
  const box = make("label", {for: id}, ""), out = make("output", {for: id});
  input.id = id;
  const show = () => { out.textContent = shown(read()); };
  input.addEventListener("input", () => { write(input); show(); ask(); });
  box.append(make("span", {}, label), input, out);
  show();
  return box;
}
function slider(label, id, low, high, step, target, key, shown = short, none = null) {
  // A bound at the end of its slider named by `none` is no bound.
  const input = make("input", {type: "range", min: low, max: high, step});
  input.value = target[key] === null ? (none === "low" ? low : high) : target[key];
  return row(label, id, input, shown, () => target[key], (e) => {
    const value = Number(e.value), end = none === "low" ? Number(e.min) : Number(e.max);
    target[key] = none !== null && value === end ? null : value;
  });
}
function box(label, id, target, key) {
  const input = make("input", {type: "checkbox"});
  input.checked = target[key];
  return row(label, id, input, () => "", () => target[key], (e) => { target[key] = e.checked; });
}
function group(title, rows) {
  const set = make("fieldset");
  set.append(make("legend", {}, title), ...rows);
  return set;
}

function build() {
  const c = setup.controls, s = settings, form = at("controls");
  form.replaceChildren();
  const decades = (d) => d <= -c.decades ? "0" : `10^${d}`;
  const kind = make("select");
  for (const k of c.kinds) kind.append(make("option", {value: k}, k === "linear" ? "LinearMPC" : "RNNMPC"));
  kind.value = s.kind;
  form.append(group("Controller", [
    row("controller", "kind", kind, () => "", () => s.kind, (e) => { s.kind = e.value; }),
    slider("horizon", "horizon", 2, 60, 1, s, "horizon", (n) => `${n}`),
    box("offset-free", "offset_free", s, "offset_free"),
  ]));
  c.outputs.forEach((y, i) => {
    form.append(group(`output ${y.name}`, [
      box("set-point", `tracked-${i}`, s.tracked, i),
      slider("at", `set_point-${i}`, y.low, y.high, "any", s.set_point, i),
      slider("weight", `q-${i}`, -c.decades, c.decades, 0.1, s.q, i, decades),
      slider("at least", `y_min-${i}`, y.low, y.high, "any", s.y_min, i, short, "low"),
      slider("at most", `y_max-${i}`, y.low, y.high, "any", s.y_max, i, short, "high"),
    ]));
  });
  c.inputs.forEach((u, i) => {
    form.append(group(`input ${u.name}`, [
      slider("weight", `r-${i}`, -c.decades, c.decades, 0.1, s.r, i, (d) => `10^${d}`),
      slider("of moves", `r_rate-${i}`, -c.decades, c.decades, 0.1, s.r_rate, i, decades),
      slider("at least", `u_min-${i}`, u.low, u.high, "any", s.u_min, i, short, "low"),
      slider("at most", `u_max-${i}`, u.low, u.high, "any", s.u_max, i, short, "high"),
      slider("load", `load-${i}`, -u.load, u.load, "any", s.load, i),
    ]));
  });
  form.append(group("Run", [
    slider("noise", "noise", 0, 0.2, 0.005, s, "noise", (x) => `${short(100 * x)} %`),
    slider("steps", "steps", 20, 400, 10, s, "steps", (n) => `${n}`),
    slider("seed", "seed", 0, 20, 1, s, "seed", (n) => `${n}`),
  ]));
}

async function ask() {
  if (busy) { again = true; return; }
  busy = true;
  at("numbers").classList.add("waiting");
  try {
    do {
      again = false;
      const answer = await fetch("run", {
        method: "POST", headers: {"Content-Type": "application/json"}, body: JSON.stringify(settings),
      });
      draw(await answer.json());
    } while (again);
  } catch (error) {
    draw({error: `the server does not answer (${error.message}); start koopctrl tune again`, warnings: []});
  }
  at("numbers").classList.remove("waiting");
  busy = false;
}

function draw(found) {
  const messages = [found.error, ...(found.warnings || [])].filter(Boolean);
  at("messages").replaceChildren(...messages.map((text) => make("li", {}, text)));
  if (found.code) at("code").textContent = found.code;
  if (found.error) {
    at("numbers").textContent = "no closed loop";
    at("figure").replaceChildren();
    return;
  }
  const cost = found.cost === null ? "unknown" : found.cost.toPrecision(5);
  at("numbers").textContent = `cost ${cost} · samples beyond bounds ${found.violations} · ` +
    `steps without a solution ${found.fallbacks} of ${found.steps} · ${found.step_ms.toPrecision(2)} ms a step`;
  at("figure").replaceChildren(picture(found));
}

function ticks(low, high, count) {
  const raw = (high - low) / count, power = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 5, 10].find((m) => m * power >= raw) * power, found = [];
  for (let k = Math.ceil(low / step); k * step <= high; k++) found.push(k * step);
  return found;
}

function picture(found) {
  const wide = 800, tall = 130, left = 70, gap = 14, bottom = 34, n = found.panels.length;
  const svg = make("svg", {viewBox: `0 0 ${wide} ${n * (tall + gap) + bottom}`});
  const last = found.time[found.time.length - 1];
  const x = (t) => left + (wide - left - 12) * t / last;
  found.panels.forEach((panel, k) => {
    const top = k * (tall + gap) + 6, all = [...panel.values, ...panel.reference].filter((v) => v !== null);
    let low = Math.min(...all), high = Math.max(...all);
    // A bound is shown where it is near the signal.
    for (const b of panel.bounds) {
      if (b !== null && b > low - (high - low) - 1e-300 && b < high + (high - low) + 1e-300) {
        low = Math.min(low, b); high = Math.max(high, b);
      }
    }
    if (!(high > low)) { const pad = Math.abs(high) || 1; low -= pad; high += pad; }
    const pad = 0.06 * (high - low), y = (v) => top + tall * (high + pad - v) / (high - low + 2 * pad);
    svg.append(make("rect", {class: "frame", x: left, y: top, width: wide - left - 12, height: tall}));
    for (const v of ticks(low, high, 3)) {
      svg.append(make("text", {x: left - 6, y: y(v) + 4, "text-anchor": "end"}, short(v)));
    }
    const name = panel.unit && panel.unit !== "1" ? `${panel.name} [${panel.unit}]` : panel.name;
    const middle = top + tall / 2;
    svg.append(make("text", {x: 12, y: middle, "text-anchor": "middle", transform: `rotate(-90 12 ${middle})`}, name));
    const path = (values, held) => {
      let text = "", pen = false, before = 0;
      values.forEach((v, i) => {
        if (v === null) { pen = false; return; }
        const px = x(found.time[i]).toFixed(1), py = y(v).toFixed(1);
        text += pen ? (held ? `H${px}V${py}` : `L${px} ${py}`) : `M${px} ${py}`;
        pen = true; before = i;
      });
      return held && pen && before + 1 < found.time.length ? `${text}H${x(found.time[before + 1]).toFixed(1)}` : text;
    };
    for (const b of panel.bounds) {
      if (b === null || b < low - pad || b > high + pad) continue;
      svg.append(make("line", {class: "bound", x1: left, x2: wide - 12, y1: y(b), y2: y(b)}));
    }
    svg.append(make("path", {class: "goal", d: path(panel.reference, true)}));
    svg.append(make("path", {class: "value", d: path(panel.values, panel.kind === "input")}));
  });
  const foot = n * (tall + gap) + 8;
  for (const t of ticks(0, last, 8)) {
    svg.append(make("text", {x: x(t), y: foot + 4, "text-anchor": "middle"}, short(t)));
  }
  svg.append(make("text", {x: (left + wide) / 2, y: foot + 20, "text-anchor": "middle"}, "time [s]"));
  return svg;
}

at("show").addEventListener("click", () => {
  const hidden = !at("code").hidden;
  at("code").hidden = at("copy").hidden = hidden;
  at("show").textContent = hidden ? "Show the Python" : "Hide the Python";
});
at("copy").addEventListener("click", () => navigator.clipboard.writeText(at("code").textContent));
at("reset").addEventListener("click", () => begin());
at("controls").addEventListener("submit", (event) => event.preventDefault());

async function begin() {
  setup = await (await fetch("setup")).json();
  settings = setup.settings;
  at("title").textContent = setup.title;
  build();
  await ask();
}
begin();
