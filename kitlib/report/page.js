"use strict";
// The page's life: which planet and which group are shown, links, tables that sort. Charts: charts.js.
(() => {
  const data = charts.payload;
  const byId = (id) => document.getElementById(id);
  const wavelength = data.wavelength_um;
  const fixed = (v, digits) => (v === null || !Number.isFinite(v) ? "unknown" : v.toFixed(digits));
  const group = (v) => Math.round(v).toString().replace(/\B(?=(\d{3})+$)/g, "\u202f");
  const mean = (values) => values.reduce((a, b) => a + b, 0) / values.length;

  function list(element, lines) {
    element.replaceChildren(...(lines.length ? lines : ["None."]).map((words) => {
      const item = document.createElement("li");
      item.textContent = words;
      return item;
    }));
  }

  // --- one planet ----------------------------------------------------------------------------------------------
  const chooser = byId("planet"), slider = byId("bin"), details = byId("spectrum-details");
  const order = Array.from(chooser.options, (option) => option.value);
  const planets = new Map(data.planets.map((planet) => [planet.id, planet]));
  let shown = null; // the chosen planet
  let numbers = null; // its spectrum, bin by bin: depth, sigma, and with a truth that and the error in sigma

  // What the drawn spectrum holds under a name, FGS1's point first.
  const drawn = (name, field) => byId("spectrum").data.filter((trace) => trace.name === name).flatMap((trace) => trace[field]);

  function drawSpectrum() {
    charts.draw(byId("spectrum"), shown.spectrum);
    numbers = { mu: drawn("recovered", "y"), sigma: drawn("recovered", "customdata"), truth: drawn("true", "y"), pull: drawn("error / σ", "y") };
    readBin();
  }

  function readBin() {
    const i = Number(slider.value), { mu, sigma, truth, pull } = numbers;
    let text = `${wavelength[i].toFixed(3)} µm: ${group(mu[i])} ± ${fixed(sigma[i], 1)} ppm`;
    if (truth.length) text += `; true ${group(truth[i])} (error ${fixed(pull[i], 1)} sigma)`;
    byId("bin-text").textContent = text;
    slider.setAttribute("aria-valuetext", text);
    charts.mark(byId("spectrum"), i ? wavelength[i] : 0, i === 0);
  }

  function fillTable() {
    if (!details.open) return;
    byId("spectrum-rows").replaceChildren(...wavelength.map((um, i) => {
      const row = document.createElement("tr"), { mu, sigma, truth, pull } = numbers;
      const values = [um.toFixed(3), group(mu[i]), fixed(sigma[i], 1)];
      if (truth.length) values.push(group(truth[i]), fixed(pull[i], 2));
      values.forEach((value) => { const cell = row.insertCell(); cell.className = "number"; cell.textContent = value; });
      return row;
    }));
  }

  function captionOf({ instrument, visit, statistics: s, averaged }) {
    return `${instrument}, visit ${visit}: residuals ${fixed(s.rms_ppm, 0)} ppm rms, expected ${fixed(s.sigma_ppm, 0)}; ` +
      `chi2 per sample ${fixed(s.chi2, 2)}, autocorrelation ${fixed(s.autocorrelation, 2)}, ${s.samples} samples` +
      (averaged > 1 ? `, drawn as means of ${averaged}.` : ".");
  }

  function figureOf(kind, label, words) {
    const figure = document.createElement("figure"), chart = document.createElement("div"), caption = document.createElement("figcaption");
    caption.textContent = words;
    chart.className = `chart ${kind}`;
    chart.setAttribute("role", "img");
    chart.setAttribute("aria-label", `${label}. ${words}`);
    figure.append(chart, caption);
    return figure;
  }

  // Fill a grid with the planet's figures of one kind; drawn once all are there: a width depends on how many there are.
  function fillGrid(holder, entries, none) {
    holder.querySelectorAll(".chart").forEach((chart) => Plotly.purge(chart));
    holder.replaceChildren(...entries.map(([figure]) => figure));
    if (!entries.length) {
      const note = document.createElement("p");
      note.textContent = none;
      holder.append(note);
    }
    entries.forEach(([figure, packed, name]) => {
      charts.draw(figure.querySelector(".chart"), packed);
      addTools(figure, name);
    });
  }

  function showCurves() {
    const visits = shown.curves.map((curve) => [figureOf("curve", "White light curve with fit", captionOf(curve)), curve.figure, `${shown.id}_${curve.instrument}_visit_${curve.visit}`]);
    fillGrid(byId("curves"), visits, "This page carries no light curves of this planet.");
    const words = { light: "flux over its median, before any fit. The transit is dark.", residuals: "what the fit leaves, over its sigma; dotted: first and last contact. Noise without structure if the fit is right." };
    const maps = shown.maps.map(({ visit, kind, figure }) => [figureOf("map", `Map of ${kind}`, `AIRS-CH0, visit ${visit}: ${words[kind]}`), figure, `${shown.id}_${kind}_visit_${visit}`]);
    fillGrid(byId("maps"), maps, "This page carries no map of this planet.");
    const frames = shown.frames.flatMap(({ visit, instrument, frame, weights }) => [["Mean frame", "electrons a pair and pixel, logarithmic", frame], ["Weights", "what the pixels count for", weights]]
      .map(([label, told, figure]) => [figureOf("frame", label, `${instrument}, visit ${visit}: ${told}.`), figure, `${shown.id}_${instrument}_${label.toLowerCase().replace(" ", "_")}_visit_${visit}`]));
    fillGrid(byId("frames"), frames, "This page carries no frames of this planet.");
  }

  // --- saving a figure or its data -------------------------------------------------------------------------------
  function addTools(figure, name) {
    const chart = figure.querySelector(".chart"), row = document.createElement("p");
    row.className = "tools";
    for (const kind of ["png", "svg", "csv"]) {
      const button = document.createElement("button");
      button.type = "button";
      button.textContent = kind.toUpperCase();
      button.title = kind === "csv" ? "Save the data" : "Save the figure";
      button.setAttribute("aria-label", `Save ${name || chart.id} as ${kind.toUpperCase()}`);
      button.addEventListener("click", () => charts.save(chart, kind, name || (figure.closest(".one-planet") ? `${shown.id}_${chart.id}` : chart.id)));
      row.append(button);
    }
    figure.append(row);
  }

  function show(id) {
    if (!planets.has(id)) return;
    shown = planets.get(id);
    chooser.value = id;
    drawSpectrum();
    const { mu, sigma } = numbers;
    let text = `Planet ${id}: FGS1 depth ${group(mu[0])} ± ${fixed(sigma[0], 0)} ppm, AIRS mean ${group(mean(mu.slice(1)))}${shown.level_sigma === null ? "" : ` ± ${fixed(shown.level_sigma, 0)}`} ppm.`;
    if (shown.score) text += ` Score ${fixed(shown.score[0], 3)} (FGS1 ${fixed(shown.score[1], 3)}, AIRS ${fixed(shown.score[2], 3)}).`;
    byId("summary").textContent = text;
    byId("spectrum-text").textContent = `Spectrum of planet ${id}.`;
    list(byId("planet-rules"), shown.rules.map(([rule, bins, um, amount]) => `${rule}: by up to ${amount} at ${um} µm, in ${bins} ${bins === 1 ? "bin" : "bins"}`));
    list(byId("planet-gate"), shown.gate);
    byId("planet-fit").replaceChildren(...shown.fit.map(([name, ...values]) => {
      const row = document.createElement("tr"), head = document.createElement("th");
      head.scope = "row";
      head.textContent = name;
      row.append(head);
      values.forEach((value) => { const cell = row.insertCell(); cell.className = "number"; cell.textContent = value; });
      return row;
    }));
    const events = shown.events.map((parts) => parts.filter(Boolean).join(": "));
    list(byId("planet-events"), shown.more_events ? [...events, `and ${shown.more_events} more`] : events);
    fillTable();
    showCurves();
  }

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

  // --- all planets ---------------------------------------------------------------------------------------------
  function drawGroup() {
    const select = byId("group");
    if (!select) return;
    const { text, figures } = data.groups[Number(select.value)];
    byId("group-text").textContent = text;
    for (const [name, figure] of Object.entries(figures)) charts.draw(byId(name), figure);
  }

  const meaning = {
    score: "Score of each bin: 1 is perfect, dark is low (-1 and below alike).",
    pull: "Recovered minus true over sigma: red too deep, blue too shallow.",
    loss: "What the size of sigma costs: red where another sigma would have scored more, blue where it would have scored less.",
  };

  function drawCells() {
    const select = byId("cells-of");
    if (!select) return;
    byId("cells-text").textContent = meaning[select.value];
    charts.draw(byId("cells"), data.figures[`cells-${select.value}`]);
  }

  function drawRest() {
    for (const [name, figure] of Object.entries(data.figures)) if (byId(name)) charts.draw(byId(name), figure);
  }

  function drawAll() {
    if (shown) { drawSpectrum(); showCurves(); }
    drawGroup();
    drawCells();
    drawRest();
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
  function jump(id) {
    history.replaceState(null, "", `#planet-${id}`);
    followHash();
  }
  chooser.addEventListener("change", () => choose(chooser.value));
  byId("previous").addEventListener("click", () => step(-1));
  byId("next").addEventListener("click", () => step(1));
  slider.addEventListener("input", readBin);
  const readAt = (event) => {
    const um = event.points[0].x, away = wavelength.map((v, i) => Math.abs((i ? v : 0) - um));
    slider.value = String(away.indexOf(Math.min(...away)));
    readBin();
  };
  // A point is a row of a heat map, or one of a list of planets.
  const planetAt = (chart, { data: trace, y, pointIndex }) => chart.layout.meta.planets[trace.z ? y : pointIndex];
  details.addEventListener("toggle", fillTable);
  // A link to the planet that the address already names fires no hashchange: follow the click itself.
  document.addEventListener("click", (event) => {
    const link = event.target.closest('a[href^="#planet-"]');
    if (!link) return;
    event.preventDefault();
    jump(link.getAttribute("href").slice("#planet-".length));
  });
  byId("planets").querySelectorAll("th button").forEach((button) => button.addEventListener("click", () => sortBy(button.parentElement)));
  window.addEventListener("hashchange", followHash);
  window.matchMedia("(prefers-color-scheme: dark)").addEventListener("change", drawAll);
  if (byId("group")) byId("group").addEventListener("change", drawGroup);
  if (byId("cells-of")) byId("cells-of").addEventListener("change", drawCells);

  if (order.length && !followHash()) show(order[0]);
  drawGroup();
  drawCells();
  drawRest();
  byId("spectrum").on("plotly_click", readAt);
  for (const chart of document.querySelectorAll(".chart")) {
    if (chart.layout.meta) chart.on("plotly_click", (event) => jump(planetAt(chart, event.points[0])));
    if (!chart.closest("#curves, #maps, #frames")) addTools(chart.closest("figure"), "");
  }
  document.documentElement.dataset.drawn = "yes";
})();
