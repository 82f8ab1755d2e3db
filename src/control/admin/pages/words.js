// Elements, numbers and words. Everything that comes from outside becomes text, never markup.
'use strict'

const byId = (id) => document.getElementById(id)

// Creates an element. `attributes` may have `class`, `data-…`, `aria-…` and event handlers (functions).
const element = (name, attributes, ...children) => {
  const created = document.createElement(name)
  for (const [key, value] of Object.entries(attributes || {})) {
    if (typeof value === 'function') created.addEventListener(key, value)
    else if (value === true) created.setAttribute(key, '')
    else if (value !== false && value !== null && value !== undefined) created.setAttribute(key, value)
  }
  created.append(...children.filter((child) => child !== null && child !== undefined).map((child) => child instanceof Node ? child : String(child)))
  return created
}

const count = (number) => Number(number).toLocaleString('en')
const round = (number) => number >= 100 ? count(Math.round(number)) : number >= 10 ? number.toFixed(0) : number >= 1 || number === 0 ? number.toFixed(1) : number.toFixed(2)
const percent = (part) => part === null ? '–' : part >= 1 ? '100 %' : `${(Math.floor(part * 1000) / 10).toFixed(1)} %`
const size = (bytes) => {
  const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB']
  let unit = 0
  while (bytes >= 1024 && unit < units.length - 1) { bytes /= 1024; unit += 1 }
  return `${bytes.toFixed(unit && bytes < 100 ? 1 : 0)} ${units[unit]}`
}
const duration = (seconds) => seconds < 100 ? `${seconds.toFixed(0)} s` : seconds < 6000 ? `${(seconds / 60).toFixed(0)} min`
  : seconds < 360000 ? `${(seconds / 3600).toFixed(0)} h` : `${(seconds / 86400).toFixed(0)} days`
const millis = (ms) => ms === null || ms === undefined ? '–' : ms < 10 ? `${ms.toFixed(1)} ms` : ms < 10000 ? `${ms.toFixed(0)} ms` : `${(ms / 1000).toFixed(1)} s`
const clock = (ms) => new Date(ms).toLocaleTimeString([], { hour: '2-digit', minute: '2-digit', second: '2-digit' })
const date = (seconds) => new Date(seconds * 1000).toISOString().slice(0, 10)
const sum = (numbers) => numbers.reduce((all, one) => all + one, 0)

const KINDS = {
  two_step: 'WebSocket 2-step', one_step: 'WebSocket 1-step', whip: 'WHIP', whep: 'WHEP', http: 'HTTP connection',
  event: 'question', streams: 'question', health: 'health check', other: 'other request'
}
const PHASES = { starting: 'starting', serving: 'serving', draining: 'draining', stopped: 'stopped' }
// The outcomes of questions, as /api/status names them.
const ANSWERS = {
  hit: 'from memory', missing_hit: 'from memory: no such stream', collapsed: 'shared a question under way', miss: 'asked',
  bypass: 'asked for this client alone', invalidated: 'forgotten, its node failed', failed: 'failed'
}
// Codes of refusals whose words would not say enough.
const REFUSALS = {
  origin_refused: 'node refused or unreachable', origin_timeout: 'node did not answer', origin_bad_handshake: 'node gave a wrong answer',
  origin_not_admitted: 'node not allowed', manager_failed: 'stream manager failed', manager_timeout: 'stream manager did not answer',
  too_many: 'too many from one address', overloaded: 'gateway full', draining: 'gateway draining', cross_site: 'foreign web page',
  no_such_route: 'unknown path', no_such_resource: 'unknown WHIP session', app_not_allowed: 'app not allowed', script_leftover: 'parameter "undefined"'
}
const refusal = (code) => REFUSALS[code] || code.replaceAll('_', ' ')
const SIDES = { client: 'client', origin: 'node', gateway: 'gateway', whip: 'WHIP or WHEP' }
const HOWS = {
  client_close: 'client said goodbye', client_lost: 'client vanished', client_torn: 'client cut inside a message', gateway_silent: 'client silent',
  client_silent: 'client silent', origin_close: 'node said goodbye', origin_lost: 'node vanished', origin_torn: 'node cut inside a message',
  gateway_drain: 'drained', gateway_cut: 'cut at the end of a drain', gateway_kicked: 'kicked', gateway_idle: 'idle for too long', gateway_lifetime: 'reached its lifetime',
  whip_deleted: 'WHIP or WHEP: client ended it', whip_gone: 'WHIP or WHEP: node had lost it', whip_undone: 'WHIP or WHEP: client left early',
  whip_kicked: 'WHIP or WHEP: kicked', whip_forgotten: 'WHIP or WHEP: forgotten'
}
const ending = (key) => {
  const [by, ...how] = key.split('_')
  return HOWS[key] || `${SIDES[by] || by}: ${how.join(' ').replace('torn', 'cut inside a message')}`
}
