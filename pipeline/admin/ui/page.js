'use strict';

const every = 1000; // milliseconds between two looks
const kept = 300;   // points of a line
const lowerIsBetter = /loss|mae|mse|rmse/;

// make builds an element; text always goes in as text, never as markup.
function make(tag, attributes, ...children) {
  const svg = /^(svg|g|path|rect|line|text|title|defs|marker|polyline|polygon)$/.test(tag);
  const e = svg ? document.createElementNS('http://www.w3.org/2000/svg', tag) : document.createElement(tag);
  for (const [k, v] of Object.entries(attributes || {})) e.setAttribute(k, v);
  for (const c of children) if (c !== null && c !== undefined) e.append(c);
  return e;
}

const whole = new Intl.NumberFormat('en', { maximumFractionDigits: 0 });
function count(v) { return v === null || v === undefined ? '–' : whole.format(v); }
function short(v) {
  if (v === null || v === undefined || Number.isNaN(v)) return '–';
  if (Number.isInteger(v)) return whole.format(v);
  const a = Math.abs(v);
  return a >= 1000 ? whole.format(v) : a >= 100 ? v.toFixed(1) : a >= 1 ? v.toFixed(3) : a >= 0.001 || a === 0 ? v.toFixed(4) : v.toExponential(2);
}
function span(seconds) {
  const s = Math.floor(seconds);
  if (s < 60) return s + ' s';
  if (s < 3600) return Math.floor(s / 60) + ' min ' + (s % 60) + ' s';
  return Math.floor(s / 3600) + ' h ' + Math.floor(s % 3600 / 60) + ' min';
}

// past holds for each pipeline the points that the lines are drawn from.
const past = new Map();
function points(name) {
  if (!past.has(name)) past.set(name, []);
  return past.get(name);
}
// A task publishes its numbers now and then, so a rate needs some seconds.
function rates(list) {
  const back = 3;
  return list.map((p, i) => {
    const q = list[Math.max(0, i - back)];
    return i === 0 || p.at_ms <= q.at_ms ? null : Math.max(0, (p.rows - q.rows) * 1000 / (p.at_ms - q.at_ms));
  });
}

// line draws numbers over time; null leaves a gap.
function line(values, i, box, low, high) {
  const step = box.w / Math.max(1, values.length - 1);
  let d = '', pen = false;
  values.forEach((v, k) => {
    if (v === null || v === undefined) { pen = false; return; }
    const x = box.x + k * step, y = box.y + box.h * (1 - (v - low) / (high - low));
    d += (pen ? 'L' : 'M') + x.toFixed(1) + ' ' + y.toFixed(1);
    pen = true;
  });
  return make('path', { d, class: 's' + i % 4 });
}
function bounds(lists) {
  let low = Infinity, high = -Infinity;
  for (const l of lists) for (const v of l) if (v !== null && v !== undefined) { low = Math.min(low, v); high = Math.max(high, v); }
  if (low > high) return null;
  if (low === high) { const pad = Math.abs(low) * 0.05 || 1; return [low - pad, high + pad]; }
  const pad = (high - low) * 0.06;
  return [low - pad, high + pad];
}
function spark(values) {
  const box = { x: 0, y: 2, w: 240, h: 30 };
  const svg = make('svg', { class: 'spark', viewBox: '0 0 240 34', preserveAspectRatio: 'none', 'aria-hidden': 'true' });
  const top = Math.max(1, ...values.filter(v => v !== null));
  const path = line(values, 0, box, 0, top);
  const d = path.getAttribute('d');
  if (d.includes('L') && d.lastIndexOf('M') === 0) {
    const step = box.w / Math.max(1, values.length - 1);
    const first = values.findIndex(v => v !== null);
    svg.append(make('path', { class: 'f0', d: d + 'L' + (values.length - 1) * step + ' 34L' + first * step + ' 34Z' }));
  }
  svg.append(path);
  return svg;
}

function card(title, value, unit, values) {
  const big = make('div', { class: 'big' }, value, unit ? make('small', null, ' ' + unit) : null);
  return make('div', { class: 'card' }, make('h3', null, title), big, values ? spark(values) : null);
}

// trim leaves out what came before any line had a value.
function trim(lists) {
  let first = Infinity;
  for (const l of lists) { const k = l.findIndex(v => v !== null && v !== undefined); if (k >= 0) first = Math.min(first, k); }
  return first === Infinity ? 0 : first;
}

