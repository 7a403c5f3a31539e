"use strict";
// The dashboard's own script: live updates, charts, keys.  It holds no state but the open details.

(() => {
  const live = document.getElementById("connection");
  let due = false;
  let last = 0;

  function setConnection(text, lost) {
    if (!live) return;
    live.textContent = text;
    live.classList.toggle("lost", lost);
  }

  // At most one update in two seconds, and none while the page is hidden or a chart is in use.
  function update() {
    due = true;
    const wait = Math.max(0, last + 2000 - Date.now());
    window.setTimeout(() => {
      if (!due || document.hidden || document.querySelector(".chart:hover")) return;
      due = false;
      last = Date.now();
      document.body.dispatchEvent(new Event("changed"));
    }, wait);
  }

  if (document.getElementById("live")) {
    const source = new EventSource("/updates");
    source.addEventListener("changed", () => { setConnection("Live", false); update(); });
    source.addEventListener("open", () => setConnection("Live", false));
    source.addEventListener("error", () =>
      setConnection("No connection to the dashboard; trying again", true));
    document.addEventListener("visibilitychange", () => { if (!document.hidden) update(); });
    document.addEventListener("mouseout", () => { if (due) update(); });
    window.addEventListener("beforeunload", () => source.close());
  }

  // Details that a person opened stay open over an update.
  let opened = [];
  document.addEventListener("htmx:beforeSwap", () => {
    opened = [...document.querySelectorAll("details[open][id]")].map((one) => one.id);
  });
  document.addEventListener("htmx:afterSwap", () => {
    for (const id of opened) document.getElementById(id)?.setAttribute("open", "");
    drawAll();
  });

  document.addEventListener("keydown", (event) => {
    const field = event.target.closest("input, textarea, select");
    if (event.key === "/" && !field) {
      const search = document.getElementById("search");
      if (search) { event.preventDefault(); search.focus(); search.select(); }
    }
  });

  // The token and the name of the person stay in this tab only.
  for (const name of ["token", "user"]) {
    for (const field of document.querySelectorAll(`[data-kept="${name}"]`)) {
      field.value = window.sessionStorage.getItem(`driftline-${name}`) ?? field.value;
      field.addEventListener("change", () =>
        window.sessionStorage.setItem(`driftline-${name}`, field.value));
    }
  }

  document.addEventListener("click", (event) => {
    const button = event.target.closest("[data-copy]");
    if (!button) return;
    navigator.clipboard?.writeText(button.dataset.copy).then(() => {
      const before = button.textContent;
      button.textContent = "Copied";
      window.setTimeout(() => { button.textContent = before; }, 1500);
    });
  });

  function colour(name) {
    return window.getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  }

  // Vertical lines for deploys, retrains and detections, and shaded bands for episodes.
  function marksPlugin(marks, bands, limits) {
    return {
      hooks: {
        drawClear: (u) => {
          const { ctx, bbox } = u;
          ctx.save();
          ctx.globalAlpha = 0.12;
          for (const band of bands) {
            const from = Math.max(bbox.left, u.valToPos(band.from, "x", true));
            const to = Math.min(bbox.left + bbox.width, u.valToPos(band.to, "x", true));
            ctx.fillStyle = colour(`--${band.kind}`);
            if (to > from) ctx.fillRect(from, bbox.top, to - from, bbox.height);
          }
          ctx.globalAlpha = 1;
          ctx.setLineDash([5 * devicePixelRatio, 4 * devicePixelRatio]);
          ctx.lineWidth = devicePixelRatio;
          for (const [kind, value] of Object.entries(limits)) {
            const y = Math.round(u.valToPos(value, "y", true));
            if (y < bbox.top || y > bbox.top + bbox.height) continue;
            ctx.strokeStyle = colour(`--${kind}`);
            ctx.beginPath();
            ctx.moveTo(bbox.left, y);
            ctx.lineTo(bbox.left + bbox.width, y);
            ctx.stroke();
          }
          ctx.restore();
        },
        draw: (u) => {
          const { ctx, bbox } = u;
          ctx.save();
          ctx.font = `${11 * devicePixelRatio}px system-ui, sans-serif`;
          ctx.lineWidth = devicePixelRatio;
          let lastX = -Infinity;
          for (const mark of marks) {
            const x = Math.round(u.valToPos(mark.at, "x", true));
            if (x < bbox.left || x > bbox.left + bbox.width) continue;
            ctx.strokeStyle = ctx.fillStyle = colour(`--${mark.kind}`);
            ctx.setLineDash(mark.kind === "version" ? [] : [3 * devicePixelRatio, 3 * devicePixelRatio]);
            ctx.beginPath();
            ctx.moveTo(x, bbox.top);
            ctx.lineTo(x, bbox.top + bbox.height);
            ctx.stroke();
            if (mark.text && x - lastX > 60 * devicePixelRatio) {
              ctx.fillText(mark.text, x + 4 * devicePixelRatio, bbox.top + 11 * devicePixelRatio);
              lastX = x;
            }
          }
          ctx.restore();
        },
      },
    };
  }

  // Days, or hours where the range is short; always UTC.
  function dates(_u, ticks) {
    const hours = ticks.length > 1 && ticks[1] - ticks[0] < 86400;
    const day = { day: "numeric", month: "short", timeZone: "UTC" };
    const hour = { hour: "2-digit", minute: "2-digit", hourCycle: "h23", timeZone: "UTC" };
    let before = "";
    return ticks.map((tick) => {
      const moment = new Date(tick * 1000);
      const date = moment.toLocaleDateString("en-GB", day);
      const text = !hours ? date
        : moment.toLocaleTimeString("en-GB", hour) + (date === before ? "" : `\n${date}`);
      before = date;
      return text;
    });
  }

  function draw(element) {
    const spec = JSON.parse(element.dataset.chart);
    element.replaceChildren();
    const axis = {
      stroke: colour("--muted"), grid: { stroke: colour("--line"), width: 1 },
      ticks: { show: false }, font: "11px system-ui, sans-serif",
    };
    const percent = (value) => value === null || value === undefined ? "–" : `${Number((100 * value).toPrecision(3))} %`;
    const plain = (value) => value === null || value === undefined ? "–" : Number(value.toPrecision(3)).toLocaleString("en");
    const format = spec.unit === "percent" ? percent : plain;
    const options = {
      width: element.clientWidth, height: spec.height ?? 180,
      tzDate: (seconds) => uPlot.tzDate(new Date(seconds * 1000), "UTC"),
      cursor: { points: { size: 6 }, y: false },
      scales: { x: { time: true }, y: { range: (_u, least, most) => {
        const limits = spec.zero === false ? Object.values(spec.limits ?? {}) : [];
        const low = Math.min(least ?? 0, ...limits), high = Math.max(most ?? 0, ...limits);
        const top = Math.max(high ?? 0, spec.top ?? 0) * 1.12 || 1;
        return [spec.zero === false ? (low ?? 0) - 0.12 * Math.abs((high ?? 0) - (low ?? 0) || 1) : 0, top];
      } } },
      axes: [{ ...axis, space: 74, values: dates }, { ...axis, size: 56, space: 28, values: (_u, ticks) => ticks.map(format) }],
      legend: { show: spec.legend !== false },
      series: [
        { label: "UTC", value: "{YYYY}-{MM}-{DD} {HH}:{mm}" },
        ...spec.series.map((one) => ({
          label: one.label, stroke: colour(`--${one.kind}`), width: one.thin ? 1 : 1.75,
          dash: one.dash ? [5, 4] : undefined, spanGaps: false,
          fill: one.fill ? colour(`--${one.kind}-soft`) : undefined,
          points: { show: spec.x.length < 50 && !one.thin, size: 4 },
          value: (_u, value) => format(value),
        })),
      ],
      plugins: [marksPlugin(spec.marks ?? [], spec.bands ?? [], spec.limits ?? {})],
    };
    new uPlot(options, [spec.x, ...spec.series.map((one) => one.y)], element);
  }

  function drawAll() {
    if (typeof uPlot === "undefined") return;
    for (const element of document.querySelectorAll(".chart")) draw(element);
  }

  drawAll();
  window.matchMedia("(prefers-color-scheme: dark)").addEventListener("change", drawAll);
  let resizing = 0;
  window.addEventListener("resize", () => {
    window.clearTimeout(resizing);
    resizing = window.setTimeout(drawAll, 150);
  });
})();
