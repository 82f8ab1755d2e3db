// Charts of the last 15 minutes, drawn as SVG: areas on top of each other, or lines. Samples are put together in steps of ten seconds.
'use strict'

const STEP = 10_000
const STEPS_MAX = 90
const STEPS_MIN = 13
const WIDTH = 450
const HEIGHT = 120
const samples = []
let bounds = []

// The steps with their samples. A process that began a short time ago has fewer of them, so that they are not too small to be seen.
const steps = () => {
  const step = ({ at }) => Math.floor(at / STEP)
  const last = step(samples.at(-1) || { at: Date.now() })
  const length = Math.min(STEPS_MAX, Math.max(STEPS_MIN, samples.length ? last - step(samples[0]) + 1 : 0))
  const all = Array.from({ length }, (_, index) => ({ at: (last - length + 1 + index) * STEP, samples: [] }))
  for (const sample of samples) all[step(sample) - last + length - 1]?.samples.push(sample)
  return all
}

const seconds = (list) => sum(list.map((sample) => sample.seconds))
const counted = (list, group) => {
  const all = {}
  for (const sample of list) for (const [name, number] of Object.entries(sample[group] || {})) all[name] = (all[name] || 0) + number
  return all
}
const latest = (list, of) => list.length ? of(list.at(-1)) : null
const matching = (numbers, pattern) => sum(Object.entries(numbers).filter(([name]) => pattern.test(name)).map(([, number]) => number))
const PUBLISHERS = /publisher|^whip$/
const SUBSCRIBERS = /subscriber|^whep$/

// The setup time in milliseconds that a share `part` of the sessions did not exceed, or null without sessions.
const quantile = (list, part) => {
  const buckets = list.reduce((all, { setup }) => setup ? setup.map((number, index) => number + (all[index] || 0)) : all, [])
  const rank = part * sum(buckets)
  let below = 0
  for (const [index, number] of buckets.entries()) {
    if (number > 0 && below + number >= rank) {
      const lower = index ? bounds[index - 1] : 0
      const upper = bounds[index] ?? lower
      return (lower + (upper - lower) * (rank - below) / number) * 1000
    }
    below += number
  }
  return null
}
const served = (list) => {
  const asked = counted(list, 'asked')
  const all = (asked.served || 0) + (asked.failed || 0)
  return all ? (asked.served || 0) / all : null
}

// The names with the greatest sums, at most five, and "others" for the rest.
const greatest = (group, words) => {
  const all = Object.entries(counted(samples, group)).sort((a, b) => b[1] - a[1])
  const named = all.slice(0, all.length > 6 ? 5 : 6).map(([name]) => name)
  const rest = all.slice(named.length).map(([name]) => name)
  const total = (names) => sum(names.map((name) => counted(samples, group)[name] || 0))
  const per = (list, names) => sum(names.map((name) => counted(list, group)[name] || 0)) / (seconds(list) / 60)
  const series = named.map((name) => ({ name: words(name), of: (list) => per(list, [name]), total: total([name]) }))
  if (rest.length) series.push({ name: 'others', of: (list) => per(list, rest), total: total(rest) })
  return series
}

const perSecond = (pattern) => (list) => matching(counted(list, 'began'), pattern) / seconds(list)
const open = (pattern) => (list) => latest(list, (sample) => matching(sample.active, pattern))
const bits = (side) => (list) => sum(list.map((sample) => sample.bytes[side])) * 8 / seconds(list) / 1e6
const CHARTS = [
  { id: 'began', title: 'New sessions', unit: 'a second', stacked: true, format: round, series: () => [{ name: 'publishers', of: perSecond(PUBLISHERS) }, { name: 'subscribers', of: perSecond(SUBSCRIBERS) }] },
  { id: 'served', title: 'Served', unit: 'of 100 requests for a session', format: (number) => `${round(number)} %`, most: 100, series: () => [{ name: 'served', of: (list) => served(list) === null ? null : served(list) * 100 }] },
  { id: 'setup', title: 'Set-up time', unit: 'from request to answer, without media', format: millis, series: () => [['half within', 0.5], ['95 % within', 0.95], ['99 % within', 0.99]].map(([name, part]) => ({ name, of: (list) => quantile(list, part) })) },
  { id: 'refused', title: 'Refused requests', unit: 'a minute, by reason', stacked: true, format: round, series: () => greatest('refused', refusal), none: 'No request was refused.' },
  { id: 'ends', title: 'Ended sessions', unit: 'a minute, by reason', stacked: true, format: round, series: () => greatest('ends', ending), none: 'No session ended.' },
  { id: 'open', title: 'Open sessions', unit: '', stacked: true, format: (number) => count(Math.round(number)), series: () => [{ name: 'publishers', of: open(PUBLISHERS) }, { name: 'subscribers', of: open(SUBSCRIBERS) }] },
  { id: 'traffic', title: 'Traffic', unit: 'Mbit a second', format: round, series: () => [{ name: 'from clients', of: bits('client') }, { name: 'from nodes', of: bits('node') }] },
  { id: 'cpu', title: 'Processor time', unit: 'of one core', format: (number) => `${round(number)} %`, series: () => [{ name: 'this process', of: (list) => sum(list.map((sample) => sample.cpu * sample.seconds)) / seconds(list) * 100 }] }
]