// chart shows one metric of several nodes, with marks where drifts were found.
function chart(metric, series, marks) {
  const from = trim(series.map(s => s.values));
  const lists = series.map(s => s.values.slice(from));
  const wide = Math.min(540, Math.max(240, innerWidth - 70)); // a narrow window gets a narrow chart, not small print
  const box = { x: 44, y: 6, w: wide - 50, h: 110 };
  const svg = make('svg', { class: 'chart', viewBox: `0 0 ${wide} 132`, role: 'img', 'aria-label': metric + ' over time' });
  const b = bounds(lists);
  if (b) {
    const digits = Math.min(9, Math.max(3, 1 + Math.ceil(-Math.log10(b[1] - b[0])))); // enough to tell the lines apart
    for (const f of [0, 0.5, 1]) {
      const y = box.y + box.h * f;
      svg.append(make('line', { class: 'grid', x1: box.x, x2: box.x + box.w, y1: y, y2: y }));
      svg.append(make('text', { x: box.x - 6, y: y + 4, 'text-anchor': 'end' }, (b[1] - (b[1] - b[0]) * f).toFixed(digits)));
    }
    const step = box.w / Math.max(1, lists[0].length - 1);
    for (const m of marks) if (m >= from) {
      const x = box.x + (m - from) * step;
      svg.append(make('line', { class: 'mark', x1: x, x2: x, y1: box.y, y2: box.y + box.h }));
    }
    lists.forEach((l, i) => svg.append(line(l, i, box, b[0], b[1])));
    svg.append(make('text', { x: box.x, y: 130 }, span((lists[0].length - 1) * every / 1000) + ' ago'));
    svg.append(make('text', { x: box.x + box.w, y: 130, 'text-anchor': 'end' }, 'now'));
  }
  const legend = make('div', { class: 'legend' });
  series.forEach((s, i) => legend.append(make('span', null, make('span', { class: 'key k' + i % 4 }), s.node, make('b', null, short(s.now)))));
  const better = lowerIsBetter.test(metric) ? ' (lower is better)' : '';
  return make('div', { class: 'card' }, make('h3', null, metric + better), svg, legend);
}

