"use strict";
// Draws the page's charts as SVG from the numbers in #payload. Colours come from page.css, so both themes just work.
(() => {
  const data = JSON.parse(document.getElementById("payload").textContent);
  const wavelength = data.wavelength_um;
  const byId = (id) => document.getElementById(id);
  const sum = (steps, scale) => { let total = 0; return steps.map((step) => (total += step) / scale); };
  const extent = (values) => values.reduce(([low, high], v) => [Math.min(low, v), Math.max(high, v)], [Infinity, -Infinity]);
  const group = (value) => Math.round(value).toString().replace(/\B(?=(\d{3})+$)/g, "\u202f").replace("-", "\u2212");
  const fixed = (value, digits) => (value === null ? "unknown" : value.toFixed(digits).replace(/^-(?=0\.?0*$)/, "").replace("-", "\u2212"));

  // --- drawing -------------------------------------------------------------------------------------------------
  function add(parent, name, attributes, text) {
    const node = document.createElementNS("http://www.w3.org/2000/svg", name);
    for (const key in attributes) node.setAttribute(key, attributes[key]);
    if (text !== undefined) node.textContent = text;
    parent.appendChild(node);
    return node;
  }

  function blank(svg, height) {
    svg.replaceChildren();
    const width = Math.max(svg.parentElement.clientWidth - 16, 240);
    svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
    svg.setAttribute("height", height);
    return width;
  }

  function ticks(low, high, count) {
    const raw = (high - low) / count, power = 10 ** Math.floor(Math.log10(raw));
    const step = [1, 2, 5, 10].map((m) => m * power).find((s) => s >= raw * 0.999);
    const found = [];
    for (let i = Math.ceil(low / step - 1e-9); i * step <= high + step * 1e-9; i++) found.push(i * step);
    return { values: found, digits: Math.max(0, -Math.floor(Math.log10(step) + 1e-9)) };
  }

  function symmetricTicks(reach) {
    const power = 10 ** Math.floor(Math.log10(reach)), step = [5, 2, 1].map((m) => m * power).find((s) => s <= reach);
    return { values: [-step, 0, step], digits: Math.max(0, -Math.floor(Math.log10(step) + 1e-9)) };
  }

  // A panel maps data to pixels: { x(v), y(v) } of a box [left, right] x [top, bottom].
  function panel(svg, box, xRange, yRange, options = {}) {
    const x = (v) => box.left + ((v - xRange[0]) / (xRange[1] - xRange[0])) * (box.right - box.left);
    const y = (v) => box.bottom - ((v - yRange[0]) / (yRange[1] - yRange[0])) * (box.bottom - box.top);
    const vertical = options.yTicks || ticks(yRange[0], yRange[1], Math.max(2, (box.bottom - box.top) / 45));
    for (const v of vertical.values) {
      add(svg, "path", { class: "axis", d: `M${box.left} ${y(v)}H${box.right}` });
      add(svg, "text", { x: box.left - 5, y: y(v) + 4, "text-anchor": "end" }, vertical.digits ? fixed(v, vertical.digits) : group(v));
    }
    if (options.xTicks !== false) {
      const horizontal = ticks(xRange[0], xRange[1], Math.max(2, (box.right - box.left) / 60));
      for (const v of horizontal.values) {
        add(svg, "path", { class: "axis", d: `M${x(v)} ${box.bottom}v4` });
        add(svg, "text", { x: x(v), y: box.bottom + 16, "text-anchor": "middle" }, fixed(v, horizontal.digits));
      }
    }
    add(svg, "path", { class: "axis", d: `M${box.left} ${box.top}V${box.bottom}H${box.right}` });
    return { x, y };
  }

  const line = (xs, ys) => xs.map((x, i) => `${i ? "L" : "M"}${x.toFixed(1)} ${ys[i].toFixed(1)}`).join("");
  const points = (xs, ys) => xs.map((x, i) => `M${x.toFixed(1)} ${ys[i].toFixed(1)}h.01`).join("");
  const clamp = (v, range) => Math.min(Math.max(v, range[0]), range[1]);
  const padded = ([low, high], share) => [low - (high - low || 1) * share, high + (high - low || 1) * share];

  // --- one planet ----------------------------------------------------------------------------------------------
  const chooser = byId("planet"), slider = byId("bin");
  const order = Array.from(chooser.options, (option) => option.value);
  const planets = new Map(data.planets.map((planet) => [planet.id, planet]));
  let shown = null; // the chosen planet with its numbers decoded, ppm
  let place = null; // wavelength bin -> pixel, of the spectrum on screen

  function decode(planet) {
    const steps = data.spectrum_steps;
    const mu = sum(planet.mu, steps), sigma = planet.sigma.map((v) => v / steps);
    const truth = planet.truth && sum(planet.truth, steps);
    return { ...planet, mu, sigma, truth, pull: truth && mu.map((v, i) => (v - truth[i]) / sigma[i]) };
  }

  function drawSpectrum() {
    const svg = byId("spectrum"), { mu, sigma, truth, pull } = shown;
    const top = 16 + 13 * data.bands.length, plot = 250, gap = 26, pulls = pull ? 74 : 0;
    const bottom = top + plot, end = bottom + (pull ? gap + pulls : 0);
    const width = blank(svg, end + 38), left = 54, right = width - 8, split = left + Math.max(34, width * 0.07);
    const airs = wavelength.map((_, i) => i).slice(1);
    const all = mu.flatMap((v, i) => [v - sigma[i], v + sigma[i]]).concat(truth || []);
    const yRange = padded(extent(all), 0.04), xRange = extent(wavelength.slice(1));
    add(svg, "text", { x: 2, y: 11 }, "depth, ppm");
    const box = { left: split, right, top, bottom };
    const { x, y } = panel(svg, { ...box, left, top, bottom }, [0, 1], yRange, { xTicks: false });
    const across = (v) => split + ((v - xRange[0]) / (xRange[1] - xRange[0])) * (right - split);
    const fgs1 = (left + split - 10) / 2;
    place = (i) => (i === 0 ? fgs1 : across(wavelength[i]));

    data.bands.forEach(([name, bands], row) => {
      const at = 16 + 13 * row;
      add(svg, "text", { x: split - 6, y: at + 9, "text-anchor": "end" }, name);
      for (const [low, high] of bands) {
        const from = across(clamp(low, xRange)), to = across(clamp(high, xRange));
        if (to > from) add(svg, "rect", { class: "molecule", x: from, y: at + 2, width: to - from, height: 7, rx: 2 });
      }
    });
    add(svg, "path", { class: "cursor", id: "cursor", d: "" });
    const xs = airs.map(place);
    const upper = line(xs, airs.map((i) => y(mu[i] + sigma[i])));
    const lower = line([...xs].reverse(), [...airs].reverse().map((i) => y(mu[i] - sigma[i])));
    add(svg, "path", { class: "band", d: upper + lower.replace("M", "L") + "Z" });
    if (truth) add(svg, "path", { class: "truth", d: line(xs, airs.map((i) => y(truth[i]))) });
    add(svg, "path", { class: "estimate", d: line(xs, airs.map((i) => y(mu[i]))) });
    add(svg, "path", { class: "estimate", d: `M${fgs1} ${y(mu[0] - sigma[0])}V${y(mu[0] + sigma[0])}` });
    add(svg, "circle", { class: "dot", cx: fgs1, cy: y(mu[0]), r: 3.5 });
    if (truth) add(svg, "circle", { class: "truthdot", cx: fgs1, cy: y(truth[0]), r: 5.5 });
    if (pull) {
      const reach = Math.max(3.2, ...pull.map(Math.abs)) * 1.05;
      const low = panel(svg, { left, right, top: bottom + gap, bottom: end }, [0, 1], [-reach, reach], { xTicks: false, yTicks: { values: [-2, 0, 2], digits: 0 } });
      add(svg, "text", { x: 2, y: bottom + 18 }, "error over sigma");
      for (const v of [-2, 2]) add(svg, "path", { class: "zero", d: `M${left} ${low.y(v)}H${right}` });
      add(svg, "path", { class: "points", d: points([fgs1, ...xs], pull.map(low.y)) });
    }
    for (const [a, b] of pull ? [[top, bottom], [bottom + gap, end]] : [[top, bottom]]) {
      add(svg, "path", { class: "zero", d: `M${split - 6} ${a}V${b}` });
    }
    add(svg, "text", { x: fgs1, y: end + 16, "text-anchor": "middle" }, wavelength[0].toFixed(1));
    const labels = ticks(xRange[0], xRange[1], Math.max(2, (right - split) / 48));
    for (const v of labels.values) {
      add(svg, "path", { class: "axis", d: `M${across(v)} ${end}v4` });
      add(svg, "text", { x: across(v), y: end + 16, "text-anchor": "middle" }, fixed(v, labels.digits));
    }
    add(svg, "text", { x: right, y: end + 32, "text-anchor": "end" }, "wavelength, µm");
    svg.dataset.top = top;
    svg.dataset.end = end;
    readBin();
  }

  function readBin() {
    const i = Number(slider.value), svg = byId("spectrum"), at = place(i).toFixed(1);
    byId("cursor").setAttribute("d", `M${at} ${svg.dataset.top}V${svg.dataset.end}`);
    let text = `${wavelength[i].toFixed(3)} µm: ${group(shown.mu[i])} ± ${fixed(shown.sigma[i], 1)} ppm`;
    if (shown.truth) text += `; true ${group(shown.truth[i])} (error ${fixed(shown.pull[i], 1)} sigma)`;
    byId("bin-text").textContent = text;
    slider.setAttribute("aria-valuetext", text);
  }

  function drawCurve(figure, curve) {
    const time = sum(curve.time, data.time_steps), model = sum(curve.model, 1);
    const flux = model.map((v, i) => v + curve.residual[i]);
    const svg = figure.querySelector("svg"), top = 22, bottom = 210, low = 238, end = 312;
    const width = blank(svg, end + 38), left = 54, right = width - 8, xRange = extent(time);
    add(svg, "text", { x: 2, y: 12 }, "flux, % of the star");
    const yRange = padded(extent(flux.concat(model)), 0.05).map((v) => 100 + v / 1e4);
    const main = panel(svg, { left, right, top, bottom }, xRange, yRange, { xTicks: false });
    const percent = (v) => main.y(100 + v / 1e4), xs = time.map(main.x);
    add(svg, "path", { class: "points", d: points(xs, flux.map(percent)) });
    add(svg, "path", { class: "model", d: line(xs, model.map(percent)) });
    const sizes = curve.residual.map(Math.abs).sort((a, b) => a - b);
    const reach = Math.max(sizes[Math.floor(0.99 * (sizes.length - 1))] * 1.3, 1);
    const rest = panel(svg, { left, right, top: low, bottom: end }, xRange, [-reach, reach], { yTicks: symmetricTicks(reach) });
    add(svg, "text", { x: 2, y: bottom + 19 }, "residuals, ppm");
    add(svg, "path", { class: "points", d: points(xs, curve.residual.map((v) => rest.y(clamp(v, [-reach, reach])))) });
    add(svg, "path", { class: "model", d: `M${left} ${rest.y(0)}H${right}` });
    add(svg, "text", { x: right, y: end + 32, "text-anchor": "end" }, "time, h");
  }

  function showCurves() {
    const holder = byId("curves");
    holder.replaceChildren();
    if (!shown.curves.length) {
      const note = document.createElement("p");
      note.textContent = "This page carries no light curves of this planet.";
      holder.appendChild(note);
    }
    for (const curve of shown.curves) {
      const figure = document.createElement("figure"), caption = document.createElement("figcaption"), s = curve.statistics;
      const words = `${curve.instrument}, visit ${curve.visit}: residuals ${fixed(s.rms_ppm, 0)} ppm rms, expected ${fixed(s.sigma_ppm, 0)}; ` +
        `chi2 per sample ${fixed(s.chi2, 2)}, autocorrelation ${fixed(s.autocorrelation, 2)}, ${s.samples} samples` +
        (curve.averaged > 1 ? `, drawn as means of ${curve.averaged}.` : ".");
      const svg = add(figure, "svg", { role: "img", "aria-label": `White light curve with fit. ${words}` });
      caption.textContent = words;
      figure.append(svg, caption);
      holder.appendChild(figure);
    }
    drawCurves();
  }

  // After every figure is in the grid: a figure's width depends on how many there are.
  function drawCurves() {
    byId("curves").querySelectorAll("figure").forEach((figure, i) => drawCurve(figure, shown.curves[i]));
  }

  function show(id) {
    if (!planets.has(id)) return;
    shown = decode(planets.get(id));
    chooser.value = id;
    const mean = (values) => values.reduce((a, b) => a + b, 0) / values.length;
    let text = `Planet ${id}: FGS1 depth ${group(shown.mu[0])} ± ${fixed(shown.sigma[0], 0)} ppm, AIRS mean ${group(mean(shown.mu.slice(1)))} ppm.`;
    if (shown.score) text += ` Score ${fixed(shown.score[0], 3)} (FGS1 ${fixed(shown.score[1], 3)}, AIRS ${fixed(shown.score[2], 3)}).`;
    byId("summary").textContent = text;
    byId("spectrum-text").textContent = `Spectrum of planet ${id}.`;
    const lines = shown.events.map((parts) => parts.filter(Boolean).join(": "));
    if (shown.more_events) lines.push(`and ${shown.more_events} more`);
    byId("planet-events").replaceChildren(...(lines.length ? lines : ["None."]).map((words) => {
      const item = document.createElement("li");
      item.textContent = words;
      return item;
    }));
    drawSpectrum();
    showCurves();
  }

  // --- all planets ---------------------------------------------------------------------------------------------
  function drawReliability() {
    const svg = byId("coverage");
    if (!svg) return;
    const width = blank(svg, 300), box = { left: 44, right: width - 14, top: 24, bottom: 262 };
    add(svg, "text", { x: 2, y: 12 }, "observed, %");
    const { x, y } = panel(svg, box, [0, 100], [0, 100]);
    add(svg, "path", { class: "zero", d: `M${x(0)} ${y(0)}L${x(100)} ${y(100)}` });
    const xs = data.curve_levels.map((v) => x(100 * v));
    data.reliability.forEach((part, i) => add(svg, "path", { class: `curve part${i}`, d: line(xs, part.observed.map((v) => y(100 * v))) }));
    add(svg, "text", { x: box.right, y: 294, "text-anchor": "end" }, "expected, %");
    document.querySelectorAll("svg.histogram").forEach(drawHistogram);
  }

  function drawHistogram(svg) {
    const index = Number(svg.dataset.part), { edges, histogram: shares } = data.reliability[index];
    const width = blank(svg, 300), box = { left: 44, right: width - 8, top: 20, bottom: 262 };
    const density = shares.map((v, i) => v / (edges[i + 1] - edges[i]));
    const { x, y } = panel(svg, box, extent(edges), [0, Math.max(0.42, ...density) * 1.05]);
    density.forEach((v, i) => add(svg, "rect", {
      class: "bar", x: x(edges[i]) + 0.5, width: x(edges[i + 1]) - x(edges[i]) - 1, y: y(v), height: y(0) - y(v),
    }));
    const grid = Array.from({ length: 121 }, (_, i) => edges[0] + ((edges[edges.length - 1] - edges[0]) * i) / 120);
    add(svg, "path", { class: `curve part${index}`, d: line(grid.map(x), grid.map((z) => y(Math.exp(-z * z / 2) / Math.sqrt(2 * Math.PI)))) });
    add(svg, "text", { x: 2, y: 12 }, "density");
    add(svg, "text", { x: box.right, y: 294, "text-anchor": "end" }, "error over sigma");
  }

  function sortBy(header) {
    const table = byId("planets"), column = header.cellIndex, rising = header.getAttribute("aria-sort") !== "ascending";
    const value = (row) => Number(row.cells[column].textContent.replace(/\u202f/g, ""));
    const rows = Array.from(table.tBodies[0].rows).sort((a, b) => (rising ? 1 : -1) * (value(a) - value(b)));
    table.querySelectorAll("th[aria-sort]").forEach((other) => other.removeAttribute("aria-sort"));
    header.setAttribute("aria-sort", rising ? "ascending" : "descending");
    table.tBodies[0].append(...rows);
  }

  // --- events --------------------------------------------------------------------------------------------------
  const choose = (id) => { history.replaceState(null, "", `#planet-${id}`); show(id); };
  const step = (by) => choose(order[(order.indexOf(chooser.value) + by + order.length) % order.length]);
  function followHash() {
    const match = /^#planet-(\d+)$/.exec(location.hash);
    if (!match || !planets.has(match[1])) return false;
    show(match[1]);
    byId("h-planet").scrollIntoView();
    chooser.focus({ preventScroll: true });
    return true;
  }
  chooser.addEventListener("change", () => choose(chooser.value));
  byId("previous").addEventListener("click", () => step(-1));
  byId("next").addEventListener("click", () => step(1));
  slider.addEventListener("input", readBin);
  byId("spectrum").addEventListener("pointermove", (event) => {
    const bounds = event.currentTarget.getBoundingClientRect(), at = event.clientX - bounds.left;
    let best = 0;
    wavelength.forEach((_, i) => { if (Math.abs(place(i) - at) < Math.abs(place(best) - at)) best = i; });
    slider.value = best;
    readBin();
  });
  // A link to the planet that the address already names fires no hashchange: follow the click itself.
  document.addEventListener("click", (event) => {
    const link = event.target.closest('a[href^="#planet-"]');
    if (!link) return;
    event.preventDefault();
    history.replaceState(null, "", link.getAttribute("href"));
    followHash();
  });
  byId("planets").querySelectorAll("th button").forEach((button) => button.addEventListener("click", () => sortBy(button.parentElement)));
  window.addEventListener("hashchange", followHash);
  let pending = 0;
  let drawnWidth = document.body.clientWidth;
  window.addEventListener("resize", () => {
    if (document.body.clientWidth === drawnWidth) return; // a phone's address bar sliding away
    drawnWidth = document.body.clientWidth;
    clearTimeout(pending);
    pending = setTimeout(() => { if (shown) { drawSpectrum(); drawCurves(); } drawReliability(); }, 120);
  });
  if (order.length && !followHash()) show(order[0]);
  drawReliability();
})();