const svg = (name, attributes, text) => {
  const created = document.createElementNS('http://www.w3.org/2000/svg', name)
  for (const [key, value] of Object.entries(attributes)) created.setAttribute(key, value)
  if (text !== undefined) created.textContent = text
  return created
}

// A round number at or above `number`, for the upper end of an axis.
const roundUp = (number) => {
  if (!(number > 0)) return 1
  const power = 10 ** Math.floor(Math.log10(number))
  return [1, 2, 5, 10].map((factor) => factor * power).find((limit) => limit >= number)
}

// Paths between values; a null is a gap. `lower` are the values of the edge below an area.
const path = (values, lower, x, y) => {
  const runs = []
  values.forEach((value, index) => {
    if (value === null) return
    if (index && values[index - 1] !== null) runs.at(-1).push(index)
    else runs.push([index])
  })
  return runs.map((run) => {
    // a value without neighbours is still seen
    if (run.length === 1) run = [run[0], run[0]]
    const edge = run.map((index, at) => `${x(index + (at && run[0] === run[1] ? 0.5 : 0))} ${y(values[index])}`)
    const back = lower ? run.map((index, at) => `${x(index + (at && run[0] === run[1] ? 0.5 : 0))} ${y(lower[index] ?? 0)}`).reverse() : []
    return `M${[...edge, ...back].join('L')}${lower ? 'Z' : ''}`
  }).join('')
}

class Chart {
  constructor (spec) {
    this.spec = spec
    this.plot = svg('svg', { viewBox: `0 -8 ${WIDTH} ${HEIGHT + 24}`, preserveAspectRatio: 'none', 'aria-hidden': 'true' })
    this.frame = element('div', {
      class: 'plot', role: 'img', tabindex: '0', pointermove: (event) => this.point(event), pointerleave: () => this.read(null), blur: () => this.read(null), keydown: (event) => this.key(event)
    }, this.plot)
    this.readout = element('div', { class: 'readout', 'aria-live': 'polite' })
    this.legend = element('ul', { class: 'legend' })
    this.figure = element('figure', { 'data-chart': spec.id }, element('figcaption', {}, spec.title, ' ', element('span', { class: 'soft' }, spec.unit)), this.frame, this.legend, this.readout)
    this.at = null
  }