// flow draws the graph in columns: every box behind those it reads from.
function flow(g) {
  const depth = new Map(), by = new Map(g.nodes.map(n => [n.name, n]));
  const names = [...by.keys()], edges = g.edges;
  for (const n of names) depth.set(n, 0);
  for (let pass = 0; pass < names.length; pass++) {
    let moved = false;
    for (const e of edges) if (depth.get(e.to) < depth.get(e.from) + 1) { depth.set(e.to, depth.get(e.from) + 1); moved = true; }
    if (!moved) break;
  }
  const last = Math.max(...depth.values());
  for (const n of names) if (by.get(n).kind === 'sink') depth.set(n, last);
  // An arrow that passes a column on its way has a place of its own there.
  const columns = Array.from({ length: last + 1 }, () => []), ways = new Map(), reads = new Map(names.map(n => [n, []]));
  for (const n of names) columns[depth.get(n)].push(n);
  for (const e of edges) {
    const way = [e.from];
    for (let c = depth.get(e.from) + 1; c < depth.get(e.to); c++) {
      const place = JSON.stringify([e.from, e.to, c]);
      columns[c].push(place);
      reads.set(place, [way[way.length - 1]]);
      way.push(place);
    }
    reads.get(e.to).push(way[way.length - 1]);
    ways.set(e, [...way, e.to]);
  }
  const w = 150, h = 44, gapX = 46, gapY = 14, thin = 10, middle = new Map();
  const tall = n => by.has(n) ? h : thin;
  const sizes = columns.map(column => column.reduce((sum, n) => sum + tall(n) + gapY, -gapY));
  const height = Math.max(...sizes) + 4, width = columns.length * w + last * gapX + 4;
  columns.forEach((column, c) => { // what stands in a column is in the order of what it reads from
    const want = n => reads.get(n).reduce((sum, up) => sum + middle.get(up), 0) / (reads.get(n).length || 1);
    let top = (height - sizes[c]) / 2;
    column.map((n, i) => [want(n), i, n]).sort((p, q) => p[0] - q[0] || p[1] - q[1]).forEach(([, , n]) => { middle.set(n, top + tall(n) / 2); top += tall(n) + gapY; });
  });
  const at = new Map();
  columns.forEach((column, c) => column.forEach(n => at.set(n, 2 + c * (w + gapX))));
  const x = n => at.get(n), y = n => middle.get(n) - h / 2;
  const svg = make('svg', { viewBox: `0 0 ${width} ${height}`, width, height, role: 'img', 'aria-label': 'graph of pipeline ' + g.pipeline },
    make('defs', null, make('marker', { id: 'tip', viewBox: '0 0 8 8', refX: 7, refY: 4, markerWidth: 7, markerHeight: 7, orient: 'auto' }, make('path', { d: 'M0 0L8 4L0 8Z' }))));
  for (const e of edges) {
    const way = ways.get(e), m = gapX / 2;
    let d = `M${x(e.from) + w} ${middle.get(e.from)}`;
    for (let i = 1; i < way.length; i++) {
      const x2 = x(way[i]) - (i === way.length - 1 ? 1 : 0), x1 = x(way[i - 1]) + w, y1 = middle.get(way[i - 1]), y2 = middle.get(way[i]);
      d += `C${x1 + m} ${y1} ${x2 - m} ${y2} ${x2} ${y2}`;
      if (i < way.length - 1) d += `H${x2 + w}`;
    }
    svg.append(make('path', { d, 'marker-end': 'url(#tip)' }, make('title', null, e.columns.map(c => c.name + ': ' + c.type).join('\n'))));
  }
  const clip = (s, n) => s.length > n ? s.slice(0, n - 1) + '…' : s;
  for (const n of names) {
    const node = by.get(n), about = node.kind === 'operator' ? node.type : node.topic;
    svg.append(make('g', { class: node.kind },
      make('title', null, node.name + ': ' + (node.kind === 'operator' ? '' : 'topic ') + about),
      make('rect', { x: x(n), y: y(n), width: w, height: h, rx: node.kind === 'operator' ? 7 : 20 }),
      make('text', { class: 'name', x: x(n) + w / 2, y: y(n) + 19, 'text-anchor': 'middle' }, clip(node.name, 20)),
      make('text', { x: x(n) + w / 2, y: y(n) + 34, 'text-anchor': 'middle' }, clip(about, 24))));
  }
  return make('div', { class: 'card flow' }, make('h3', null, 'Graph'), scroll('graph of ' + g.pipeline, { class: 'scroll' }, svg));
}

// scroll is what can be scrolled sideways, by the keyboard too; replace finds it again by its name.
function scroll(name, attributes, ...children) {
  return make('div', { ...attributes, tabindex: 0, role: 'region', 'aria-label': name, 'data-name': name }, ...children);
}

// replace shows what build returns, and leaves the reader where he was. What is shown now is looked at first: build moves the graph.
function replace(main, build) {
  const named = () => [...main.querySelectorAll('[data-name]')];
  const focus = document.activeElement ? document.activeElement.dataset.name : undefined;
  const at = named().map(e => [e.dataset.name, e.scrollLeft]).filter(x => x[1] > 0);
  main.replaceChildren(...build());
  for (const e of named()) {
    for (const [name, left] of at) if (e.dataset.name === name) e.scrollLeft = left;
    if (focus && e.dataset.name === focus) e.focus({ preventScroll: true });
  }
}

function table(pipeline, title, heads, rows) {
  const cell = (tag, v, num) => make(tag, num ? { class: 'num' } : null, v);
  return scroll(pipeline + ': ' + title, { class: 'card scroll' }, make('h3', null, title), make('table', null,
    make('thead', null, make('tr', null, ...heads.map(h => cell('th', h.text, h.num)))),
    make('tbody', null, ...rows.map(r => make('tr', null, ...r.map((v, i) => cell('td', v, heads[i].num)))))));
}

const graphs = new Map(); // drawn
const shapes = new Map(); // as the process says

