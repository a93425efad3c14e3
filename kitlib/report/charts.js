"use strict";
// Every chart of the page, drawn by plotly.js from plain numbers; colours are the style sheet's, light or dark.
// eslint-disable-next-line no-unused-vars
const charts = (() => {
  const css = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const touch = window.matchMedia("(pointer: coarse)").matches; // a finger scrolls the page, it does not zoom charts
  const narrow = () => document.documentElement.clientWidth < 600;
  const part = (i) => css(`--part${i}`);

  function axis(own) {
    return {
      color: css("--soft"), gridcolor: css("--line"), linecolor: css("--line"), zeroline: false, showline: true,
      ticks: "outside", tickcolor: css("--line"), ticklen: 4, automargin: true, fixedrange: touch, ...own,
      title: { text: own.title || "", standoff: 8, font: { size: 12 } },
    };
  }

  function draw(element, traces, layout) {
    const axes = Object.fromEntries(Object.entries(layout).filter(([name]) => /^[xy]axis\d*$/.test(name)).map(([name, own]) => [name, axis(own)]));
    const font = { family: getComputedStyle(document.body).fontFamily, size: 12, color: css("--ink") };
    const label = { bgcolor: css("--panel"), bordercolor: css("--soft"), font: { ...font, size: 13 } };
    const rest = { paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", font, hoverlabel: label };
    const room = { margin: { l: narrow() ? 44 : 56, r: 12, t: 10, b: 40, pad: 0 }, showlegend: false, hovermode: "closest" };
    const whole = { ...rest, ...room, dragmode: touch ? false : "zoom", ...layout, ...axes };
    return Plotly.react(element, traces, whole, { displayModeBar: false, responsive: true, doubleClick: "reset" });
  }

  const line = (x, y, colour, more = {}) => ({ x, y, mode: "lines", line: { color: colour, width: 1.8, ...more.line }, hoverinfo: "skip", ...more, ...(more.line && { line: { color: colour, width: 1.8, ...more.line } }) });
  const dashed = (x, y, more = {}) => line(x, y, css("--soft"), { line: { width: 1, dash: "dot" }, ...more });
  const dots = (x, y, size, more = {}) => ({ x, y, mode: "markers", marker: { color: css("--points"), size, opacity: .7 }, ...more });
  const between = (x, low, high, fill, more = {}) => [
    line(x, low, "rgba(0,0,0,0)", { line: { width: 0 }, ...more }),
    line(x, high, "rgba(0,0,0,0)", { line: { width: 0 }, fill: "tonexty", fillcolor: fill, ...more }),
  ];
  const robust = (values, share) => {
    const sizes = values.map(Math.abs).sort((a, b) => a - b);
    return sizes[Math.floor(share * (sizes.length - 1))] || 1;
  };

  // planet: { mu, sigma, truth, pull } of 283 bins, in ppm and sigmas
  function spectrum(element, planet, wavelength, bands) {
    const { mu, sigma, truth, pull } = planet, wl = wavelength.slice(1);
    const told = mu.map((v, i) => `${wavelength[i].toFixed(3)} µm<br>${v.toFixed(0)} ± ${sigma[i].toFixed(1)} ppm` + (truth ? `<br>true ${truth[i].toFixed(0)}, error ${pull[i].toFixed(1)} σ` : ""));
    const hover = { text: told.slice(1), hovertemplate: "%{text}<extra></extra>" };
    const right = { xaxis: "x2" }, low = truth ? .32 : 0;
    const airs = mu.slice(1), away = sigma.slice(1);
    const traces = [
      ...between(wl, airs.map((v, i) => v - away[i]), airs.map((v, i) => v + away[i]), css("--band"), right),
      line(wl, airs, css("--estimate"), { ...right, ...hover, hoverinfo: undefined }),
      { x: [0], y: [mu[0]], mode: "markers", marker: { color: css("--estimate"), size: 8 }, text: [told[0]], hovertemplate: "%{text}<extra></extra>",
        error_y: { type: "data", array: [sigma[0]], color: css("--estimate"), thickness: 2, width: 5 } },
    ];
    bands.forEach(([, ranges], row) => {
      const clipped = ranges.map(([a, b]) => [Math.max(a, wl[0]), Math.min(b, wl[wl.length - 1])]).filter(([a, b]) => b > a);
      traces.push(line(clipped.flatMap(([a, b]) => [a, b, null]), clipped.flatMap(() => [row, row, null]), css("--points"), { ...right, yaxis: "y3", line: { width: 8 }, opacity: .55 }));
    });
    if (truth) {
      traces.push(line(wl, truth.slice(1), css("--truth"), right));
      traces.push({ x: [0], y: [truth[0]], mode: "markers", marker: { symbol: "circle-open", color: css("--truth"), size: 12, line: { width: 2 } }, hoverinfo: "skip" });
      traces.push(dots(wl, pull.slice(1), 4, { ...right, ...hover, yaxis: "y2" }), dots([0], [pull[0]], 6, { yaxis: "y2", text: [told[0]], hovertemplate: "%{text}<extra></extra>" }));
      for (const side of [-2, 2]) traces.push(dashed([wl[0], wl[wl.length - 1]], [side, side], { ...right, yaxis: "y2" }), dashed([-1, 1], [side, side], { yaxis: "y2" }));
    }
    const bottom = truth ? "y2" : "y", split = narrow() ? .14 : .08;
    const layout = {
      xaxis: { domain: [0, split - .02], range: [-1, 1], tickvals: [0], ticktext: [wavelength[0].toFixed(1)], anchor: bottom, showgrid: false, fixedrange: true },
      xaxis2: { domain: [split, 1], range: [wl[0] - .02, wl[wl.length - 1] + .02], anchor: bottom, title: "wavelength, µm" },
      yaxis: { domain: [low, .82], title: "depth, ppm", tickformat: ",.0f" },
      yaxis3: { domain: [.84, 1], range: [bands.length - .4, -.6], tickvals: bands.map((_, i) => i), ticktext: bands.map(([name]) => name), showgrid: false, showline: false, ticks: "", fixedrange: true },
    };
    if (truth) {
      const reach = Math.max(3.2, ...pull.map(Math.abs)) * 1.05;
      layout.yaxis2 = { domain: [0, .24], range: [-reach, reach], title: narrow() ? "err / σ" : "error / σ", nticks: 5 };
    }
    return draw(element, traces, layout);
  }

  // Where the slider's bin is, in the chart of the spectrum.
  function mark(element, bin, wavelength) {
    const x = bin ? wavelength[bin] : 0, line = { color: css("--accent"), width: 1.5, dash: "dot" };
    return Plotly.relayout(element, { shapes: [{ type: "line", xref: bin ? "x2" : "x", yref: "paper", x0: x, x1: x, y0: 0, y1: .82, line }] });
  }

  // time in h; model and residual in ppm of the star
  function curve(element, time, model, residual) {
    const percent = (v) => 100 + v / 1e4, flux = model.map((v, i) => percent(v + residual[i]));
    const reach = 1.4 * robust(residual, .99), told = { hovertemplate: "%{x:.2f} h: %{y:.3f} %<extra></extra>" };
    const apart = { yaxis: "y2", hovertemplate: "%{x:.2f} h: %{y:.0f} ppm<extra></extra>" };
    const traces = [
      dots(time, flux, 3.5, told), line(time, model.map(percent), css("--model"), { line: { width: 2 } }),
      dots(time, residual, 3.5, apart), line([time[0], time[time.length - 1]], [0, 0], css("--model"), { yaxis: "y2" }),
    ];
    return draw(element, traces, {
      xaxis: { title: "time, h", anchor: "y2" },
      yaxis: { domain: [.36, 1], title: "flux, % of the star" },
      yaxis2: { domain: [0, .28], range: [-reach, reach], title: "residual, ppm", nticks: 4 },
    });
  }

  function coverage(element, parts, levels) {
    const percent = (values) => values.map((v) => 100 * v);
    const traces = parts.map((one, i) => line(percent(levels), percent(one.observed), part(i), { name: one.name, hoverinfo: undefined, hovertemplate: "%{x:.0f} % expected, %{y:.1f} % observed" }));
    return draw(element, [dashed([0, 100], [0, 100]), ...traces], { xaxis: { title: "expected, %", range: [0, 100] }, yaxis: { title: "observed, %", range: [0, 101] } });
  }

  function quantiles(element, parts) {
    const widest = parts.reduce((a, b) => (b.gaussian.length > a.gaussian.length ? b : a)), ends = [widest.gaussian[0], widest.gaussian[widest.gaussian.length - 1]];
    const traces = parts.map((one, i) => line(one.gaussian, one.quantiles, part(i), { name: one.name, hoverinfo: undefined, hovertemplate: "Gaussian %{x:.2f}, observed %{y:.2f}" }));
    return draw(element, [...between(widest.gaussian, widest.low, widest.high, css("--shade")), dashed(ends, ends), ...traces], { xaxis: { title: "unit Gaussian" }, yaxis: { title: "error over sigma" } });
  }

  function pit(element, one, index, limits) {
    const cells = one.pit.length, x = one.pit.map((_, i) => (i + .5) / cells);
    const bars = { type: "bar", x, y: one.pit.map((v) => 100 * v), width: .94 / cells, marker: { color: part(index), opacity: .65 }, hovertemplate: "%{y:.1f} %<extra></extra>" };
    const lines = limits.map((v) => dashed([0, 1], [100 * v, 100 * v]));
    return draw(element, [bars, ...lines], { xaxis: { title: "predicted probability below the truth", range: [0, 1] }, yaxis: { title: "share, %", rangemode: "tozero" } });
  }

  function byBin(element, bins, wavelength) {
    const wl = wavelength.slice(1), of = (name) => bins[name].slice(1), bottom = { yaxis: "y2" };
    const told = (what) => ({ hoverinfo: undefined, hovertemplate: `%{x:.3f} µm: ${what} %{y:.3f}<extra></extra>` });
    const traces = [
      line(wl, of("score"), css("--estimate"), told("score")), line(wl, of("accuracy"), css("--truth"), told("accuracy part")),
      line(wl, of("factor"), css("--points"), { ...bottom, ...told("factor") }), dashed([wl[0], wl[wl.length - 1]], [1, 1], bottom),
    ];
    return draw(element, traces, {
      xaxis: { title: "wavelength, µm", anchor: "y2" },
      yaxis: { domain: [.42, 1], title: "score" }, yaxis2: { domain: [0, .32], title: "factor", rangemode: "tozero", nticks: 4 },
    });
  }

  // rows: one array of 283 values a planet, the first on top; kind: score, pull or loss
  function cells(element, rows, names, kind, wavelength) {
    const words = { score: "score", pull: "error / σ", loss: "lost by σ" }[kind], flat = rows.flat();
    const sorted = [...flat].sort((a, b) => a - b), at = (share) => sorted[Math.floor(share * (sorted.length - 1))];
    const end = { score: 1, pull: 4, loss: Math.max(at(.98), .02) }[kind], start = { score: Math.max(Math.min(at(.02), .5), -1), pull: -4, loss: -end }[kind];
    const scale = kind === "score" ? "Cividis" : [[0, "#2166ac"], [.25, "#74add1"], [.5, "#f4f4f2"], [.75, "#f08a5d"], [1, "#a50f15"]];
    const shared = { type: "heatmap", y: names.map((_, i) => i), zmin: start, zmax: end, colorscale: scale, hoverongaps: false };
    const told = (x) => `planet %{customdata}<br>${x}: ${words} %{z:.2f}<extra></extra>`;
    const customdata = (count) => names.map((name) => Array(count).fill(name));
    const bar = { thickness: 12, outlinewidth: 0, tickfont: { color: css("--soft") }, title: { text: words, side: "right", font: { color: css("--soft") } } };
    const traces = [
      { ...shared, x: [0], z: rows.map((row) => row.slice(0, 1)), showscale: false, customdata: customdata(1), hovertemplate: told("FGS1") },
      { ...shared, x: wavelength.slice(1), z: rows.map((row) => row.slice(1)), xaxis: "x2", colorbar: bar, customdata: customdata(wavelength.length - 1), hovertemplate: told("%{x:.3f} µm") },
    ];
    const split = narrow() ? .14 : .06, few = names.length <= 30 && !narrow();
    return draw(element, traces, {
      xaxis: { domain: [0, split - .015], tickvals: [0], ticktext: [wavelength[0].toFixed(1)], showgrid: false, fixedrange: true },
      xaxis2: { domain: [split, 1], title: "wavelength, µm", showgrid: false },
      yaxis: { range: [names.length - .5, -.5], tickvals: few ? names.map((_, i) => i) : [], ticktext: few ? names : [], title: few ? "" : `${names.length} planets`, showgrid: false },
    });
  }

  function powers(element, found) {
    const traces = [dashed([Math.min(...found.map((f) => f.per_hour[0])), Math.max(...found.map((f) => f.per_hour[f.per_hour.length - 1]))], [1, 1])];
    found.forEach((one, i) => traces.push(
      ...between(one.per_hour, one.low, one.high, `${part(i)}33`),
      line(one.per_hour, one.median, part(i), { name: one.instrument, hoverinfo: undefined, hovertemplate: "%{x:.2f} / h: %{y:.2f}" }),
    ));
    const ticks = [.01, .02, .05, .1, .2, .5, 1, 2, 5, 10, 20, 50, 100, 200, 500], log = { type: "log", tickvals: ticks, ticktext: ticks.map(String) };
    return draw(element, traces, { xaxis: { ...log, title: "frequency, cycles per hour" }, yaxis: { ...log, title: "power / white noise" } });
  }

  function latents(element, places, colour, names, words) {
    const marker = { size: 9, color: colour, colorscale: "Cividis", line: { width: 1, color: css("--soft") } };
    const dot = { x: places.map((p) => p[0]), y: places.map((p) => p[1]), mode: "markers", marker, text: names, customdata: colour, hovertemplate: `planet %{text}<br>${words} %{customdata:.3f}<extra></extra>` };
    return draw(element, [dot], { xaxis: { showticklabels: false, ticks: "" }, yaxis: { showticklabels: false, ticks: "" } });
  }

  return { spectrum, mark, curve, coverage, quantiles, pit, byBin, cells, powers, latents };
})();