  draw (all) {
    const { spec } = this
    this.all = all
    this.series = spec.series().map(({ name, of, total }) => ({ name, total, values: all.map(({ samples }) => samples.length ? of(samples) : null) }))
    const tops = all.map((_, index) => spec.stacked ? sum(this.series.map(({ values }) => values[index] ?? 0)) : Math.max(0, ...this.series.map(({ values }) => values[index] ?? 0)))
    const top = spec.most || roundUp(Math.max(...tops))
    const x = (index) => (index * WIDTH / (all.length - 1)).toFixed(1)
    const y = (value) => (HEIGHT - Math.min(value, top) / top * HEIGHT).toFixed(1)
    const parts = [0, 0.5, 1].map((part) => svg('line', { class: 'grid', x1: 0, x2: WIDTH, y1: part * HEIGHT, y2: part * HEIGHT }))
    let lower = all.map(() => 0)
    this.series.forEach(({ values }, index) => {
      if (spec.stacked) {
        const upper = values.map((value, at) => value === null ? null : lower[at] + value)
        parts.push(svg('path', { class: `area c${index + 1}`, d: path(upper, lower, x, y) }))
        lower = upper.map((value) => value ?? 0)
      } else {
        parts.push(svg('path', { class: `line c${index + 1}`, d: path(values, null, x, y) }))
      }
    })
    this.cursor = svg('line', { class: 'cursor', y1: 0, y2: HEIGHT, visibility: 'hidden' })
    this.plot.replaceChildren(...parts, this.cursor)
    const known = this.series.map(({ name, values, total }) => {
      const value = values.findLast((value) => value !== null) ?? null
      return total !== undefined ? `${name} ${count(total)} in all` : `${name} ${value === null ? '–' : spec.format(value)}`
    })
    const none = spec.none && !this.series.length
    this.legend.replaceChildren(...none ? [element('li', { class: 'soft' }, spec.none)] : known.map((text, index) => element('li', { class: `c${index + 1}` }, text)))
    this.begin = `${duration((all.at(-1).at - all[0].at) / 1000)} ago`
    const most = this.series.length ? `; the scale ends at ${spec.format(top)}` : ''
    this.frame.setAttribute('aria-label', `${spec.title}${spec.unit ? ` ${spec.unit}` : ''}, from ${this.begin} to now: ${none ? spec.none : known.join(', ')}${most}. Left and right arrow keys read earlier values.`)
    this.scale = spec.format(top)
    this.read(this.at)
  }

  // Reads the values of a step aloud and shows them; without one shows the scale.
  read (at) {
    this.at = at
    this.cursor?.setAttribute('visibility', at === null ? 'hidden' : 'visible')
    if (at === null || !this.all) { this.readout.textContent = this.all ? `${this.begin} to now; top line ${this.scale}` : ''; return }
    at = Math.min(at, this.all.length - 1)
    const x = at * WIDTH / (this.all.length - 1)
    this.cursor.setAttribute('x1', x)
    this.cursor.setAttribute('x2', x)
    const shown = this.series.filter(({ values }) => values[at] !== null).map(({ name, values }) => `${name} ${this.spec.format(values[at])}`)
    this.readout.textContent = `${clock(this.all[at].at)}  ${shown.join(' · ') || 'nothing'}`
  }

  point (event) {
    const { left, width } = this.frame.getBoundingClientRect()
    const last = this.all ? this.all.length - 1 : 0
    this.read(Math.max(0, Math.min(last, Math.round((event.clientX - left) / width * last))))
  }

  key (event) {
    const by = { ArrowLeft: -1, ArrowRight: 1 }[event.key]
    if (!by || !this.all) return
    event.preventDefault()
    this.read(Math.max(0, Math.min(this.all.length - 1, (this.at ?? this.all.length) + by)))
  }
}

const charts = CHARTS.map((spec) => new Chart(spec))
const drawFlow = () => {
  const all = steps()
  for (const chart of charts) chart.draw(all)
  const minute = samples.filter(({ at }) => at > samples.at(-1).at - 60_000)
  const asked = counted(minute, 'asked')
  const failed = served(minute)
  const tiles = [
    ['sessions open', latest(minute, (sample) => count(sum(Object.values(sample.active)))) ?? '–'],
    ['new sessions a second', minute.length ? round(sum(Object.values(counted(minute, 'began'))) / seconds(minute)) : '–'],
    [`of ${count((asked.served || 0) + (asked.failed || 0))} requests served`, percent(failed), failed !== null && failed < 0.95],
    ['half are set up within', millis(quantile(minute, 0.5))],
    ['95 % within', millis(quantile(minute, 0.95))],
    ['99 % within', millis(quantile(minute, 0.99))],
    ['requests refused', count(sum(Object.values(counted(minute, 'refused'))))],
    ['answers from memory', percent(hits(counted(minute, 'answers')))]
  ]
  byId('tiles').replaceChildren(...tiles.map(([name, value, bad]) => element('div', { class: bad ? 'tile bad' : 'tile' }, element('b', {}, value), element('span', {}, name))))
}
const hits = (answers) => {
  const all = sum(Object.entries(answers).filter(([name]) => name !== 'invalidated').map(([, number]) => number))
  return all ? ((answers.hit || 0) + (answers.missing_hit || 0) + (answers.collapsed || 0)) / all : null
}