// An evaluator with `by` reports a metric of a segment as METRIC[SEGMENT].
const segmented = /^([^[]+)\[([^]*)\]$/;

// overall are the names of the numbers that are of no segment.
function overall(values) { return Object.keys(values).filter(k => !segmented.test(k) && k !== 'rows_beyond_segments'); }

// segments are [segment, its numbers], those with most rows first.
function segments(values) {
  const by = new Map();
  for (const [k, v] of Object.entries(values)) {
    const m = segmented.exec(k);
    if (!m) continue;
    if (!by.has(m[2])) by.set(m[2], {});
    by.get(m[2])[m[1]] = v;
  }
  return [...by].sort((a, b) => (b[1].rows || 0) - (a[1].rows || 0));
}

function pipelineView(status, metrics) {
  const list = points(status.pipeline), rate = rates(list);
  const view = make('section', null, make('h2', null, status.pipeline,
    make('span', { class: 'quiet' }, `${status.tasks_live} of ${status.tasks.length} tasks live · brokers ${status.brokers.join(', ')}`)));
  const judges = judgesFirst(status.pipeline, metrics.filter(n => n.role === 'evaluator')), detectors = metrics.filter(n => n.role === 'detector');
  const drifts = list.map(p => detectors.reduce((sum, d) => sum + ((p.nodes[d.node] || {}).drifts || 0), 0));
  const marks = [];
  drifts.forEach((v, i) => { if (i > 0 && v > drifts[i - 1]) marks.push(i); });
  const now = rate.length ? rate[rate.length - 1] : null;
  view.append(make('div', { class: 'cards' },
    card('Rows a second', now === null ? '–' : count(now), '', rate),
    card('Lag', count(status.lag), 'records', list.map(p => p.lag)),
    card('Rows', count(status.rows), count(status.rejected) + ' rejected', list.map(p => p.rows)),
    detectors.length
      ? card('Drifts', count(drifts.length ? drifts[drifts.length - 1] : 0), detectors.length > 1 ? detectors.length + ' detectors' : 'found by ' + detectors[0].node, drifts)
      : card('Outputs', count(status.outputs), 'records', null)));

  const names = [...new Set(judges.flatMap(n => overall(n.all)))].filter(m => m !== 'rows');
  const charts = make('div', { class: 'two stack' });
  for (const m of names) {
    const series = judges.filter(n => m in n.all).map(n => ({ node: n.node, now: n.all[m], values: list.map(p => (p.nodes[n.node] || {})[m]) }));
    if (series.some(s => s.now !== null)) charts.append(chart(m, series, marks));
  }
  if (charts.childElementCount) view.append(charts);
  const rest = make('div', { class: 'stack' });
  if (graphs.has(status.pipeline)) rest.append(graphs.get(status.pipeline));
  const others = metrics.filter(n => n.role !== 'evaluator' && n.role !== 'detector');
  if (others.length) {
    const values = [...new Set(others.flatMap(n => Object.keys(n.all)))];
    rest.append(table(status.pipeline, 'Models', [{ text: 'node' }, { text: 'type' }, ...values.map(v => ({ text: v, num: true }))],
      others.map(n => [n.node, n.type, ...values.map(v => short(n.all[v]))])));
  }
  if (detectors.length > 1) {
    rest.append(table(status.pipeline, 'Detectors', [{ text: 'node' }, { text: 'type' }, { text: 'drifts', num: true }],
      detectors.map(n => [n.node, n.type, count(n.all.drifts)])));
  }
  const pairs = make('div', { class: 'two' });
  for (const n of judges) {
    const parts = segments(n.all), most = 50;
    if (!parts.length) continue;
    const values = overall(n.all);
    const title = n.node + ', segment by segment' + (parts.length > most ? ` (the ${most} with most rows of ${count(parts.length)})` : '');
    const beyond = n.all.rows_beyond_segments ? [['(others)', { rows: n.all.rows_beyond_segments }]] : [];
    pairs.append(table(status.pipeline, title, [{ text: 'segment' }, ...values.map(v => ({ text: v, num: true }))],
      [...parts.slice(0, most), ...beyond].map(([name, of]) => [name, ...values.map(v => short(of[v]))])));
  }
  for (const n of judges.filter(n => n.tasks.length > 1)) {
    const values = overall(n.tasks[0].values);
    pairs.append(table(status.pipeline, n.node + ', task by task', [{ text: 'task' }, ...values.map(v => ({ text: v, num: true }))],
      n.tasks.map(t => [String(t.task), ...values.map(v => short(t.values[v]))])));
  }
  if (pairs.childElementCount) rest.append(make('div', { class: 'below' }, pairs));
  rest.append(table(status.pipeline, 'Tasks', [{ text: 'task' }, { text: 'phase' }, { text: 'step', num: true }, { text: 'rows', num: true }, { text: 'rejected', num: true },
    { text: 'outputs', num: true }, { text: 'lag', num: true }, { text: 'event time' }, { text: 'partitions (next offset)' }],
    status.tasks.map(t => [String(t.task), make('span', { class: 'phase ' + t.phase }, t.phase), count(t.step), count(t.rows), count(t.rejected), count(t.outputs), count(t.lag),
      t.watermark_ms ? new Date(t.watermark_ms).toISOString().slice(0, 16).replace('T', ' ') : '–',
      (t.partitions || []).map(p => `${p.topic}[${p.partition}] ${count(p.next)}`).join(', ')])));
  view.append(rest);
  return view;
}

// judgesFirst puts what judges a model before what judges a baseline.
function judgesFirst(pipeline, judges) {
  const g = shapes.get(pipeline);
  if (!g) return judges;
  const type = new Map(g.nodes.map(n => [n.name, n.type]));
  const baseline = n => g.edges.some(e => e.to === n.node && type.get(e.from) === 'no_change') ? 1 : 0;
  return judges.map((n, i) => [baseline(n), i, n]).sort((p, q) => p[0] - q[0] || p[1] - q[1]).map(x => x[2]);
}

function say(text, kind) {
  const e = document.getElementById('state');
  e.textContent = text;
  e.className = 'pill ' + kind;
}
function notice(text) {
  const e = document.getElementById('notice');
  e.textContent = text;
  e.hidden = !text;
}

async function get(path, any) {
  const r = await fetch(path, { cache: 'no-store', signal: AbortSignal.timeout(5000) });
  if (!r.ok && !any) throw new Error(path + ' answers ' + r.status);
  return r.json();
}

let known = '', seen = Date.now(), gone = false;

async function look() {
  try {
    const [status, metrics, ready] = await Promise.all([get('api/status'), get('api/metrics'), get('readyz', true)]);
    const names = status.pipelines.map(p => p.pipeline).join(' ');
    if (names !== known || gone) await begin(names);
    const byName = new Map(metrics.pipelines.map(p => [p.pipeline, p.nodes]));
    for (const p of status.pipelines) {
      const list = points(p.pipeline), nodes = {};
      for (const n of byName.get(p.pipeline) || []) nodes[n.node] = n.all;
      if (!list.length || status.now_ms - list[list.length - 1].at_ms > every / 2) list.push({ at_ms: status.now_ms, rows: p.rows, lag: p.lag, nodes });
      if (list.length > kept) list.splice(0, list.length - kept);
    }
    replace(document.getElementById('main'), () => status.pipelines.length
      ? status.pipelines.map(p => pipelineView(p, byName.get(p.pipeline) || []))
      : [make('p', { class: 'quiet' }, 'No pipeline has started yet.')]);
    document.getElementById('facts').textContent = version + ' · up ' + span(status.uptime_seconds);
    document.body.className = '';
    const failed = (ready.reasons || []).map(r => (r.task !== undefined ? `task ${r.task}: ` : '') + r.reason);
    if (ready.status === 'ready') say('ready', 'good'); else say(ready.status || 'not ready', 'bad');
    notice(failed.slice(0, 4).join('; '));
    seen = Date.now();
    gone = false;
  } catch (e) {
    gone = true;
    document.body.className = 'gone';
    say('no answer', 'bad');
    notice(`The process has not answered for ${span((Date.now() - seen) / 1000)} (${e.message}). What is shown is old; trying on.`);
  }
  setTimeout(look, document.hidden ? 5 * every : every);
}

let version = '';

// begin reads what rarely changes, and the past that the process kept.
async function begin(names) {
  const [v, g, h] = await Promise.all([get('api/version'), get('api/graph'), get('api/history')]);
  version = v.version + ' · ' + v.go;
  past.clear();
  graphs.clear();
  shapes.clear();
  for (const p of h.pipelines) past.set(p.pipeline, p.samples.slice(-kept));
  for (const one of g.pipelines) { graphs.set(one.pipeline, flow(one)); shapes.set(one.pipeline, one); }
  known = names;
}

look();
