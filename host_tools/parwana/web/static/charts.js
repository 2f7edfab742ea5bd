// Replace the charts that came as pictures by ones that answer to a pointer. Without this file, or
// without uPlot, the pictures stay.
const css = name => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

function draw(figure, data) {
  const old = figure.querySelector("svg");
  const width = () => figure.clientWidth;
  const axis = { stroke: css("--quiet"), font: "12px system-ui", grid: { stroke: css("--line"), width: 1 } };
  const bars = data.kind === "bars";
  const paths = bars ? uPlot.paths.bars({ size: [0.76, 64] }) : undefined;
  const names = data.names;
  const options = {
    width: width(), height: 190, legend: { show: !bars, live: true },
    cursor: { drag: { x: !bars, y: false } },
    scales: { x: { time: false, range: bars ? [-0.5, names.length - 0.5] : undefined }, y: { range: (u, least, most) => [Math.min(0, least), most || 1] } },
    axes: [
      { ...axis, values: (u, ticks) => ticks.map(i => names[i] ?? "") , space: 70 },
      { ...axis, size: 56, values: (u, ticks) => ticks.map(v => +v.toFixed(2)) },
    ],
    series: [
      { label: data.axis, value: (u, i) => i == null ? "–" : names[i] ?? "" },
      ...data.series.map((one, i) => ({
        label: one.label, paths, value: (u, v) => v == null ? "–" : `${v} ${data.unit}`,
        stroke: css(data.band?.includes(i + 1) ? "--line" : ["--bar", "--due"][i - (data.band?.length ?? 0)]), width: bars ? 0 : 2,
        fill: bars ? css("--bar") : undefined, points: { show: !bars },
      })),
    ],
  };
  if (data.band) options.bands = [{ series: data.band, fill: css("--line") }];
  if (bars) {
    const told = figure.querySelector("figcaption"), said = told.textContent;
    options.hooks = { setCursor: [u => {
      const i = u.cursor.idx;
      told.textContent = i == null ? said : `${names[i]}: ${data.series[0].values[i]} ${data.unit}`;
    }] };
  }
  const holder = document.createElement("div");
  old.replaceWith(holder);
  const plot = new uPlot(options, [names.map((_, i) => i), ...data.series.map(s => s.values)], holder);
  holder.setAttribute("role", "img");
  holder.setAttribute("aria-label", old.getAttribute("aria-label"));
  new ResizeObserver(() => plot.setSize({ width: width(), height: 190 })).observe(figure);
}

if (window.uPlot) {
  for (const figure of document.querySelectorAll("figure[data-chart]")) {
    draw(figure, JSON.parse(figure.dataset.chart));
  }
}
