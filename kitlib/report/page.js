"use strict";
// The page's life: which planet and which group are shown, links, tables that sort. Charts: charts.js.
(() => {
  const data = JSON.parse(document.getElementById("payload").textContent);
  const byId = (id) => document.getElementById(id);
  const wavelength = data.wavelength_um;
  const fixed = (v, digits) => (v === null || !Number.isFinite(v) ? "unknown" : v.toFixed(digits));
  const group = (v) => Math.round(v).toString().replace(/\B(?=(\d{3})+$)/g, "\u202f");
  const sum = (steps, scale) => { let total = 0; return steps.map((v) => (total += v) / scale); };
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
  let shown = null; // the chosen planet with its numbers decoded, ppm

  function decode(planet) {
    const steps = data.spectrum_steps;
    const mu = sum(planet.mu, steps), sigma = planet.sigma.map((v) => v / steps);
    const truth = planet.truth && sum(planet.truth, steps);
    return { ...planet, mu, sigma, truth, pull: truth && mu.map((v, i) => (v - truth[i]) / sigma[i]) };
  }

  function readBin() {
    const i = Number(slider.value);
    let text = `${wavelength[i].toFixed(3)} µm: ${group(shown.mu[i])} ± ${fixed(shown.sigma[i], 1)} ppm`;
    if (shown.truth) text += `; true ${group(shown.truth[i])} (error ${fixed(shown.pull[i], 1)} sigma)`;
    byId("bin-text").textContent = text;
    slider.setAttribute("aria-valuetext", text);
    charts.mark(byId("spectrum"), i, wavelength);
  }

  function fillTable() {
    if (!details.open) return;
    byId("spectrum-rows").replaceChildren(...wavelength.map((um, i) => {
      const row = document.createElement("tr"), values = [um.toFixed(3), group(shown.mu[i]), fixed(shown.sigma[i], 1)];
      if (shown.truth) values.push(group(shown.truth[i]), fixed(shown.pull[i], 2));
      values.forEach((value) => { const cell = row.insertCell(); cell.className = "number"; cell.textContent = value; });
      return row;
    }));
  }

  function captionOf({ instrument, visit, statistics: s, averaged }) {
    return `${instrument}, visit ${visit}: residuals ${fixed(s.rms_ppm, 0)} ppm rms, expected ${fixed(s.sigma_ppm, 0)}; ` +
      `chi2 per sample ${fixed(s.chi2, 2)}, autocorrelation ${fixed(s.autocorrelation, 2)}, ${s.samples} samples` +
      (averaged > 1 ? `, drawn as means of ${averaged}.` : ".");
  }

  function showCurves() {
    const holder = byId("curves");
    holder.querySelectorAll(".chart").forEach((chart) => Plotly.purge(chart));
    holder.replaceChildren();
    if (!shown.curves.length) {
      const note = document.createElement("p");
      note.textContent = "This page carries no light curves of this planet.";
      holder.append(note);
    }
    for (const curve of shown.curves) {
      const figure = document.createElement("figure"), chart = document.createElement("div"), caption = document.createElement("figcaption");
      caption.textContent = captionOf(curve);
      chart.className = "chart curve";
      chart.setAttribute("role", "img");
      chart.setAttribute("aria-label", `White light curve with fit. ${caption.textContent}`);
      figure.append(chart, caption);
      holder.append(figure);
    }
    drawCurves();
  }

  // After every figure is in the grid: a figure's width depends on how many there are.
  function drawCurves() {
    byId("curves").querySelectorAll(".chart").forEach((chart, i) => {
      const { time, model, residual } = shown.curves[i];
      charts.curve(chart, sum(time, data.time_steps), sum(model, 1), residual);
    });
  }

  function show(id) {
    if (!planets.has(id)) return;
    shown = decode(planets.get(id));
    chooser.value = id;
    let text = `Planet ${id}: FGS1 depth ${group(shown.mu[0])} ± ${fixed(shown.sigma[0], 0)} ppm, AIRS mean ${group(mean(shown.mu.slice(1)))}${shown.level_sigma === null ? "" : ` ± ${fixed(shown.level_sigma, 0)}`} ppm.`;
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
    charts.spectrum(byId("spectrum"), shown, wavelength, data.bands);
    readBin();
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
    const { name, planets: count, pit_band: band, parts } = data.groups[Number(select.value)];
    const told = parts.map((one) => `${one.name} ${fixed(one.spread, 2)} (${fixed(100 * one.coverage, 0)} %)`);
    byId("group-text").textContent = `${name}, ${count}: spread (and coverage of the 68 % interval) ${told.join(", ")}.`;
    charts.coverage(byId("coverage"), parts, data.curve_levels);
    charts.quantiles(byId("quantiles"), parts);
    document.querySelectorAll(".pit").forEach((chart) => charts.pit(chart, parts[Number(chart.dataset.part)], Number(chart.dataset.part), band));
  }

  const worstFirst = data.planets.map((planet, row) => row).sort((a, b) => (data.planets[a].score || [0])[0] - (data.planets[b].score || [0])[0]);
  const meaning = {
    score: "Score of each bin: 1 is perfect, dark is low (-1 and below alike).",
    pull: "Recovered minus true over sigma: red too deep, blue too shallow.",
    loss: "What the size of sigma costs: red where another sigma would have scored more, blue where it would have scored less.",
  };

  function drawCells() {
    const select = byId("cells-of");
    if (!select) return;
    const kind = select.value, of = (row) => (kind === "pull" ? decode(data.planets[row]).pull : data.cells[kind][row].map((v) => v / data.cell_steps));
    byId("cells-text").textContent = meaning[kind];
    charts.cells(byId("cells"), worstFirst.map(of), worstFirst.map((row) => data.planets[row].id), kind, wavelength);
  }

  function drawRest() {
    if (byId("by-bin")) charts.byBin(byId("by-bin"), data.by_bin, wavelength);
    if (byId("powers")) charts.powers(byId("powers"), data.powers);
    if (byId("latents")) {
      const depth = (planet) => mean(decode(planet).mu.slice(1)), scored = Boolean(data.planets[0].score);
      charts.latents(byId("latents"), data.map.places, data.planets.map((planet) => (scored ? planet.score[0] : depth(planet))), data.planets.map((planet) => planet.id), scored ? "score" : "depth, ppm");
    }
  }

  function drawAll() {
    if (shown) { charts.spectrum(byId("spectrum"), shown, wavelength, data.bands); readBin(); drawCurves(); }
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
  if (byId("cells")) byId("cells").on("plotly_click", (event) => jump(event.points[0].customdata));
  if (byId("latents")) byId("latents").on("plotly_click", (event) => jump(event.points[0].text));
  document.documentElement.dataset.drawn = "yes";
})();
