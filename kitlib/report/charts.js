"use strict";
// Draws the figures that the payload holds (their definitions: planetcharts.py, runcharts.py), light or dark, and saves them.
// eslint-disable-next-line no-unused-vars
const charts = ((payload) => {
  const touch = window.matchMedia("(pointer: coarse)").matches; // a finger scrolls the page, it does not zoom charts
  const night = window.matchMedia("(prefers-color-scheme: dark)");
  const narrow = () => document.documentElement.clientWidth < 600;
  const fellow = new Map(payload.colours);
  const decoded = new Map();

  // A column of packing.py as numbers; null where there is none.
  function column(number) {
    if (decoded.has(number)) return decoded.get(number);
    let values = payload.columns[number];
    if (!Array.isArray(values)) {
      const { b, o, s, n } = values, bytes = Uint8Array.from(atob(b), (c) => c.charCodeAt(0));
      const missing = n ? 255 : 65535, codes = n ? bytes : new Uint16Array(bytes.buffer);
      values = Array.from(codes, (code) => (code === missing ? null : o + s * code));
      if (n) values = Array.from({ length: values.length / n }, (_, row) => values.slice(row * n, (row + 1) * n));
    }
    decoded.set(number, values);
    return values;
  }

  // The figure of a skeleton and its columns; `dark`: each colour exchanged for its fellow.
  function built([skeleton, columns], dark) {
    const fill = (part) => {
      if (Array.isArray(part)) return part.map(fill);
      if (part && typeof part === "object") return "$" in part ? column(columns[part.$]) : Object.fromEntries(Object.entries(part).map(([key, one]) => [key, fill(one)]));
      return dark && typeof part === "string" && fellow.has(part) ? fellow.get(part) : part;
    };
    return fill(payload.skeletons[skeleton]);
  }

  const recoloured = (part) => (Array.isArray(part) ? part.map(recoloured) : part && typeof part === "object" ? Object.fromEntries(Object.entries(part).map(([key, one]) => [key, recoloured(one)])) : fellow.get(part) || part);

  function draw(element, packed) {
    const { data, layout } = built(packed, night.matches);
    delete layout.title; // the page has captions
    const small = narrow(), whole = { ...layout, template: night.matches ? recoloured(payload.template) : payload.template, dragmode: touch ? false : "zoom" };
    if (small) whole.margin = { l: 46, r: 8, b: 40, t: 34 };
    if (small && whole.xaxis2) whole.xaxis2.tickvals = [2.5, 3, 3.5]; // 2 would touch the 0.7 of FGS1
    for (const name of Object.keys(whole).filter((key) => /^[xy]axis\d*$/.test(key))) {
      if (touch) whole[name].fixedrange = true;
      if (small && layout.meta && layout.meta.along === name) Object.assign(whole[name], { showticklabels: false, title: { text: "planets" } });
    }
    return Plotly.react(element, data, whole, { displayModeBar: false, responsive: true, doubleClick: "reset" });
  }

  // A line where the slider's bin is, in the chart of the spectrum.
  function mark(element, x, first) {
    const line = { color: getComputedStyle(document.documentElement).getPropertyValue("--accent").trim(), width: 1.5, dash: "dot" };
    return Plotly.relayout(element, { shapes: [{ type: "line", xref: first ? "x" : "x2", yref: "paper", x0: x, x1: x, y0: 0, y1: .82, line }] });
  }

  // What a drawn figure shows as a table: a line a point, a cell of a heat map each.
  function table(element) {
    const rows = [["series", "x", "y", "error", "z"]];
    for (const trace of element.data.filter((one) => one.name && !/lower end$/.test(one.name))) {
      const at = (i) => [trace.text && trace.text[i] ? trace.text[i] : trace.x[i]], bars = (trace.error_y && trace.error_y.array) || trace.customdata || [];
      if (trace.z) trace.z.forEach((cells, row) => cells.forEach((z, i) => rows.push([trace.name, trace.x[i], trace.y[row], "", z])));
      else trace.x.forEach((_, i) => rows.push([trace.name, ...at(i), trace.y[i], bars[i], ""]));
    }
    const cell = (v) => (v === null || v === undefined ? "" : typeof v === "number" ? String(Number(v.toPrecision(8))) : `"${String(v).replace(/"/g, '""')}"`);
    return rows.map((row) => row.map(cell).join(",")).join("\r\n") + "\r\n";
  }

  function keep(blob, name) {
    const link = document.createElement("a");
    link.href = URL.createObjectURL(blob);
    link.download = name;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 10000);
  }

  async function save(element, kind, name) {
    if (kind === "csv") return keep(new Blob([table(element)], { type: "text/csv" }), `${name}.csv`);
    const { width, height } = element.getBoundingClientRect();
    return Plotly.downloadImage(element, { format: kind, filename: name, width: Math.max(width, 700), height, scale: kind === "png" ? 2 : 1 });
  }

  return { payload, draw, mark, save, table };
})(JSON.parse(document.getElementById("payload").textContent));
